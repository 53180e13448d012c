"""A store on PostgreSQL that hangs or dies under a running replica: callers are told to try again, and nothing is lost."""

from __future__ import annotations

import asyncio

import pytest

from tests.postgresql import PostgreSQL
from tests.serve.conftest import Service, Start
from tests.serve.fakes import until

_TRIES = 200
_CORRECTION = {"text": "a fine phone", "label": "neutral"}


async def _is_told_to_try_again(service: Service, key: str) -> None:
    response = await service.post("/v1/corrections", _CORRECTION, idempotency_key=key)
    assert (response.status_code, response.json()["code"]) == (503, "store_unavailable")
    assert response.headers["retry-after"] == "2"
    # Predicting depends on nothing else being up.
    assert (await service.post("/v1/predict", {"text": "positive"})).status_code == 200


async def _answers_again(service: Service, key: str) -> str:
    for _ in range(_TRIES):
        response = await service.post("/v1/corrections", _CORRECTION, idempotency_key=key)
        if response.status_code == 201:
            return str(response.json()["correction_id"])
        assert response.status_code == 503
        await asyncio.sleep(0.05)
    raise AssertionError("the store did not come back")


@pytest.mark.integration
async def test_a_server_that_hangs_and_one_that_dies_are_got_over_without_a_hand(
    start: Start, postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    with postgresql.database() as url:
        async with start(changed={"store_url": url}) as service:
            log = service.parts.log
            assert log is not None
            first = (await service.post("/v1/corrections", _CORRECTION, idempotency_key="first")).json()["correction_id"]
            monkeypatch.setattr(service.parts.store, "_timeout_s", 0.5)
            with postgresql.frozen():
                await _is_told_to_try_again(service, "hanging")
            hanging = await _answers_again(service, "hanging")
            postgresql.kill()
            await _is_told_to_try_again(service, "dead")
            postgresql.start()
            dead = await _answers_again(service, "dead")
            listed = (await service.http.get("/v1/corrections")).json()["corrections"]
            assert [answer["correction_id"] for answer in listed] == [dead, hanging, first]
            await until(lambda: log.written == 2)
            assert log.dropped == 0
