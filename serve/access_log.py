"""The access log: one JSON line for each request, or for a share of them; never a text, never a path, never a key's secret."""

from __future__ import annotations

import logging
import threading
import zlib
from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

import orjson
from starlette.types import Scope

from core.bounded_file import BoundedFile
from serve.facts import Facts

_WRITE_EVERY_S = 0.2
# A disk that hangs costs lines, and no request anything.
_MOST_WAITING = 10_000
# How clients name themselves, by how the name begins.
_CLIENTS = (
    (b"hone-python", "hone"),
    (b"hf_hub", "huggingface_hub"),
    (b"huggingface", "huggingface_hub"),
    (b"Prometheus", "prometheus"),
    (b"kube-probe", "probe"),
    (b"curl", "curl"),
    (b"Mozilla", "browser"),
    (b"python", "python"),
    (b"Python", "python"),
)

_logger = logging.getLogger("hone.serve")


class AccessLog:
    """Writes lines of requests to ``path``, on a thread of its own.

    ``ratio`` is the share of requests that are logged, chosen by their ids, so that one request is logged wherever it comes by
    or nowhere. Those that end in a server error always are.
    """

    def __init__(self, path: Path, *, ratio: float, max_bytes: int, replica_id: str) -> None:
        self._file = BoundedFile(path, max_bytes)
        self._limit = ratio * 2**32
        self._replica_id = replica_id
        self._waiting: deque[bytes] = deque()
        self._dropped = 0
        self._failing = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="hone-access-log", daemon=True)
        self._thread.start()

    def note(self, scope: Scope, route: str, status: int, facts: Facts) -> None:
        """Log one request that has ended, if it is one of those that are."""
        request_id: str = scope["hone.request_id"]
        if status < 500 and zlib.crc32(request_id.encode()) >= self._limit:
            return
        if len(self._waiting) >= _MOST_WAITING:
            self._dropped += 1
            return
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "request_id": request_id,
            "replica": self._replica_id,
            "method": scope["method"] if scope["method"].isalpha() and len(scope["method"]) < 10 else "other",
            "route": route,
            "status": status,
            "duration_s": round(perf_counter() - scope["hone.started"], 6),
            "key": scope.get("hone.actor"),
            "client": client_of(scope["headers"]),
            "texts": facts.texts,
            "version": facts.version or None,
            "source": facts.source or None,
            "code": scope.get("hone.code"),
        }
        self._waiting.append(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))

    def close(self) -> None:
        """Write what waits, and end. Safe to call twice."""
        self._ended.set()
        self._thread.join(timeout=5.0)

    def _work(self) -> None:
        while not self._ended.wait(_WRITE_EVERY_S):
            self._write()
        self._write()
        self._file.close()

    def _write(self) -> None:
        lines = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if self._dropped:
            lines.append(orjson.dumps({"dropped": self._dropped}, option=orjson.OPT_APPEND_NEWLINE))
            self._dropped = 0
        if not lines:
            return
        try:
            self._file.append(b"".join(lines))
            self._failing = False
        except OSError as error:
            if not self._failing:
                _logger.warning("the access log cannot be written", extra={"reason": error.strerror, "lines": len(lines)})
            self._failing = True


def client_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return which kind of client sent these headers; what it says of itself beyond that is its own matter.

    >>> client_of([(b"user-agent", b"curl/8.5 Great phone")]), client_of([])
    ('curl', 'none')
    """
    for name, value in headers:
        if name == b"user-agent":
            return next((kind for start, kind in _CLIENTS if value.startswith(start)), "other")
    return "none"
