"""``hone search``: settings of fine-tuning tried out on validation rows, and what the best of them buys over the preset."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydantic import BaseModel, Field, JsonValue

from core.classifier import Classifier
from core.errors import DataError
from core.gate import GateDecision
from core.gate_statistics import loss_bounds, mcnemar
from core.registries import registry_of
from core.settings import Settings
from feedback.examples import hash_of, save_examples
from feedback.snapshot import BaseDataset, Snapshot, build_snapshot
from train.fit import fit
from train.fitter import Fitted
from train.judging import judge_candidate
from train.progress import Progress, Report, Stages, silent
from train.request import STAGES, CheckpointPlace, FitRequest, Workplace
from train.search_book import SearchBook, SearchPlan, Trial, new_id
from train.search_space import USUAL, Dimension, changed, draw
from train.teach import TeachRequest
from train.trials import request_of, rows_of, run_trials
from train.uncertainty import Interval

# The normal distribution's quantile for a central 95%.
_Z = 1.959964
# Of the whole, the part that trials are; the rest is making bundles of the preset and the best.
_TRIALS_SHARE = 0.9


@dataclass(frozen=True)
class SearchRequest:
    """What to search: ``space`` are settings as :class:`~train.search_space.Dimension` reads them.

    ``teach`` says on which data, from which encoder, and with ``finetune`` what is compared with. ``trials`` counts that one
    too; ``seconds`` are those of all trials together, 0 for no limit; ``parallel`` trials run at a time.
    """

    teach: TeachRequest = field(default_factory=TeachRequest)
    space: tuple[str, ...] = USUAL
    trials: int = 8
    seconds: float = 0.0
    parallel: int = 1


class TrialReport(BaseModel):
    """One trial; log loss and accuracy are those of validation rows with the weights it kept."""

    number: int
    changes: dict[str, JsonValue] = Field(description="What differs from what is compared with, which trial 0 is.")
    state: str = Field(description="done, pruned, failed, or left: where time ran out.")
    epochs: int
    log_loss: float | None
    accuracy: float | None
    spent_s: float
    why: str = ""
    best: bool = False


class Bought(BaseModel):
    """What the best trial gains over the settings it was compared with, on held-out rows that chose nothing."""

    rows: int
    accuracy: float = Field(description="Of the best.")
    compared_accuracy: float
    better: int = Field(description="Rows that the best alone answers rightly.")
    worse: int
    gain: Interval = Field(description="With the 95% interval of paired rows (Agresti and Min 2005).")
    p_value: float = Field(description="That the gain is chance: McNemar's exact test, one-sided.")


class SearchReport(BaseModel):
    """What a search came to."""

    id: str
    source: str
    compared_with: str = Field(description="The settings that trial 0 has.")
    best: str
    trials: list[TrialReport]
    validation_rows: int
    bought: Bought | None = Field(description="null where no rows are held out, or trial 0 is the best.")
    registered: str | None = None
    promoted: bool = False
    decision: GateDecision | None = None


def begin_search(settings: Settings, request: SearchRequest) -> SearchBook:
    """Return the record of a new search, ready to be carried out.

    Raises:
        DataError: the file is refused, or has no validation rows, by which alone a search chooses.
        InputError: a setting to search does not exist, or cannot have a value that was drawn.
    """
    home, teach = settings.home, request.teach
    home.prepare()
    trials = draw([Dimension.parse(text) for text in request.space], request.trials, teach.seed)
    for changes in trials:
        changed(teach.finetune, changes)
    examples, data = teach.read()
    examples = teach.weigh(examples)
    dataset = BaseDataset.of(examples)
    snapshot = build_snapshot(examples, [], dataset.labels, settings.correction_weight)
    if not snapshot.of_split("validation"):
        raise DataError(f"{data.source} has no validation rows, and a search chooses by them alone; see hone data split")
    snapshot.save(home.snapshots)
    save_examples(home.datasets, examples)
    plan = SearchPlan(
        id=new_id(),
        request=FitRequest("full", teach.features, teach.base, teach.seed, teach.finetune),
        trials=trials,
        snapshot=snapshot.hash,
        dataset=dataset.hash,
        source=data.source,
        seconds=request.seconds,
        parallel=request.parallel,
    )
    return SearchBook.begin(home, plan)


def carry_out(
    settings: Settings, book: SearchBook, progress: Report = silent, *, register: bool = True, promote: bool = False
) -> SearchReport:
    """Carry out what is left of a search and return what it came to; its folder is removed. Ray must be initialised.

    A process that dies meanwhile leaves the folder, and this goes on with it.

    Args:
        progress: hears how many trials are over.
        register: make the best a version, after asking the gate.
        promote: let it serve at once if the gate agrees and nobody has to sign.

    Raises:
        DataError: the examples are gone, or some were erased.
        SearchFailed: Ray Tune failed as a whole.
    """
    snapshot = _snapshot(settings, book)
    left_s = book.plan.seconds - sum(trial.spent_s for trial in book.trials)
    if not book.plan.seconds or left_s > 0:
        run_trials(settings, book, max(0.0, left_s) if book.plan.seconds else 0.0, _Watch(book, progress))
    best = book.best()
    if best is None:
        said = next((end.why for trial in book.trials if (end := trial.ending) is not None and end.why), "no time was left")
        raise DataError(f"no trial came to its end: {said}; go on with: hone search --resume {book.plan.id} --seconds 0")
    return _Outcome(settings, book, snapshot, progress).report(best, register=register, promote=promote)


def _snapshot(settings: Settings, book: SearchBook) -> Snapshot:
    snapshot = Snapshot.load(settings.home.snapshots, book.plan.snapshot)
    if hash_of(snapshot.examples) != book.plan.snapshot:
        raise DataError("data was erased that the search had seen; begin another, which learns from what is left")
    return snapshot


class _Watch:
    """Tells how far the trials are, and removes the weights of those that cannot win any more."""

    def __init__(self, book: SearchBook, progress: Report) -> None:
        self._book, self._progress = book, progress
        self._began = time.monotonic()

    def __call__(self) -> None:
        book = self._book
        ended = [trial for trial in book.trials if trial.ending is not None]
        ratio = sum(_share_done(trial) for trial in book.trials) / len(book.trials)
        elapsed_s = time.monotonic() - self._began
        remaining_s = elapsed_s * (1.0 - ratio) / ratio if ratio > 0.05 else None
        best = book.best()
        stage = f"{len(ended)} of {len(book.trials)} trials over"
        self._progress(Progress(stage, _TRIALS_SHARE * ratio, None, remaining_s))
        for trial in ended:
            if trial.number and trial is not best:
                trial.checkpoint.unlink(missing_ok=True)


def _share_done(trial: Trial) -> float:
    if trial.ending is not None:
        return 1.0
    return max((epoch.ratio for epoch in trial.epochs), default=0.0)


class _Outcome:
    """Makes bundles of the best trial and of the settings it is compared with."""

    def __init__(self, settings: Settings, book: SearchBook, snapshot: Snapshot, progress: Report) -> None:
        self._settings, self._book, self._snapshot, self._progress = settings, book, snapshot, progress

    def report(self, best: Trial, *, register: bool, promote: bool) -> SearchReport:
        """Return what came of it all."""
        home, plan = self._settings.home, self._book.plan
        staging = Path(tempfile.mkdtemp(dir=home.runs, prefix="search-"))
        try:
            fitted = self._made(best, staging, (_TRIALS_SHARE, 1.0 if best.number == 0 else 0.95))
            bought = None if best.number == 0 else self._bought(fitted, self._made(self._book.trials[0], staging, (0.95, 1.0)))
            report = SearchReport(
                id=plan.id,
                source=plan.source,
                compared_with=str(plan.request.finetune),
                best=str(request_of(plan.request, plan.trials[best.number]).finetune),
                trials=trial_reports(self._book, best),
                validation_rows=len(self._snapshot.of_split("validation")),
                bought=bought,
            )
            if register:
                report = self._registered(report, fitted, best, promote=promote)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        shutil.rmtree(self._book.folder, ignore_errors=True)
        return report

    def _made(self, trial: Trial, staging: Path, share: tuple[float, float]) -> Fitted:
        """Return the bundle of a trial; its weights are there already, or training goes on from where it was given up."""
        plan, home = self._book.plan, self._settings.home
        request = request_of(plan.request, plan.trials[trial.number])
        own = CheckpointPlace(trial.checkpoint, self._settings.learn_checkpoint_every_s, trial.checkpoint)
        stages = Stages(STAGES["full"], self._progress, share=share)
        return fit(self._snapshot, plan.dataset, request, Workplace(home.cache, staging, own), stages)

    def _bought(self, best: Fitted, compared: Fitted) -> Bought | None:
        rows = rows_of(self._snapshot)
        truth = rows.labels[rows.test]
        if not len(truth):
            return None
        texts = rows.pick(rows.test)
        right, before = (Classifier.load(one.folder).predict(texts).argmax(axis=1) == truth for one in (best, compared))
        return bought(right, before)

    def _registered(self, report: SearchReport, fitted: Fitted, best: Trial, *, promote: bool) -> SearchReport:
        registry = registry_of(self._settings)
        decision = judge_candidate(fitted.folder, registry.aliases().champion, registry, self._snapshot, self._settings)
        why = f"trial {best.number} of {len(report.trials)} of a search on {report.source}"
        version = registry.register(fitted.folder, decision, by="search", why=why)
        promoted = promote and decision.promote and not decision.waits
        if promoted:
            registry.promote(version, by="gate", why=decision.summary)
        return report.model_copy(update={"registered": version, "promoted": promoted, "decision": decision})


def bought(right: np.ndarray[tuple[int], np.dtype[np.bool_]], before: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Bought:
    """Return what answers that are right where ``right`` (n,) says gain over those of ``before`` (n,)."""
    rows = len(right)
    better, worse = int((right & ~before).sum()), int((before & ~right).sum())
    least, most = loss_bounds(better, worse, rows, _Z)
    return Bought(
        rows=rows,
        accuracy=float(right.mean()),
        compared_accuracy=float(before.mean()),
        better=better,
        worse=worse,
        gain=Interval(value=(better - worse) / rows, low=-most, high=-least),
        p_value=mcnemar(better, worse),
    )


def trial_reports(book: SearchBook, best: Trial) -> list[TrialReport]:
    """Return the trials in their order."""
    return [_report(trial, book.plan.trials[trial.number], best=trial is best) for trial in book.trials]


def _report(trial: Trial, changes: dict[str, JsonValue], *, best: bool) -> TrialReport:
    ending, kept, epochs = trial.ending, trial.kept, trial.epochs
    return TrialReport(
        number=trial.number,
        changes=changes,
        state=(ending.ending if ending is not None else None) or "left",
        epochs=len(epochs),
        log_loss=kept.log_loss if kept is not None else None,
        accuracy=kept.accuracy if kept is not None else None,
        spent_s=round(trial.spent_s, 2),
        why=ending.why if ending is not None else "",
        best=best,
    )
