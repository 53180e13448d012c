"""Versions of a model and the aliases that say which of them answers.

::

    registry/
      versions/v1/ …     bundles, never changed once they are here
      decisions/v1.json  what the gate said
      aliases.json       champion, previous, challenger; replaced as one file, so all move together or none
      history.jsonl      every move: when, who, why
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Literal

from filelock import FileLock
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from core.bundle import MANIFEST, Manifest, read_manifest, verify
from core.errors import BundleError, Conflict, GateRefused, NothingToRollBack, UnknownVersion
from core.gate import GateDecision
from core.home import append_line, sync_folder, write_atomically
from core.schemas import now

_VERSION = re.compile(r"v[1-9][0-9]{0,8}")


class Aliases(BaseModel):
    """Which version plays which part."""

    model_config = ConfigDict(frozen=True)

    champion: str | None = Field(None, description="Answers requests.")
    previous: str | None = Field(None, description="Answered before; what a rollback returns to.")
    challenger: str | None = Field(None, description="Newest version that was not promoted, or the one a person named.")


class Move(BaseModel):
    """One line of the history."""

    model_config = ConfigDict(frozen=True)

    at: AwareDatetime
    action: Literal["register", "promote", "rollback", "challenge", "withdraw"]
    version: str
    replaced: str | None = None
    by: str
    why: str


class Registry:
    """The versions in one folder. Mutations hold a lock shared by all processes; reads need none."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._versions = root / "versions"
        self._decisions = root / "decisions"
        self._aliases = root / "aliases.json"
        self._history = root / "history.jsonl"
        for folder in (self._versions, self._decisions):
            folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(root / "registry.lock", timeout=30)

    def versions(self) -> list[str]:
        """Return the registered versions, oldest first."""
        names = [entry.name for entry in self._versions.iterdir() if _VERSION.fullmatch(entry.name)]
        return sorted(names, key=lambda name: int(name[1:]))

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
        if not version or not _VERSION.fullmatch(version) or not (self._versions / version).is_dir():
            known = ", ".join(self.versions()[-5:]) or "none"
            raise UnknownVersion(f"there is no such version or alias; the newest versions are: {known}")
        return str(version)

    def path(self, name: str) -> Path:
        """Return the folder of a version or alias."""
        return self._versions / self.resolve(name)

    def manifest(self, name: str) -> Manifest:
        """Return the manifest of a version or alias."""
        return read_manifest(self.path(name))

    def decision(self, name: str) -> GateDecision | None:
        """Return what the gate said about a version, or None when it was never asked."""
        path = self._decisions / f"{self.resolve(name)}.json"
        try:
            return GateDecision.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise BundleError(f"{path} is damaged, so what the gate said is not known; restore it") from error

    def history(self, *, limit: int = 1000) -> list[Move]:
        """Return the latest moves, oldest first. A line cut short by a crash is left out."""
        if not self._history.exists():
            return []
        moves = []
        # Bytes, because a cut can halve a character, and because JSON leaves some ends of lines (U+2028) as they are.
        for line in self._history.read_bytes().splitlines()[-limit:]:
            try:
                moves.append(Move.model_validate_json(line))
            except ValueError:
                continue
        return moves

    def register(self, staged: Path, decision: GateDecision | None, *, by: str, why: str) -> str:
        """Take the sealed bundle in ``staged`` in as the next version and return its name.

        The folder is renamed, so a crash leaves either the whole version or none. ``staged`` must lie on the same disk.

        Raises:
            BundleError: when the bundle does not verify.
        """
        verify(staged)
        with self._lock:
            version = f"v{max((int(name[1:]) for name in self.versions()), default=0) + 1}"
            # A crash just before the rename leaves a decision about a version that never was.
            (self._decisions / f"{version}.json").unlink(missing_ok=True)
            if decision is not None:
                write_atomically(self._decisions / f"{version}.json", decision.model_dump_json(indent=1).encode())
            os.rename(staged, self._versions / version)
            sync_folder(self._versions)
            self._set(self.aliases().model_copy(update={"challenger": version}))
            self._record(Move(at=now(), action="register", version=version, by=by, why=why))
        return version

    def promote(self, name: str, *, by: str, why: str, override: bool = False) -> Aliases:
        """Make a version the champion; the one before becomes ``previous``. The bundle is verified first.

        Raises:
            UnknownVersion, BundleError: and the champion stays.
            GateRefused: when the gate refused it and ``override`` is not set.
        """
        with self._lock:
            version = self.resolve(name)
            self._check(version, override=override)
            old = self.aliases()
            if old.champion == version:
                return old
            challenger = None if old.challenger == version else old.challenger
            new = Aliases(champion=version, previous=old.champion, challenger=challenger)
            self._set(new)
            self._record(Move(at=now(), action="promote", version=version, replaced=old.champion, by=by, why=why))
            return new

    def rollback(self, *, by: str, why: str, only: str | None = None) -> Aliases:
        """Make the previous champion the champion again; the two change places.

        With ``only`` nothing happens unless that version is still the champion, so that of several who ask at once the first
        is heard.

        Raises:
            NothingToRollBack: when there is no previous champion.
            BundleError: when the previous bundle does not verify.
        """
        with self._lock:
            old = self.aliases()
            if only is not None and old.champion != only:
                return old
            if old.previous is None or old.champion is None:
                raise NothingToRollBack("no champion was replaced yet, so there is none to go back to")
            verify(self.path(old.previous))
            challenger = None if old.challenger == old.previous else old.challenger
            new = Aliases(champion=old.previous, previous=old.champion, challenger=challenger)
            self._set(new)
            self._record(Move(at=now(), action="rollback", version=old.previous, replaced=old.champion, by=by, why=why))
            return new

    def challenge(self, name: str, *, by: str, why: str, override: bool = False) -> Aliases:
        """Make a version the challenger, which may answer a share of the requests. The bundle is verified first.

        Raises:
            UnknownVersion, BundleError: and the challenger stays.
            GateRefused: when the gate refused it and ``override`` is not set.
            Conflict: when it is the champion.
        """
        with self._lock:
            version = self.resolve(name)
            old = self.aliases()
            if version == old.champion:
                raise Conflict(f"{version} is the champion; only another version can challenge it")
            self._check(version, override=override)
            new = old.model_copy(update={"challenger": version})
            self._set(new)
            self._record(Move(at=now(), action="challenge", version=version, replaced=old.challenger, by=by, why=why))
            return new

    def withdraw(self, *, by: str, why: str, only: str | None = None) -> Aliases:
        """Have no challenger any more; with ``only``, unless another has become it meanwhile."""
        with self._lock:
            old = self.aliases()
            if old.challenger is None or only not in (None, old.challenger):
                return old
            new = old.model_copy(update={"challenger": None})
            self._set(new)
            self._record(Move(at=now(), action="withdraw", version=old.challenger, by=by, why=why))
            return new

    def may_answer(self, version: str) -> bool:
        """Return whether a challenger may answer requests: the gate did not refuse it, or a person let it in all the same."""
        decision = self.decision(version)
        if decision is None or decision.promote:
            return True
        return any(move.action == "challenge" and move.version == version for move in self.history())

    def sweep(self) -> list[str]:
        """Remove what a crash left behind: folders that are no whole bundle, aliases of versions that are gone.

        Return what was mended, as sentences.
        """
        mended: list[str] = []
        with self._lock:
            for entry in self._versions.iterdir():
                if entry.is_dir() and not (entry / MANIFEST).exists():
                    shutil.rmtree(entry)
                    mended.append(f"the folder {entry.name} was no whole bundle")
            aliases = self.aliases()
            gone = {part: name for part, name in aliases.model_dump().items() if name and not (self._versions / name).is_dir()}
            if gone:
                self._set(aliases.model_copy(update=dict.fromkeys(gone)))
                mended.extend(f"the alias {part} named {name}, which is not there" for part, name in gone.items())
        return mended

    def _check(self, version: str, *, override: bool) -> None:
        verify(self._versions / version)
        decision = self.decision(version)
        if decision is not None and not decision.promote and not override:
            raise GateRefused(f"the gate refused {version}: {decision.summary}; override it to use the version all the same")

    def _set(self, aliases: Aliases) -> None:
        write_atomically(self._aliases, aliases.model_dump_json(indent=1).encode())

    def _record(self, move: Move) -> None:
        append_line(self._history, move.model_dump(mode="json"))
