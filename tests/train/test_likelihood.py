"""How much likelier right labels became: what is told apart counts, not how sure it sounds."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from core.classifier import softmax
from train.likelihood import likelihood_gains


def _scores(rows: int, knows: float) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    random = np.random.default_rng(0)
    truth = random.integers(0, 4, rows)
    logits = random.normal(size=(rows, 4)).astype(np.float32)
    logits[np.arange(rows), truth] += np.float32(knows)
    return truth, logits


@pytest.mark.parametrize("factor", [0.3, 3.0])
def test_how_sure_a_model_sounds_gains_nothing(factor: float) -> None:
    truth, logits = _scores(300, 1.0)
    gains = likelihood_gains(truth, softmax(logits), softmax(logits * np.float32(factor)))
    assert np.abs(gains).max() < 0.02


def test_who_tells_more_apart_gains() -> None:
    truth, logits = _scores(300, 1.0)
    _, better = _scores(300, 1.5)
    gains = likelihood_gains(truth, softmax(logits), softmax(better))
    assert gains.mean() > 0.1
    np.testing.assert_allclose(gains, -likelihood_gains(truth, softmax(better), softmax(logits)))


def test_one_row_that_was_all_but_impossible_gains_no_more_than_seven_nats() -> None:
    truth = np.zeros(50, dtype=np.int64)
    champion = np.full((50, 2), [0.9, 0.1], dtype=np.float32)
    champion[0] = [0.0, 1.0]
    candidate = np.full((50, 2), [0.9, 0.1], dtype=np.float32)
    assert likelihood_gains(truth, champion, candidate)[0] < 7.0
