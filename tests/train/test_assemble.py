"""The model card says what the manifest says."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.bundle import EncoderSpec, Features, Manifest, Parity, Vocabulary
from tests.train.toys import write_bundle
from train.assemble import card
from train.select import OptionReport


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """Give the manifest of a bundle of n-grams."""
    return write_bundle(tmp_path / "bundle")


def _option(name: str, accuracy: float | None, *, chosen: bool = False) -> OptionReport:
    return OptionReport(name=name, features="both", accuracy=accuracy, log_loss=accuracy, fit_s=1.25, chosen=chosen)


def _encoder(vocabulary: Vocabulary | None) -> EncoderSpec:
    return EncoderSpec(
        base="toy",
        hidden=8,
        max_tokens=64,
        weights_sha256="0" * 64,
        variants={"fp32": "encoder/onnx/fp32.onnx"},
        serving="fp32",
        vocabulary=vocabulary,
    )


def test_options_are_listed_and_the_served_one_marked(manifest: Manifest) -> None:
    text = card(manifest, [_option("plain", 0.5), _option("rich", 0.75, chosen=True), _option("unknown", None)])
    assert "| plain | 50.00% | 0.500 | 1.2 |  |" in text
    assert "| rich | 75.00% | 0.750 | 1.2 | yes |" in text
    assert "| unknown |  |  | 1.2 |  |" in text


@pytest.mark.parametrize(
    ("features", "words"),
    [("ngrams", "by n-grams under"), ("encoder", "by toy under"), ("both", "by toy and n-grams under")],
)
def test_features_are_named(manifest: Manifest, features: Features, words: str) -> None:
    own = manifest.model_copy(update={"features": features, "encoder": None if features == "ngrams" else _encoder(None)})
    text = card(own, [])
    assert f"into 3 labels {words} a linear head" in text
    assert "unknown to the base tokenizer" not in text


def test_an_extended_vocabulary_and_parity_are_told(manifest: Manifest) -> None:
    vocabulary = Vocabulary(unknown_ratio_before=0.612, unknown_ratio_after=0.004, added=321)
    parity = Parity(
        rows=200,
        encoder_gap=1e-6,
        label_agreement_ratio=0.995,
        max_probability_gap=0.02,
        accuracy_torch=0.9,
        accuracy_engine=0.895,
    )
    text = card(manifest.model_copy(update={"encoder": _encoder(vocabulary), "parity": parity, "features": "both"}), [])
    assert "61.2% of the training tokens were unknown to the base tokenizer; 321 pieces were added" in text
    assert "left 0.4%" in text
    assert "99.50% of 200 rows; accuracy 0.9000 before, 0.8950 served" in text


def test_the_numbers_of_validation_are_not_among_the_results(manifest: Manifest) -> None:
    text = card(manifest.model_copy(update={"metrics": {"accuracy": 0.5, "validation_accuracy": 0.875}}), [])
    assert "- accuracy: 0.5000" in text
    assert "0.875" not in text
