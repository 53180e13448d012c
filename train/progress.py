"""How long work says where it stands, and how it is told to stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from core.errors import RunCancelled


@dataclass(frozen=True)
class Pace:
    """How training goes: the loss of the batch at hand, which step of how many that was, and how fast."""

    loss: float
    examples_per_s: float
    step: int
    steps: int


@dataclass(frozen=True)
class Epoch:
    """An epoch that is over: its number from 1, the share of training done, whether its weights are the best so far.

    ``log_loss``, at the temperature that suits best, and ``accuracy`` are those of the validation rows.
    """

    number: int
    ratio: float
    kept: bool
    log_loss: float = float("inf")
    accuracy: float = 0.0


def pace_of(metrics: Mapping[str, float]) -> Pace | None:
    """Return the pace that a run's record tells, None where no encoder is trained."""
    try:
        return Pace(metrics["loss"], metrics["examples_per_s"], int(metrics["step"]), int(metrics["steps"]))
    except KeyError:
        return None


@dataclass(frozen=True)
class Progress:
    """A moment of a run: ``ratio`` of the whole done (0 to 1), and what is measured of the present stage."""

    stage: str
    ratio: float
    pace: Pace | None = None
    remaining_s: float | None = None


@dataclass
class Clock:
    """Seconds spent, by stage."""

    seconds: dict[str, float] = field(default_factory=dict)
    _since: float = field(default_factory=time.monotonic)

    def lap(self, name: str) -> None:
        """Book the time since the last call under ``name``."""
        now = time.monotonic()
        self.seconds[name] = round(self.seconds.get(name, 0.0) + now - self._since, 2)
        self._since = now


Report = Callable[[Progress], None]


class Stages:
    """Turns progress within a stage into progress of the whole.

    Each stage has a weight, its rough share of the time; ``cancelled`` is asked at every report. The ratio of the whole never
    falls: a stage that comes again, such as the last refit of a head, starts where the whole stands. Where there is more to the
    whole than these stages, ``share`` is their part of it, from where to where of 0 to 1; the remaining time is theirs.
    """

    def __init__(
        self,
        weights: dict[str, float],
        report: Report,
        cancelled: Callable[[], bool] = lambda: False,
        share: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        self._weights, self._share = weights, share
        self._report = report
        self._cancelled = cancelled
        self._total = sum(weights.values())
        self._began = time.monotonic()
        self._done = 0.0

    def at(self, stage: str, ratio: float = 0.0, *, pace: Pace | None = None) -> None:
        """Report that ``ratio`` of ``stage`` is done.

        Raises:
            RunCancelled: when somebody asked the run to stop.
        """
        if self._cancelled():
            raise RunCancelled(f"the run was stopped while it was at: {stage}")
        before = 0.0
        for name, weight in self._weights.items():
            if name == stage:
                break
            before += weight
        done = self._done = max(self._done, min(1.0, (before + self._weights[stage] * min(1.0, ratio)) / self._total))
        elapsed_s = time.monotonic() - self._began
        # Below a few percent the extrapolation is noise.
        remaining_s = elapsed_s * (1.0 - done) / done if done > 0.05 else None
        start, end = self._share
        self._report(Progress(stage, start + (end - start) * done, pace, remaining_s))


def silent(_: Progress) -> None:
    """Report to nobody."""
