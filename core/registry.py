"""Versions of a model and the aliases that say which of them answers.

::

    registry/
      versions/v1/ …     bundles, never changed once they are here
      decisions/v1.json  what the gate said
      aliases.json       champion, previous, challenger; replaced as one file, so all move together or none
      history.jsonl      every move: when, who, why
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field

from core.bundle import CARD, MANIFEST, Manifest, read_manifest, verify
from core.errors import ApprovalNeeded, BundleError, Conflict, GateRefused, NothingToRollBack, UnknownVersion
from core.gate import GateDecision
from core.home import sync_folder, write_atomically
from core.moves import Action, History, Move, Standing, standing_of
from core.schemas import now

__all__ = ["Aliases", "Move", "Registry"]

VERSION = re.compile(r"v[1-9][0-9]{0,8}")


class Aliases(BaseModel):
    """Which version plays which part."""

    model_config = ConfigDict(frozen=True)

    champion: str | None = Field(None, description="Answers requests.")
    previous: str | None = Field(None, description="Answered before; what a rollback returns to.")
    challenger: str | None = Field(None, description="Newest version that was not promoted, or the one a person named.")


class Registry:
    """The versions in one folder. Mutations hold a lock shared by all processes; reads need none."""

    def __init__(self, root: Path, *, versions: Path | None = None) -> None:
        self.root = root
        self._versions = versions or root / "versions"
        self._decisions = root / "decisions"
        self._aliases = root / "aliases.json"
        self._history = History(root / "history.jsonl")
        for folder in (self._versions, self._decisions):
            folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(root / "registry.lock", timeout=30)

    def versions(self) -> list[str]:
        """Return the registered versions, oldest first."""
        names = [entry.name for entry in self._versions.iterdir() if VERSION.fullmatch(entry.name)]
        return sorted(names, key=lambda name: int(name[1:]))

    def look(self) -> Aliases:
        """Return the aliases, after asking whoever else may have moved them; may take its time."""
        return self.aliases()

    def aliases(self) -> Aliases:
        """Return who is champion, previous and challenger now."""
        try:
            return Aliases.model_validate_json(self._aliases.read_bytes())
        except FileNotFoundError:
            return Aliases()
        except ValueError as error:
            raise BundleError(f"{self._aliases} is damaged; write the three names by hand or restore it") from error

    def resolve(self, name: str) -> str:
        """Return the version that ``name``, a version or an alias, stands for.

        Raises:
            UnknownVersion: when there is none.
        """
        version = getattr(self.aliases(), name) if name in Aliases.model_fields else name
        if not version or not VERSION.fullmatch(version) or not self._knows(version):
            known = ", ".join(self.versions()[-5:])
            if not known:
                raise UnknownVersion("no version was taught here yet: hone train makes the first; HONE_HOME names the folder")
            raise UnknownVersion(f"there is no such version or alias; the newest versions are: {known}")
        return str(version)

    def path(self, name: str) -> Path:
        """Return the folder of a version or alias."""
        return self._versions / self.resolve(name)

    def manifest(self, name: str) -> Manifest:
        """Return the manifest of a version or alias."""
        return read_manifest(self.path(name))

    def card(self, name: str) -> str | None:
        """Return the model card that lies in the bundle of a version or alias, None where there is none."""
        path = self.path(name) / CARD
        return path.read_text(encoding="utf-8") if path.is_file() else None

    def decision(self, name: str) -> GateDecision | None:
        """Return what the gate said about a version, or None when it was never asked."""
        version = self.resolve(name)
        body = self._decision(version)
        try:
            return GateDecision.model_validate_json(body) if body is not None else None
        except ValueError as error:
            path = self._decisions / f"{version}.json"
            raise BundleError(f"{path} is damaged, so what the gate said is not known; restore it") from error

    def decision_hash(self, name: str) -> str | None:
        """Return the SHA-256 of the file that holds the decision, which is what a person signs; None without one."""
        body = self._decision(self.resolve(name))
        return hashlib.sha256(body).hexdigest() if body is not None else None

    def decisions(self) -> dict[str, GateDecision]:
        """Return what the gate said about each version it was asked about, oldest first; a damaged one is left out."""
        found = {}
        for version in self.versions():
            try:
                decision = self.decision(version)
            except BundleError:
                continue
            if decision is not None:
                found[version] = decision
        return found

    def standing(self, name: str) -> Standing | None:
        """Return how a version stands where a person has to sign for it; None where nobody has to and nobody did."""
        version = self.resolve(name)
        return standing_of(version, self.decision(version), self.moves_of(version))

    def history(self, *, limit: int | None = 1000) -> list[Move]:
        """Return the latest moves, oldest first; without a limit all. A line cut short by a crash is left out."""
        return self._history.latest(limit)

    def moves_of(self, version: str) -> list[Move]:
        """Return all that was done to a version, oldest first."""
        return self._history.of(version)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep all other processes from moving anything until the block ends; the moves below may be made inside."""
        with self._lock:
            yield

    def verify(self, name: str) -> None:
        """Return when the bundle is what it was when it was registered.

        Raises:
            UnknownVersion, BundleError: there is none, or it is not.
        """
        verify(self.path(name))

    def renew(self, name: str) -> bool:  # noqa: ARG002 - a registry that has its bundles from elsewhere needs the name
        """Replace a bundle that is not what it was, if there is another copy somewhere; return whether there was."""
        return False

    def record(self, move: Move) -> None:
        """Add a line to the history; whoever moves nothing but says something uses it inside :meth:`alone`."""
        self._history.add(move)

    def register(self, staged: Path, decision: GateDecision | None, *, by: str, why: str) -> str:
        """Take the sealed bundle in ``staged`` in as the next version and return its name.

        The folder is renamed, so a crash leaves either the whole version or none. ``staged`` must lie on the same disk.

        Raises:
            BundleError: when the bundle does not verify.
        """
        verify(staged)
        with self.alone():
            version = self._next()
            # A crash just before the rename leaves a decision about a version that never was.
            (self._decisions / f"{version}.json").unlink(missing_ok=True)
            if decision is not None:
                write_atomically(self._decisions / f"{version}.json", decision.model_dump_json(indent=1).encode())
            os.rename(staged, self._versions / version)
            sync_folder(self._versions)
            self._set(self.aliases().model_copy(update={"challenger": version}))
            self._moved("register", version, None, by, why)
        return version

    def promote(self, name: str, *, by: str, why: str, override: bool = False, judged_against: str | None = None) -> Aliases:
        """Make a version the champion; the one before becomes ``previous``. The bundle is verified first.

        Raises:
            UnknownVersion, BundleError: and the champion stays.
            GateRefused: when the gate refused it and ``override`` is not set.
            ApprovalNeeded: when a person has to sign for it, has not or has refused, and ``override`` is not set.
            Conflict: when somebody else became champion than ``judged_against``, whose place the gate was asked about.
        """
        with self.alone():
            version = self.resolve(name)
            self.verify(version)
            overridden = self._overridden(version, override=override, signed=True)
            old = self.aliases()
            if judged_against is not None and old.champion != judged_against:
                raise Conflict(f"{version} was compared with {judged_against}, and {old.champion} is champion now")
            if old.champion == version:
                return old
            challenger = None if old.challenger == version else old.challenger
            new = Aliases(champion=version, previous=old.champion, challenger=challenger)
            self._set(new)
            self._moved("promote", version, old.champion, by, why, overridden=overridden)
            return new

    def rollback(self, *, by: str, why: str, only: str | None = None) -> Aliases:
        """Make the previous champion the champion again; the two change places.

        With ``only`` nothing happens unless that version is still the champion, so that of several who ask at once the first
        is heard.

        Raises:
            NothingToRollBack: when there is no previous champion.
            BundleError: when the previous bundle does not verify.
        """
        with self.alone():
            old = self.aliases()
            if only is not None and old.champion != only:
                return old
            if old.previous is None or old.champion is None:
                raise NothingToRollBack("no champion was replaced yet, so there is none to go back to")
            self.verify(old.previous)
            challenger = None if old.challenger == old.previous else old.challenger
            new = Aliases(champion=old.previous, previous=old.champion, challenger=challenger)
            self._set(new)
            self._moved("rollback", old.previous, old.champion, by, why)
            return new

    def challenge(self, name: str, *, by: str, why: str, override: bool = False) -> Aliases:
        """Make a version the challenger, which may answer a share of the requests. The bundle is verified first.

        Raises:
            UnknownVersion, BundleError: and the challenger stays.
            GateRefused: when the gate refused it and ``override`` is not set.
            Conflict: when it is the champion.
        """
        with self.alone():
            version = self.resolve(name)
            old = self.aliases()
            if version == old.champion:
                raise Conflict(f"{version} is the champion; only another version can challenge it")
            self.verify(version)
            overridden = self._overridden(version, override=override, signed=False)
            new = old.model_copy(update={"challenger": version})
            self._set(new)
            self._moved("challenge", version, old.challenger, by, why, overridden=overridden)
            return new

    def withdraw(self, *, by: str, why: str, only: str | None = None) -> Aliases:
        """Have no challenger any more; with ``only``, unless another has become it meanwhile."""
        with self.alone():
            old = self.aliases()
            if old.challenger is None or only not in (None, old.challenger):
                return old
            new = old.model_copy(update={"challenger": None})
            self._set(new)
            self._moved("withdraw", old.challenger, None, by, why)
            return new

    def may_answer(self, version: str) -> bool:
        """Return whether a challenger may answer requests.

        The gate did not refuse it and no signature is missing, or a person let it in all the same.
        """
        decision = self.decision(version)
        moves = self.moves_of(version)
        if (decision is None or decision.promote) and standing_of(version, decision, moves) not in ("waiting", "refused"):
            return True
        said = next((move.action for move in reversed(moves) if move.action in ("challenge", "refuse")), None)
        return said == "challenge"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep aliases, decisions and history as they are while the block runs, for who copies them."""
        with self._lock:
            yield

    def sweep(self) -> list[str]:
        """Remove what a crash left behind: folders that are no whole bundle, aliases of versions that are gone.

        Return what was mended, as sentences.
        """
        mended: list[str] = []
        with self.alone():
            for entry in self._versions.iterdir():
                if entry.is_dir() and not (entry / MANIFEST).exists():
                    shutil.rmtree(entry)
                    mended.append(f"the folder {entry.name} was no whole bundle")
            aliases = self.aliases()
            gone = {part: name for part, name in aliases.model_dump().items() if name and not self._knows(name)}
            if gone:
                self._set(aliases.model_copy(update=dict.fromkeys(gone)))
                mended.extend(f"the alias {part} named {name}, which is not there" for part, name in gone.items())
        return mended

    def _overridden(self, version: str, *, override: bool, signed: bool) -> bool:
        """Return whether it takes the override to use ``version``; ``signed``: a missing signature is in the way too.

        Raises:
            GateRefused, ApprovalNeeded: it does, and ``override`` is not set.
        """
        decision = self.decision(version)
        if decision is None:
            return False
        standing = standing_of(version, decision, self.moves_of(version))
        unsigned = standing == "refused" or (signed and standing == "waiting")
        if not override and not decision.promote:
            raise GateRefused(f"the gate refused {version}: {decision.summary}; override it to use the version all the same")
        if not override and unsigned:
            why = "a person refused it" if standing == "refused" else f"the gate recommends it, {decision.summary}"
            raise ApprovalNeeded(f"{version} takes a person's approval ({why}); approve it, or override")
        return unsigned or not decision.promote

    def _knows(self, version: str) -> bool:
        return (self._versions / version).is_dir()

    def _next(self) -> str:
        return f"v{max((int(name[1:]) for name in self.versions()), default=0) + 1}"

    def _decision(self, version: str) -> bytes | None:
        try:
            return (self._decisions / f"{version}.json").read_bytes()
        except FileNotFoundError:
            return None

    def _set(self, aliases: Aliases) -> None:
        write_atomically(self._aliases, aliases.model_dump_json(indent=1).encode())

    def _moved(
        self, action: Action, version: str, replaced: str | None, by: str, why: str, *, overridden: bool = False
    ) -> None:
        seen = self.decision_hash(version) if overridden else None
        fields = {"action": action, "version": version, "replaced": replaced, "by": by, "why": why, "seen": seen}
        self.record(Move.model_validate({"at": now(), "override": overridden, **fields}))
