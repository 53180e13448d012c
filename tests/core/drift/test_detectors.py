"""One suite over every detector of texts and answers: quiet where nothing changed, loud where something did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from core.drift.detector import MIN_ROWS, Detector
from core.drift.samples import Sample, Texts
from core.drift.suite import make_detectors
from core.errors import InputError

_LABELS = ("a", "b", "c", "d", "e")
_LANGUAGES = ("en", "zh", "de")
NAMES = [detector.name for detector in make_detectors()]


def detector(name: str) -> Detector:
    return next(item for item in make_detectors() if item.name == name)


def sample(random: np.random.Generator, rows: int, shift: float = 0.0) -> Sample:
    """Return a sample of which every quantity is moved by ``shift``; 0: of the reference's own distribution."""
    weights = np.array([5.0, 4, 3, 2, 1]) + 8 * shift * np.array([0, 0, 0, 0, 1.0])
    languages = np.array([0.7 - 0.5 * shift, 0.2 + 0.5 * shift, 0.1])
    texts = Texts(
        random.poisson(12 + 12 * shift, rows).astype(np.float32),
        random.beta(1 + 6 * shift, 12, rows).astype(np.float32),
        tuple(random.choice(_LANGUAGES, rows, p=languages).tolist()),
        random.normal(0.6 * shift, 1.0, (rows, 8)).astype(np.float32),
    )
    labels = tuple(random.choice(_LABELS, rows, p=weights / weights.sum()).tolist())
    return Sample(labels, random.beta(8 - 5 * shift, 2, rows).astype(np.float32), texts)


def permuted(rows: Sample, random: np.random.Generator) -> Sample:
    order = random.permutation(len(rows))
    assert rows.texts is not None
    assert rows.texts.embeddings is not None
    texts = Texts(
        rows.texts.lengths[order],
        rows.texts.unknown_ratios[order],
        tuple(rows.texts.languages[place] for place in order),
        rows.texts.embeddings[order],
    )
    return Sample(tuple(rows.labels[place] for place in order), rows.confidences[order], texts)


@pytest.mark.parametrize("name", NAMES)
def test_without_drift_small_p_values_are_as_rare_as_they_say(name: str) -> None:
    random = np.random.default_rng(5)
    found = []
    for _ in range(60):
        score = detector(name).fit(sample(random, 200)).score(sample(random, 80))
        assert score is not None
        found.append(score.p_value)
    # Of 60 uniform p-values 6 are below 0.1; more than 14 are seen once in a thousand times.
    assert sum(p <= 0.1 for p in found) <= 14
    assert np.mean(found) > 0.38


@pytest.mark.parametrize("name", NAMES)
def test_a_planted_shift_is_seen(name: str) -> None:
    random = np.random.default_rng(6)
    fitted = detector(name).fit(sample(random, 400))
    moved, same = fitted.score(sample(random, 300, 0.5)), fitted.score(sample(random, 300))
    assert moved is not None
    assert same is not None
    assert moved.p_value < 0.001
    assert moved.size > 2 * same.size


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_the_rows_changes_nothing(name: str) -> None:
    random = np.random.default_rng(7)
    reference, window = sample(random, 120), sample(random, 90, 0.1)
    first = detector(name).fit(reference).score(window)
    second = detector(name).fit(permuted(reference, random)).score(permuted(window, random))
    assert first is not None
    assert second is not None
    assert first.size == pytest.approx(second.size, abs=1e-5)
    assert first.p_value == pytest.approx(second.p_value, abs=0.02)


@pytest.mark.parametrize("name", NAMES)
def test_a_window_that_is_too_small_says_nothing(name: str) -> None:
    random = np.random.default_rng(8)
    fitted = detector(name).fit(sample(random, 100))
    assert fitted.score(sample(random, MIN_ROWS - 1)) is None
    assert fitted.score(sample(random, MIN_ROWS)) is not None


@pytest.mark.parametrize("name", NAMES)
def test_constant_input_is_no_drift_and_another_constant_is(name: str) -> None:
    def constant(value: float, label: str, rows: int = 60) -> Sample:
        texts = Texts(
            np.full(rows, 10 * value, np.float32),
            np.full(rows, value, np.float32),
            (label,) * rows,
            np.full((rows, 4), value, np.float32),
        )
        return Sample((label,) * rows, np.full(rows, value, np.float32), texts)

    fitted = detector(name).fit(constant(0.2, "a"))
    same, other = fitted.score(constant(0.2, "a")), fitted.score(constant(0.9, "b"))
    assert same is not None
    assert other is not None
    assert same.size == pytest.approx(0.0, abs=1e-6)
    assert same.p_value == 1.0
    assert other.size > 0
    assert other.p_value < 0.001


@pytest.mark.parametrize("name", NAMES)
def test_the_same_samples_give_the_same_score(name: str) -> None:
    random = np.random.default_rng(9)
    fitted, window = detector(name).fit(sample(random, 100)), sample(random, 60)
    assert fitted.score(window) == fitted.score(window)


@pytest.mark.parametrize("name", NAMES)
def test_a_score_before_a_reference_is_a_defect(name: str) -> None:
    with pytest.raises(RuntimeError, match="fit"):
        detector(name).score(sample(np.random.default_rng(0), 60))


@pytest.mark.parametrize("name", [item.name for item in make_detectors() if item.watches == "inputs"])
def test_where_no_text_may_be_read_inputs_say_nothing(name: str) -> None:
    random = np.random.default_rng(10)
    fitted = detector(name).fit(sample(random, 100))
    assert fitted.score(replace(sample(random, 60), texts=None)) is None


_SPOILED: list[Callable[[Sample, Texts], Sample]] = [
    lambda rows, _: replace(rows, confidences=np.full(len(rows), np.nan, np.float32)),
    lambda rows, texts: replace(rows, texts=replace(texts, lengths=np.full(len(rows), np.inf, np.float32))),
    lambda rows, texts: replace(rows, texts=replace(texts, embeddings=np.full((len(rows), 8), np.nan, np.float32))),
    lambda rows, _: replace(rows, labels=rows.labels[1:]),
]


@pytest.mark.parametrize("spoil", _SPOILED)
def test_what_is_not_a_number_is_refused_rather_than_called_no_drift(spoil: Callable[[Sample, Texts], Sample]) -> None:
    whole = sample(np.random.default_rng(11), 40)
    assert whole.texts is not None
    with pytest.raises(InputError):
        spoil(whole, whole.texts)


def test_every_detector_names_its_source_and_unit() -> None:
    assert all(item.source and item.unit for item in make_detectors())
    assert len(set(NAMES)) == len(NAMES)
