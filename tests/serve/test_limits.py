"""What one request may carry, and that what is beyond it costs its sender alone."""

from __future__ import annotations

import asyncio
import json

import pytest

from core.classifier import Prepared
from core.errors import TooManyTokens
from core.metrics import Metrics
from core.schemas import ErrorAnswer
from core.settings import Settings
from serve.admission import Admission, QueueLimits
from serve.batching import Batcher
from serve.jobs import Job
from serve.waiting import BatchBudget
from tests.serve.conftest import Service, Start
from tests.serve.fakes import FakeEngine, fake_scores, words


async def test_a_request_may_have_so_many_tokens() -> None:
    engine = FakeEngine()
    batcher = Batcher(BatchBudget(8, 256), Admission(QueueLimits(10_000)), Metrics(), max_request_tokens=100)
    batcher.start()
    whole = await batcher.score(engine, [words(10)] * 10)
    assert whole.timing.tokens == 100
    beside = asyncio.create_task(batcher.score(engine, [words(3)]))
    with pytest.raises(TooManyTokens) as caught:
        await batcher.score(engine, [words(10)] * 10 + [words(1)])
    assert caught.value.details == {"allowed": 100}
    assert (await beside).scores.tolist() == fake_scores([3]).tolist()
    assert batcher.waiting_texts == 0
    assert len(batcher._line) == 0
    await batcher.close()


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"texts": ["a"] * 20}, 200, None),
        ({"texts": ["a"] * 21}, 422, "too_many_texts"),
        ({"text": "a" * 500}, 200, None),
        ({"text": "a" * 501}, 422, "invalid_text"),
        ({"texts": ["a" * 500] * 19 + ["a" * 501]}, 422, "invalid_text"),
        ({"text": "a", "metadata": {"note": "a" * 5_000}}, 400, "malformed_body"),
        ({"text": "a", "metadata": {"a" * 201: 1}}, 400, "malformed_body"),
        ({"text": "a", "top_k": 10_001}, 400, "malformed_body"),
    ],
)
async def test_what_is_beyond_a_limit_is_refused(
    service: Service, body: dict[str, object], status: int, code: str | None
) -> None:
    answer = await service.post("/v1/predict", body)
    assert answer.status_code == status
    if code is not None:
        assert ErrorAnswer.model_validate_json(answer.content).code == code


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/corrections", "/hf", "/predict", "/v2/models/hone/infer", "/v1/rollback"])
async def test_a_body_beyond_the_limit_is_refused_on_every_route(service: Service, settings: Settings, path: str) -> None:
    body = json.dumps({"text": "a" * settings.max_body_bytes}).encode()
    for headers in ({}, {"transfer-encoding": "chunked"}):

        async def pieces() -> object:
            for start in range(0, len(body), 4_096):
                yield body[start : start + 4_096]

        content = pieces() if headers else body
        answer = await service.http.post(path, content=content, headers={"content-type": "application/json"})  # type: ignore[arg-type]
        assert answer.status_code == 413, headers


async def test_a_small_bomb_is_not_unpacked(service: Service) -> None:
    for encoding in ("gzip", "deflate", "br", "zstd"):
        answer = await service.http.post(
            "/v1/predict", content=b"\x1f\x8b", headers={"content-type": "application/json", "content-encoding": encoding}
        )
        assert answer.status_code == 415


async def test_the_limit_of_tokens_is_the_setting(start: Start) -> None:
    async with start(changed={"max_request_tokens": 7}) as service:
        assert service.parts.batcher._max_request_tokens == 7


async def test_windows_count_to_the_request() -> None:
    job = Job(FakeEngine(), ["long"], asyncio.get_running_loop().create_future(), max_tokens=10)
    window = Prepared(list(range(6)), None, truncated=False)
    with pytest.raises(TooManyTokens):
        job.line_up(0, Prepared(list(range(6)), None, truncated=False, rest=(window,)))
    assert (job.tokens, job.waiting, job.unstarted) == (0, [], 1)
