"""Both clients against a real replica."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from core.errors import (
    ApprovalNeeded,
    ApprovalStale,
    IdempotencyConflict,
    InvalidText,
    MalformedBody,
    NotFound,
    NothingToRollBack,
    UnknownLabel,
    UnknownVersion,
)
from core.gate import GateDecision
from core.registry import Registry
from core.settings import Settings
from deploy.clients import AsyncClient, Client, Connection
from deploy.clients.calls import in_requests
from tests.bundles import register_ngram_bundle


class Waiting:
    """An :class:`AsyncClient` that is called like a :class:`Client`, so that both are held to the same."""

    def __init__(self, client: AsyncClient, runner: asyncio.Runner) -> None:
        self._client = client
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        return lambda *arguments, **named: self._runner.run(method(*arguments, **named))

    def gather(self, name: str, *arguments: Any, **named: Any) -> list[Any]:
        """Return all that an asynchronous iterator of the client yields."""

        async def gathering() -> list[Any]:
            return [item async for item in getattr(self._client, name)(*arguments, **named)]

        return self._runner.run(gathering())


@contextmanager
def _opened(kind: str, connection: Connection) -> Iterator[Any]:
    if kind == "Client":
        with Client(connection) as client:
            yield client
        return
    with asyncio.Runner() as runner:
        waiting = AsyncClient(connection)
        yield Waiting(waiting, runner)
        runner.run(waiting.close())


@pytest.fixture(params=["Client", "AsyncClient"])
def hone(request: pytest.FixtureRequest, service: Settings) -> Iterator[Any]:
    """Give each client, connected to a replica that takes 20 texts a request."""
    with _opened(request.param, Connection.of(service)) as client:
        yield client


def test_one_text(hone: Any) -> None:
    answer = hone.predict("so positive", top_k=2, metadata={"from": "a test"})
    assert (answer.label, answer.model_version, len(answer.scores)) == ("positive", "v1", 2)
    assert answer.abstained is False
    assert hone.predict("hm", min_score=0.99).abstained is True


def test_any_number_of_texts_is_answered_in_order(hone: Any) -> None:
    texts = ["positive", "negative", "neutral"] * 35
    assert [answer.label for answer in hone.predict_many(texts)] == texts
    assert hone.predict_many([]) == []


def test_a_service_with_lower_limits_is_sent_less_at_a_time(service: Settings) -> None:
    with Client(service.url) as client:
        assert client.connection.request_max_texts > service.max_texts
        assert len(client.predict_many(["positive"] * 50)) == 50
        with pytest.raises(InvalidText):
            client.predict_many(["positive", ""])


def test_corrections_and_their_keys(hone: Any) -> None:
    prediction_id = hone.predict("so positive").prediction_id
    first = hone.correct("neutral", prediction_id=prediction_id, annotator="ada", confidence=0.9, key="k-1")
    assert hone.correct("neutral", prediction_id=prediction_id, annotator="ada", confidence=0.9, key="k-1") == first
    assert (first.kind, first.predicted_label, first.annotator) == ("correction", "positive", "ada")
    with pytest.raises(IdempotencyConflict):
        hone.correct("negative", prediction_id=prediction_id, key="k-1")
    with pytest.raises(UnknownLabel) as caught:
        hone.correct("Positiv", text="a")
    assert str(caught.value.details["nearest"]).startswith("['positive'")
    second = hone.correct("positive", text="another")
    page = hone.corrections(limit=1)
    assert (page.corrections, page.next_before) == ([second], second.correction_id)
    assert hone.corrections(before=page.next_before).corrections == [first]


def test_versions(hone: Any, registry: Registry) -> None:
    with pytest.raises(NothingToRollBack):
        hone.roll_back()
    register_ngram_bundle(registry, seed=1)
    assert hone.promote("v2", by="ada", why="a test").champion == "v2"
    assert [(model.version, model.aliases) for model in hone.models()] == [("v2", ["champion"]), ("v1", ["previous"])]
    assert hone.model("previous").version == "v1"
    assert hone.roll_back().champion == "v1"
    with pytest.raises(UnknownVersion):
        hone.model("v9")
    with pytest.raises(NotFound):
        hone.model("../status")


def test_signatures(hone: Any, registry: Registry) -> None:
    for seed in (1, 2):
        decision = GateDecision(promote=True, summary="passed", champion="v1", rules=[], mode="approve")
        register_ngram_bundle(registry, seed=seed, decision=decision)
    assert hone.sign("v2", approve=False, reason="too bold", by="ada").standing == "refused"
    with pytest.raises(ApprovalNeeded):
        hone.promote("v3")
    seen = hone.model("v3").decision_hash
    assert hone.sign("v3", approve=True, reason="read it", by="ada", seen=seen).champion == "v3"
    assert [signature.by for signature in hone.model("v3").signatures] == ["ada (local)"]
    with pytest.raises(ApprovalStale):
        hone.sign("v2", approve=True, reason="after all")


def test_runs(hone: Any) -> None:
    queued = hone.start_run("full", note="a test")
    assert (queued.state, queued.speed, queued.note) == ("queued", "full", "a test")
    assert hone.run(queued.run_id) == queued
    assert hone.watch_run(queued.run_id, timeout_s=0).state == "queued"
    assert hone.stop_run(queued.run_id).state == "cancelled"
    assert hone.watch_run(queued.run_id).state == "cancelled"
    assert [run.run_id for run in hone.runs()] == [queued.run_id]
    tuned = hone.start_run("full", preset="fast", finetune={"epochs": 2})
    assert (tuned.preset, tuned.finetune, tuned.note) == ("fast", {"epochs": 2}, None)


def test_status(hone: Any) -> None:
    assert hone.alive()
    assert hone.ready()
    assert hone.status().model_version == "v1"


def test_parts_fit_into_requests() -> None:
    texts = ["a" * 1_000, "é" * 1_000, "b"] * 20
    parts = list(in_requests(texts, max_texts=7, max_bytes=20_000))
    assert [text for part in parts for text in part] == texts
    assert max(map(len, parts)) <= 7
    assert all(sum(len(text.encode("ascii", "backslashreplace")) for text in part) < 20_000 for part in parts)


def test_many_corrections_come_back_with_a_report_each(hone: Any) -> None:
    rows = [{"text": f"text {number}", "label": "neutral"} for number in range(2_500)]
    rows[2_200] = {"text": "b", "label": "Positiv"}
    reports = _gathered(hone, "correct_many", iter(rows), key="k")
    assert [report.row for report in reports] == list(range(1, 2_501))
    assert [report.code for report in reports if report.status != "kept"] == ["unknown_label"]
    again = _gathered(hone, "correct_many", rows, key="k")
    assert [report.correction_id for report in again] == [report.correction_id for report in reports]
    lines = b"".join(_gathered(hone, "export_corrections", "jsonl")).splitlines()
    assert len(lines) == 2_499
    with pytest.raises(MalformedBody):
        _gathered(hone, "export_corrections", "xml")


def test_corrections_are_confirmed_changed_and_withdrawn(hone: Any) -> None:
    answer = hone.predict("so positive")
    first = hone.confirm(answer.prediction_id, annotator="ann")
    assert first.kind == "confirmation"
    second = hone.change_correction(first.correction_id, "mixed", new_labels="propose", why="a slip")
    assert (second.replaces, second.proposed, second.annotator) == (first.correction_id, True, "ann")
    assert hone.withdraw_correction(second.correction_id, why="so").withdrawn
    assert hone.correction(first.correction_id).replaced_by == second.correction_id
    assert hone.correct("mixed", text="a", new_labels="propose").proposed


def test_labels_are_listed_and_decided_about(hone: Any) -> None:
    event = hone.decide_label("rename", "positive", "good", by="ann", why="shorter")
    assert hone.decide_label("rename", "positive", "good") == event
    assert {item.label: item.state for item in hone.labels().labels}["positive"] == "replaced"
    assert hone.label_events().events == [event]


def _gathered(hone: Any, name: str, *given: Any, **named: Any) -> list[Any]:
    if isinstance(hone, Waiting):
        return hone.gather(name, *given, **named)
    return list(getattr(hone, name)(*given, **named))
