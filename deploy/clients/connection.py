"""Where the service is and how it is spoken to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from core.settings import Settings
from deploy.clients.retrying import Retries

DEFAULT_URL = "http://127.0.0.1:8321"
# To find out whether anything is there, and how a run fares.
LOOK_TIMEOUT_S = 2.0
LOOK_EVERY_S = 0.3
_SPARE_S = 5.0


@dataclass(frozen=True)
class Connection:
    """What a client needs to know; the limits are the service's own defaults.

    ``timeout_s`` bounds each attempt. ``trust_env`` lets the machine's proxy settings count. ``request_max_texts`` and
    ``request_max_bytes`` are how much of many texts goes into one request.
    """

    url: str = DEFAULT_URL
    api_key: str = field(default="", repr=False)
    timeout_s: float = 35.0
    retries: Retries = field(default_factory=Retries)
    trust_env: bool = True
    request_max_texts: int = 1_000
    request_max_bytes: int = 2_000_000

    @classmethod
    def of(cls, settings: Settings) -> Connection:
        """Return how the stack of these settings is reached from this machine."""
        return cls(
            url=settings.url,
            api_key=settings.api_key,
            timeout_s=settings.request_timeout_s + _SPARE_S,
            # The machine's proxies are not for its own loopback.
            trust_env=False,
            request_max_texts=settings.max_texts,
            request_max_bytes=settings.max_body_bytes,
        )

    def http_options(self) -> dict[str, Any]:
        """Return what both kinds of ``httpx`` client are made with."""
        headers = {"user-agent": "hone-python"}
        if self.api_key:
            headers["authorization"] = f"Bearer {self.api_key}"
        return {"base_url": self.url, "headers": headers, "timeout": self.timeout_s, "trust_env": self.trust_env}
