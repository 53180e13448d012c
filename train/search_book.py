"""What is written down of a search, so that it can be gone on with: its plan, and what each trial said after each epoch."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, JsonValue, ValidationError

from core.errors import DataError, UnknownRun
from core.home import Home, append_line, write_atomically
from train.progress import Epoch
from train.request import FitRequest

PLAN = "search.json"
_PREFIX = "search-"

Ending = Literal["done", "pruned", "failed"]


class SearchPlan(BaseModel):
    """Everything that decides what a search does. ``trials`` are what each changes of ``request.finetune``.

    ``seconds`` 0 is no limit. ``snapshot`` and ``dataset`` are hashes, ``source`` is what the data were called.
    """

    id: str
    request: FitRequest
    trials: list[dict[str, JsonValue]]
    snapshot: str
    dataset: str
    source: str
    seconds: float
    parallel: int


class TrialLine(BaseModel):
    """One line of a trial's record: an epoch, or its end."""

    epoch: Epoch | None = None
    ending: Ending | None = None
    why: str = ""
    spent_s: float = 0.0


class Trial:
    """The record of one trial."""

    def __init__(self, folder: Path, number: int) -> None:
        self._path = folder / f"trial-{number}.jsonl"
        self.checkpoint = folder / f"trial-{number}.pt"
        self.number = number

    def add(self, line: TrialLine) -> None:
        """Write a line, on disk when this returns."""
        append_line(self._path, line.model_dump(mode="json"))

    def lines(self) -> list[TrialLine]:
        """Return the lines; one that a crash cut short is as if never written."""
        found = []
        for line in self._path.read_bytes().splitlines() if self._path.exists() else []:
            try:
                found.append(TrialLine.model_validate_json(line))
            except ValidationError:
                continue
        return found

    @property
    def epochs(self) -> list[Epoch]:
        """The epochs, each once."""
        return list({line.epoch.number: line.epoch for line in self.lines() if line.epoch is not None}.values())

    @property
    def kept(self) -> Epoch | None:
        """The epoch whose weights are kept."""
        return next((epoch for epoch in reversed(self.epochs) if epoch.kept), None)

    def loss_at(self, share: float) -> float | None:
        """Return the log loss of the weights that were kept when ``share`` (0 to 1) of training was done, None before that."""
        epochs = self.epochs
        place = next((place for place, epoch in enumerate(epochs) if epoch.ratio >= share), None)
        if place is None:
            return None
        return next((epoch.log_loss for epoch in reversed(epochs[: place + 1]) if epoch.kept), math.inf)

    @property
    def ending(self) -> TrialLine | None:
        """How it ended; None while it has not."""
        return next((line for line in self.lines() if line.ending is not None), None)

    @property
    def spent_s(self) -> float:
        """Seconds that were spent on it, as far as they were written down."""
        return sum(line.spent_s for line in self.lines())


class SearchBook:
    """The folder of one search, among the checkpoints: it holds weights, and goes when those go."""

    def __init__(self, folder: Path, plan: SearchPlan) -> None:
        self.folder, self.plan = folder, plan
        self.trials = [Trial(folder, number) for number in range(len(plan.trials))]

    @classmethod
    def begin(cls, home: Home, plan: SearchPlan) -> SearchBook:
        """Make the folder and write the plan."""
        folder = home.checkpoints / f"{_PREFIX}{plan.id}"
        folder.mkdir(parents=True)
        write_atomically(folder / PLAN, plan.model_dump_json().encode())
        return cls(folder, plan)

    @classmethod
    def open(cls, folder: Path) -> SearchBook:
        """Read what :meth:`begin` wrote.

        Raises:
            DataError: the plan is damaged, or another release wrote it.
        """
        try:
            return cls(folder, SearchPlan.model_validate_json((folder / PLAN).read_bytes()))
        except (OSError, ValidationError) as error:
            raise DataError(f"the search in {folder.name} cannot be read; begin another") from error

    @classmethod
    def find(cls, home: Home, name: str) -> SearchBook:
        """Return the unfinished search of that id.

        Raises:
            UnknownRun: there is none; the message names those there are.
        """
        folder = home.checkpoints / f"{_PREFIX}{name}"
        if not (folder / PLAN).is_file():
            there = ", ".join(unfinished(home)) or "none"
            raise UnknownRun(f"there is no unfinished search {name!r}; there are: {there}")
        return cls.open(folder)

    def best(self, numbers: Iterable[int] | None = None) -> Trial | None:
        """Return the trial with the least validation log loss of those that were trained to their end."""
        chosen = self.trials if numbers is None else [self.trials[number] for number in numbers]
        ended = [(trial.kept, trial) for trial in chosen if (end := trial.ending) is not None and end.ending == "done"]
        known = [(epoch.log_loss, trial.number, trial) for epoch, trial in ended if epoch is not None]
        return min(known)[2] if known else None


def new_id() -> str:
    """Return the id of a new search."""
    return f"s_{uuid.uuid4().hex[:8]}"


def unfinished(home: Home) -> list[str]:
    """Return the ids of searches that can be gone on with."""
    return sorted(path.parent.name.removeprefix(_PREFIX) for path in home.checkpoints.glob(f"{_PREFIX}*/{PLAN}"))
