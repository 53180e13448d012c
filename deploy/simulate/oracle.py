"""The oracle: trained from scratch at every step, on the base data and every label received so far; it asks no gate.

It is what learning is compared with, so it holds none of the labels out and believes all of them.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from core.bundle import read_manifest
from core.labels import LabelSet
from core.registries import registry_of
from core.schemas import FitSpeed
from core.text import text_key
from deploy.simulate.loop import Heard
from deploy.simulate.people import People, seeded_ids
from deploy.simulate.plan import Strategy
from deploy.simulate.records import Journal, RunRecord, StepRecord
from deploy.simulate.spending import Spending
from deploy.simulate.stream import Row, Stream
from deploy.simulate.workplace import Work
from feedback.accuracy import is_drawn
from feedback.corrections import TrainingCorrection
from feedback.dataset import BaseDataset
from feedback.examples import Example, hash_of
from feedback.snapshot import Snapshot, build_snapshot
from train.fit import fit
from train.fitter import Fitted
from train.progress import Report, Stages
from train.request import STAGES, FitRequest, Workplace
from train.scoring import scores_of


class Oracle:
    """Carries the reference along a stream; ``strategy`` says at which speed it is trained.

    At the full speed a fit tries frozen features as well, and keeps what is best on validation rows.
    """

    def __init__(self, work: Work, stream: Stream, strategy: Strategy, heard: Heard, progress: Report) -> None:
        self._work, self._stream, self._strategy = work, stream, strategy
        self._heard, self._progress = heard, progress
        self._speed: FitSpeed = "head" if strategy == "oracle-head" else "full"
        self._place = work.home_of(strategy)
        self._journal = Journal(work.journal_of(strategy))
        self._people = People(work.plan, stream.labels)
        self._received: list[TrainingCorrection] = []
        self._wrong = 0

    def run(self) -> list[StepRecord]:
        """Return the records of all steps."""
        self._place.mkdir(parents=True, exist_ok=True)
        records = self._journal.read()
        answered = [record.answers for record in records]
        for place in range(len(records)):
            self._receive(place - self._work.plan.delay_steps, answered)
        while len(records) < len(self._stream.steps):
            record = self._step(records)
            self._journal.add(record)
            records.append(record)
            self._heard(record)
        return records

    def _step(self, before: list[StepRecord]) -> StepRecord:
        place = len(before)
        step = self._stream.steps[place]
        version = before[-1].version_after if before else "base"
        answers = self._answer(version, step.rows)
        self._receive(place - self._work.plan.delay_steps, [*(record.answers for record in before), answers])
        known = before[-1].tests if before else self._measure(self._folder("base"))
        run, after = None, version
        # A head takes seconds. The last step's labels are learned too, for what is measured at the end.
        every = 1 if self._speed == "head" else self._work.plan.oracle_every
        if (place + 1) % every == 0 or place + 1 == len(self._stream.steps):
            run, after = self._fit(step.name), f"oracle-{place}"
        return StepRecord(
            strategy=self._strategy,
            place=place,
            name=step.name,
            rows=len(step.rows),
            right=sum(label == row.label for label, row in zip(answers, step.rows, strict=True)),
            said=len(self._received),
            said_wrong=self._wrong,
            labelled=len(self._received),
            version=version,
            version_after=after,
            run=run,
            tests_before=known,
            tests=run.tests if run else known,
            answers=answers,
        )

    def _folder(self, version: str) -> Path:
        if version == "base":
            registry = registry_of(self._work.settings(self._work.base_home))
            return registry.path(str(registry.aliases().champion))
        return self._place / "bundle"

    def _answer(self, version: str, rows: tuple[Row, ...]) -> list[str]:
        folder = self._folder(version)
        names = read_manifest(folder).labels
        best = scores_of(folder, [row.text for row in rows], self._work.measuring).argmax(axis=1)
        return [names[int(at)] for at in best]

    def _measure(self, folder: Path) -> dict[str, float]:
        return self._work.measure(folder, read_manifest(folder).labels, self._stream.tests)

    def _receive(self, place: int, answered: list[list[str]]) -> None:
        """Take in what was said of the step at ``place``: of what the audit draws, and of what users correct."""
        if place < 0:
            return
        step = self._stream.steps[place]
        names = seeded_ids(self._work.plan.seed, self._stream.first_of(place))(len(step.rows))
        for row, label, name in zip(step.rows, answered[place], names, strict=True):
            drawn = is_drawn(name, self._work.plan.label_ratio)
            if drawn or (label != row.label and self._people.corrects(row)):
                self._received.append(self._correction(row, label, drawn=drawn))

    def _correction(self, row: Row, answered: str, *, drawn: bool) -> TrainingCorrection:
        voice = self._people.first(row)
        self._wrong += voice.label != row.label
        return TrainingCorrection(
            sequence=len(self._received) + 1,
            text=row.text,
            text_key=text_key(row.text),
            label=voice.label,
            kind="confirmation" if voice.label == answered else "correction",
            annotator=voice.annotator,
            model_version=None,
            predicted_label=answered,
            drawn=drawn,
        )

    def _fit(self, name: str) -> RunRecord:
        spent = Spending()
        staging = Path(tempfile.mkdtemp(dir=self._place, prefix="fit-"))
        try:
            with spent:
                fitted = self._fitted(staging)
            kept = self._place / "bundle"
            shutil.rmtree(kept, ignore_errors=True)
            fitted.folder.rename(kept)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        chosen = ", ".join(option.name for option in fitted.options if option.chosen)
        return RunRecord(
            speed=self._speed,
            state="succeeded",
            trained=self._speed,
            version=name,
            promoted=True,
            summary=f"chose {chosen}",
            wall_s=round(spent.wall_s, 3),
            cpu_s=round(spent.cpu_s, 3),
            tests=self._measure(kept),
        )

    def _fitted(self, staging: Path) -> Fitted:
        settings, plan = self._work.settings(self._work.base_home), self._work.plan
        home = settings.home
        base = BaseDataset.load(home.datasets, read_manifest(self._folder("base")).lineage.dataset)
        labels = LabelSet.of(sorted({*base.labels.names, *(item.label for item in self._received)}))
        built = build_snapshot(base.examples, self._received, labels, plan.correction_weight)
        examples = tuple(self._all_learned(built))
        snapshot = Snapshot(examples, hash_of(examples))
        request = FitRequest(self._speed, plan.features, plan.base_encoder, plan.seed, label_shift=settings.learn_label_shift)
        stages = Stages(STAGES[self._speed], self._progress)
        return fit(snapshot, base.hash, request, Workplace(self._place / "cache", staging), stages)

    @staticmethod
    def _all_learned(snapshot: Snapshot) -> Iterator[Example]:
        """Yield the examples, what people said being held out nowhere; the base's own rows stay where they are."""
        for example in snapshot.examples:
            said = example.origin != "base"
            yield replace(example, split="train") if said and example.split == "test" else example
