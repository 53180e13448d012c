"""A trace of a request: a span for all of it, and below that one for its wait, each turn of the tokenizer, each batch."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter, time_ns
from typing import TYPE_CHECKING

from starlette.types import Scope

from core.tracing import Tracing
from serve.facts import MOST_STAGES, Facts, Stage

if TYPE_CHECKING:
    from opentelemetry.trace import Span


@dataclass(frozen=True, slots=True)
class Begun:
    """A request's span; ``clock_ns`` added to ``perf_counter`` in nanoseconds is the time of day."""

    span: Span
    sampled: bool
    clock_ns: int


class RequestTraces:
    """Makes the spans. Only routes, versions, counts and times are told, no text and no path."""

    def __init__(self, tracing: Tracing) -> None:
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._tracing = tracing
        self._server = SpanKind.SERVER
        self._failed = Status(StatusCode.ERROR)
        self._below = set_span_in_context
        self._extract = TraceContextTextMapPropagator().extract

    def begin(self, scope: Scope) -> Begun:
        """Begin the span of a request; it goes on with the trace its ``traceparent`` names, if it names one."""
        given = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in scope["headers"]
            if name in (b"traceparent", b"tracestate")
        }
        clock_ns = time_ns() - int(perf_counter() * 1e9)
        start_ns = int(scope["hone.started"] * 1e9) + clock_ns
        # Named once it is known which route it takes.
        span = self._tracing.tracer.start_span("request", self._extract(given), self._server, start_time=start_ns)
        return Begun(span, span.is_recording(), clock_ns)

    def end(self, begun: Begun, scope: Scope, route: str, status: int, facts: Facts) -> None:
        """End the span, with one for each stage below it."""
        span = begun.span
        if not begun.sampled:
            return
        span.update_name(f"{scope['method']} {route}")
        span.set_attributes(
            {
                "http.request.method": scope["method"],
                "http.route": route,
                "http.response.status_code": status,
                "hone.request_id": scope["hone.request_id"],
            }
        )
        if facts.version:
            span.set_attributes({"hone.version": facts.version, "hone.source": facts.source, "hone.texts": facts.texts})
        if "hone.code" in scope:
            span.set_attribute("error.type", scope["hone.code"])
        if status >= 500:
            span.set_status(self._failed)
        self._tell_stages(begun, facts)
        span.end()

    def close(self) -> None:
        """Send what waits. Safe to call twice."""
        self._tracing.close()

    def _tell_stages(self, begun: Begun, facts: Facts) -> None:
        stages = sorted(facts.stages or (), key=lambda stage: stage.started_s)[:MOST_STAGES]
        context = self._below(begun.span)
        for name, start_s, end_s, texts in _with_waits(stages, facts.arrived_s):
            child = self._tracing.tracer.start_span(name, context, start_time=int(start_s * 1e9) + begun.clock_ns)
            if texts:
                child.set_attribute("hone.batch_texts", texts)
                child.set_attribute("hone.version", facts.version)
            child.end(int(end_s * 1e9) + begun.clock_ns)


def _with_waits(stages: list[Stage], arrived_s: float) -> list[tuple[str, float, float, int]]:
    """Return the stages with what lies between them as ``queue``: name, start, end, and texts."""
    told: list[tuple[str, float, float, int]] = []
    busy_until_s = arrived_s
    for stage in stages:
        if stage.started_s > busy_until_s:
            told.append(("queue", busy_until_s, stage.started_s, 0))
        told.append((stage.name, stage.started_s, stage.ended_s, stage.texts))
        busy_until_s = max(busy_until_s, stage.ended_s)
    return told
