"""What weights of labels are judged by: rows that no head learned."""

from __future__ import annotations

from pathlib import Path

from core.settings import Settings
from deploy.simulate.stream import Row, Step, Stream
from load_tests.correction_weight import WAYS, measure


def _rows(start: int, count: int) -> tuple[Row, ...]:
    """Return texts of two labels; one in five of either is called by the other's name."""
    words = (("good fine nice", "positive"), ("bad poor worn", "negative"))
    return tuple(
        Row(f"{words[number % 2][0]} number {number}", words[(number + (number % 5 == 0)) % 2][1])
        for number in range(start, start + count)
    )


def test_each_way_is_judged_on_rows_that_it_did_not_learn(tmp_path: Path) -> None:
    settings = Settings.model_validate({"HONE_HOME": tmp_path})
    settings.home.prepare()
    steps = tuple(Step(str(place), _rows(100 + 60 * place, 60)) for place in range(3))
    found = list(measure("toy", Stream("toy", _rows(0, 60), steps), 1.0, settings))
    assert [(item.steps, item.way) for item in found] == [(steps, way) for steps in (1, 2) for way in WAYS]
    for item in found:
        assert item.learned_rows + item.seen_rows == 60 * item.steps
        assert 0 < item.seen_rows < item.learned_rows
        assert item.next_rows == 60
        assert 0 < item.errors < item.learned_rows
        assert 0.5 < item.next < 1.0
