"""A replica behind a socket, for the real client packages."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import httpx
import pytest

from core.settings import Settings
from feedback.store import Store
from serve.parts import Parts, assemble
from tests.bundles import register_ngram_bundle
from tests.serve.servers import listening


@dataclass(frozen=True)
class Listening:
    """A replica that listens at ``url``; ``http`` speaks to it, ``store`` is what it writes to."""

    url: str
    http: httpx.Client
    parts: Parts
    store: Store

    def value(self, name: str, **labels: str) -> float | None:
        """Return the present value of a metric's sample."""
        return self.parts.metrics.registry.get_sample_value(name, labels)


Listen = Callable[..., AbstractContextManager[Listening]]


@pytest.fixture
def listen(settings: Settings) -> Listen:
    """Give a way to start a replica of this test's own; what is named is changed in the settings, ``versions`` may be 0."""

    def starting(*, versions: int = 1, **changed: object) -> AbstractContextManager[Listening]:
        return _listening(settings.model_copy(update=changed), versions)

    return starting


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    """Give a replica that answers with v1, of the labels negative, neutral and positive; a module's tests share it."""
    home = tmp_path_factory.mktemp("home")
    limits = {"max_texts": 20, "max_text_chars": 500, "max_body_bytes": 20_000, "swap_poll_s": 0.05}
    with _listening(Settings.model_validate({"HONE_HOME": home, **limits}), 1) as found:
        yield found


@contextmanager
def _listening(settings: Settings, versions: int) -> Iterator[Listening]:
    settings.home.prepare()
    store = Store.open(settings.sqlalchemy_url)
    parts = assemble(settings, None, "replica-1")
    for seed in range(versions):
        parts.registry.promote(register_ngram_bundle(parts.registry, seed=seed), by="test", why="a fixture")
    with listening(parts) as url, httpx.Client(base_url=url, trust_env=False) as http:
        while versions and http.get("/readyz").status_code != 200:
            time.sleep(0.01)
        yield Listening(url, http, parts, store)
    store.close()
