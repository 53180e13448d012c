"""What a replica has in memory: the version that answers, those that may stand in or challenge, and what failed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime

from core.classifier import Classifier
from core.errors import NoModel, UnknownVersion
from core.schemas import Source
from serve.comparing import Comparison
from serve.probation import Tally


@dataclass(frozen=True, eq=False)
class Loaded:
    """A version that can answer, and the speed of learning it came from."""

    version: str
    classifier: Classifier
    source: Source


@dataclass(frozen=True)
class Refusal:
    """A champion this replica could not take, and why; ``attempts`` counts tries since the alias moved to it."""

    version: str
    reason: str
    attempts: int


@dataclass
class Probation:
    """A version that was promoted lately and is watched beside the one it ``replaced``."""

    version: str
    replaced: str
    until: datetime
    tally: Tally
    comparison: Comparison | None = None


@dataclass
class Challenge:
    """The challenger as this replica has it: ``loaded`` answers a share of the requests; None leaves it in the shadow.

    ``failure`` says why it does not answer any more, and ``failed`` wakes whoever withdraws it.
    """

    version: str
    tally: Tally
    loaded: Loaded | None = None
    comparison: Comparison | None = None
    failure: str | None = None
    failed: asyncio.Event = field(default_factory=asyncio.Event)


class ModelSlot:
    """The one place that says which model answers.

    ``backup`` is the version before, kept while the present one is on probation: it stands in when that one fails.
    """

    def __init__(self) -> None:
        self.current: Loaded | None = None
        self.backup: Loaded | None = None
        self.candidate: str | None = None
        self.refusal: Refusal | None = None
        self.probation: Probation | None = None
        self.challenge: Challenge | None = None

    def held(self, version: str) -> Loaded | None:
        """Return a version that is in memory already, though it is not the one that answers."""
        challenger = self.challenge.loaded if self.challenge else None
        return next((loaded for loaded in (self.backup, challenger) if loaded and loaded.version == version), None)

    def all_loaded(self) -> list[Loaded]:
        """Return every version that may answer a request now."""
        challenger = self.challenge.loaded if self.challenge else None
        return [loaded for loaded in (self.current, self.backup, challenger) if loaded is not None]

    def answering(self, version: str) -> Loaded:
        """Return ``version``, which must be the one that answers or the challenger that answers beside it.

        Raises:
            NoModel: none is loaded yet.
            UnknownVersion: it is neither.
        """
        current = self.require()
        challenger = self.challenge.loaded if self.challenge else None
        for loaded in (current, challenger):
            if loaded is not None and loaded.version == version:
                return loaded
        raise UnknownVersion(
            f"this version does not serve; {current.version} does. Leave the version out to ask whichever serves"
        )

    def require(self) -> Loaded:
        """Return the model that answers.

        Raises:
            NoModel: none is loaded yet.
        """
        if self.current is None:
            why = f"; {self.refusal.version} did not load: {self.refusal.reason}" if self.refusal else ""
            raise NoModel(f"no version serves yet{why}")
        return self.current
