"""What became of versions in the replicas, as one file that every replica adds to and anybody may read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from filelock import FileLock
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from core.home import append_line

RolloutState = Literal["serving", "fell_back", "failed", "probation", "passed", "rolled_back", "canary", "shadow", "withdrawn"]
STATES: tuple[RolloutState, ...] = (
    "serving",
    "fell_back",
    "failed",
    "probation",
    "passed",
    "rolled_back",
    "canary",
    "shadow",
    "withdrawn",
)

# A line is some 200 bytes; what lies further back than this is for a person with a pager.
_READ_BYTES = 256_000


class RolloutRecord(BaseModel):
    """One version met one replica."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    at: AwareDatetime
    version: str
    state: RolloutState = Field(description="`failed`: it was not taken, and the version before answers.")
    reason: str | None = None
    replica_id: str


class Rollouts:
    """The record in ``root``, beside the registry it speaks of."""

    def __init__(self, root: Path) -> None:
        self._path = root / "rollouts.jsonl"
        self._lock = FileLock(root / "rollouts.lock", timeout=10)

    def add(self, rollout: RolloutRecord) -> None:
        """Keep ``rollout``; it is on disk when this returns.

        Raises:
            OSError: when the disk does not take it.
        """
        with self._lock:
            append_line(self._path, rollout.model_dump(mode="json"))

    def latest(self, *, version: str | None = None, limit: int = 50) -> list[RolloutRecord]:
        """Return the latest records, newest first, of one version or of all; a line cut short by a crash is left out."""
        try:
            with self._path.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _READ_BYTES))
                lines = file.read().splitlines()
        except FileNotFoundError:
            return []
        found: list[RolloutRecord] = []
        for line in reversed(lines):
            try:
                rollout = RolloutRecord.model_validate_json(line)
            except ValueError:
                continue
            if version in (None, rollout.version):
                found.append(rollout)
            if len(found) == limit:
                break
        return found
