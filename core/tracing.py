"""Traces, where they are switched on: OpenTelemetry's own SDK sends spans by OTLP over HTTP, in the background.

Nothing that makes or sends spans is imported where ``HONE_TRACES_URL`` is empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from core.errors import StackError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Tracer

    from core.settings import Settings

_PATH = "/v1/traces"


@dataclass(frozen=True)
class Tracing:
    """One process's tracer; :meth:`close` sends what waits."""

    tracer: Tracer
    _provider: TracerProvider

    @classmethod
    def of(cls, settings: Settings, service: str, instance: str = "") -> Tracing | None:
        """Return what traces the part of Hone called ``service``, None where traces are off.

        Raises:
            StackError: they are on, and the extra ``otel`` is not installed.
        """
        if not settings.traces_url:
            return None
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        except ImportError:
            raise StackError("HONE_TRACES_URL takes OpenTelemetry: pip install 'hone[otel]', or leave it empty") from None
        url = settings.traces_url.rstrip("/")
        exporter = OTLPSpanExporter(url if url.endswith(_PATH) else f"{url}{_PATH}")
        return cls.through(exporter, settings.traces_ratio, service, instance)

    @classmethod
    def through(cls, exporter: SpanExporter, ratio: float, service: str, instance: str = "") -> Tracing:
        """Return what gives ``ratio`` of the traces that begin here, and all that a caller began and keeps, to ``exporter``."""
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

        told = {"service.name": service, "service.version": _release(), "service.instance.id": instance}
        resource = Resource.create({name: value for name, value in told.items() if value})
        # Its own, and not the process's global one: Ray and others may have theirs.
        provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(ratio)), resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(exporter))
        return cls(provider.get_tracer("hone"), provider)

    def close(self) -> None:
        """Send what waits, and end. Safe to call twice."""
        self._provider.shutdown()


def _release() -> str:
    try:
        return version("hone")
    except PackageNotFoundError:
        return ""
