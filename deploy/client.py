"""The running service, as the command line speaks to it."""

from __future__ import annotations

from core.settings import Settings
from deploy.clients import Client, Connection


class ServiceClient(Client):
    """Speaks to the service of these settings, with their API key and past the machine's proxies."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(Connection.of(settings))
