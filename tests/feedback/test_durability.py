"""What was acknowledged is there, once, after processes were killed; the long series is ``python -m load_tests.kills``."""

from __future__ import annotations

from pathlib import Path

import pytest

from load_tests.kills import kill_series

_ROUNDS = 5


@pytest.mark.integration
def test_acknowledged_corrections_survive_kill_9(store_url: str, tmp_path: Path) -> None:
    tally = kill_series(store_url, tmp_path / "spool", _ROUNDS, seed=7)
    assert tally.acknowledged >= _ROUNDS
    assert tally.clean, tally
