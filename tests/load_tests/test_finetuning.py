"""How the benchmark of fine-tuning judges its rounds, and that both sides train the same model from the same start."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from load_tests import replay
from load_tests.finetuning import Classifier, Outcome, summary
from tests.train.toys import write_toy_base
from train.base import load_base


def _rounds(hone: float, trainer: float, accuracy: float) -> list[Outcome]:
    rounds = []
    for number, factor in enumerate((0.5, 1.0, 3.0)):
        # One round in which the machine was busy with the other side's turn must not decide.
        rounds.append(Outcome(number, "hone", hone * factor, 1.0, 1.0, accuracy))
        rounds.append(Outcome(number, "trainer", trainer, 1.0, 2.0, 0.9))
    return rounds


@pytest.mark.parametrize(("hone", "fast"), [(30.0, True), (29.9, False)])
def test_the_median_round_decides_about_speed(hone: float, fast: bool) -> None:
    found = summary(_rounds(hone, 20.0, 0.9), 1000)
    assert found["speed_ratio"] == pytest.approx(hone / 20.0, abs=1e-3)
    assert found["cpu_ratio"] == 2.0
    assert found["fast_enough"] is fast


@pytest.mark.parametrize(("accuracy", "same"), [(0.95, True), (0.882, True), (0.88, False)])
def test_accuracy_may_differ_by_chance_alone(accuracy: float, same: bool) -> None:
    # Two standard errors of 0.9 on 1,000 rows are 1.9 points.
    assert summary(_rounds(40.0, 20.0, accuracy), 1000)["as_accurate"] is same


def test_the_trainer_is_given_the_very_function_that_hone_trains(tmp_path_factory: pytest.TempPathFactory) -> None:
    base = load_base(str(write_toy_base(tmp_path_factory.mktemp("base") / "toy")))
    linear = torch.nn.Linear(base.hidden, 3)
    ids, mask = torch.tensor([[1, 2, 3]]), torch.ones(1, 3, dtype=torch.long)
    expected = linear(base.encoder(ids, mask))
    found = Classifier(base, linear)(input_ids=ids, attention_mask=mask, labels=torch.tensor([1]))
    torch.testing.assert_close(found["logits"], expected)
    torch.testing.assert_close(found["loss"], torch.nn.functional.cross_entropy(expected, torch.tensor([1])))


def test_the_task_of_replay_keeps_learned_and_judged_rows_apart_and_reads_no_test_row(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("replay")
    base = load_base(str(write_toy_base(folder / "toy")))
    rows = [(f"card {name} {row}", f"{name:02}", "test" if row < 3 else "train") for name in range(20) for row in range(20)]
    path = folder / "data.parquet"
    pd.DataFrame(rows, columns=["text", "label", "split"]).to_parquet(path)
    task = replay.read(path, base, old_rows=8, new_rows=4, judged_rows=5)
    assert task.first_new == 3
    assert task.train.fresh is not None
    assert (task.train.labels[task.train.fresh] >= 3).all()
    assert len(task.train.fresh) == 17 * 4
    assert len(task.train.ids) == 17 * 4 + 3 * 8
    assert np.bincount(task.judged.labels).tolist() == [5] * 20
