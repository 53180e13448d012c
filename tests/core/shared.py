"""Registries that share an object store, for tests: each is a node with a folder of its own."""

from __future__ import annotations

from pathlib import Path

from obstore.store import MemoryStore

from core.objects import Objects
from core.shared_registry import SharedRegistry


class Nodes:
    """Nodes that share what is in one store, which lies in this process's memory unless ``objects`` says otherwise."""

    def __init__(self, root: Path, objects: Objects | None = None) -> None:
        store = MemoryStore()
        self.objects = objects or Objects(store, store, "a test's memory")
        self._root = root

    def node(self, name: str = "a") -> SharedRegistry:
        """Return the registry as a process of the node ``name`` sees it."""
        return SharedRegistry(self._root / name, self.objects, fresh_s=0.0)
