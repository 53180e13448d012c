"""The metrics of a cluster: each node's processes share files on that node, and any replica answers for every node."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from pydantic import Field

from core.errors import InvalidHeader, NotFound, Unavailable
from core.metric_copies import Copied, copy_files
from core.metrics import Metrics, exposition, exposition_of
from core.schemas import Wire

# A name or an address, with or without a port.
_ADDRESS = re.compile(r"(?:[A-Za-z0-9_.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_ANSWERS_WITHIN_S = 8.0


class TargetGroup(Wire):
    """Entry of ``GET /v1/metrics/targets``, in the format of Prometheus's HTTP service discovery."""

    targets: list[str] = Field(description="One address: that by which this route was asked.")
    labels: dict[str, str] = Field(
        description="`node`, and `__param_node`, by which whichever replica is scraped answers for that node alone."
    )


class Nodes(Protocol):
    """The nodes of a cluster, each by a short name."""

    @property
    def own(self) -> str:
        """The node this process runs on."""

    def alive(self) -> set[str]:
        """Return the nodes that are up."""

    async def copy(self, node: str, folder: Path) -> Copied:
        """Return what :func:`~core.metric_copies.copy_files` finds on another node; raise whatever goes wrong."""


class NodeMetrics:
    """Answers for the processes that share ``folder``, for this one alone where it is None.

    With ``nodes``, each node has a folder of its own, by its name, in ``folder``.
    """

    def __init__(self, metrics: Metrics, folder: Path | None, nodes: Nodes | None = None) -> None:
        self._metrics = metrics
        self._folder = folder
        self._nodes = nodes

    async def exposition(self, node: str | None = None) -> bytes:
        """Return the Prometheus text format, of one node or of all.

        Raises:
            NotFound: no process of Hone runs on a node of this name.
            Unavailable: a node does not answer. Without it the sums would fall, which looks like a restart.
        """
        folder, nodes = self._folder, self._nodes
        if folder is None or nodes is None:
            if node is not None:
                raise NotFound("no node is known by this name; GET /v1/metrics/targets names them all")
            return await asyncio.to_thread(exposition, self._metrics, folder)
        known = await asyncio.to_thread(_names, folder)
        if node is not None and node not in known:
            raise NotFound("no process of Hone runs on a node of this name; GET /v1/metrics/targets names them all")
        wanted = known if node is None else [node]
        if wanted == [nodes.own]:
            return await asyncio.to_thread(exposition, self._metrics, folder / nodes.own)
        alive = await asyncio.to_thread(nodes.alive)
        copies = await asyncio.gather(*(self._copy(folder, nodes, name, alive) for name in wanted))
        return await asyncio.to_thread(exposition_of, copies)

    async def targets(self, address: str, prefix: str = "") -> list[TargetGroup]:
        """Return one target for each node, all at ``address``, which reaches some replica; its routes begin with ``prefix``.

        Raises:
            InvalidHeader: ``address`` is none.
        """
        if not _ADDRESS.fullmatch(address):
            raise InvalidHeader("the header Host must be a name or an address, with or without a port", header="Host")
        folder, nodes = self._folder, self._nodes
        path = {"__metrics_path__": f"{prefix}/metrics"} if prefix else {}
        if folder is None or nodes is None:
            return [TargetGroup(targets=[address], labels=path)]
        known, alive = await asyncio.to_thread(_names, folder), await asyncio.to_thread(nodes.alive)
        return [
            TargetGroup(targets=[address], labels={"node": name, "__param_node": name, **path})
            for name in known
            if name in alive
        ]

    @staticmethod
    async def _copy(folder: Path, nodes: Nodes, name: str, alive: Iterable[str]) -> Copied:
        if name == nodes.own or name not in alive:
            # Of a node that is down, nobody changes the files any more.
            return await asyncio.to_thread(copy_files, folder / name)
        try:
            async with asyncio.timeout(_ANSWERS_WITHIN_S):
                return await nodes.copy(name, folder / name)
        except Exception as error:
            raise Unavailable(f"the node {name} does not tell its metrics ({type(error).__name__}); ask again") from error


def _names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
