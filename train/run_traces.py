"""A trace of a run: a span for all of it, and below that one for each part of the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from core.schemas import RunAnswer
from core.tracing import Tracing

TellRun = Callable[[RunAnswer, Mapping[str, float]], None]
"""Takes a run that has ended, and the seconds of its parts in their order."""


def untold(_run: RunAnswer, _seconds: Mapping[str, float]) -> None:
    """Tell nobody: traces are off."""


def tell_run(tracing: Tracing, run: RunAnswer, seconds: Mapping[str, float]) -> None:
    """Send the spans of ``run``, which has ended; its parts followed each other from its start on."""
    from opentelemetry.trace import Status, StatusCode, set_span_in_context

    if run.started_at is None or run.ended_at is None:
        return
    told = {
        "hone.run_id": run.run_id,
        "hone.speed": run.speed,
        "hone.trigger": run.trigger,
        "hone.state": run.state,
        "hone.version": run.version or "",
    }
    start_ns = _ns(run.started_at)
    span = tracing.tracer.start_span(f"run {run.speed}", start_time=start_ns, attributes=told)
    if run.state == "failed":
        span.set_status(Status(StatusCode.ERROR))
    context = set_span_in_context(span)
    for name, took_s in seconds.items():
        part = tracing.tracer.start_span(name, context, start_time=start_ns)
        start_ns += int(took_s * 1e9)
        part.end(start_ns)
    span.end(max(start_ns, _ns(run.ended_at)))


def _ns(moment: datetime) -> int:
    return int(moment.timestamp() * 1e9)
