"""The version a new home begins with."""

from __future__ import annotations

from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from core.settings import Settings
from deploy.stack import first
from train.teach import DEFAULT_REQUEST


def test_the_first_version_is_fine_tuned_on_the_sample_within_a_newcomers_patience(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(first, "_queue", SimpleQueue())
    monkeypatch.setattr("train.teach.teach", lambda _, request, __: asked.append(request))
    first._teach(Settings.model_validate({"HONE_HOME": tmp_path}))
    assert asked == [DEFAULT_REQUEST]
    assert (DEFAULT_REQUEST.speed, DEFAULT_REQUEST.data) == ("full", None)
    assert 0 < DEFAULT_REQUEST.finetune.budget_s <= 30
