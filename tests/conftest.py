"""What holds for every test of every room."""

from __future__ import annotations

import pytest

from core import encoder


@pytest.fixture(autouse=True)
def no_encoder_from_before() -> None:
    """Let no test find an encoder in memory that another test has loaded: what is held need not be read again."""
    with encoder._sessions_lock:
        encoder._sessions.clear()
