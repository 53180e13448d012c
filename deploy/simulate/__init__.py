"""Replaying labelled texts as traffic through the real service, to see what learning is worth.

::

    file ─► stream ─► for each strategy: a state folder, the service in this process
                       │   each step: ask ─► people answer ─► a run learns ─► measure
                       └─► journal ─► bars, tables, plots
"""
