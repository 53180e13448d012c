"""Steps of load, and whether replicas followed them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Step:
    """So many users for so long."""

    users: int
    seconds: float


@dataclass(frozen=True)
class Reading:
    """What was seen at a moment; ``replicas`` -1 means that the service did not say."""

    elapsed_s: float
    users: int
    replicas: int


def parse_steps(written: str) -> list[Step]:
    """Return the steps in ``users:seconds,…``.

    >>> parse_steps("2:20,32:60")
    [Step(users=2, seconds=20.0), Step(users=32, seconds=60.0)]
    """
    pairs = [part.split(":") for part in written.split(",")]
    return [Step(int(users), float(seconds)) for users, seconds in pairs]


def users_at(steps: Sequence[Step], elapsed_s: float) -> int | None:
    """Return how many users the step of the moment has, or None after the last.

    >>> [users_at(parse_steps("2:20,32:60"), moment) for moment in (0, 19.9, 20, 80)]
    [2, 2, 32, None]
    """
    end_s = 0.0
    for step in steps:
        end_s += step.seconds
        if elapsed_s < end_s:
            return step.users
    return None


def followed(readings: Sequence[Reading]) -> bool:
    """Return whether replicas rose above their first number and came back to it at the end.

    >>> followed([Reading(0, 2, 1), Reading(30, 32, 2), Reading(90, 2, 1)])
    True
    """
    seen = [reading.replicas for reading in readings if reading.replicas > 0]
    return bool(seen) and max(seen) > seen[0] and seen[-1] == seen[0]


def plot_steps(readings: Sequence[Reading], path: Path) -> None:
    """Draw users and replicas over time, as a PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(10, 4), layout="constrained")
    times = [reading.elapsed_s for reading in readings]
    axis.step(times, [reading.users for reading in readings], where="post", color="#7f7f7f")
    axis.set(xlabel="seconds", ylabel="users")
    right = axis.twinx()
    right.step(times, [max(0, reading.replicas) for reading in readings], where="post", color="#d95f02")
    right.set(ylabel="replicas that serve", ylim=(0, None))
    figure.savefig(path, dpi=120)
    plt.close(figure)
