"""What other processes do in tests, in a module, so that those processes can import it."""

from __future__ import annotations

import itertools
import os
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path

from core.home import write_atomically
from core.registry import Registry
from tests.bundles import write_ngram_bundle


def register_and_promote_for_ever(root: Path, answers: Connection) -> None:
    """Register, promote and now and then roll back, sending the name of each version that was registered."""
    registry = Registry(root)
    for number in itertools.count():
        version = registry.register(_stage(registry, number), None, by="a test", why="")
        answers.send(version)
        registry.promote(version, by="a test", why="它更好")
        if number % 3 == 2:
            registry.rollback(by="a test", why="它更差")


def register_together(root: Path, start: Barrier, answers: Connection, count: int) -> None:
    """Stage ``count`` bundles, wait for the others, register as fast as possible, and send the names."""
    registry = Registry(root)
    staged = [_stage(registry, number) for number in range(count)]
    start.wait()
    answers.send([registry.register(folder, None, by="a test", why="") for folder in staged])


def _stage(registry: Registry, number: int) -> Path:
    staged = registry.root / f"staged-{os.getpid()}-{number}"
    write_ngram_bundle(staged, seed=number)
    return staged


def pattern(number: int) -> bytes:
    """Return a mebibyte of which every byte says which version of the file it belongs to."""
    return bytes([number % 256]) * 2**20


def write_for_ever(path: Path, answers: Connection) -> None:
    """Replace ``path`` by one version after the other, saying when the first is there."""
    for number in itertools.count(1):
        write_atomically(path, pattern(number))
        if number == 1:
            answers.send(number)
