"""A whole replica without Ray: real bundle, real store, real application, spoken to through ASGI."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from core.settings import Settings
from feedback.store import Store
from serve.app import build_app
from serve.lifecycle import running
from serve.parts import Parts, assemble
from tests.bundles import register_ngram_bundle
from tests.serve.fakes import until


@dataclass(frozen=True)
class Service:
    """A running replica and a client that speaks to it."""

    parts: Parts
    http: httpx.AsyncClient

    def value(self, name: str, **labels: str) -> float | None:
        """Return the present value of a metric's sample."""
        return self.parts.metrics.registry.get_sample_value(name, labels)

    async def post(self, path: str, body: object, **headers: str) -> httpx.Response:
        """Send ``body`` as JSON; underscores in the names of ``headers`` stand for dashes."""
        return await self.http.post(path, json=body, headers={name.replace("_", "-"): text for name, text in headers.items()})

    async def serves(self, version: str) -> None:
        """Return when ``version`` answers."""

        def current() -> bool:
            loaded = self.parts.slot.current
            return loaded is not None and loaded.version == version

        await until(current)


Start = Callable[..., AbstractAsyncContextManager[Service]]


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a store that was made once, because making one takes longer than most tests."""
    path = tmp_path_factory.mktemp("store") / "feedback.db"
    Store.open(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def settings(tmp_path: Path, empty_store: Path) -> Settings:
    """Give settings with a state folder of this test's own, and limits small enough to reach."""
    made = Settings.model_validate(
        {"HONE_HOME": tmp_path / "home", "swap_poll_s": 0.02, "max_texts": 20, "max_text_chars": 500, "max_body_bytes": 20_000}
    )
    made.home.prepare()
    shutil.copy(empty_store, made.home.store)
    return made


@pytest.fixture
def start(settings: Settings) -> Start:
    """Give a way to start a replica, on other settings too, with ``versions`` registered and the last one champion."""

    @asynccontextmanager
    async def starting(*, versions: int = 1, changed: dict[str, object] | None = None) -> AsyncIterator[Service]:
        own = settings.model_copy(update=changed or {})
        parts = assemble(own, None, "replica-1")
        for seed in range(versions):
            parts.registry.promote(register_ngram_bundle(parts.registry, seed=seed), by="test", why="a fixture")
        transport = httpx.ASGITransport(build_app(parts))
        async with running(parts), httpx.AsyncClient(transport=transport, base_url="http://hone") as http:
            service = Service(parts, http)
            if versions:
                await service.serves(f"v{versions}")
            yield service

    return starting


@pytest.fixture
async def service(start: Start) -> AsyncIterator[Service]:
    """Give a replica that answers with ``v1``."""
    async with start() as running_service:
        yield running_service
