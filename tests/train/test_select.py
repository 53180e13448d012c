"""Choosing features on the validation part."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from core.bundle import Features
from core.classifier import Head
from train.head import REGULARISATION, FeatureRows, logits
from train.select import COMBINATION_WEIGHTS, HeadRows, Option, add_heads, choose, combine, fit_option, judge

_RANDOM = np.random.default_rng(0)


def _head(encoder: bool, ngrams: bool) -> Head:
    dense = _RANDOM.normal(size=(4, 3)).astype("f4") if encoder else None
    sparse = _RANDOM.normal(size=(6, 3)).astype("f4") if ngrams else None
    return Head(dense, sparse, _RANDOM.normal(size=3).astype("f4"))


def _rows(validation: int = 40) -> HeadRows:
    """Return rows whose embeddings say the label and whose n-grams say nothing."""
    labels = _RANDOM.integers(0, 3, 120)
    dense = np.eye(4, dtype=np.float32)[labels] + _RANDOM.normal(scale=0.2, size=(120, 4)).astype("f4")
    sparse = csr_matrix(_RANDOM.random((120, 6)).astype(np.float32))
    train, rest = np.arange(80), np.arange(80, 80 + validation)
    return HeadRows(FeatureRows(dense, sparse), labels, np.ones(120, np.float32), train, rest, 3)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_heads_are_added_as_logits(weight: float) -> None:
    features = _rows().features
    encoder, ngrams = _head(encoder=True, ngrams=False), _head(encoder=False, ngrams=True)
    together = logits(add_heads(encoder, ngrams, weight), features)
    np.testing.assert_allclose(together, logits(encoder, features) + weight * logits(ngrams, features), atol=1e-5)


def test_only_a_head_over_ngrams_can_be_added() -> None:
    with pytest.raises(ValueError, match="n-grams"):
        add_heads(_head(encoder=True, ngrams=False), _head(encoder=True, ngrams=False), 1.0)


def test_combinations_are_judged_at_every_weight() -> None:
    rows = _rows()
    encoder, ngrams = rows.fit("encoder", rows.train), rows.fit("ngrams", rows.train)
    options = combine(rows, encoder, ngrams, 1.5)
    assert [option.ngram_weight for option in options] == list(COMBINATION_WEIGHTS)
    for option in options:
        assert option.features == "both"
        assert option.ngram_weight is not None
        np.testing.assert_array_equal(option.head.bias, add_heads(encoder, ngrams, option.ngram_weight).bias)
        assert option.log_loss is not None


def _many_labels(each: int, noise: float, labels: int = 30, length: float = 1.0) -> HeadRows:
    """Return rows whose embeddings, all of one ``length``, are the mean of their label and noise."""
    random = np.random.default_rng(1)
    means = random.normal(size=(labels, 32))
    truth = np.tile(np.arange(labels), 3 * each)
    dense = (means[truth] + noise * random.normal(size=(len(truth), 32))).astype(np.float32)
    dense *= length / np.linalg.norm(dense, axis=1, keepdims=True)
    train = np.arange(labels * each)
    rest = np.arange(len(train), len(truth))
    sparse = csr_matrix(np.zeros((len(truth), 1), dtype=np.float32))
    return HeadRows(FeatureRows(dense, sparse), truth, np.ones(len(truth), np.float32), train, rest, labels)


def test_texts_whose_embeddings_are_short_are_held_back_less() -> None:
    rows = _many_labels(each=4, noise=1.0, length=0.2)
    option, usual = (fit_option(rows, "encoder", "encoder", regularisation=given) for given in (None, REGULARISATION))
    assert option.regularisation > REGULARISATION
    assert (option.log_loss or 0.0) < (usual.log_loss or 0.0)
    assert usual.regularisation == REGULARISATION


def test_noisy_texts_of_few_labels_are_held_back_more() -> None:
    rows = _many_labels(each=60, noise=4.0, labels=2)
    assert fit_option(rows, "encoder", "encoder").regularisation < REGULARISATION


@pytest.mark.parametrize("validation", [0, 1, 29])
def test_few_validation_rows_do_not_choose_the_penalty(validation: int) -> None:
    assert fit_option(_rows(validation=validation), "encoder", "encoder").regularisation == REGULARISATION


def test_an_option_is_judged_on_validation_rows_it_was_not_fitted_on() -> None:
    rows = _rows()
    option = fit_option(rows, "encoder", "encoder", regularisation=REGULARISATION)
    elsewhere = replace(rows, labels=np.where(np.arange(120) >= 80, (rows.labels + 1) % 3, rows.labels))
    other = fit_option(elsewhere, "encoder", "encoder", regularisation=REGULARISATION)
    assert option.head.encoder is not None
    assert other.head.encoder is not None
    np.testing.assert_array_equal(option.head.encoder, other.head.encoder)
    assert option.accuracy is not None
    assert other.accuracy is not None
    assert option.accuracy > 0.9 > 0.1 > other.accuracy


def test_what_tells_more_is_served() -> None:
    rows = _rows()
    options = [fit_option(rows, "ngrams", "ngrams"), fit_option(rows, "encoder", "encoder")]
    assert choose(options, "auto").name == "encoder"
    assert choose(options, "ngrams").name == "ngrams"
    with pytest.raises(ValueError, match="both"):
        choose(options, "both")


def test_without_validation_rows_the_richest_is_served() -> None:
    rows = _rows(validation=0)
    kinds: list[Features] = ["ngrams", "encoder", "both"]
    options = [fit_option(rows, kind, kind) for kind in kinds]
    assert {(option.accuracy, option.log_loss, option.temperature) for option in options} == {(None, None, 1.0)}
    assert choose(options, "auto").features == "both"


def test_a_report_says_which_was_served() -> None:
    rows = _rows()
    option: Option = judge(rows, "a name", "encoder", rows.fit("encoder", rows.train), 2.5)
    report = option.report(chosen=True)
    assert (report.name, report.features, report.fit_s, report.chosen) == ("a name", "encoder", 2.5, True)
    assert report.accuracy == option.accuracy
