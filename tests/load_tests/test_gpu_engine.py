"""The arithmetic of the GPU script, and what it says where there is no GPU."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path

import numpy as np

from load_tests import gpu_engine


def test_its_examples_are_true() -> None:
    results = doctest.testmod(gpu_engine)
    assert results.attempted > 0
    assert results.failed == 0


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
