"""The local stack: everything `hone up` starts on one machine, and ends again.

::

    preflight    is there a home, a lock, a port? what did an earlier stack leave behind?
    first        the first version, taught from the sample data
    cluster      a Ray that belongs to this stack alone
    learner      the child process that learns, started again when it dies
    readiness    does it really answer?
    guard        a process that outlives the stack, to end what is left of it
    run          all of it in order, and back
"""
