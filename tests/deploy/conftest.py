"""A state folder with a tiny model, the command line over it, and a real replica to speak to, without Ray."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn
from typer.testing import CliRunner, Result

from core.registry import Registry
from core.settings import Settings
from deploy.cli import app
from deploy.stack.learner import settings_environment
from serve.app import build_app
from serve.lifecycle import running
from serve.parts import assemble
from tests.bundles import register_ngram_bundle
from tests.ports import free_port

RunHone = Callable[..., Result]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Give settings with a home and a port of this test's own."""
    made = Settings.model_validate({"HONE_HOME": tmp_path / "home", "port": free_port(), "max_texts": 20, "swap_poll_s": 0.05})
    made.home.prepare()
    return made


@pytest.fixture
def registry(settings: Settings) -> Registry:
    """Give a registry whose champion is v1, of the labels negative, neutral and positive."""
    made = Registry(settings.home.registry)
    made.promote(register_ngram_bundle(made), by="test", why="a fixture")
    return made


@pytest.fixture
def hone(settings: Settings) -> RunHone:
    """Give the command line over these settings; it returns exit code, standard output and standard error."""
    # Wide, so that no table cell is wrapped.
    environment = {**settings_environment(settings), "COLUMNS": "200", "TERM": "dumb"}

    def run(*arguments: str, stdin: str | bytes | None = None) -> Result:
        return CliRunner().invoke(app, list(arguments), input=stdin, env=environment)

    return run


@pytest.fixture
def service(settings: Settings, registry: Registry) -> Iterator[Settings]:
    """Give a replica that answers on this test's port."""
    with serving(settings) as served:
        yield served


@contextmanager
def serving(settings: Settings) -> Iterator[Settings]:
    """Run a replica of these settings in a thread, answering on their port."""
    ended = threading.Event()
    answering = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_serve(settings, answering, ended)))
    thread.start()
    try:
        assert answering.wait(30)
        yield settings
    finally:
        ended.set()
        thread.join()


async def _serve(settings: Settings, answering: threading.Event, ended: threading.Event) -> None:
    parts = assemble(settings, None, "replica-1")
    server = uvicorn.Server(uvicorn.Config(build_app(parts), port=settings.port, lifespan="off", log_level="error"))
    async with running(parts):
        task = asyncio.create_task(server.serve())
        while not server.started or parts.slot.current is None:  # noqa: ASYNC110 - neither has an event
            await asyncio.sleep(0.01)
        answering.set()
        await asyncio.to_thread(ended.wait)
        server.should_exit = True
        await task
