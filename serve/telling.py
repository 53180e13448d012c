"""Telling of requests beyond the metrics: the access log and traces, whichever of the two is switched on."""

from __future__ import annotations

from dataclasses import dataclass, field

from starlette.types import Scope

from serve.access_log import AccessLog
from serve.facts import FACTS, Facts
from serve.request_traces import Begun, RequestTraces


@dataclass(slots=True)
class Told:
    """A request that is being answered."""

    facts: Facts = field(default_factory=Facts)
    span: Begun | None = None


class RequestTeller:
    """Has the parts of one request's way leave facts about it, and tells them when it has ended."""

    def __init__(self, log: AccessLog | None, traces: RequestTraces | None) -> None:
        self._log = log
        self._traces = traces

    def begin(self, scope: Scope) -> Told:
        """Return what :meth:`end` wants back; from here on the request's own work finds :data:`~serve.facts.FACTS`."""
        told = Told()
        if self._traces is not None:
            told.span = self._traces.begin(scope)
            told.facts.stages = [] if told.span.sampled else None
        FACTS.set(told.facts)
        return told

    def end(self, told: Told, scope: Scope, route: str, status: int) -> None:
        """Tell of the request."""
        if self._log is not None:
            self._log.note(scope, route, status, told.facts)
        if self._traces is not None and told.span is not None:
            self._traces.end(told.span, scope, route, status, told.facts)

    def close(self) -> None:
        """Write and send what waits. Safe to call twice."""
        if self._log is not None:
            self._log.close()
        if self._traces is not None:
            self._traces.close()
