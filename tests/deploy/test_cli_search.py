"""`hone search` as far as the command line goes; what it does is tested where it is done."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.settings import Settings
from tests.deploy.conftest import RunHone
from tests.train.toys import toy_rows, write_csv
from train import search
from train.progress import Progress, Report
from train.search import Bought, SearchReport, TrialReport
from train.search_book import SearchBook, unfinished
from train.uncertainty import Interval


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


def _report(book: SearchBook) -> SearchReport:
    trials = [
        TrialReport(number=0, changes={}, state="done", epochs=3, log_loss=0.5, accuracy=0.8, spent_s=9.0),
        TrialReport(
            number=1, changes={"epochs": 5}, state="done", epochs=5, log_loss=0.25, accuracy=0.9, spent_s=15.0, best=True
        ),
        TrialReport(
            number=2, changes={"epochs": 2}, state="pruned", epochs=1, log_loss=0.9, accuracy=0.5, spent_s=3.0, why="behind"
        ),
    ]
    gain = Interval(value=0.02, low=0.005, high=0.035)
    gained = Bought(rows=200, accuracy=0.9, compared_accuracy=0.88, better=5, worse=1, gain=gain, p_value=0.1)
    return SearchReport(
        id=book.plan.id,
        source=book.plan.source,
        compared_with=str(book.plan.request.finetune),
        best="balanced epochs=5",
        trials=trials,
        validation_rows=60,
        bought=gained,
        registered="v2",
    )


def test_a_search_is_begun_shown_and_gone_on_with(
    hone: RunHone, settings: Settings, tmp_path: Path, rays: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    carried: list[SearchBook] = []

    def carry_out(_: Settings, book: SearchBook, progress: Report, *, register: bool, promote: bool) -> SearchReport:
        assert (register, promote) == (True, False)
        progress(Progress("1 of 3 trials over", 0.3))
        carried.append(book)
        return _report(book)

    monkeypatch.setattr(search, "carry_out", carry_out)
    data = write_csv(tmp_path / "toy.csv", toy_rows())
    result = hone("search", "--data", str(data), "--trials", "3", "--over", "epochs=2:5", "--preset", "fast", "--seconds", "60")
    assert result.exit_code == 0, result.output
    plan = carried[0].plan
    assert (len(plan.trials), plan.seconds, plan.request.finetune.epochs) == (3, 60.0, 1)
    assert all(set(changes) == {"epochs"} for changes in plan.trials[1:])
    assert rays == [True]
    for said in ("trial", "epochs", "best", "trial 2, pruned: behind", "60 validation rows", "+2.00 points", "+0.50 to +3.50"):
        assert said in result.stdout
    assert f"hone search --resume {plan.id}" in result.stderr
    again = hone("search", "--resume", plan.id, "--seconds", "0", "--json")
    assert json.loads(again.stdout)["registered"] == "v2"
    assert carried[1].plan == plan.model_copy(update={"seconds": 0.0})
    assert unfinished(settings.home) == [plan.id]


def test_what_cannot_be_searched_is_one_sentence(hone: RunHone, tmp_path: Path, rays: list[bool]) -> None:
    data = write_csv(tmp_path / "toy.csv", toy_rows())
    for arguments, said in (
        (["--resume", "s_none"], "there are: none"),
        (["--data", str(data), "--over", "warmth=1:2"], "warmth"),
        (["--data", str(data), "--over", "epochs"], "nothing to search"),
    ):
        result = hone("search", *arguments)
        assert result.exit_code == 1, result.output
        assert said in result.stderr
    assert not rays, "Ray is not started for what is refused"
