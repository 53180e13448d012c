"""A loaded bundle answers as it was sealed, whatever it is asked and whatever it is asked with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from core.bundle import HEAD
from core.classifier import Classifier, Head, softmax
from core.encoder import OnnxEncoder
from core.text import clean
from tests.bundles import write_ngram_bundle
from tests.core.encoders import (
    FP32,
    LABELS,
    WORDS,
    tiny_head,
)
from tests.core.manifests import edit

_BIG = float(np.finfo(np.float32).max)
_texts = st.lists(st.sampled_from([*WORDS, "unknown", "<b>", "，"]), max_size=14).map(" ".join)


@given(st.lists(st.lists(st.floats(-_BIG, _BIG, width=32), min_size=3, max_size=3), min_size=1, max_size=4))
def test_softmax_never_overflows(rows: list[list[float]]) -> None:
    logits = np.array(rows, dtype=np.float32)
    # The distance of two finite numbers may be beyond float32; its exponential is then 0, as it should be.
    with np.errstate(over="ignore"):
        scores = softmax(logits)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()
    assert ((scores >= 0) & (scores <= 1)).all()
    np.testing.assert_allclose(scores.sum(axis=1), 1.0, atol=1e-6)
    best = logits.max(axis=1)
    assert (scores[np.arange(len(rows)), logits.argmax(axis=1)] == scores.max(axis=1)).all()
    assert (scores[logits < best[:, None] - 200] == 0).all()


@given(st.lists(st.floats(-50, 50, width=32), min_size=2, max_size=6), st.floats(-100, 100, width=32))
def test_softmax_keeps_order_and_knows_no_offset(row: list[float], offset: float) -> None:
    logits = np.array([row], dtype=np.float32)
    scores = softmax(logits)
    order = np.argsort(logits[0], kind="stable")
    assert (np.diff(scores[0][order]) >= 0).all()
    np.testing.assert_allclose(softmax(logits + np.float32(offset)), scores, atol=1e-4)


def test_softmax_of_known_values() -> None:
    np.testing.assert_allclose(softmax(np.log(np.array([[1, 2, 7]], dtype=np.float32))), [[0.1, 0.2, 0.7]], rtol=1e-6)


def test_logits_are_the_sum_of_both_kinds_of_features(classifier: Classifier, sealed: Path) -> None:
    manifest, head = classifier.manifest, Head.load(sealed / HEAD)
    encoder = OnnxEncoder(sealed / FP32, threads=1)
    prepared = classifier.prepare(["very good phone", "!", "nothing known here"])
    assert head.encoder is not None
    assert head.ngrams is not None
    for item, logits in zip(prepared, classifier.logits(prepared), strict=True):
        assert item.ngrams is not None
        counts = np.zeros(len(WORDS), dtype=np.float32)
        counts[item.ngrams.indices] = item.ngrams.values
        expected = encoder.embed([item.ids])[0] @ head.encoder + counts @ head.ngrams + head.bias
        np.testing.assert_allclose(logits, expected / manifest.temperature, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(classifier.score(prepared), softmax(classifier.logits(prepared)))


@settings(max_examples=50)
@given(st.lists(_texts, min_size=1, max_size=12), st.integers(1, 5), st.integers(1, 40))
def test_an_answer_does_not_depend_on_what_it_was_batched_with(
    classifier: Classifier, texts: list[str], batch_texts: int, batch_tokens: int
) -> None:
    alone = np.concatenate([classifier.predict([text]) for text in texts])
    together = classifier.predict(texts, batch_texts=batch_texts, batch_tokens=batch_tokens)
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_allclose(classifier.score(classifier.prepare(texts)), alone, atol=1e-6)


@settings(max_examples=30)
@given(st.lists(_texts, max_size=6))
def test_probabilities_have_one_column_per_label(classifier: Classifier, texts: list[str]) -> None:
    scores = classifier.predict(texts)
    assert scores.shape == (len(texts), len(LABELS))
    np.testing.assert_allclose(scores.sum(axis=1), 1.0, atol=1e-6)


def test_columns_stand_in_the_order_of_the_labels(tmp_path: Path) -> None:
    labels = ("zebra", "apple", "mango")
    write_ngram_bundle(tmp_path / "bundle", labels)
    loaded = Classifier.load(tmp_path / "bundle")
    assert tuple(loaded.labels) == labels
    assert [labels[place] for place in loaded.predict(["mango", "zebra", "apple"]).argmax(axis=1)] == [
        "mango",
        "zebra",
        "apple",
    ]


def test_text_is_cleaned_as_the_bundle_says(tmp_path: Path) -> None:
    write_ngram_bundle(tmp_path / "bundle")
    loaded = Classifier.load(tmp_path / "bundle")
    raw = "<p>Ｐｏｓｉｔｉｖｅ</p><script>negative negative</script>"
    np.testing.assert_array_equal(loaded.predict([raw]), loaded.predict([clean(raw, loaded.manifest.text)]))
    edit(tmp_path / "bundle", text={"html": False, "control": False, "unicode_form": "none", "spaces": False}, probes=[])
    unclean = Classifier.load(tmp_path / "bundle")
    assert loaded.labels.names[loaded.predict([raw]).argmax()] == "positive"
    assert unclean.labels.names[unclean.predict([raw]).argmax()] == "negative"


def test_n_grams_are_never_truncated(tmp_path: Path) -> None:
    write_ngram_bundle(tmp_path / "bundle")
    (prepared,) = Classifier.load(tmp_path / "bundle").prepare(["word " * 5_000 + "positive"])
    assert not prepared.truncated
    assert prepared.ids == []
    assert prepared.ngrams is not None
    assert prepared.ngrams.indices.tolist() == [2]


def test_a_head_comes_back_as_it_went_in(tmp_path: Path) -> None:
    head = tiny_head(3)
    head.save(tmp_path / HEAD)
    back = Head.load(tmp_path / HEAD)
    for one, other in zip((head.encoder, head.ngrams, head.bias), (back.encoder, back.ngrams, back.bias), strict=True):
        assert one is not None
        assert other is not None
        np.testing.assert_array_equal(one, other)
    Head(None, None, head.bias).save(tmp_path / HEAD)
    assert Head.load(tmp_path / HEAD).encoder is None
