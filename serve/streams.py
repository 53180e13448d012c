"""Which routes work on a body while it arrives, or write an answer while they make it, so that both may be of any length."""

from __future__ import annotations

BULK_PATH = "/v1/corrections/bulk"
EXPORT_PATH = "/v1/corrections/export"
STREAMED_PATHS = frozenset({BULK_PATH, EXPORT_PATH})
