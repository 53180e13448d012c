"""The encoder path: tokens, truncation, pooling, and one session for versions that share an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import core
import core.encoder
from core.bundle import TOKENIZER
from core.classifier import Classifier
from core.encoder import FloatMatrix, OnnxEncoder, Provider, load_tokenizer, shared_encoder
from core.errors import BundleError
from tests.core.encoders import (
    FP32,
    HIDDEN,
    MAX_TOKENS,
    write_encoder_bundle,
    write_graph,
    write_tokenizer,
)
from tests.core.manifests import accept


def test_embeddings_have_length_1_and_ignore_padding(sealed: Path) -> None:
    encoder = OnnxEncoder(sealed / FP32, threads=1)
    alone = encoder.embed([[2, 4, 3]])
    together = encoder.embed([[2, 4, 3], [2, 5, 6, 7, 8, 9, 3]])
    assert together.shape == (2, HIDDEN)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(together[:1], alone, atol=1e-6)


@given(st.integers(0, 3 * MAX_TOKENS))
def test_a_text_with_more_tokens_than_the_encoder_reads_is_said_to_be_truncated(classifier: Classifier, words: int) -> None:
    (prepared,) = classifier.prepare([" ".join(["good"] * words)])
    room = MAX_TOKENS - 2
    assert prepared.truncated == (words > room)
    assert prepared.ids == [2, *[4] * min(words, room), 3]


def test_another_variant_is_another_engine(sealed: Path) -> None:
    served, other = Classifier.load(sealed), Classifier.load(sealed, variant="int8", checked=False)
    assert not np.allclose(served.predict(["good phone"]), other.predict(["good phone"]))
    np.testing.assert_array_equal(Classifier.load(sealed, variant="fp32").predict(["bad"]), served.predict(["bad"]))


def test_versions_that_differ_by_their_head_share_one_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[Path] = []

    class Counted(OnnxEncoder):
        def __init__(self, path: Path, *, threads: int = 0, provider: Provider = "cpu") -> None:
            loaded.append(path)
            super().__init__(path, threads=threads, provider=provider)

    monkeypatch.setattr(core.encoder, "OnnxEncoder", Counted)
    for version, (head_seed, encoder_seed) in {"v1": (1, 50), "v2": (2, 50), "v3": (2, 60)}.items():
        write_encoder_bundle(tmp_path / version, head_seed=head_seed, encoder_seed=encoder_seed)
    loaded.clear()
    first, second, third = (Classifier.load(tmp_path / version) for version in ("v1", "v2", "v3"))
    assert loaded == [tmp_path / "v1" / FP32, tmp_path / "v3" / FP32]
    # Sharing the session is not sharing the answers.
    answers = [classifier.predict(["good"]) for classifier in (first, second, third)]
    assert not np.allclose(answers[0], answers[1])
    assert not np.allclose(answers[1], answers[2])


def test_probes_are_embedded_once_for_all_heads_of_an_encoder(
    tmp_path: Path, sealed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Classifier.load(sealed)
    asked: list[int] = []
    embed = OnnxEncoder.embed

    def counting(encoder: OnnxEncoder, ids: Sequence[Sequence[int]]) -> FloatMatrix:
        asked.append(len(ids))
        return embed(encoder, ids)

    monkeypatch.setattr(OnnxEncoder, "embed", counting)
    second = Classifier.load(sealed)
    assert asked == []
    np.testing.assert_array_equal(first.predict(["good"]), second.predict(["good"]))


def test_a_session_lives_as_long_as_somebody_uses_it(sealed: Path, tmp_path: Path) -> None:
    graph = sealed / FP32
    first = shared_encoder(graph, "a", threads=1)
    assert shared_encoder(tmp_path / "not looked at", "a", threads=1) is first
    assert shared_encoder(graph, "b", threads=1) is not first
    assert shared_encoder(graph, "a", threads=2) is not first
    del first
    with pytest.raises(BundleError):
        shared_encoder(tmp_path / "not there", "a", threads=1)


@pytest.mark.parametrize("graph", [{"inputs": ("ids", "mask")}, {"output": "logits"}])
def test_a_graph_with_other_inputs_or_outputs_is_refused(bundle: Path, graph: dict[str, Any]) -> None:
    write_graph(bundle / FP32, **graph)
    accept(bundle, FP32)
    with pytest.raises(BundleError, match="expected"):
        Classifier.load(bundle)


def test_a_graph_that_fails_on_the_probes_is_refused(bundle: Path) -> None:
    # A tokenizer whose ids lie beyond the graph's table: everything loads, nothing fits.
    tokenizer = bundle / TOKENIZER
    tokenizer.write_text(
        tokenizer.read_text(encoding="utf-8").replace('"good":4', '"good":999').replace('"good": 4', '"good": 999')
    )
    accept(bundle, TOKENIZER)
    with pytest.raises(BundleError, match="cannot answer its probes"):
        Classifier.load(bundle)


def test_a_tokenizer_neither_pads_nor_forgets_its_limit(tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "tokenizer.json")
    tokenizer = load_tokenizer(tmp_path / "tokenizer.json", max_tokens=5)
    lengths = [len(encoding.ids) for encoding in tokenizer.encode_batch(["good", "good bad phone not very"])]
    assert lengths == [3, 5]
    write_tokenizer(tmp_path / "bare.json", special=False)
    assert load_tokenizer(tmp_path / "bare.json", max_tokens=1).encode("good bad").ids == [4]
