"""One strategy along the stream: each step is asked, people say what they say, a run learns, and all of it is recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial

from core.errors import Unavailable
from core.home import write_atomically
from core.registries import registry_of
from core.text import text_key
from deploy.simulate.learning import learn
from deploy.simulate.people import People, seeded_ids
from deploy.simulate.plan import Strategy, speed_of
from deploy.simulate.records import Journal, RunRecord, StepRecord, Traffic
from deploy.simulate.service import Item, LiveService, live
from deploy.simulate.stream import Row, Stream
from deploy.simulate.workplace import Work
from feedback.store import Store
from train.planning import ReviewPlanner
from train.progress import Report

Heard = Callable[[StepRecord], None]
# A store on a busy disk is away for seconds; one that is away for longer is worth a look before the simulation goes on.
_PAUSES_S = (1.0, 5.0, 15.0)


@dataclass(frozen=True)
class Asked:
    """One row that was asked: what was answered, and under which name."""

    row: Row
    place: int
    label: str
    prediction_id: str


class Loop:
    """Carries a strategy along a stream. What the journal has is not done again, and every part of a step may be repeated."""

    def __init__(self, work: Work, stream: Stream, strategy: Strategy, heard: Heard, progress: Report) -> None:
        self._work, self._stream, self._strategy = work, stream, strategy
        self._heard, self._progress = heard, progress
        self._journal = Journal(work.journal_of(strategy))
        self._settings = work.open_home(strategy)
        self._registry = registry_of(self._settings)
        self._people = People(work.plan, stream.labels)
        self._truth = {text_key(row.text): row.label for step in stream.steps for row in step.rows}

    def run(self) -> list[StepRecord]:
        """Return the records of all steps."""
        records = self._journal.read()
        if len(records) < len(self._stream.steps):
            asyncio.run(self._go_on(records))
        return records

    async def _go_on(self, records: list[StepRecord]) -> None:
        store = Store.of(self._settings)
        try:
            planner = ReviewPlanner(self._settings, store)
            async with live(self._settings, partial(seeded_ids, self._work.plan.seed)) as service:
                while len(records) < len(self._stream.steps):
                    record = await self._insist(partial(self._step, records, service, planner, store))
                    self._journal.add(record)
                    records.append(record)
                    self._heard(record)
        finally:
            store.close()

    @staticmethod
    async def _insist(step: Callable[[], Awaitable[StepRecord]]) -> StepRecord:
        """Return what comes of ``step``, tried again where the store or the service is away for a moment."""
        for pause_s in _PAUSES_S:
            try:
                return await step()
            except Unavailable:
                await asyncio.sleep(pause_s)
        return await step()

    async def _ask(self, place: int, service: LiveService) -> Traffic:
        """Return what was answered in the step at ``place``: asked once, before anything of the step is learned.

        Where the step is done again the model may have learned already, so what it had said is kept.
        """
        path = self._work.traffic_of(self._strategy)
        if path.exists():
            kept = Traffic.model_validate_json(path.read_bytes())
            if kept.place == place:
                return kept
        rows = self._stream.steps[place].rows
        answers = await service.ask([row.text for row in rows], self._stream.first_of(place))
        traffic = Traffic(
            place=place,
            version=answers[0].version,
            labels=[answer.label for answer in answers],
            memory_answers=sum(answer.source == "memory" for answer in answers),
        )
        write_atomically(path, traffic.model_dump_json().encode())
        return traffic

    async def _step(self, before: list[StepRecord], service: LiveService, planner: ReviewPlanner, store: Store) -> StepRecord:
        place = len(before)
        step = self._stream.steps[place]
        traffic = await self._ask(place, service)
        labels = traffic.labels
        said = (0, 0, 0)
        run = None
        if self._strategy != "frozen":
            asked = list(self._asked([*(record.answers for record in before), labels]))
            await self._speak(place - self._work.plan.delay_steps, asked, service, planner)
            said = await asyncio.to_thread(self._said, store)
            run = await self._learn(step.name, news=said[0] > (before[-1].said if before else 0))
        after = await service.serves_champion()
        return StepRecord(
            strategy=self._strategy,
            place=place,
            name=step.name,
            rows=len(step.rows),
            right=sum(label == row.label for label, row in zip(labels, step.rows, strict=True)),
            memory_answers=traffic.memory_answers,
            said=said[0],
            said_wrong=said[1],
            labelled=said[2],
            version=traffic.version,
            version_after=after,
            run=run,
            tests_before=await self._tests(traffic.version, before, None),
            tests=await self._tests(after, before, run),
            answers=labels,
        )

    def _asked(self, labels: list[list[str]]) -> Iterator[Asked]:
        ids = seeded_ids(self._work.plan.seed, 0)
        for place, (step, answered) in enumerate(zip(self._stream.steps, labels, strict=False)):
            for row, label, name in zip(step.rows, answered, ids(len(step.rows)), strict=True):
                yield Asked(row, place, label, name)

    async def _speak(self, up_to: int, asked: list[Asked], service: LiveService, planner: ReviewPlanner) -> None:
        """Have people say what is due: users correct, annotators answer the audit, others give second opinions.

        Labels of the step ``up_to`` and of those before it have arrived by now.
        """
        await asyncio.to_thread(planner.fill)
        about = {text_key(item.row.text): item for item in asked if item.place <= up_to}
        items = await service.waiting()
        audited = {text_key(item.text) for item in items if item.stratum == "audit"}
        for key, item in about.items():
            if item.place == up_to and key not in audited and item.label != item.row.label and self._people.corrects(item.row):
                await self._correct(item, 1, service)
        refused = []
        for waiting in items:
            found = about.get(text_key(waiting.text))
            # What was doubted since this step's labels came is for the next one, also where this one is done again.
            if found is None or (waiting.stratum == "suspect" and found.place >= up_to):
                continue
            if not await self._review(waiting, found, service):
                refused.append((waiting, found))
        # By now enough people may have proposed a label for it to be chosen: the audit has its answer then.
        for waiting, found in refused:
            await service.review(waiting, self._people.first(found.row))

    async def _review(self, waiting: Item, item: Asked, service: LiveService) -> bool:
        """Have people answer an item; return False where the label is new, and was proposed instead."""
        people, row = self._people, item.row
        if waiting.stratum == "suspect":
            await service.review(waiting, people.second(row, besides=people.first(row).annotator))
            return True
        taken = await service.review(waiting, people.first(row))
        if not taken:
            await self._correct(item, 1, service)
        if people.overlaps(row):
            await self._correct(item, 2, service)
        return taken

    async def _correct(self, item: Asked, turn: int, service: LiveService) -> None:
        first = self._people.first(item.row)
        voice = first if turn == 1 else self._people.second(item.row, besides=first.annotator)
        key = f"simulated-{turn}-{item.prediction_id}"
        await service.correct(key, voice, prediction_id=item.prediction_id)

    def _said(self, store: Store) -> tuple[int, int, int]:
        """Return how many words on texts the store has, how many of them are wrong, and of how many texts."""
        votes = store.votes()
        wrong = sum(self._truth[vote.text_key] != vote.label for vote in votes)
        return len(votes), wrong, len({vote.text_key for vote in votes})

    async def _learn(self, name: str, *, news: bool) -> RunRecord | None:
        speed = speed_of(self._strategy)
        if speed is None or not news:
            return None
        tests = self._stream.tests
        return await asyncio.to_thread(learn, self._work, self._settings, speed, name, tests, self._progress)

    async def _tests(self, version: str, before: list[StepRecord], run: RunRecord | None) -> dict[str, float]:
        """Return the accuracy of ``version`` on the fixed rows, measured once for each version."""
        if run is not None and run.version == version:
            return run.tests
        known = next((record.tests for record in reversed(before) if record.version_after == version), None)
        if known is not None:
            return known
        labels = self._registry.manifest(version).labels
        return await asyncio.to_thread(self._work.measure, self._registry.path(version), labels, self._stream.tests)
