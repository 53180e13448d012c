"""One run, from claimed to ended: snapshot → fit → gate → register → promote. Knows neither Ray nor the terminal."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from core.bundle import read_manifest
from core.errors import HoneError, NoModel, RunCancelled, RunNotActive, StoreUnavailable
from core.label_book import LabelBook
from core.metrics import Metrics
from core.registry import Registry
from core.schemas import RunAnswer
from core.settings import Settings
from feedback.erasing import forget_embeddings
from feedback.labels import Backing, with_labels_of
from feedback.runs import RunEnd
from feedback.snapshot import BaseDataset, Snapshot, build_snapshot
from feedback.store import Store
from train.judging import judge_candidate
from train.request import FitRequest, Parent, Workplace
from train.screening import screen

log = logging.getLogger("hone.learner")


@dataclass(frozen=True)
class FitJob:
    """Everything a fit needs, as plain data that can travel to another process."""

    run_id: str
    settings: Settings
    request: FitRequest
    snapshot: str
    dataset: str
    place: Workplace
    parent: Parent


# Runs the job somewhere and returns the folder of the sealed bundle.
Fit = Callable[[FitJob], Path]


class Executor:
    """Carries out runs that were claimed."""

    def __init__(self, settings: Settings, store: Store, metrics: Metrics) -> None:
        self._settings, self._store, self._metrics = settings, store, metrics
        self._registry = Registry(settings.home.registry)
        self._unrecorded: tuple[RunAnswer, RunEnd] | None = None

    def execute(self, run: RunAnswer, fit: Fit) -> RunAnswer:
        """Return the run, ended. Whatever goes wrong is recorded in it; the champion keeps answering.

        Raises:
            StoreUnavailable: when its end cannot be recorded now; :meth:`settle` does so later.
        """
        staging = self._settings.home.runs / run.run_id
        try:
            staging.mkdir(parents=True, exist_ok=True)
            end = self._learn(run, fit, staging)
        except RunCancelled as error:
            end = RunEnd("cancelled", error=error.message)
        except HoneError as error:
            end = RunEnd("failed", error=error.message)
        except Exception as error:
            # A defect, or a library's own error: its message may quote data, so only its kind is kept where users see it.
            log.exception("run failed", extra={"run_id": run.run_id})
            end = RunEnd("failed", error=f"unexpected {type(error).__name__}; see the learner's log")
        except BaseException:
            # The learner itself is told to stop, which a store that is away must not hide.
            with contextlib.suppress(StoreUnavailable):
                self._finish(run, RunEnd("failed", error="the learner was stopped"))
            raise
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        self._unrecorded = run, end
        return self._finish(run, end)

    def settle(self) -> None:
        """Record the end of a run that the store was not there to hear of.

        Raises:
            StoreUnavailable: when it still does not answer.
        """
        if self._unrecorded is not None:
            self._finish(*self._unrecorded)

    def _learn(self, run: RunAnswer, fit: Fit, staging: Path) -> RunEnd:
        champion = self._registry.aliases().champion
        if champion is None:
            raise NoModel("there is no champion to learn from; teach one first with hone train")
        self._store.update_run(run.run_id, stage="snapshot", progress_ratio=0.0)
        erasures = self._store.last_erasure()
        snapshot, dataset, book = self._snapshot(champion)
        self._refuse_erased(erasures, snapshot)
        parent = Parent(champion, self._registry.path(champion))
        # A head run keeps the champion's kind of features; a full run may find that another has become better.
        features = self._registry.manifest(champion).features if run.speed == "head" else "auto"
        request = FitRequest(speed=run.speed, features=features, seed=0)
        place = Workplace(self._settings.home.cache, staging)
        folder = fit(FitJob(run.run_id, self._settings, request, snapshot.hash, dataset, place, parent))

        self._store.update_run(run.run_id, stage="gate", progress_ratio=0.97)
        # Somebody may have promoted or rolled back meanwhile: the candidate would replace who is champion now.
        champion = self._registry.aliases().champion
        decision = judge_candidate(folder, champion, self._registry, snapshot, self._settings, book)
        self._metrics.count("hone_gate_decisions_total", promote=str(decision.promote).lower())
        measured = read_manifest(folder).metrics
        # The last word with the store comes first: from here on nothing but a defect can fail a run that has a version.
        self._store.update_run(run.run_id, stage=decision.summary, metrics=measured)
        self._refuse_erased(erasures, snapshot)
        version = self._registry.register(folder, decision, by="learner", why=f"run {run.run_id}")
        if "accuracy" in measured:
            self._metrics.set("hone_holdout_accuracy_ratio", measured["accuracy"], version=version)
        if decision.promote:
            self._registry.promote(version, by="gate", why=decision.summary)
        return RunEnd(
            "succeeded",
            version=version,
            promoted=decision.promote,
            snapshot=snapshot.hash,
            learned_from=snapshot.learned_from,
        )

    def _snapshot(self, champion: str) -> tuple[Snapshot, str, LabelBook]:
        home = self._settings.home
        manifest = self._registry.manifest(champion)
        backing = Backing(self._settings.label_min_texts, self._settings.label_min_annotators)
        for label in self._store.accept_backed_labels(backing):
            log.info("a proposed label has enough behind it", extra={"label_characters": len(label)})
        book = self._store.label_book()
        base = BaseDataset.load(home.datasets, manifest.lineage.dataset)
        # The hash stays the file's, which is what the version was taught from.
        base = replace(base, examples=tuple(with_labels_of(book, base.examples)))
        labels = book.label_set(manifest.labels)
        corrections = screen(self._settings, self._store, self._registry, champion, base).corrections
        snapshot = build_snapshot(base.examples, corrections, labels, self._settings.correction_weight)
        snapshot.save(home.snapshots)
        return snapshot, base.hash, book

    def _refuse_erased(self, erasures: int, snapshot: Snapshot) -> None:
        """Raise ``RunCancelled`` if something was erased since the run began, and leave no file that may still hold it."""
        if self._store.last_erasure() == erasures:
            return
        (self._settings.home.snapshots / f"{snapshot.hash}.parquet").unlink(missing_ok=True)
        forget_embeddings(self._settings.home)
        raise RunCancelled("data was erased that the run may have seen; start another, which learns from what is left")

    def _finish(self, run: RunAnswer, end: RunEnd) -> RunAnswer:
        try:
            ended = self._store.finish_run(run.run_id, end)
        except RunNotActive as error:
            # The lease was lost, and who took it gave the run up: its record stands.
            log.warning("run was ended by another learner", extra={"run_id": run.run_id, "reason": error.message})
            self._unrecorded = None
            return self._store.run(run.run_id)
        self._unrecorded = None
        self._metrics.count("hone_runs_total", speed=run.speed, state=end.state)
        if ended.started_at and ended.ended_at:
            took_s = (ended.ended_at - ended.started_at).total_seconds()
            self._metrics.observe("hone_run_seconds", took_s, speed=run.speed)
        self._metrics.set("hone_run_progress_ratio", 0.0)
        facts = {
            "run_id": run.run_id,
            "state": end.state,
            "version": end.version,
            "promoted": end.promoted,
            "reason": end.error,
        }
        log.info("run ended", extra=facts)
        return ended
