"""Ray's own server of a replica stays on loopback where the cluster does."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

from serve.loopback import keep_to_loopback


@pytest.mark.parametrize(("node", "opened"), [("127.0.0.1", "127.0.0.1:0"), ("192.0.2.7", "[::]:0")])
def test_the_port_is_opened_where_the_cluster_is(monkeypatch: pytest.MonkeyPatch, node: str, opened: str) -> None:
    module: Any = import_module("ray.serve._private.replica")
    asked: list[str] = []

    def note(_: object, address: str) -> int:
        asked.append(address)
        return 40_000

    monkeypatch.setattr(module, "add_port_to_grpc_server", note)
    assert keep_to_loopback(node) == (opened == "127.0.0.1:0")
    assert module.add_port_to_grpc_server(None, "[::]:0") == 40_000
    assert asked == [opened]
