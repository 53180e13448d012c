"""One run, from claimed to ended: snapshot → fit → gate → register → promote. Knows neither Ray nor the terminal."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from core.bundle import read_manifest
from core.disk import disk_refusal
from core.errors import Conflict, HoneError, NoModel, RunCancelled, RunNotActive, StoreUnavailable
from core.finetuning import FinetuneWish
from core.gate import GateDecision
from core.label_book import LabelBook
from core.metrics import Metrics
from core.registries import registry_of
from core.schemas import RunAnswer, now
from core.settings import Settings
from core.timetable import start_of_day
from feedback.erasing import forget_checkpoints, forget_embeddings
from feedback.examples import reading_once
from feedback.labels import Backing, with_labels_of
from feedback.runs import Decided, RunEnd
from feedback.snapshot import BaseDataset, Snapshot, build_snapshot
from feedback.store import Store
from train.candidates import make_candidate
from train.choosing import Choice, choose_speed
from train.evidence import Circumstances, gather
from train.holding import Limits, Past
from train.jobs import Fit, FitJob
from train.judging import earlier_examples, fresh_examples, judge_candidate
from train.progress import Clock
from train.request import FitRequest, Parent, Workers, Workplace
from train.resuming import RunRecord, checkpoint_place, clear_checkpoints, compare_repetition, record_of, snapshot_of
from train.run_gauges import show_run
from train.screening import screen

__all__ = ["Executor", "Fit", "FitJob"]

log = logging.getLogger("hone.learner")


class Executor:
    """Carries out runs that were claimed.

    ``leads`` says, asking the store, whether the caller may still register what it made: a learner that lost its lease while it
    trained has an heir, who may be at work already.
    """

    def __init__(self, settings: Settings, store: Store, metrics: Metrics, leads: Callable[[], bool] = lambda: True) -> None:
        self._settings, self._store, self._metrics, self._leads = settings, store, metrics, leads
        self._registry = registry_of(settings)
        self._unrecorded: tuple[RunAnswer, RunEnd] | None = None
        self._clock = Clock()

    @property
    def seconds(self) -> Mapping[str, float]:
        """How long each part of the latest run took, in their order."""
        return self._clock.seconds

    def execute(self, run: RunAnswer, fit: Fit) -> RunAnswer:
        """Return the run, ended. Whatever goes wrong is recorded in it; the champion keeps answering.

        Raises:
            StoreUnavailable: when its end cannot be recorded now; :meth:`settle` does so later.
        """
        staging = self._settings.home.runs / run.run_id
        self._clock = Clock()
        try:
            staging.mkdir(parents=True, exist_ok=True)
            with reading_once():
                end = self._learn(run, fit, staging)
        except RunCancelled as error:
            end = RunEnd("cancelled", error=error.message)
        except HoneError as error:
            end = RunEnd("failed", error=error.message)
        except Exception as error:
            # A defect, or a library's own error: its message may quote data, so only its kind is kept where users see it.
            log.exception("run failed", extra={"run_id": run.run_id})
            end = RunEnd("failed", error=disk_refusal(error) or f"unexpected {type(error).__name__}; see the learner's log")
        except BaseException:
            # The learner itself is told to stop, which a store that is away must not hide.
            with contextlib.suppress(StoreUnavailable):
                self._finish(run, RunEnd("failed", error="the learner was stopped"))
            raise
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        clear_checkpoints(self._settings.home, run, done=end.state == "succeeded")
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
        record, snapshot, book = self._prepare(run, champion)
        self._refuse_erased(erasures, snapshot)
        self._clock.lap("snapshot")
        self._record(run, record)
        parent = Parent(record.parent, self._registry.path(record.parent))
        checkpoint = checkpoint_place(self._settings.home, run, self._settings.learn_checkpoint_every_s)
        workers = Workers.of(self._settings, niceness=self._settings.learn_nice)
        place = Workplace(self._settings.home.cache, staging, checkpoint, workers)
        fresh = fresh_examples(snapshot, self._registry, champion, self._settings, book)
        # No part of the record: it is for the gate, and changes nothing of what comes out.
        earlier = earlier_examples(snapshot, fresh, self._store.audited_keys())
        # Of what people said, a head has learned the rows of the test split as well.
        said = [example for example in snapshot.of_split("test") if example.origin != "base"]
        asked = dict.fromkeys(example.text_key for example in (*fresh, *earlier, *said))
        request = replace(record.request, cross_fit=tuple(asked))
        job = FitJob(run.run_id, self._settings, request, snapshot.hash, record.dataset, place, parent)

        def choose(head: Path) -> Choice:
            choice = self._choose(run, parent.version, snapshot, head)
            self._say(run, choice, record)
            return choice

        # What another run came to is not decided again.
        speed = record.request.speed if run.resumes or run.repeats else run.speed
        candidate = make_candidate(speed, job, fit, choose)
        record = record.at(candidate.speed)
        self._record(run, record)
        folder = candidate.folder
        self._clock.lap("fit")

        self._store.update_run(
            run.run_id,
            stage="gate",
            progress_ratio=0.97,
            metrics=candidate.metrics,
            decided=Decided(chosen=candidate.speed, why=self._repetition(run, folder) or candidate.why),
        )
        decision = self._judge(run, folder, snapshot, book)
        self._refuse_erased(erasures, snapshot)
        if not self._leads():
            raise RunNotActive("the lease was lost while it trained; another learner may be at work", state="running")
        version = self._registry.register(folder, decision, by="learner", why=f"run {run.run_id}")
        accuracy = self._registry.manifest(version).metrics.get("accuracy")
        if accuracy is not None:
            self._metrics.set("hone_holdout_accuracy_ratio", accuracy, version=version)
        promoted = self._promote(version, decision)
        self._clock.lap("register")
        return RunEnd(
            "succeeded",
            version=version,
            promoted=promoted,
            snapshot=snapshot.hash,
            learned_from=record.learned,
        )

    def _judge(self, run: RunAnswer, folder: Path, snapshot: Snapshot, book: LabelBook) -> GateDecision:
        """Return what the gate says of the candidate in ``folder``; it is told in the run, beside what was measured."""
        # Somebody may have promoted or rolled back meanwhile: the candidate would replace who is champion now.
        champion = self._registry.aliases().champion
        decision = judge_candidate(folder, champion, self._registry, snapshot, self._settings, book, self._store.audited_keys())
        self._tell(decision)
        self._clock.lap("gate")
        manifest = read_manifest(folder)
        # The last word with the store comes first: from here on nothing but a defect can fail a run that has a version.
        rows = manifest.lineage.rows
        counts = {"train_rows": float(rows.get("train", 0)), "corrected_rows": float(rows.get("corrected", 0))}
        self._store.update_run(run.run_id, stage=decision.summary, metrics={**manifest.metrics, **counts})
        return decision

    def _repetition(self, run: RunAnswer, folder: Path) -> str | None:
        """Say whether what came out is what did before; None where nothing was repeated, or nothing is left of it."""
        if run.repeats is None:
            return None
        version = self._store.run(run.repeats).version
        if version is None or version not in self._registry.versions():
            return None
        difference = compare_repetition(read_manifest(folder), self._registry.manifest(version))
        if difference is None:
            return f"the same as {version} to the bit"
        log.warning("a repetition differs", extra={"run_id": run.run_id, "version": version, "reason": difference})
        return f"{version}: {difference}"

    def _tell(self, decision: GateDecision) -> None:
        self._metrics.count("hone_gate_decisions_total", promote=str(decision.promote).lower())
        for rule in decision.rules:
            self._metrics.count("hone_gate_rules_total", rule=rule.name, outcome="passed" if rule.passed else "failed")
        looks = decision.looks
        if looks.worn:
            facts = {"looks": looks.holdout_looks, "least_gain_ratio": looks.least_gain_ratio, "too_small": looks.too_small}
            log.warning("the holdout is worn out, or too small: it cannot show a gain of two points any more", extra=facts)

    def _promote(self, version: str, decision: GateDecision) -> bool | None:
        """Return whether the version became champion: not where somebody else did since the gate was asked.

        None: that is for a person to say.
        """
        if decision.waits:
            log.info("waits for approval", extra={"version": version, "reason": decision.summary})
            return None
        if not decision.promote:
            return False
        try:
            self._registry.promote(version, by="gate", why=decision.summary, judged_against=decision.champion)
        except Conflict as error:
            log.warning("not promoted", extra={"version": version, "reason": error.message})
            return False
        return True

    def _prepare(self, run: RunAnswer, champion: str) -> tuple[RunRecord, Snapshot, LabelBook]:
        """Return what the run is to do and on which examples: its own, or those of the run it resumes or repeats."""
        earlier = run.resumes or run.repeats
        if earlier is not None:
            record = record_of(self._store, self._registry, earlier)
            return record, snapshot_of(record, self._settings.home), self._store.label_book()
        snapshot, dataset, book = self._snapshot(champion)
        # A head keeps the champion's kind of features; where the encoder is trained, another may have become better.
        tuning = self._settings.finetuning(FinetuneWish(run.preset, run.finetune or {}))
        request = FitRequest(
            features=self._registry.manifest(champion).features,
            seed=tuning.seed,
            finetune=tuning,
            label_shift=self._settings.learn_label_shift,
        )
        record = RunRecord(
            snapshot=snapshot.hash,
            dataset=dataset,
            parent=champion,
            request=request,
            learned_from=snapshot.learned_from,
            held_back=snapshot.held_back,
        )
        return record.at("full" if run.speed == "full" else "head"), snapshot, book

    def _record(self, run: RunAnswer, record: RunRecord) -> None:
        self._store.record_run(run.run_id, record.model_dump(mode="json"))

    def _choose(self, run: RunAnswer, champion: str, snapshot: Snapshot, head: Path) -> Choice:
        """Return whether to train the encoder too, now that the head is fitted."""
        self._store.update_run(run.run_id, stage="choose")
        moment = now()
        limits = Limits.of(self._settings)
        past = Past(today=self._store.runs_since(start_of_day(moment, limits.zone)))
        by_hand = run.trigger == "manual"
        at = Circumstances(
            self._settings,
            self._registry,
            champion,
            snapshot,
            [found for found in self._store.runs().runs if found.run_id != run.run_id],
            audited=self._store.audited_keys(),
            drift=run.trigger == "drift",
            budget_left_s=None if by_hand else limits.budget_left_s(past, moment),
        )
        evidence = gather(at, head)
        recent = evidence.recent
        facts = {"recent_rows": float(recent.rows), "recent_wrong": float(recent.wrong), "gap": evidence.gap()}
        self._store.update_run(run.run_id, metrics={name: round(value, 5) for name, value in facts.items()})
        return choose_speed(evidence)

    def _say(self, run: RunAnswer, choice: Choice, record: RunRecord) -> None:
        log.info("speed chosen", extra={"run_id": run.run_id, "speed": choice.speed, "reason": choice.why})
        self._store.update_run(run.run_id, decided=Decided(chosen=choice.speed, why=choice.why))
        # Whoever goes on from here goes on with what was chosen.
        self._record(run, record.at(choice.speed))

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
        forget_checkpoints(self._settings.home)
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
        show_run(self._metrics, None)
        facts = {
            "run_id": run.run_id,
            "state": end.state,
            "version": end.version,
            "promoted": end.promoted,
            "reason": end.error,
            "seconds": self._clock.seconds,
        }
        log.info("run ended", extra=facts)
        return ended
