"""What is kept of each step, as lines of JSON: enough to draw every table and picture, and to go on after a kill."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from core.home import append_line


class RunRecord(BaseModel):
    """What a run of learning came to."""

    model_config = ConfigDict(frozen=True)

    speed: str = Field(description="What it was asked to refit.")
    state: str
    trained: str | None = Field(None, description="What it did refit, `head` or `full`; null where nothing came of it.")
    version: str | None = None
    promoted: bool = False
    summary: str = Field("", description="What the gate said, or why there is no version.")
    failed_rules: tuple[str, ...] = ()
    why: str = Field("", description="Why it trained what it did, where it chose.")
    wall_s: float = 0.0
    cpu_s: float = 0.0
    tests: dict[str, float] = Field(default_factory=dict, description="The candidate's accuracy on the fixed rows.")


class StepRecord(BaseModel):
    """What happened in one step of one strategy."""

    model_config = ConfigDict(frozen=True)

    strategy: str
    place: int
    name: str
    rows: int
    right: int = Field(description="Answers that were right, all counted before any of them was learned from.")
    memory_answers: int = 0
    said: int = Field(0, description="Labels that people gave so far.")
    said_wrong: int = Field(0, description="How many of them are wrong.")
    labelled: int = Field(0, description="Texts that anybody spoke of so far.")
    version: str = Field(description="What answered in this step.")
    version_after: str
    run: RunRecord | None = None
    tests_before: dict[str, float] = Field(default_factory=dict, description="Accuracy on the fixed rows of what answered.")
    tests: dict[str, float] = Field(default_factory=dict, description="The same of what answers after the step.")
    answers: list[str] = Field(default_factory=list, description="The labels that were answered, in the order of rows.")

    @property
    def accuracy(self) -> float:
        """The share of the step's answers that were right."""
        return self.right / self.rows if self.rows else 0.0


class Traffic(BaseModel):
    """What was answered in a step, kept before anything of it is learned."""

    model_config = ConfigDict(frozen=True)

    place: int
    version: str
    labels: list[str]
    memory_answers: int = 0


class Journal:
    """The records of one strategy, in the order of steps; a line that a kill cut short is left out."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> list[StepRecord]:
        """Return what is recorded so far."""
        if not self._path.exists():
            return []
        records: list[StepRecord] = []
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                value = json.loads(line)
            except ValueError:
                continue
            record = StepRecord.model_validate(value)
            if record.place == len(records):
                records.append(record)
        return records

    def add(self, record: StepRecord) -> None:
        """Keep one more, on disk when this returns."""
        append_line(self._path, record.model_dump(mode="json"))
