"""What a run's record keeps, so that the run can go on where it was stopped, or be done again with the same result.

Imports no library that learns: the learner's process stays light.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel

from core.bundle import Manifest
from core.errors import DataError, RunNotRepeatable
from core.home import Home
from core.registry import Registry
from core.schemas import FitSpeed, RunAnswer
from feedback.examples import hash_of
from feedback.snapshot import Snapshot
from feedback.store import Store
from train.request import CheckpointPlace, FitRequest

# A checkpoint of the bundled encoder has 175 MB. The run that was stopped last is the one to go on from; one more is kept
# for the case that another was started and stopped in between.
_CHECKPOINTS_KEPT = 2


class RunRecord(BaseModel):
    """All that decides what a run's fit gives, beside the code and the machine.

    ``snapshot`` and ``dataset`` are hashes, ``parent`` is a version, ``learned_from`` and ``held_back`` the sequence numbers of
    corrections that the snapshot names so.
    """

    snapshot: str
    dataset: str
    parent: str
    request: FitRequest
    learned_from: tuple[int, ...] = ()
    held_back: tuple[int, ...] = ()

    @property
    def learned(self) -> tuple[int, ...]:
        """The sequence numbers of the corrections that the fit learns from, at its speed."""
        return (*self.learned_from, *self.held_back) if self.request.speed == "head" else self.learned_from

    def at(self, speed: FitSpeed) -> RunRecord:
        """Return the record of a fit at ``speed``: where the encoder is trained, other features may have become better."""
        features = self.request.features if speed == "head" else "auto"
        return self.model_copy(update={"request": replace(self.request, speed=speed, features=features)})


def record_of(store: Store, registry: Registry, run_id: str) -> RunRecord:
    """Return what the run recorded, with what its fit decided for itself where it came so far.

    Raises:
        RunNotRepeatable: the run left no record, or its parent version is gone.
    """
    found = store.run_record(run_id)
    if found is None:
        raise RunNotRepeatable("the run left no record: it ended before its data were put together; start a new run")
    record = RunRecord.model_validate(found)
    if record.parent not in registry.versions():
        raise RunNotRepeatable(f"the run started from {record.parent}, which the registry has no more; start a new run")
    version = store.run(run_id).version
    if version is None or version not in registry.versions():
        return record
    precision = registry.manifest(version).lineage.settings.get("finetune_precision")
    if precision not in ("fp32", "bf16"):
        return record
    request = record.request
    tuning = replace(request.finetune, precision="bf16" if precision == "bf16" else "fp32")
    return record.model_copy(update={"request": replace(request, finetune=tuning)})


def snapshot_of(record: RunRecord, home: Home) -> Snapshot:
    """Return the very examples the run saw.

    Raises:
        RunNotRepeatable: they are gone, or something was erased from them.
    """
    try:
        snapshot = Snapshot.load(home.snapshots, record.snapshot)
    except DataError as error:
        raise RunNotRepeatable("the examples the run saw are gone; start a new run") from error
    if hash_of(snapshot.examples) != record.snapshot:
        raise RunNotRepeatable("data was erased that the run had seen; start a new run, which learns from what is left")
    return replace(snapshot, learned_from=record.learned_from, held_back=record.held_back)


# What decides an answer; the rest of a bundle tells of its making, with times in it.
_ANSWERING = ("encoder/", "head.safetensors", "ngrams.json")


def compare_repetition(made: Manifest, first: Manifest) -> str | None:
    """Return how what a repetition ``made`` differs from the ``first``; None where both answer alike to the bit."""
    files = sorted(name for name in {*made.files, *first.files} if name.startswith(_ANSWERING))
    differing = [name for name in files if made.files.get(name) != first.files.get(name)]
    if made.temperature != first.temperature:
        differing.append("temperature")
    if not differing:
        return None
    now, then = made.lineage.libraries, first.lineage.libraries
    moved = sorted(name for name in {*now, *then} if now.get(name) != then.get(name))
    cause = f"other releases of {', '.join(moved)}" if moved else "the same libraries, so on another machine or other threads"
    return f"the repetition differs in {', '.join(differing)}; made with {cause}"


def checkpoint_place(home: Home, run: RunAnswer, every_s: float) -> CheckpointPlace | None:
    """Return where the run keeps its checkpoint and which it goes on from; a head run takes seconds and keeps none."""
    if run.speed == "head":
        return None
    earlier = None if run.resumes is None else _file(home, run.resumes)
    return CheckpointPlace(_file(home, run.run_id), every_s, earlier)


def clear_checkpoints(home: Home, run: RunAnswer, *, done: bool) -> None:
    """Remove the checkpoints nobody will go on from: a finished run's and the one it went on from, and all but the newest."""
    if done:
        for run_id in (run.run_id, run.resumes):
            if run_id is not None:
                _file(home, run_id).unlink(missing_ok=True)
    for torn in home.checkpoints.glob(".checkpoint-*"):
        torn.unlink(missing_ok=True)
    newest_first = sorted(home.checkpoints.glob("*.pt"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in newest_first[_CHECKPOINTS_KEPT:]:
        path.unlink(missing_ok=True)


def _file(home: Home, run_id: str) -> Path:
    return home.checkpoints / f"{run_id}.pt"
