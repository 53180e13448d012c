"""Several threads and processes on one registry, and processes that are killed while they change it."""

from __future__ import annotations

import multiprocessing
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.context import ForkServerContext
from threading import Event
from time import sleep

import pytest

from core.bundle import verify
from core.registry import Aliases, Registry
from tests.bundles import register_ngram_bundle
from tests.core import moves

_ROUNDS = 10


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Give a way to start processes within milliseconds: each is a copy of one that has imported everything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.core.moves"])
    return context


def _sound(registry: Registry) -> Aliases:
    aliases = registry.aliases()
    versions = registry.versions()
    for name in (aliases.champion, aliases.previous, aliases.challenger):
        assert name is None or name in versions
    assert aliases.champion is None or aliases.champion != aliases.previous
    if aliases.champion is not None:
        verify(registry.path("champion"))
    return aliases


def test_threads_that_promote_and_roll_back_leave_valid_aliases_at_every_moment(registry: Registry) -> None:
    for seed in range(4):
        register_ngram_bundle(registry, seed=seed)
    registry.promote("v1", by="a", why="")
    registry.promote("v2", by="a", why="")
    done = Event()

    def look() -> int:
        looks = 0
        while not done.is_set():
            _sound(registry)
            looks += 1
        return looks

    def move(thread: int) -> None:
        # Half of them share one object, half have their own, as other processes would.
        own = registry if thread % 2 else Registry(registry.root)
        for step in range(4):
            if (thread + step) % 3:
                own.promote(f"v{1 + (thread + step) % 4}", by=f"thread {thread}", why="")
            else:
                own.rollback(by=f"thread {thread}", why="")

    with ThreadPoolExecutor(9) as pool:
        looking = pool.submit(look)
        try:
            for moving in [pool.submit(move, thread) for thread in range(8)]:
                moving.result()
        finally:
            done.set()
        assert looking.result() > 0
    # Every move took the champion's place from the one that the move before had put there.
    moved = [entry for entry in registry.history() if entry.action != "register"]
    assert [entry.replaced for entry in moved[1:]] == [entry.version for entry in moved[:-1]]
    assert _sound(registry).champion == moved[-1].version


@pytest.mark.integration
def test_processes_that_register_at_once_get_versions_of_their_own(registry: Registry, processes: ForkServerContext) -> None:
    count, start = 10, processes.Barrier(3)
    pipes = [processes.Pipe(duplex=False) for _ in range(3)]
    running = [
        processes.Process(target=moves.register_together, args=(registry.root, start, theirs, count)) for _, theirs in pipes
    ]
    for process, (_, theirs) in zip(running, pipes, strict=True):
        process.start()
        # A process that fails then ends the pipe, instead of being waited for.
        theirs.close()
    names = [name for ours, _ in pipes for name in ours.recv()]
    for process in running:
        process.join()
        assert process.exitcode == 0
    assert (
        sorted(names, key=lambda name: int(name[1:])) == registry.versions() == [f"v{place + 1}" for place in range(3 * count)]
    )
    assert [entry.version for entry in registry.history()] == registry.versions()
    for name in names:
        verify(registry.path(name))


def _killed_rounds(registry: Registry, processes: ForkServerContext) -> Iterator[list[str]]:
    chance = random.Random(11)  # noqa: S311 - when to kill, not a secret
    for _ in range(_ROUNDS):
        ours, theirs = processes.Pipe(duplex=False)
        process = processes.Process(target=moves.register_and_promote_for_ever, args=(registry.root, theirs))
        process.start()
        theirs.close()
        names = [ours.recv() for _ in range(chance.randint(1, 3))]
        sleep(chance.random() * 0.03)
        process.kill()
        process.join()
        while ours.poll():
            try:
                names.append(ours.recv())
            except EOFError:
                break
        yield names


@pytest.mark.integration
def test_a_killed_process_leaves_whole_versions_and_a_champion_that_verifies(
    registry: Registry, processes: ForkServerContext
) -> None:
    acknowledged: list[str] = []
    for names in _killed_rounds(registry, processes):
        acknowledged += names
        assert _sound(registry).champion is not None
        assert set(acknowledged) <= set(registry.versions())
        for version in registry.versions():
            verify(registry.path(version))
        # Nothing is left that sweeping would have to mend, and the lock died with its holder.
        assert registry.sweep() == []
        survivor = register_ngram_bundle(registry)
        assert registry.promote(survivor, by="a survivor", why="").champion == registry.history()[-1].version == survivor
    assert len(set(acknowledged)) == len(acknowledged) >= _ROUNDS
