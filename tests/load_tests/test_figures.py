"""From raw results to figures, verdicts and plots."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

from load_tests.bars import BARS, Bar, judge
from load_tests.overload import after_recovery, overload_figures
from load_tests.report import plot_overload, plot_ratios, plot_speed, rows, table
from load_tests.speed import ratios, speed_figures
from load_tests.traffic import read_texts, write_bodies
from tests.load_tests.rounds import a_round, an_overload


def test_a_round_becomes_ratios_inside_itself() -> None:
    assert ratios(a_round()) == pytest.approx(
        {"batches_to_raw": 0.9, "singles_to_raw": 0.6, "idle_overhead_ms": 2.0, "singles_to_expert": 1.2, "padding_ratio": 0.1}
    )


def test_what_was_not_in_a_round_has_no_figure() -> None:
    found = a_round()
    del found["raw"], found["expert"]
    assert ratios(found) == {"padding_ratio": 0.1}
    assert ratios({"raw": a_round()["raw"]}) == {}


def test_the_median_of_the_rounds_counts_and_every_failure() -> None:
    figures = speed_figures([a_round(singles=50), a_round(singles=60, failed=2), a_round(singles=10, failed=1)])
    assert figures["singles_to_raw"] == pytest.approx(0.5)
    assert figures["failed_requests"] == 3


def test_overload_becomes_figures(tmp_path: Path) -> None:
    found = an_overload(tmp_path)
    found["recovered"] = after_recovery(tmp_path / "after.csv")
    assert overload_figures(found) == pytest.approx(
        {
            "overload_p99_ratio": 2.5,
            # Three 503, and two 429 that do not say when to come back.
            "overload_other_statuses": 5,
            "recovery_p99_ratio": 0.9,
            "recovery_refused": 0,
            "memory_growth_ratio": 1.1,
            "impatient_refused_ratio": 0.25,
            "refusal_p99_ratio": 0.2,
        }
    )


def test_an_overload_that_answers_nothing_misses_its_bar(tmp_path: Path) -> None:
    found = an_overload(tmp_path)
    found["recovered"] = {"refused": 4, "latency_ms": None}
    found["overload"]["latency_ms"] = None
    missed = {verdict.bar.figure for verdict in judge(overload_figures(found)) if verdict.kept is False}
    assert {"overload_p99_ratio", "recovery_p99_ratio", "recovery_refused"} <= missed


def test_every_figure_has_a_bar_and_every_bar_a_figure(tmp_path: Path) -> None:
    found = an_overload(tmp_path)
    found["recovered"] = after_recovery(tmp_path / "after.csv")
    figures = {**speed_figures([a_round() | {"plain_ray": a_round()["expert"]}]), **overload_figures(found)}
    assert figures.keys() == {bar.figure for bar in BARS}
    with pytest.raises(ValueError, match="no bar for speed_of_light"):
        judge({"speed_of_light": 1.0})


@pytest.mark.parametrize(("side", "kept"), [("at least", [False, True, True]), ("at most", [True, True, False])])
def test_a_limit_itself_keeps_the_bar(side: str, kept: list[bool]) -> None:
    bar = Bar("figure", "meaning", side, 2.0)  # type: ignore[arg-type]
    assert [judge({"figure": value}, [bar])[0].kept for value in (1.0, 2.0, 3.0)] == kept


def test_the_table_has_a_line_for_every_bar() -> None:
    lines = table(judge({"padding_ratio": 0.2, "singles_to_raw": 0.6})).splitlines()
    assert len(lines) == len(BARS)
    assert [line.split()[-1] for line in lines if "not measured" not in line] == ["kept", "MISSED"]


def test_results_are_drawn_and_listed(tmp_path: Path) -> None:
    rounds = [a_round(0), a_round(1), {**a_round(0), "plain_ray": a_round()["expert"]}]
    del rounds[2]["raw"]
    verdicts = judge(speed_figures(rounds))
    plot_speed(rounds, tmp_path / "speed.png")
    plot_ratios(rounds, verdicts, tmp_path / "ratios.png")
    plot_overload(an_overload(tmp_path), tmp_path, tmp_path / "overload.png")
    for name in ("speed", "ratios", "overload"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    listed = rows(rounds)
    assert [row["server"] for row in listed] == ["raw", "hone", "expert"] * 2 + ["hone", "expert", "plain_ray"]
    assert listed[0]["singles_per_s"] == 100.0


def test_bodies_hold_the_texts_in_order(tmp_path: Path) -> None:
    texts = read_texts(None)
    assert texts == read_texts(None)
    assert texts != read_texts(None, seed=1)
    write_bodies(tmp_path / "bodies", ["a", "b", "c"], texts_each=2)
    assert (tmp_path / "bodies").read_text() == '{"texts": ["a", "b"], "top_k": 1}\n'
    with pytest.raises(ValueError, match="3 texts do not fill"):
        write_bodies(tmp_path / "bodies", ["a", "b", "c"], texts_each=32)


def test_only_the_test_split_is_sent(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("text,label,split\na,x,train\nb,x,test\n")
    assert read_texts(tmp_path / "data.csv") == ["b"]


@pytest.mark.parametrize("name", ["bars", "http1", "samples", "speed"])
def test_the_examples_of_a_module_are_true(name: str) -> None:
    results = doctest.testmod(importlib.import_module(f"load_tests.{name}"))
    assert results.attempted > 0
    assert results.failed == 0
