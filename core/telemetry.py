"""Logging: one JSON object per line, so that machines read it; a user's text is never part of one."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from pathlib import Path

from core.bounded_file import BoundedFile

MAX_BYTES = 50_000_000

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """Formats a record as one JSON line; what was passed as ``extra`` becomes fields."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        # Libraries that change what a record is (Ray does) mark their own fields with an underscore.
        named = {name: value for name, value in vars(record).items() if not name.startswith("_")}
        fields |= {name: value for name, value in named.items() if name not in _STANDARD}
        if record.exc_info and record.exc_info[0] is not None:
            # Only where it broke: an exception's message can quote the input that caused it.
            fields["exception"] = record.exc_info[0].__name__
            trace = record.exc_info[2]
            frames = []
            while trace is not None:
                frames.append(f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}")
                trace = trace.tb_next
            fields["frames"] = frames[-8:]
        return json.dumps(fields, ensure_ascii=False, default=_name_or_text)


def _name_or_text(value: object) -> str:
    return type(value).__name__ if isinstance(value, BaseException) else str(value)


class _BoundedLog(logging.Handler):
    """Writes records to a file that other processes write to as well."""

    def __init__(self, file: BoundedFile) -> None:
        super().__init__()
        self._file = file

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._file.append(f"{self.format(record)}\n".encode("utf-8", "backslashreplace"))
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        self._file.close()
        super().close()


def configure_logging(level: str, path: Path | None = None, *, max_bytes: int = MAX_BYTES) -> None:
    """Send the ``hone`` loggers to ``path``, or to standard error; a file of ``max_bytes`` is put aside."""
    handler: logging.Handler = _BoundedLog(BoundedFile(path, max_bytes)) if path else logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("hone")
    logger.handlers[:] = [handler]
    logger.setLevel(level)
    logger.propagate = False
