"""The whole of ``hone simulate`` on a toy stream, of n-grams alone: through the real service, store, gate and registry."""

from __future__ import annotations

import csv
import json
import random
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from core.errors import DataError
from deploy.cli.root import app
from deploy.simulate.plan import Plan
from deploy.simulate.presets import judge_own
from deploy.simulate.records import Journal, StepRecord
from deploy.simulate.run import Outcome, Simulation, simulate
from deploy.simulate.stream import Cut, stream_of
from tests.train.toys import toy_rows
from train.progress import silent
from train.reading import read_table

# From the second step on, calm people use words that nobody had used before.
PLAN = Plan(strategies=("head",), label_ratio=0.6, correct_ratio=0.5, features="ngrams", noise_ratio=0.05)


@pytest.fixture(scope="module", autouse=True)
def small_gate() -> object:
    """Let the gate judge on the few rows that a toy holds out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HONE_GATE_MIN_ROWS", "10")
        yield None


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a dated file in which the words of one label change."""
    rows = toy_rows(480, seed=1)
    random.Random(0).shuffle(rows)  # noqa: S311 - toy data
    path = tmp_path_factory.mktemp("data") / "toy.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label", "date"))
        for place, row in enumerate(rows):
            month = place * 8 // len(rows)
            text = re.sub(r"(lovely|thanks|great|quick|kind)", r"un\1", row.text) if month >= 4 else row.text
            writer.writerow((text, row.label, f"2021-{month + 1:02d}-03"))
    return path


def simulation(toy: Path, out: Path, plan: Plan = PLAN) -> Simulation:
    stream = stream_of(read_table(toy), Cut("month", base_until="2021-03"))
    return Simulation(stream, plan, out, judge_own)


def facts(records: list[StepRecord] | object) -> list[dict[str, object]]:
    """Return what must be the same whenever it is done again."""
    assert isinstance(records, list)
    return [record.model_dump(exclude={"run"}) | {"promoted": record.run and record.run.promoted} for record in records]


@pytest.fixture(scope="module")
def outcome(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, Path]:
    """Give what the command makes of the toy, and where."""
    out = tmp_path_factory.mktemp("whole") / "out"
    plan = PLAN.model_copy(update={"strategies": ("frozen", "head", "auto", "oracle-head")})
    return simulate(simulation(toy, out, plan), silent), out


def test_learning_overtakes_what_is_frozen_and_the_oracle_is_its_measure(outcome: tuple[Outcome, Path]) -> None:
    found = {item.strategy: item for item in outcome[0].summaries}
    assert found["frozen"].accuracy < found["head"].accuracy <= found["oracle-head"].accuracy + 0.05
    assert found["frozen"].labels == 0
    assert found["head"].promoted >= 1
    assert 0 < found["head"].wrong_labels < found["head"].labels / 4


def test_all_traffic_counts_and_is_answered_before_it_is_learned(outcome: tuple[Outcome, Path]) -> None:
    head = outcome[0].records["head"]
    assert [record.rows for record in head] == [60] * 5
    # No strategy has learned anything when the first step is asked.
    assert len({records[0].right for records in outcome[0].records.values()}) == 1
    assert head[0].version == "v1"


def test_auto_says_what_it_trained_and_why(outcome: tuple[Outcome, Path]) -> None:
    runs = [record.run for record in outcome[0].records["auto"] if record.run is not None]
    assert {run.trained for run in runs} == {"head"}
    assert all(run.why for run in runs)


def test_strategies_meet_the_same_audit(outcome: tuple[Outcome, Path]) -> None:
    head, oracle = outcome[0].records["head"][0], outcome[0].records["oracle-head"][0]
    assert head.labelled == oracle.labelled


def test_everything_is_written_down(outcome: tuple[Outcome, Path]) -> None:
    folder = outcome[1]
    known = json.loads((folder / "results.json").read_text())
    assert known["plan"]["seed"] == 0
    assert known["machine"]["cores"] >= 1
    assert {bar["name"] for bar in known["bars"]} == {"recovered_gain", "training_time"}
    with (folder / "steps.csv").open(encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == 20
    assert (folder / "accuracy.svg").read_text().count("<svg") == 1
    assert (folder / "compute.svg").exists()


def test_the_same_seed_gives_the_same_outcome(outcome: tuple[Outcome, Path], toy: Path, tmp_path: Path) -> None:
    again = simulate(simulation(toy, tmp_path / "again"), silent)
    assert facts(again.records["head"]) == facts(outcome[0].records["head"])


def test_a_simulation_that_was_ended_midway_goes_on_and_comes_out_the_same(
    outcome: tuple[Outcome, Path], toy: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    whole = outcome[0].records["head"]
    # A step after which another version answers: asked again, it would be asked of a model that has learned it.
    place = next(record.place for record in whole if record.version_after != record.version)

    def stop(progress: object) -> None:
        if f"step {whole[place].name}" in str(progress):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(simulation(toy, out), stop)
    journal = out / "work" / "head" / "journal.jsonl"
    assert len(Journal(journal).read()) == place + 1
    # As if it had been killed before that step was recorded.
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:place]))
    after = simulate(simulation(toy, out), silent)
    assert facts(after.records["head"]) == facts(whole)


def test_labels_that_are_late_come_late(toy: Path, tmp_path: Path) -> None:
    plan = PLAN.model_copy(update={"delay_steps": 2, "noise_ratio": 0.0})
    records = simulate(simulation(toy, tmp_path / "out", plan), silent).records["head"]
    assert [record.labelled > 0 for record in records] == [False, False, True, True, True]
    assert records[0].run is None


def test_a_folder_of_another_plan_is_left_alone(outcome: tuple[Outcome, Path], toy: Path) -> None:
    with pytest.raises(DataError, match="another label_ratio, seed"):
        simulate(simulation(toy, outcome[1], PLAN.model_copy(update={"seed": 9, "label_ratio": 0.1})), silent)


def test_the_command_says_what_is_wrong_and_fails_where_a_bar_is_missed(
    outcome: tuple[Outcome, Path], toy: Path, tmp_path: Path
) -> None:
    shell = CliRunner()
    home = ["--home", str(tmp_path / "home"), "simulate", "--out", str(tmp_path / "out")]
    nothing = shell.invoke(app, home)
    assert (nothing.exit_code, "say what to replay" in nothing.output) == (1, True)
    unknown = shell.invoke(app, [*home, "--data", str(toy), "--strategies", "clever"])
    assert (unknown.exit_code, "there is no strategy clever" in unknown.output) == (1, True)
    wrong = shell.invoke(app, [*home, "--data", str(toy), "--label-ratio", "3"])
    assert (wrong.exit_code, "label_ratio" in wrong.output) == (1, True)
    options = ["--base-until", "2021-03", "--label-ratio", "0.6", "--correct-ratio", "0.5", "--features", "ngrams"]
    whole = ["simulate", "--data", str(toy), "--out", str(outcome[1]), "--noise", "0.05", *options]
    names = ["--strategies", "frozen,head,auto,oracle-head"]
    done = shell.invoke(app, [*whole, *names])
    assert done.exit_code == 0, done.output
    assert "written:" in done.output
    # Refitting after every step costs as much as the oracle, which a bar forbids.
    assert shell.invoke(app, [*whole, *names, "--check"]).exit_code == 1
