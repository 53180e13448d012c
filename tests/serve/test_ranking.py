"""What is shown of logits, and how windows are joined: the ranking never depends on the function."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from core.classifier import softmax
from core.schemas import ScoreFunction
from serve.jobs import FloatMatrix, Scored, Timing
from serve.queries import Options, Prediction
from serve.ranking import apply, join_windows, rank

LABELS = ("a", "b", "c")
logits_of = arrays(np.float32, st.tuples(st.integers(1, 6), st.just(3)), elements=st.floats(-30, 30, width=32))


def _scored(rows: FloatMatrix, windows: dict[int, list[tuple[int, int]]] | None = None) -> Scored:
    extra = sum(len(found) - 1 for found in (windows or {}).values())
    return Scored(rows, [False] * (len(rows) - extra), Timing(0.0, 0.0, 0.0, 0), windows or {})


def _rank(logits: FloatMatrix, function: ScoreFunction, min_score: float | None = None) -> tuple[list[Prediction], list[float]]:
    made = Options(function=function, min_score=min_score)
    return rank(LABELS, _scored(softmax(logits) if function == "softmax" else logits), made)


def test_each_function_shows_what_it_says() -> None:
    logits = np.array([[2.0, -1.0, 0.5]], dtype=np.float32)
    shown = {name: _rank(logits, name)[0][0].scores for name in ("softmax", "sigmoid", "none")}
    powers = np.exp([2.0, 0.5, -1.0])
    assert [label for label, _ in shown["none"]] == ["a", "c", "b"]
    assert [score for _, score in shown["none"]] == [2.0, 0.5, -1.0]
    assert [score for _, score in shown["sigmoid"]] == pytest.approx(1 / (1 + 1 / powers), abs=1e-6)
    assert [score for _, score in shown["softmax"]] == pytest.approx(powers / powers.sum(), abs=1e-6)


@given(logits_of)
def test_the_label_and_its_probability_do_not_depend_on_the_function(logits: FloatMatrix) -> None:
    plain, probabilities = _rank(logits, "softmax")
    for function in ("sigmoid", "none"):
        predictions, same = _rank(logits, function)
        assert same == pytest.approx(probabilities, abs=2e-6)
        for row, prediction, other in zip(logits, predictions, plain, strict=True):
            assert row[LABELS.index(prediction.scores[0][0])] == row.max()
            assert row[LABELS.index(other.scores[0][0])] == pytest.approx(row.max(), abs=1e-4)


def test_logits_of_any_size_have_scores() -> None:
    huge = np.array([[3e38, -3e38, 0.0]], dtype=np.float32)
    assert apply("sigmoid", huge).tolist() == [[1.0, 0.0, 0.5]]
    assert apply("softmax", huge).tolist() == [[1.0, 0.0, 0.0]]
    assert _rank(huge, "sigmoid")[1] == [1.0]


@pytest.mark.parametrize("function", ["softmax", "sigmoid", "none"])
def test_what_is_less_probable_than_asked_for_abstains_and_keeps_its_guess(function: ScoreFunction) -> None:
    logits = np.array([[2.0, 0.0, 0.0], [9.0, 0.0, 0.0]], dtype=np.float32)
    (low, high), probabilities = _rank(logits, function, min_score=0.9)
    assert (low.abstained, high.abstained) == (True, False)
    assert low.scores[0][0] == "a"
    # What is shown as just so probable is not below.
    assert not _rank(logits, function, min_score=probabilities[0])[0][0].abstained
    assert not _rank(logits, function)[0][0].abstained


@given(logits_of, st.lists(st.integers(1, 512), min_size=6, max_size=6))
def test_windows_are_averaged_by_their_tokens(logits: FloatMatrix, tokens: list[int]) -> None:
    windows = {0: list(zip(range(len(logits)), tokens, strict=False))}
    weights = np.array(tokens[: len(logits)]) / sum(tokens[: len(logits)])
    expected = weights @ softmax(logits).astype(np.float64)
    joined = join_windows(_scored(softmax(logits), windows), logits=False)
    assert joined == pytest.approx(expected[None], abs=1e-6)
    back = join_windows(_scored(logits, windows), logits=True)
    assert apply("softmax", back) == pytest.approx(expected[None], abs=1e-6)


@given(logits_of)
def test_one_window_is_the_text_itself(logits: FloatMatrix) -> None:
    alone = logits[:1]
    assert join_windows(_scored(alone, {0: [(0, 9)]}), logits=True) == pytest.approx(alone.astype(float), abs=1e-4)


def test_windows_go_to_their_own_texts() -> None:
    rows = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]], dtype=np.float32)
    windows = {1: [(1, 10), (2, 10), (3, 20)]}
    predictions, _ = rank(LABELS, _scored(rows, windows), Options(long_text="chunk"))
    assert [(item.scores[0], item.windows) for item in predictions] == [(("a", 1.0), 1), (("c", 0.75), 3)]
