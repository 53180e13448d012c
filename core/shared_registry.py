"""A registry that several nodes share by an object store, each with copies of what it needs.

A move is made by replacing one object, on the condition that it is still the one that was seen: so aliases and history move
together or not at all, and of two nodes that move at once one is heard, and the other looks again. Bundles are pushed before
the move that names them, and pulled by who needs them, each file verified before it can be read. What was seen and pulled
stays: while the store does not answer, everything but a move goes on.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from filelock import Timeout

from core.bundle import CARD, MANIFEST, Manifest, file_sha256, read_manifest, verify
from core.bundle_copies import BundleCopies
from core.errors import BundleError, BundlesUnavailable, Conflict, RegistryChanged
from core.gate import GateDecision
from core.moves import Move
from core.objects import Objects
from core.registry import Aliases, Registry
from core.shared_state import STATE, Listed, Mirror, Seen, SharedState

_logger = logging.getLogger("hone.registry")

# Of a few nodes that move at once each is heard soon; more often than this it is no accident.
_TRIES = 5
_Answer = TypeVar("_Answer")


class _Turn(threading.local):
    """What a thread that may move something has seen, and what it is about to say."""

    seen: Seen | None = None
    aliases: Aliases | None = None
    listed: dict[str, Listed] | None = None


class SharedRegistry(Registry):
    """The versions in an object store, of which ``root`` has a copy as far as they were needed, bundles in ``versions``.

    Reading asks the store where ``fresh_s`` seconds have passed since it was asked; without, only :meth:`look` and moves do, so
    that reading never takes long.
    """

    def __init__(self, root: Path, objects: Objects, *, versions: Path | None = None, fresh_s: float | None = None) -> None:
        super().__init__(root, versions=versions)
        self._objects = objects
        self._mirror = Mirror(root)
        self._manifests = root / "manifests"
        self._copies = BundleCopies(self._versions, objects)
        self._fresh_s = math.inf if fresh_s is None else fresh_s
        self._asked_at = -math.inf
        self._away = False
        self._turn = _Turn()

    # What is read

    def versions(self) -> list[str]:
        """Return the registered versions, oldest first."""
        return sorted(self._state().versions, key=lambda name: int(name[1:]))

    def look(self) -> Aliases:
        """Return the aliases as the store has them, or, while it does not answer, as they were seen last.

        Raises:
            BundlesUnavailable: it does not answer, and this node has never seen it.
        """
        self._asked_at = time.monotonic()
        try:
            self._catch_up()
        except BundlesUnavailable as error:
            if not self._away:
                _logger.warning("%s; this node goes on with what it has", error.message)
            self._away = True
            if self._mirror.read() is None:
                raise
        except Timeout:
            # Another process of this node asks at this moment, or moves something.
            pass
        else:
            if self._away:
                _logger.info("the store of bundles answers again")
            self._away = False
        return self._last_seen().aliases

    def aliases(self) -> Aliases:
        """Return who is champion, previous and challenger."""
        return self._state().aliases

    def history(self, *, limit: int | None = 1000) -> list[Move]:
        """Return the latest moves, oldest first; without a limit all."""
        moves = self._state().moves
        return moves[:] if limit is None else moves[-limit:]

    def moves_of(self, version: str) -> list[Move]:
        """Return all that was done to a version, oldest first."""
        return [move for move in self._state().moves if move.version == version]

    def manifest(self, name: str) -> Manifest:
        """Return the manifest of a version or alias, without pulling the rest of its bundle."""
        version = self.resolve(name)
        folder = self._manifests / version
        self._copies.small(self._listed(version).manifest, folder / MANIFEST)
        return read_manifest(folder)

    def card(self, name: str) -> str | None:
        """Return the model card of a version or alias, None where there is none; of its bundle only that is pulled."""
        version = self.resolve(name)
        digest = self.manifest(version).files.get(CARD)
        return self._copies.small(digest, self._manifests / version / CARD).decode() if digest else None

    def path(self, name: str) -> Path:
        """Return the folder of a version or alias, pulled and verified if this node does not have it.

        Raises:
            UnknownVersion: there is none.
            BundleError: what the store has is not what was pushed.
            BundlesUnavailable: it has to be pulled, and the store does not answer.
        """
        version = self.resolve(name)
        folder = self._versions / version
        if not (folder / MANIFEST).exists():
            self._copies.pull(version, self.manifest(version), (self._manifests / version / MANIFEST).read_bytes())
        return folder

    def verify(self, name: str) -> None:
        """Return when this node's bundle is what was registered, pulled again if it was not."""
        try:
            verify(self.path(name))
        except BundleError:
            if not self.renew(name):
                raise

    def renew(self, name: str) -> bool:
        """Pull a bundle anew if this node's copy is not what was registered; return whether that was so."""
        version = self.resolve(name)
        folder = self._versions / version
        try:
            verify(folder)
            altered = file_sha256(folder / MANIFEST) != self._listed(version).manifest
        except BundleError:
            altered = True
        if altered:
            _logger.warning("this node's copy of %s is not what was registered, and is pulled again", version)
            self._copies.drop(version)
            self.path(version)
        return altered

    # What is moved

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep the processes of this node from moving anything until the block ends; a move another node makes is noticed.

        Raises:
            BundlesUnavailable: the store does not answer.
            Conflict: while moving: another node did at this very moment.
        """
        turn = self._turn
        if turn.seen is not None:
            yield
            return
        with self._lock:
            turn.seen = self._catch_up()
            try:
                yield
            finally:
                turn.seen = turn.aliases = turn.listed = None

    def record(self, move: Move) -> None:
        """Have the store take what this turn is about to say, together with ``move``."""
        turn = self._turn
        if turn.seen is None:
            with self.alone():
                self.record(move)
            return
        before = turn.seen.state
        changed = {"aliases": turn.aliases or before.aliases, "versions": turn.listed or before.versions}
        state = before.model_copy(update={**changed, "moves": [*before.moves, move]})
        turn.seen = self._publish(state, turn.seen.tag)
        turn.aliases = turn.listed = None

    def register(self, staged: Path, decision: GateDecision | None, *, by: str, why: str) -> str:
        """Take the sealed bundle in ``staged`` in as the next version and return its name.

        It is pushed first, so a crash leaves the whole version or none; what it shares with others is not pushed again.

        Raises:
            BundleError: the bundle does not verify.
            BundlesUnavailable: the store does not answer; nothing was registered.
        """
        listed = self._copies.push(staged, verify(staged), decision)

        def enter() -> str:
            with self.alone():
                version = self._next()
                self._turn.listed = {**self._state().versions, version: listed}
                self._set(self.aliases().model_copy(update={"challenger": version}))
                self._moved("register", version, None, by, why)
                return version

        version = self._again(enter)
        self._copies.adopt(staged, version)
        return version

    def promote(self, name: str, **said: Any) -> Aliases:
        """Make a version the champion, as :meth:`Registry.promote` does."""
        # Pulled before, not while others wait.
        self.path(name)
        return self._again(lambda: super(SharedRegistry, self).promote(name, **said))

    def rollback(self, **said: Any) -> Aliases:
        """Make the previous champion the champion again, as :meth:`Registry.rollback` does."""
        return self._again(lambda: super(SharedRegistry, self).rollback(**said))

    def challenge(self, name: str, **said: Any) -> Aliases:
        """Make a version the challenger, as :meth:`Registry.challenge` does."""
        self.path(name)
        return self._again(lambda: super(SharedRegistry, self).challenge(name, **said))

    def withdraw(self, **said: Any) -> Aliases:
        """Have no challenger any more, as :meth:`Registry.withdraw` does."""
        return self._again(lambda: super(SharedRegistry, self).withdraw(**said))

    def sweep(self) -> list[str]:
        """Remove what a crash left behind among this node's copies; return what was mended, as sentences."""
        return self._copies.sweep()

    def publish(self) -> list[str]:
        """Take the versions of a folder that knew no object store into an empty one, and return their names.

        Raises:
            Conflict: the store has versions already.
            BundleError: one of the folder's does not verify.
        """
        own = Registry(self.root)
        with self._lock:
            found = self._objects.read(STATE)
            if found is None or found.data:
                raise Conflict("the store of bundles has versions already; name an empty prefix in HONE_BUNDLES_URL")
            listed = {
                name: self._copies.push(own.path(name), verify(own.path(name)), own.decision(name)) for name in own.versions()
            }
            self._publish(SharedState(aliases=own.aliases(), versions=listed, moves=own.history(limit=None)), "")
        return list(listed)

    # How

    def _state(self) -> SharedState:
        if self._turn.seen is not None:
            return self._turn.seen.state
        if time.monotonic() - self._asked_at >= self._fresh_s:
            self.look()
        return self._last_seen()

    def _last_seen(self) -> SharedState:
        seen = self._mirror.read()
        if seen is None:
            with self._lock:
                seen = self._catch_up()
        return seen.state

    def _catch_up(self) -> Seen:
        """Return the newest state, and have this node's copy be it."""
        if self._mirror.stands_alone():
            raise BundleError(
                f"{self.root} has versions of its own, which the store of bundles does not know; hone models publish takes "
                "them there, once"
            )
        inside = self._lock.is_locked
        # Who only looks does not wait for another who does.
        with self._lock if inside else self._lock.acquire(timeout=0):
            seen = self._mirror.read()
            found = self._objects.read(STATE, unless=seen.tag if seen else "")
            if found is None and seen is not None:
                return seen
            data, tag = (found.data, found.tag) if found is not None else (b"", "")
            if seen is not None and seen.tag and not data:
                # An empty bucket is a mistake or a misfortune; nothing here must forget what it has for it.
                raise BundlesUnavailable(f"the store of bundles has lost {STATE}, which was there; restore it from a backup")
            newer = Seen(tag=tag, state=SharedState.parse(data))
            self._mirror.write(newer)
            return newer

    def _publish(self, state: SharedState, tag: str) -> Seen:
        data = state.model_dump_json(exclude_defaults=True).encode()
        try:
            new_tag = self._objects.write(STATE, data, replacing=tag)
        except (RegistryChanged, BundlesUnavailable):
            # An answer that was lost on its way, and what was tried again after it, look like this too.
            there = self._objects.read(STATE)
            if there is None or there.data != data:
                raise
            new_tag = there.tag
        seen = Seen(tag=new_tag, state=state)
        self._mirror.write(seen)
        return seen

    def _set(self, aliases: Aliases) -> None:
        self._turn.aliases = aliases

    def _knows(self, version: str) -> bool:
        return version in self._state().versions

    def _listed(self, version: str) -> Listed:
        return self._state().versions[version]

    def _decision(self, version: str) -> bytes | None:
        digest = self._listed(version).decision
        return self._copies.small(digest, self._decisions / f"{version}.json") if digest else None

    def _again(self, move: Callable[[], _Answer]) -> _Answer:
        """Make a move, and make it anew where another node was quicker; a move that is part of a larger one is made once."""
        for _ in range(_TRIES - 1 if self._turn.seen is None else 0):
            try:
                return move()
            except RegistryChanged:
                continue
        return move()
