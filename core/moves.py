"""What was done to versions, a line each, and how a version stands by it where a person has to sign."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from core.gate import GateDecision
from core.home import append_line

Action = Literal["register", "promote", "rollback", "challenge", "withdraw", "approve", "refuse"]
Standing = Literal["waiting", "approved", "refused", "overridden"]


class Move(BaseModel):
    """One line of the history."""

    model_config = ConfigDict(frozen=True)

    at: AwareDatetime
    action: Action
    version: str
    replaced: str | None = Field(None, description="Who played that part before; of a signature, who was champion then.")
    by: str
    why: str
    seen: str | None = Field(None, description="SHA-256 of the gate's decision that was seen, as the registry keeps it.")
    override: bool = Field(False, description="Against the gate, or without the signature it asks for.")
    stale: bool = Field(False, description="Signed although the gate had compared it with another champion.")

    @property
    def signed(self) -> bool:
        """Whether a person answers for it: a signature, or an override."""
        return self.action in ("approve", "refuse") or self.override


def standing_of(version: str, decision: GateDecision | None, moves: Iterable[Move]) -> Standing | None:
    """Return how ``version`` stands by its ``moves``, oldest first; None where nobody has to sign and nobody did.

    The last word counts: what was refused may be approved later, and the other way about.
    """
    found: Standing | None = None
    for move in moves:
        if move.version != version:
            continue
        if move.action == "approve":
            found = "approved"
        elif move.action == "refuse":
            found = "refused"
        elif move.action == "promote" and move.override:
            found = "overridden"
    if found is None and decision is not None and decision.waits:
        return "waiting"
    return found


class History:
    """The moves in one file, a line each; a line that a crash cut short is left out. Writers must take turns."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def latest(self, limit: int | None) -> list[Move]:
        """Return the latest moves, all without a limit, oldest first."""
        lines = self._lines()
        return _read(lines if limit is None else lines[-limit:])

    def of(self, version: str) -> list[Move]:
        """Return the moves of one version, oldest first."""
        name = f'"{version}"'.encode()
        return [move for move in _read(line for line in self._lines() if name in line) if move.version == version]

    def add(self, move: Move) -> None:
        """Add a move; it is on disk when this returns."""
        append_line(self._path, move.model_dump(mode="json", exclude_defaults=True))

    def _lines(self) -> list[bytes]:
        # Bytes, because a cut can halve a character, and because JSON leaves some ends of lines (U+2028) as they are.
        try:
            return self._path.read_bytes().splitlines()
        except FileNotFoundError:
            return []


def _read(lines: Iterable[bytes]) -> list[Move]:
    moves = []
    for line in lines:
        try:
            moves.append(Move.model_validate_json(line))
        except ValueError:
            continue
    return moves
