"""How a browser is to take a page of :mod:`core.pages`: nothing in it runs, and nothing frames it."""

from __future__ import annotations

from core.pages import POLICY

HEADERS = {
    "content-security-policy": f"{POLICY}; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}
