"""Steps of load, whether replicas followed, and the arithmetic of the GPU script."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from load_tests import gpu_engine, steps
from load_tests.steps import Reading, followed, plot_steps


@pytest.mark.parametrize("module", [steps, gpu_engine])
def test_the_examples_of_a_module_are_true(module: object) -> None:
    results = doctest.testmod(module)  # type: ignore[arg-type]
    assert results.attempted > 0
    assert results.failed == 0


def readings(*replicas: int) -> list[Reading]:
    return [Reading(float(second), 1, count) for second, count in enumerate(replicas)]


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ((1, 2, 3, 1), True),
        ((1, 1, 1), False),
        ((1, 2, 2), False),
        ((-1, 1, 2, -1, 1, -1), True),
        ((-1, -1), False),
        ((), False),
    ],
)
def test_replicas_follow_when_they_rise_and_come_back(seen: tuple[int, ...], expected: bool) -> None:
    assert followed(readings(*seen)) is expected


def test_steps_are_drawn(tmp_path: Path) -> None:
    plot_steps(readings(1, 2, -1, 1), tmp_path / "steps.png")
    assert (tmp_path / "steps.png").read_bytes().startswith(b"\x89PNG")


def test_batches_hold_neighbours_by_length_padded_to_the_longest() -> None:
    texts = gpu_engine.lengths(100)
    assert 14 < np.mean(texts) < 18, "the mean of BANKING77's test texts is 15.1 tokens"
    made = gpu_engine.batches(texts, 8, vocabulary=2000)
    assert len(made) == 12
    for ids, mask in made:
        assert ids.shape == mask.shape == (8, mask.sum(axis=1).max())
        assert ((ids == 0) == (mask == 0)).all()
    assert [int(row) for _, mask in made for row in mask.sum(axis=1)] == sorted(texts)[:96]


def test_without_a_gpu_the_script_says_so() -> None:
    # An empty list of devices hides a GPU from torch.
    done = subprocess.run(
        [sys.executable, "-m", "load_tests.gpu_engine"],
        env={"CUDA_VISIBLE_DEVICES": "", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 2
    assert "torch sees no CUDA device here" in done.stderr
