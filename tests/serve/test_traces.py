"""Traces: a request's way as spans, sent to a real collector over OTLP; nothing of it where it is off."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from core.errors import StackError
from core.settings import Settings
from core.tracing import Tracing
from serve.app import build_app
from serve.request_traces import RequestTraces
from serve.telling import RequestTeller
from tests.collectors import collecting
from tests.serve.conftest import Service, Start

_ROOT = Path(__file__).parents[2]
_SECRET = "mein Befund 秘密"
_TRACE, _PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
_IMPORTS = """
import sys
from serve.app import build_app
from serve.parts import assemble
# Ray brings the interface along, which does nothing by itself.
print(sorted(name for name in sys.modules if name.startswith(("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp"))))
"""


async def test_a_collector_receives_the_way_of_a_request(start: Start) -> None:
    with collecting() as collector:
        async with start(changed={"traces_url": collector.url}) as service:
            headers = {"traceparent": f"00-{_TRACE}-{_PARENT}-01", "x_request_id": "r-7"}
            answer = await service.post("/v1/predict", {"texts": [_SECRET, "positive"]}, **headers)
            assert answer.status_code == 200
            assert (await service.post("/v1/predict", {"text": ""})).status_code == 422
    resource = collector.received[0].resource_spans[0].resource
    names = {item.key: item.value.string_value for item in resource.attributes}
    assert (names["service.name"], names["service.instance.id"]) == ("hone", "replica-1")
    spans = collector.spans()
    whole = next(span for span in spans if span.parent_span_id.hex() == _PARENT)
    assert (whole.name, whole.trace_id.hex()) == ("POST /v1/predict", _TRACE)
    told = {item.key: item.value for item in whole.attributes}
    assert (told["hone.version"].string_value, told["hone.texts"].int_value) == ("v1", 2)
    assert (told["http.response.status_code"].int_value, told["hone.request_id"].string_value) == (200, "r-7")
    below = [span for span in spans if span.parent_span_id == whole.span_id]
    assert {span.name for span in below} == {"queue", "tokenization", "engine"}
    for span in below:
        assert whole.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano <= whole.end_time_unix_nano
    engine = {item.key: item.value for span in below if span.name == "engine" for item in span.attributes}
    assert (engine["hone.batch_texts"].int_value, engine["hone.version"].string_value) == (2, "v1")
    refused = next(span for span in spans if not span.parent_span_id and span.name == "POST /v1/predict")
    assert {item.key: item.value.string_value for item in refused.attributes}["error.type"] == "invalid_text"
    assert refused.trace_id.hex() != _TRACE
    assert not any(word.encode() in request.SerializeToString() for request in collector.received for word in _SECRET.split())


async def _spans(service: Service, ratio: float, headers: dict[str, str]) -> list[ReadableSpan]:
    """Ask once, and return the spans that came of it."""
    exporter = InMemorySpanExporter()
    teller = RequestTeller(None, RequestTraces(Tracing.through(exporter, ratio, "hone")))
    app = build_app(_with(service, teller))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://hone") as http:
        assert (await http.post("/v1/predict", json={"text": "positive"}, headers=headers)).status_code == 200
    teller.close()
    return list(exporter.get_finished_spans())


def _with(service: Service, teller: RequestTeller) -> Any:
    from dataclasses import replace

    return replace(service.parts, teller=teller)


async def test_what_the_caller_decided_counts_and_else_the_ratio(service: Service) -> None:
    kept = {"traceparent": f"00-{_TRACE}-{_PARENT}-01"}
    left = {"traceparent": f"00-{_TRACE}-{_PARENT}-00"}
    assert len(await _spans(service, 0.0, kept)) >= 3
    assert await _spans(service, 1.0, left) == []
    assert await _spans(service, 0.0, {}) == []
    assert len(await _spans(service, 1.0, {"traceparent": "00-nonsense"})) >= 3


async def test_an_explanation_has_a_bounded_number_of_spans(service: Service) -> None:
    exporter = InMemorySpanExporter()
    teller = RequestTeller(None, RequestTraces(Tracing.through(exporter, 1.0, "hone")))
    app = build_app(_with(service, teller))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://hone") as http:
        body = {"text": "this was so very positive that all of us liked it a lot", "explain": True}
        assert (await http.post("/v1/predict", json=body)).status_code == 200
    teller.close()
    spans = exporter.get_finished_spans()
    assert 3 <= len(spans) <= 130
    assert {span.context.trace_id for span in spans if span.context is not None} == {spans[-1].context.trace_id}


async def test_a_collector_that_is_away_costs_requests_nothing(start: Start) -> None:
    async with start(changed={"traces_url": "http://127.0.0.1:9"}) as service:
        assert (await service.post("/v1/predict", {"text": "positive"})).status_code == 200


def test_without_the_extra_it_is_said(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(StackError, match=r"hone\[otel\]"):
        Tracing.of(settings.model_copy(update={"traces_url": "http://localhost:4318"}), "hone")
    assert Tracing.of(settings, "hone") is None


def test_where_traces_are_off_nothing_that_makes_or_sends_them_is_imported() -> None:
    found = subprocess.run([sys.executable, "-c", _IMPORTS], cwd=_ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
