"""Every family of encoders and decoders, tiny and randomly initialised: taught, exported, compared with torch, and served."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from huggingface_hub import errors as hub
from transformers import AutoModel

from core.classifier import Classifier
from core.errors import EncoderError
from core.registry import Registry
from core.settings import Settings
from tests.train.toys import toy_tokenizer
from train.base import load_base
from train.evaluate import evaluate_file
from train.export import MOST_GAP, export_encoder
from train.request import FinetuneSettings
from train.teach import TeachRequest, teach
from train.tensors import embed_ids

_PIECES = toy_tokenizer().get_vocab_size()
_POSITIONS = 66
_SIZE: dict[str, Any] = {
    "vocab_size": _PIECES,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": _POSITIONS,
}
_SPECIAL: dict[str, Any] = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
_DEBERTA: dict[str, Any] = {
    "relative_attention": True,
    "position_buckets": 16,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "type_vocab_size": 0,
}
_MODERN: dict[str, Any] = {**_SIZE, **_SPECIAL, "global_attn_every_n_layers": 2, "local_attention": 8}
FAMILIES: dict[str, Callable[[], Any]] = {
    "bert": lambda: transformers.BertConfig(**_SIZE),
    "roberta": lambda: transformers.RobertaConfig(**_SIZE),
    "xlm-roberta": lambda: transformers.XLMRobertaConfig(**_SIZE),
    "albert": lambda: transformers.AlbertConfig(**_SIZE, embedding_size=16),
    "deberta-v3": lambda: transformers.DebertaV2Config(**_SIZE, **_DEBERTA),
    "modernbert": lambda: transformers.ModernBertConfig(**_MODERN),
    "distilbert": lambda: transformers.DistilBertConfig(
        vocab_size=_PIECES, dim=32, n_layers=2, n_heads=2, hidden_dim=64, max_position_embeddings=_POSITIONS
    ),
    "electra": lambda: transformers.ElectraConfig(**_SIZE, embedding_size=32),
    "mpnet": lambda: transformers.MPNetConfig(**_SIZE),
    "gpt2": lambda: transformers.GPT2Config(vocab_size=_PIECES, n_embd=32, n_layer=2, n_head=2, n_positions=_POSITIONS),
    "llama": lambda: transformers.LlamaConfig(**_SIZE, num_key_value_heads=1),
    "qwen2": lambda: transformers.Qwen2Config(**_SIZE, num_key_value_heads=1),
    "qwen3": lambda: transformers.Qwen3Config(**_SIZE, num_key_value_heads=1, head_dim=16),
}


@pytest.fixture(params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Give a folder with a tiny encoder of each family in Hugging Face layout."""
    torch.manual_seed(0)
    made = tmp_path / str(request.param)
    model: Any = AutoModel
    model.from_config(FAMILIES[request.param]()).save_pretrained(made)
    toy_tokenizer().save(str(made / "tokenizer.json"))
    yield made
    shutil.rmtree(made)


def test_a_family_is_trained_exported_compared_and_served(folder: Path, settings: Settings, toy_file: Path) -> None:
    tuning = FinetuneSettings(epochs=2, learning_rate=1e-3, batch_texts=16, precision="fp32")
    report = teach(settings, TeachRequest(data=toy_file, base=str(folder), features="encoder", speed="full", finetune=tuning))
    assert report.parity is not None
    assert report.parity.encoder_gap <= MOST_GAP
    assert report.parity.label_agreement_ratio >= 0.99
    assert report.metrics["accuracy"] > 0.6
    served = Registry(settings.home.registry).path(report.version)
    # As a replica loads it: every checksum, and the probes answered again.
    scores = Classifier.load(served).predict(["where and when", "awful and rude", ""])
    np.testing.assert_allclose(scores.sum(axis=1), 1.0, atol=1e-5)
    compared = evaluate_file(served, toy_file, compare_with="torch")
    assert compared.agreement_ratio is not None
    assert compared.agreement_ratio >= 0.99


def test_texts_are_cut_where_its_positions_end(folder: Path, tmp_path: Path) -> None:
    base = load_base(str(folder))
    counts_from_padding = folder.name in ("roberta", "xlm-roberta", "mpnet")
    assert base.max_positions == (_POSITIONS - 2 if counts_from_padding else _POSITIONS)
    texts = ["the card is late " * 50, "why"]
    exported = export_encoder(base, tmp_path, texts, None)
    ids = exported.tokenize(texts, max_tokens=base.max_positions)
    assert len(ids[0]) == base.max_positions
    np.testing.assert_allclose(exported.embed_ids(ids, "fp32"), embed_ids(base, ids), atol=MOST_GAP)


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (hub.OfflineModeIsEnabled("no"), "HF_HUB_OFFLINE is set"),
        (hub.LocalEntryNotFoundError("no"), "not in the cache of this machine"),
        (ConnectionError("no"), "name a folder"),
        (hub.HFValidationError("no"), "an owner and a model"),
    ],
)
def test_what_the_hub_refuses_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch, raised: Exception, said: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("We couldn't connect to 'https://huggingface.co' to load the files, " + "and more " * 50) from raised

    monkeypatch.setattr(AutoModel, "from_pretrained", refuse)
    with pytest.raises(EncoderError, match=said) as caught:
        load_base("nobody/nothing")
    assert caught.value.message.startswith("the encoder 'nobody/nothing' cannot be fetched from the Hugging Face hub: ")
    assert "\n" not in caught.value.message


def test_a_family_nobody_knows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "unheard-of"}', encoding="utf-8")
    with pytest.raises(EncoderError, match="allowed are a folder"):
        load_base(str(tmp_path))
