"""A search tries settings on validation rows, gives up what falls behind, survives a kill, and says what it bought."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DataError, InputError, UnknownRun
from core.finetuning import FinetuneSettings
from core.registry import Registry
from core.settings import Settings
from tests.train.toys import Row, toy_rows, write_csv
from train.progress import Epoch, Progress
from train.pruning import falls_behind
from train.request import FitRequest
from train.search import SearchRequest, begin_search, bought, carry_out
from train.search_book import SearchBook, SearchPlan, TrialLine, unfinished
from train.search_space import USUAL, Dimension, changed, draw
from train.teach import TeachRequest

_TUNING = FinetuneSettings(epochs=4, learning_rate=1e-3, batch_texts=32, precision="fp32", patience_epochs=9)


@pytest.mark.parametrize(
    ("text", "share", "value"),
    [
        ("learning_rate=1e-5:1e-3", 0.5, 1e-4),
        ("weight_decay=0:0.1", 0.5, 0.05),
        ("epochs=2:8", 0.999, 8),
        ("epochs=2:8", 0.0, 2),
        ("schedule=linear,cosine", 0.6, "cosine"),
        ("dropout=null,0.1", 0.1, None),
        ("epochs=2,5", 0.9, 5),
    ],
)
def test_a_setting_is_drawn_as_it_is_written(text: str, share: float, value: object) -> None:
    assert Dimension.parse(text).at(share) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "epochs", "epochs=", "epochs=3", "=1:2", "epochs=8:2", "epochs=a:b", "epochs=1:2:3"])
def test_what_is_no_setting_to_search_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="nothing to search"):
        Dimension.parse(text)


@given(trials=st.integers(2, 12), seed=st.integers(0, 99))
def test_every_part_of_a_range_is_tried_once(trials: int, seed: int) -> None:
    drawn = draw([Dimension.parse("warmup_ratio=0:0.9"), Dimension.parse("epochs=2:8")], trials, seed)
    assert drawn[0] == {}
    assert len(drawn) == trials
    parts = sorted(int(float(str(changes["warmup_ratio"])) / 0.9 * (trials - 1) + 1e-3) for changes in drawn[1:])
    assert all(abs(part - place) <= 1 for place, part in enumerate(parts))
    assert drawn == draw([Dimension.parse("warmup_ratio=0:0.9"), Dimension.parse("epochs=2:8")], trials, seed)


def test_the_usual_settings_are_settings() -> None:
    for changes in draw([Dimension.parse(text) for text in USUAL], 30, 0):
        changed(_TUNING, changes)


def test_what_a_search_bought_is_told_of_paired_rows() -> None:
    right = np.array([True] * 90 + [False] * 10)
    before = np.array([True] * 80 + [False] * 20)
    found = bought(right, before)
    assert (found.better, found.worse, found.rows) == (10, 0, 100)
    assert found.gain.low < found.gain.value == 0.1 < found.gain.high
    assert found.gain.low > 0
    assert found.p_value == pytest.approx(0.5**10)
    assert bought(right, right).gain.low < 0 < bought(right, right).gain.high


def _plan(trials: int = 2) -> SearchPlan:
    request = FitRequest("full", finetune=_TUNING)
    changes = [{"epochs": number} if number else {} for number in range(trials)]
    return SearchPlan(id="s_1", request=request, trials=changes, snapshot="a", dataset="b", source="c", seconds=0, parallel=1)


def test_a_record_survives_a_line_that_was_cut_short(settings: Settings) -> None:
    book = SearchBook.begin(settings.home, _plan())
    trial = book.trials[1]
    for number, kept in ((1, True), (2, False)):
        epoch = Epoch(number, number / 2, kept=kept, log_loss=1.0 / number, accuracy=0.5)
        trial.add(TrialLine(epoch=epoch, spent_s=1.5))
    with (book.folder / "trial-1.jsonl").open("a") as file:
        file.write('{"epoch": {"num')
    again = SearchBook.find(settings.home, "s_1")
    assert again.plan == book.plan
    assert [epoch.number for epoch in again.trials[1].epochs] == [1, 2]
    assert again.trials[1].spent_s == 3.0
    assert again.trials[1].kept is not None
    assert again.trials[1].kept.log_loss == 1.0, "what counts is what the kept weights say"
    assert again.best() is None, "nothing was trained to its end"
    trial.add(TrialLine(ending="done"))
    assert again.best() is again.trials[1]
    with pytest.raises(UnknownRun, match="s_1"):
        SearchBook.find(settings.home, "s_2")
    (book.folder / "search.json").write_text("{")
    with pytest.raises(DataError, match="begin another"):
        SearchBook.find(settings.home, "s_1")


def _recorded(book: SearchBook, number: int, losses: list[float], epochs: int = 4) -> str | None:
    """Write the epochs of a trial, all of them kept, and return why it is given up after the last."""
    trial = book.trials[number]
    for place, loss in enumerate(losses, 1):
        trial.add(TrialLine(epoch=Epoch(place, place / epochs, kept=True, log_loss=loss, accuracy=0.5)))
    return falls_behind(book, trial)


def test_who_is_behind_the_better_half_at_the_same_share_is_given_up(settings: Settings) -> None:
    book = SearchBook.begin(settings.home, _plan(7))
    assert _recorded(book, 0, [0.9, 0.5, 0.4, 0.3]) is None
    assert _recorded(book, 1, [2.0]) is None, "nobody is compared after a quarter"
    assert _recorded(book, 2, [0.9, 0.4]) is None, "better than the one there was"
    assert _recorded(book, 3, [0.9, 0.45]) is None, "in the middle, with those that are better"
    assert _recorded(book, 4, [0.1, 0.46]) == "behind 2 of 3 trials after 50% of its training"
    assert _recorded(book, 5, [0.9, 0.45, 0.39]) is None, "at the second look it is compared with who came so far"
    assert _recorded(book, 6, [0.9, math.nan]) is not None, "no number is behind any"
    assert _recorded(book, 0, [9.0, 9.0]) is None, "what the others are compared with always goes on"
    # Whoever has read the rows more often in the same share of its training is compared as it stands there.
    assert SearchBook.find(settings.home, "s_1").trials[2].loss_at(0.5) == 0.4


def test_a_loss_that_a_later_epoch_made_worse_does_not_count(settings: Settings) -> None:
    book = SearchBook.begin(settings.home, _plan())
    for number, kept in ((1, True), (2, False)):
        book.trials[1].add(TrialLine(epoch=Epoch(number, number / 4, kept=kept, log_loss=float(number), accuracy=0.5)))
    assert book.trials[1].loss_at(0.5) == 1.0
    assert book.trials[1].loss_at(0.6) is None, "it has not come so far"


def test_what_cannot_be_searched_is_refused_before_anything_is_trained(settings: Settings, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "toy.csv", toy_rows())
    with pytest.raises(InputError, match="warmth"):
        begin_search(settings, SearchRequest(TeachRequest(data=data), space=("warmth=0:1",)))
    with pytest.raises(InputError, match="epochs"):
        begin_search(settings, SearchRequest(TeachRequest(data=data), space=("epochs=-5,-3",)))
    # Rows of a label that is never taught are dropped, and these are all there were to choose by.
    rows = [Row(row.text, "unseen" if row.split == "validation" else row.label, row.split) for row in toy_rows()]
    with pytest.raises(DataError, match="no validation rows"):
        begin_search(settings, SearchRequest(TeachRequest(data=write_csv(tmp_path / "none.csv", rows))))
    assert not unfinished(settings.home)


@pytest.fixture(scope="module")
def private_ray() -> Iterator[Path]:
    """Start a Ray of this module's own, end it by its handle, and give the folder it takes for the user's home."""
    with (
        pytest.MonkeyPatch.context() as patched,
        TemporaryDirectory(prefix="hone-", dir="/tmp", ignore_cleanup_errors=True) as at,
    ):
        user = Path(at) / "user"
        user.mkdir()
        patched.setenv("HOME", str(user))
        patched.setenv("RAY_AUTH_MODE", "disabled")
        patched.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patched.setenv("RAY_ENABLE_AUTO_CONNECT", "0")
        # With Ray's own 15 a trial hardly gets a turn on a machine that does something else as well.
        patched.setenv("RAY_worker_niceness", "0")
        patched.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        import ray

        ray.init(address="local", include_dashboard=False, num_cpus=2, _temp_dir=f"{at}/ray", log_to_driver=False)
        try:
            yield user
        finally:
            ray.shutdown()


@pytest.mark.integration
def test_the_best_of_the_trials_becomes_a_version_though_processes_die(
    settings: Settings, toy_folder: Path, toy_file: Path, private_ray: Path
) -> None:
    settings = settings.model_copy(update={"learn_checkpoint_every_s": 1e-9})
    teach = TeachRequest(data=toy_file, base=str(toy_folder), features="encoder", speed="full", finetune=_TUNING)
    # A rate like the preset's, and one that tears the encoder apart.
    book = begin_search(settings, SearchRequest(teach, ("learning_rate=3e-3,0.3",), trials=3))

    class Killed(BaseException):
        """Stands for the end of the process that searches."""

    def die(_: Progress) -> None:
        if book.trials[0].ending is not None:
            raise Killed

    with pytest.raises(Killed):
        carry_out(settings, book, die)
    assert unfinished(settings.home) == [book.plan.id]
    before = book.trials[0].lines()
    heard: list[Progress] = []
    killed: list[int] = []

    def begun() -> list[tuple[int, int]]:
        lines = [json.loads(line) for line in (settings.home.logs / "train.log").read_text().splitlines()]
        return [(line["trial"], line["pid"]) for line in lines if "trial" in line]

    known = len(begun())

    def kill_one(progress: Progress) -> None:
        heard.append(progress)
        for number, pid in begun()[known:]:
            if not killed and book.trials[number].ending is None:
                killed.append(number)
                os.kill(pid, signal.SIGKILL)

    report = carry_out(settings, SearchBook.find(settings.home, book.plan.id), kill_one)
    assert killed
    assert [number for number, _ in begun()[known:]].count(killed[0]) > 1, "it was started again"
    assert report.trials[killed[0]].state in ("done", "pruned")
    assert report.trials[0].epochs == sum(line.epoch is not None for line in before), "it was not trained again"
    hopeless = next(trial for trial in report.trials if trial.changes.get("learning_rate") == 0.3)
    assert (hopeless.state, hopeless.epochs) == ("pruned", 2), "compared at 30% of training, which two of four epochs reach"
    best = next(trial for trial in report.trials if trial.best)
    assert best.log_loss == min(
        trial.log_loss for trial in report.trials if trial.state == "done" and trial.log_loss is not None
    )
    assert (report.bought is None) == (best.number == 0)
    assert report.registered == "v1"
    assert report.decision is not None
    assert not report.promoted, "that is for a person, or --promote"
    lineage = Registry(settings.home.registry).manifest("v1").lineage
    assert lineage.settings["finetune_learning_rate"] == best.changes.get("learning_rate", 1e-3)
    assert not unfinished(settings.home)
    assert not list(settings.home.runs.iterdir())
    assert [moment.ratio for moment in heard] == sorted(moment.ratio for moment in heard)
    assert not list(private_ray.iterdir()), "Ray Tune writes nothing into the user's home"
