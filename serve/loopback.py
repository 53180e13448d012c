"""Keeps Ray's own server of a replica to loopback, where the whole cluster is."""

from __future__ import annotations

from importlib import import_module
from typing import Any

EVERYWHERE = "[::]:0"
LOOPBACK = "127.0.0.1:0"


def keep_to_loopback(node_address: str) -> bool:
    """Have the server by which deployments call each other listen on loopback, and return whether it will.

    Ray has it listen on every address of the machine and unpickle what arrives, with only a token between; there is no setting
    for it, so the function that opens its port is wrapped. On a cluster of several machines it stays as it is.
    """
    if node_address != "127.0.0.1":
        return False
    module: Any = import_module("ray.serve._private.replica")
    original = module.add_port_to_grpc_server

    def open_port(server: Any, address: str) -> int:
        return int(original(server, LOOPBACK if address == EVERYWHERE else address))

    module.add_port_to_grpc_server = open_port
    return True
