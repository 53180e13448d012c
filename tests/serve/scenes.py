"""A replica that looks as after some days of work: versions, runs, traffic, drift, reviews; for tests of what is shown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np

from core.drift.profile import Profile, common_words
from core.drift.samples import Sample, measure_texts
from core.drift.suite import WATCHES
from core.drift_bodies import DriftFinding, DriftState
from core.gate import ClassChange, GateDecision, Rule
from core.ngrams import words_of
from core.quality_bodies import Reason
from core.registry import Registry
from core.schemas import CorrectionRequest, CurvePoint, PredictionRecord, RunSpeed, now
from core.slo import LATENCY_BUCKETS_S
from core.text import text_key
from feedback.drift_windows import Found, Window
from feedback.runs import Decided, RunEnd
from feedback.store import Store
from feedback.suspicion import Evidence
from feedback.traffic import SLOT_S, TrafficSlot
from tests.bundles import write_ngram_bundle

MARKUP = "<img src=x onerror=alert(1)>"
LABELS = ("refund", "delivery", "rates", "lost", "payment")
_MINUTES_AGO = {"v1": 50, "v2": 44, "v3": 31, "v4": 12}


@dataclass(frozen=True)
class Scene:
    """Fills ``registry`` and ``store``; ``odd`` is a label, and stands in the texts."""

    registry: Registry
    store: Store
    odd: str
    moment: datetime = field(default_factory=now)

    def set(self) -> None:
        """Have the last of three versions answer, a fourth refused, and a run under way."""
        labels = (*LABELS, self.odd)
        gains = {"v1": None, "v2": 0.021, "v3": 0.013, "v4": -0.004}
        for seed, gain in enumerate(gains.values()):
            decision = None if gain is None else _decision(f"v{seed}", gain, labels)
            staged = self.registry.root / f"staged-{seed}"
            write_ngram_bundle(staged, labels, seed, profile=_profile(labels))
            version = self.registry.register(staged, decision, by="test", why="a fixture")
            if gain is None or gain > 0:
                self.registry.promote(version, by="gate", why=decision.summary if decision else "the first version")
        self._date_moves()
        _runs(self.store)
        _traffic(self.store, self.moment)
        _drift(self.store, self.moment, self.odd)
        _people(self.store, self.odd)

    def _date_moves(self) -> None:
        """Have the moves lie some minutes apart."""
        path = self.registry.root / "history.jsonl"
        moves = [
            move.model_copy(update={"at": self.moment - timedelta(minutes=_MINUTES_AGO[move.version])})
            for move in self.registry.history()
        ]
        path.write_text("".join(f"{move.model_dump_json()}\n" for move in moves), encoding="utf-8")


def _profile(labels: Sequence[str]) -> Profile:
    """Return a reference of held-out rows in which all labels are as frequent."""
    rows = [(f"where is the {label} that i asked for {number}", label) for number in range(40) for label in labels]
    texts = [text for text, _ in rows]
    confidences = np.full(len(rows), 0.9, dtype=np.float32)
    sample = Sample(tuple(label for _, label in rows), confidences, measure_texts(texts, set(labels).__contains__))
    return Profile(sample, np.arange(len(rows)) % 10 > 0, common_words(map(words_of, texts), len(rows)))


def _decision(champion: str, gain: float, labels: Sequence[str]) -> GateDecision:
    promote = gain > 0
    rules = [
        Rule(name="holdout_rows", value=3080, limit=50, kind="required", passed=True, why="rows of the holdout"),
        Rule(name="class_floor", value=0.03, limit=0.1, kind="required", passed=True, why=f"{labels[-1]} loses most"),
        Rule(name="holdout_gain", value=gain, limit=0.0, kind="evidence", passed=promote, why="paired test, p = 0.003"),
    ]
    classes = [
        ClassChange(name=name, rows=40, champion_right=30 + place, candidate_right=36) for place, name in enumerate(labels)
    ]
    summary = "passed on holdout_gain" if promote else "no evidence that it is better"
    return GateDecision(promote=promote, summary=summary, champion=champion, rules=rules, classes=classes)


def _runs(store: Store) -> None:
    runs: tuple[tuple[RunSpeed, RunEnd | None], ...] = (
        ("head", RunEnd("succeeded", version="v2", promoted=True)),
        ("full", RunEnd("failed", error="the disk is full")),
        ("auto", RunEnd("succeeded", version="v4", promoted=False)),
        ("full", None),
    )
    for speed, end in runs:
        store.create_run(speed, "count", "fifty corrections")
        run = store.claim_run("test")
        assert run is not None
        losses = [2.3 * math.exp(-number / 25) + 0.25 + 0.04 * math.sin(number) for number in range(80)]
        curve = [
            CurvePoint(progress_ratio=number / 120, loss=round(loss, 4), examples_per_s=31.0)
            for number, loss in enumerate(losses)
        ]
        measured = {"loss": 0.34, "examples_per_s": 31.4, "step": 480, "steps": 720}
        why = "the head leaves a gap of 2.4 points on recent corrections"
        chosen = Decided(chosen="full" if speed == "full" else "head", why=why)
        store.update_run(
            run.run_id, stage="finetune", progress_ratio=0.66, remaining_s=94.0, metrics=measured, curve=curve, decided=chosen
        )
        if end is not None:
            store.finish_run(run.run_id, end)


def _traffic(store: Store, moment: datetime) -> None:
    slots = []
    # Replicas begin theirs at the same moments, and the one that is looked at records its own.
    newest = datetime.fromtimestamp(moment.timestamp() // SLOT_S * SLOT_S, UTC)
    for number in range(1, 240):
        texts = round(400 + 150 * math.sin(number / 20) + 40 * math.sin(number * 1.7))
        within = [0] * (len(LATENCY_BUCKETS_S) + 1)
        within[3], within[4], within[6] = texts // 2, texts - texts // 2 - texts // 40, texts // 40
        refused = 90 if 60 < number < 70 else 0
        began_at = newest - timedelta(seconds=SLOT_S * number)
        slots.append(TrafficSlot(began_at, texts, refused, 2 if number == 65 else 0, within))
    store.add_traffic("replica-2", slots)


def _drift(store: Store, moment: datetime, odd: str) -> None:
    for number in range(12):
        end = moment - timedelta(minutes=4 * (12 - number))
        records = tuple(_record(f"w{number}-{place}", end - timedelta(seconds=240 - 4 * place), odd) for place in range(60))
        store.log_predictions(records)
        state: DriftState = "drift" if number == 10 else "quiet"
        findings = tuple(_finding(name, state if name == "label_psi" else "quiet") for name in WATCHES)
        accuracy = 0.93 - (0.05 if number >= 10 else 0.004 * (number % 3))
        guess = {"accuracy": accuracy, "low": accuracy - 0.025, "high": accuracy + 0.02, "rows": 60}
        window = Window(records, 60, (records[-1].created_at, records[-1].prediction_id))
        why = "label_psi 0.31 (p = 1e-05)" if state == "drift" else "no detector finds more than chance"
        store.add_drift_window(Found("v3", window, 60, state, why, findings, guess, {}))


def _finding(name: str, verdict: DriftState) -> DriftFinding:
    drifts = verdict == "drift"
    return DriftFinding(
        detector=name,
        watches=WATCHES[name],
        verdict=verdict,
        size=0.31 if drifts else 0.02,
        p_value=1e-5 if drifts else 0.4,
        limit=0.002,
    )


def _record(name: str, at: datetime, odd: str) -> PredictionRecord:
    text = f"{odd}: my card is lost, {name}"
    return PredictionRecord(
        prediction_id=f"p_{name}",
        created_at=at,
        text=text,
        text_key=text_key(text),
        label="lost",
        score=0.9,
        model_version="v3",
        source="head",
    )


def _people(store: Store, odd: str) -> None:
    for number in range(8):
        for who, label in (("ann", "refund"), ("ben", "refund"), ("eve", "lost")):
            store.add_correction(CorrectionRequest(text=f"{odd} {number}", label=label, annotator=who))
    reason = Reason(rule="burst", value=9.0, limit=5.0, why="many within a minute")
    store.keep_suspicions({3: (reason,), 6: (reason,)}, {3: Evidence("v3", "refund", 0.99)}, [3, 6])
    store.ask_about_suspects()
    store.draw_audit(1.0, None)
    asked = store.next_review("ann", 40, {"audit": 1.0, "suspect": 0.0, "uncertain": 0.0}, 600.0)
    for place, item in enumerate(asked.items):
        task = store.review_task(item.item_id, "ann")
        label = "refund" if place % 12 == 0 else "lost"
        store.add_correction(CorrectionRequest(prediction_id=task.prediction_id, label=label, annotator="ann"))
        store.finish_review(item.item_id, "ann", label)
