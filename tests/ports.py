"""Ports for servers that start some time after their port was chosen."""

from __future__ import annotations

import random
import socket

# Above Ray's workers' ports and those that stacks take for themselves, below those that Linux gives to connections that ask for
# none: a port out of those may be some connection's own by the time its server starts, which then cannot have it.
_PORTS = range(25_000, 32_000)


def free_port() -> int:
    """Return a port of loopback that nobody has just now, and that nobody is given by chance."""
    for port in random.sample(_PORTS, 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"of 100 ports between {_PORTS.start} and {_PORTS.stop} none is free")
