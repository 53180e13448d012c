"""`hone train --workers` as far as the command line goes; what workers do is tested where it is done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from core.settings import Settings
from tests.deploy.conftest import RunHone
from train import teach
from train.request import Workers


@pytest.fixture
def rays(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Give what was wanted of Ray, which is not started."""
    asked: list[bool] = []

    @contextmanager
    def at_hand(_: Settings, *, wanted: bool) -> Iterator[None]:
        asked.append(wanted)
        yield

    monkeypatch.setattr("deploy.stack.cluster.ray_at_hand", at_hand)
    return asked


def test_workers_are_asked_for_where_an_encoder_is_trained(
    hone: RunHone, rays: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Workers | None] = []

    class Enough(Exception):
        """Nothing more is to happen."""

    def stop(settings: Settings, *_: object) -> None:
        asked.append(Workers.of(settings))
        raise Enough

    monkeypatch.setattr(teach, "teach", stop)
    for arguments in (["--speed", "full", "--workers", "3"], ["--workers", "3"], ["--speed", "full"]):
        assert isinstance(hone("train", *arguments).exception, Enough)
    assert rays == [True, False, False]
    assert [None if workers is None else workers.count for workers in asked] == [3, 3, None]
