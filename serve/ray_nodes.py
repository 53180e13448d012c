"""The nodes of the Ray cluster this process has joined."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from core.metric_copies import Copied, copy_files

# Of the 56 digits of Ray's name for a node.
_NAME_LENGTH = 12


def own_node() -> str:
    """Return the name of the node this process runs on; it has joined the cluster."""
    return str(ray.get_runtime_context().get_node_id())[:_NAME_LENGTH]


class RayNodes:
    """Reaches other nodes by tasks that run there."""

    def __init__(self) -> None:
        self.own = own_node()
        # No core of its own: it is wanted most when all are busy.
        self._copy: Any = ray.remote(num_cpus=0, max_retries=0)(copy_files)

    def alive(self) -> set[str]:
        """Return the nodes that are up."""
        return {node_id[:_NAME_LENGTH] for node_id in _alive()}

    async def copy(self, node: str, folder: Path) -> Copied:
        """Return what :func:`~core.metric_copies.copy_files` finds there.

        Raises:
            LookupError: there is no such node any more.
            ray.exceptions.RayError: the task fails.
        """
        node_id = next((full for full in await asyncio.to_thread(_alive) if full.startswith(node)), None)
        if node_id is None:
            raise LookupError(node)
        there = NodeAffinitySchedulingStrategy(node_id, soft=False)
        copied: Copied = await self._copy.options(scheduling_strategy=there).remote(folder)
        return copied


def _alive() -> list[str]:
    return [str(node["NodeID"]) for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call] # Ray leaves it untyped
