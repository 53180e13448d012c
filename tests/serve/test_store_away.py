"""Predicting depends on nothing else being up: with the store down or hanging, answers keep coming."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from core.errors import StoreUnavailable
from core.settings import Settings
from feedback.store import Store
from serve.store_calls import StoreCalls
from tests.serve.conftest import Service, Start
from tests.serve.fakes import until


@pytest.fixture
async def service(start: Start, settings: Settings) -> AsyncIterator[Service]:
    """Give a replica whose store lies in a folder that cannot be made, because a file has its name."""
    gone = settings.home.root / "gone"
    gone.touch()
    async with start(changed={"store_url": f"sqlite:///{gone / 'feedback.db'}"}) as service:
        yield service


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """Give what ends every hang at the end of the test."""
    event = threading.Event()
    yield event
    event.set()


async def test_predictions_are_answered_and_spooled(service: Service) -> None:
    for _ in range(3):
        assert (await service.post("/v1/predict", {"texts": ["positive", "negative"]})).status_code == 200
    log = service.parts.log
    assert log is not None
    assert log.flush(10)
    assert (log.written, log.spooled, log.dropped) == (0, 6, 0)
    assert service.value("hone_log_rows_total", outcome="spooled") == 6.0


async def test_corrections_and_runs_say_try_again(service: Service) -> None:
    correction = {"text": "hm", "label": "neutral"}
    responses = [
        await service.post("/v1/corrections", correction),
        await service.post("/v1/runs", {}),
        await service.http.get("/v1/corrections"),
        await service.http.get("/v1/runs"),
    ]
    for response in responses:
        assert (response.status_code, response.json()["code"]) == (503, "store_unavailable")
        assert response.headers["retry-after"] == "2"


async def test_status_readiness_and_versions_go_on(service: Service) -> None:
    await until(lambda: service.value("hone_store_up") == 0.0)
    status = (await service.http.get("/v1/status")).json()
    assert (status["store_up"], status["model_version"], status["corrections"], status["last_run"]) == (False, "v1", None, None)
    assert [replica["replica_id"] for replica in status["replicas"]] == ["replica-1"]
    for path in ("/readyz", "/v1/models", "/metrics"):
        assert (await service.http.get(path)).status_code == 200


async def test_what_was_spooled_is_written_when_the_store_is_back(service: Service, settings: Settings) -> None:
    answer = (await service.post("/v1/predict", {"text": "positive"})).json()
    log = service.parts.log
    assert log is not None
    assert log.flush(10)
    (settings.home.root / "gone").unlink()
    await until(lambda: log.written == 1)
    response = await service.post("/v1/corrections", {"prediction_id": answer["prediction_id"], "label": "neutral"})
    assert response.status_code == 201


async def test_a_hanging_store_holds_up_nobody_but_its_callers(
    start: Start, released: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("add_correction", "log_predictions", "report_replica", "replicas", "runs"):
        monkeypatch.setattr(Store, name, lambda *_args, **_named: released.wait(30))
    monkeypatch.setattr("serve.routes_status._STORE_TIMEOUT_S", 0.05)
    async with start() as service:
        monkeypatch.setattr(service.parts.store, "_timeout_s", 0.05)
        calls = [service.post("/v1/corrections", {"text": "hm", "label": "neutral"}) for _ in range(30)]
        responses = await asyncio.gather(*calls)
        assert {response.status_code for response in responses} == {503}
        assert "may still be done" in responses[0].json()["error"]
        assert (await service.post("/v1/predict", {"text": "positive"})).status_code == 200
        assert (await service.http.get("/v1/status")).json()["store_up"] is False
        released.set()


async def test_calls_that_hang_do_not_pile_up(tmp_path: Path, released: threading.Event) -> None:
    started: list[int] = []

    def hang(_: Store, number: int) -> None:
        started.append(number)
        released.wait(30)

    calls = StoreCalls(Store(f"sqlite:///{tmp_path / 'feedback.db'}"), timeout_s=0.05)
    results = await asyncio.gather(*(calls.call(hang, number) for number in range(40)), return_exceptions=True)
    assert all(isinstance(result, StoreUnavailable) for result in results)
    assert len(started) == 8
    released.set()
    patient = StoreCalls(Store(f"sqlite:///{tmp_path / 'feedback.db'}"))
    assert await patient.call(Store.correction_count) == 0
    patient.close()
