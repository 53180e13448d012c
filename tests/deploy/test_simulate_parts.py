"""What a simulation is made of: streams cut from files, people who say things, and bars."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DataError
from deploy.simulate.bars import forgetting, learned, needless_full_runs, promotions_are_no_worse, recovery
from deploy.simulate.people import People, seeded_ids
from deploy.simulate.plan import Plan
from deploy.simulate.records import Journal, RunRecord, StepRecord
from deploy.simulate.stream import Cut, Row, Stream, stream_of
from train.reading import read_table

ROWS = [Row(f"text number {number}", "abc"[number % 3]) for number in range(2_000)]


def table(path: Path, **columns: object) -> Path:
    """Write a CSV of texts with two labels and return its path."""
    data = {"text": [f"text {n}" for n in range(120)], "label": ["yes", "no"] * 60, **columns}
    pd.DataFrame(data).to_csv(path, index=False)
    return path


def dates() -> list[str]:
    return [f"2021-{1 + n // 10:02d}-{1 + n % 28:02d}" for n in range(120)]


def cut(path: Path, by: str, **options: object) -> Stream:
    return stream_of(read_table(path), Cut(by, **options))  # type: ignore[arg-type] # a test's shorthand


def test_months_come_in_order_and_the_first_quarter_is_taught(tmp_path: Path) -> None:
    stream = cut(table(tmp_path / "a.csv", date=dates()[::-1]), "month")
    assert [step.name for step in stream.steps] == [f"2021-{month:02d}" for month in range(4, 13)]
    assert len(stream.base) == 30
    assert len(stream.base) + stream.rows == 120


def test_quarters_and_years_and_a_named_end_of_what_is_taught(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", date=dates())
    assert [step.name for step in cut(path, "quarter", base_until="2021-Q2").steps] == ["2021-Q3", "2021-Q4"]
    assert [step.name for step in cut(path, "month", base_until="2021-10").steps] == ["2021-11", "2021-12"]


def test_stages_come_as_they_first_appear_and_test_rows_are_kept_apart(tmp_path: Path) -> None:
    stages = [("late", "early", "middle")[n // 40] for n in range(120)]
    splits = [("train", "train", "train", "test")[n % 4] for n in range(120)]
    stream = cut(table(tmp_path / "a.csv", stage=stages, split=splits), "stage")
    assert [step.name for step in stream.steps] == ["early", "middle"]
    assert len(stream.tests["test"]) == 30
    assert not {row.text for row in stream.tests["test"]} & {row.text for step in stream.steps for row in step.rows}


def test_rows_without_dates_are_dealt_out_by_the_seed(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv")
    one, same, other = (cut(path, "rows", steps=4, seed=seed) for seed in (1, 1, 2))
    assert one.fingerprint() == same.fingerprint() != other.fingerprint()
    assert [len(step.rows) for step in one.steps] == [15] * 4


def test_a_text_that_stands_twice_is_asked_once(tmp_path: Path) -> None:
    twice = table(tmp_path / "a.csv", date=dates(), text=[f"Text {n // 2}" for n in range(120)], label=["a", "b", "b"] * 40)
    stream = cut(twice, "month", base_until="2021-08")
    assert len(stream.base) + stream.rows == 60
    assert stream.left_out == 60


def test_what_the_service_would_refuse_is_left_out(tmp_path: Path) -> None:
    texts = [f"text {n}" for n in range(117)] + ["\u200b", "x" * 30_000, " "]
    stream = cut(table(tmp_path / "a.csv", date=dates(), text=texts), "month")
    assert (len(stream.base) + stream.rows, stream.left_out) == (117, 3)


@pytest.mark.parametrize(
    ("columns", "by", "said"),
    [
        ({}, "month", "no column that looks like a date"),
        ({"date": ["soon"] * 120}, "month", "cannot be read as dates"),
        ({}, "stage", "no column 'stage'"),
        ({"date": ["2021-01-01"] * 120}, "month", "1 step by month"),
        ({"date": dates(), "label": ["yes"] * 120}, "month", "a classifier needs two"),
        ({"date": ["2021-01-01"] * 20 + ["2021-02-01"] * 100}, "month", "30 are needed"),
    ],
)
def test_a_file_that_cannot_be_simulated_is_refused_in_a_sentence(
    tmp_path: Path, columns: dict[str, object], by: str, said: str
) -> None:
    with pytest.raises(DataError, match=said):
        cut(table(tmp_path / "a.csv", **columns), by)


def test_people_are_as_many_as_bad_and_as_busy_as_the_plan_has_it() -> None:
    people = People(Plan(correct_ratio=0.3, noise_ratio=0.1, hostile_ratio=0.2, overlap_ratio=0.4), ("a", "b", "c"))
    voices = [people.first(row) for row in ROWS]
    hostile = [voice for voice in voices if voice.hostile]
    assert len(hostile) / len(ROWS) == pytest.approx(0.2, abs=0.03)
    assert all(voice.label != row.label for voice, row in zip(voices, ROWS, strict=True) if voice.hostile)
    honest_wrong = sum(voice.label != row.label for voice, row in zip(voices, ROWS, strict=True) if not voice.hostile)
    assert honest_wrong / len(ROWS) == pytest.approx(0.08, abs=0.02)
    assert sum(map(people.corrects, ROWS)) / len(ROWS) == pytest.approx(0.3, abs=0.04)
    assert sum(map(people.overlaps, ROWS)) / len(ROWS) == pytest.approx(0.4, abs=0.04)
    assert people.hostile_annotators == 2


@given(st.integers(0, 2_000 - 1), st.integers(0, 5))
def test_the_second_to_speak_is_somebody_else(place: int, seed: int) -> None:
    people = People(Plan(hostile_ratio=0.3, seed=seed), ("a", "b", "c"))
    first = people.first(ROWS[place])
    assert people.second(ROWS[place], besides=first.annotator).annotator != first.annotator


def test_what_people_say_depends_on_the_seed_and_the_text_alone() -> None:
    plan = Plan(hostile_ratio=0.2, noise_ratio=0.2)
    said = [People(plan, ("a", "b", "c")).first(row) for row in ROWS]
    assert said == [People(plan, ("a", "b", "c")).first(row) for row in reversed(ROWS)][::-1]
    assert said != [People(plan.model_copy(update={"seed": 1}), ("a", "b", "c")).first(row) for row in ROWS]


def test_predictions_are_named_by_their_place_however_they_are_asked() -> None:
    ids = seeded_ids(3, 0)
    assert ids(4) + ids(3) == seeded_ids(3, 0)(7)
    assert seeded_ids(3, 0)(1) != seeded_ids(4, 0)(1)


def record(place: int, right: int, **fields: object) -> StepRecord:
    known = {"strategy": "auto", "place": place, "name": str(place), "rows": 100, "right": right}
    return StepRecord.model_validate({**known, "version": "v1", "version_after": "v1", **fields})


def run(cpu_s: float, trained: str = "head") -> RunRecord:
    return RunRecord(speed="auto", state="succeeded", trained=trained, cpu_s=cpu_s)


def test_recovery_is_the_share_of_the_better_oracles_gain_and_of_its_time() -> None:
    records = {
        "frozen": [record(0, 50)],
        "auto": [record(0, 59, run=run(10.0))],
        "oracle": [record(0, 60, run=run(100.0))],
        "oracle-head": [record(0, 58, run=run(20.0))],
    }
    gain, time = recovery(records, "auto")
    assert gain.reached
    assert gain.value == pytest.approx(0.9)
    assert time.reached
    assert time.value == pytest.approx(0.1)


def test_recovery_without_an_oracle_is_not_reached() -> None:
    [only] = recovery({"frozen": [record(0, 50)], "auto": [record(0, 99)]}, "auto")
    assert only.value is None
    assert not only.reached


def test_a_promotion_that_makes_it_worse_is_found() -> None:
    steps = [
        record(0, 0, version_after="v2", tests_before={"clean": 0.8}, tests={"clean": 0.81}),
        record(1, 0, version="v2", version_after="v2", tests_before={"clean": 0.81}, tests={"clean": 0.81}),
        record(2, 0, version="v2", version_after="v3", tests_before={"clean": 0.81}, tests={"clean": 0.80}),
    ]
    [worse] = promotions_are_no_worse({"auto": steps}, "auto", "clean")
    assert (worse.value, worse.reached) == (1.0, False)
    [fine] = promotions_are_no_worse({"auto": steps[:2]}, "auto", "clean")
    assert fine.reached


def test_needless_full_runs_are_counted() -> None:
    steps = [record(place, 0, run=run(1.0, "full" if place < 3 else "head")) for place in range(5)]
    [found] = needless_full_runs({"auto": steps}, "auto")
    assert (found.value, found.reached) == (3.0, False)


def test_forgetting_counts_from_a_sets_own_step_and_gaining_within_it() -> None:
    at = [
        {"shoes": 0.9, "books": 0.5, "tea": 0.6},
        {"shoes": 0.9, "books": 0.6, "tea": 0.65},
        {"shoes": 0.9, "books": 0.7, "tea": 0.6},
        {"shoes": 0.895, "books": 0.8, "tea": 0.5},
    ]
    names = ("books", "tea", "soap")
    steps = [record(n, 0, name=name, tests_before=at[n], tests=at[n + 1]) for n, name in enumerate(names)]
    [lost] = forgetting({"auto": steps}, "auto", ["shoes", "books", "tea"])
    assert lost.value == pytest.approx(0.1)
    assert "tea" in lost.why
    [gained] = learned({"auto": steps}, "auto", ["books", "tea"])
    assert gained.value == pytest.approx(-0.05)


def test_a_journal_leaves_out_the_line_that_a_kill_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path).add(record(0, 1))
    with path.open("a") as file:
        file.write('{"strategy": "auto", "pla')
    assert [found.place for found in Journal(path).read()] == [0]
    Journal(path).add(record(1, 2))
    assert [found.right for found in Journal(path).read()] == [1, 2]
