"""Loading an encoder to start from, and writing it so that others can open it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from core.errors import EncoderError
from train.base import BUNDLED, Base, load_base, token_embeddings
from train.tensors import embed_ids, pad
from train.vocabulary import WORTH_EXTENDING_RATIO, unknown_ratio


def _ids(base: Base, texts: list[str]) -> list[list[int]]:
    return [encoding.ids for encoding in base.tokenizer.encode_batch(texts)]


def test_the_bundled_encoder_is_the_default_and_reads_no_chinese() -> None:
    base = load_base()
    assert (base.name, base.hidden) == (BUNDLED, 384)
    assert unknown_ratio(base.tokenizer, ["这个产品非常好，我很喜欢，推荐购买"]) > WORTH_EXTENDING_RATIO
    assert unknown_ratio(base.tokenizer, ["A very good product, I like it a lot"]) == 0.0


def test_a_folder_gives_encoder_and_tokenizer(toy_folder: Path) -> None:
    base = load_base(str(toy_folder))
    assert (base.name, base.hidden, base.max_positions) == ("toy", 32, 64)
    assert not base.encoder.training
    assert base.tokenizer.encode("the card").tokens == ["[CLS]", "the", "card", "[SEP]"]


def test_embeddings_have_length_one_and_do_not_depend_on_padding(base: Base) -> None:
    texts = ["why", "the card is late again today", "refund my order", ""]
    together = embed_ids(base, _ids(base, texts))
    assert together.shape == (4, 32)
    assert abs((together**2).sum(axis=1) - 1.0).max() < 1e-5
    for place, ids in enumerate(_ids(base, texts)):
        assert abs(embed_ids(base, [ids])[0] - together[place]).max() < 1e-5


def test_padding_is_masked() -> None:
    tokens, mask = pad([[5, 6, 7], [8]])
    assert tokens.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]


def test_the_digest_names_weights_and_tokenizer(toy_folder: Path) -> None:
    base, same = load_base(str(toy_folder)), load_base(str(toy_folder))
    assert base.digest() == same.digest()
    with torch.no_grad():
        token_embeddings(base).weight[7, 0] += 1.0
    base.changed()
    same.tokenizer.add_tokens(["more"])
    same.changed()
    assert len({base.digest(), same.digest(), load_base(str(toy_folder)).digest()}) == 3


def test_what_is_written_opens_here_and_in_plain_transformers(base: Base, tmp_path: Path) -> None:
    base.tokenizer.enable_truncation(max_length=3)
    base.save(tmp_path / "copy")
    copy = load_base(str(tmp_path / "copy"))
    assert copy.digest() == base.digest()
    assert len(copy.tokenizer.encode("the card is late").ids) == 6
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "copy")
    assert tokenizer("the card")["input_ids"] == base.tokenizer.encode("the card").ids
    states = AutoModel.from_pretrained(tmp_path / "copy").eval()(*pad([[2, 5, 3]])).last_hidden_state
    assert torch.isfinite(states).all()


def _altered(source: Path, target: Path, name: str, content: bytes | None) -> Path:
    shutil.copytree(source, target)
    (target / name).unlink()
    if content is not None:
        (target / name).write_bytes(content)
    return target


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", None),
        ("config.json", b"{"),
        ("config.json", json.dumps({"model_type": "unheard-of"}).encode()),
        ("model.safetensors", None),
        ("model.safetensors", b"no tensors at all"),
        ("tokenizer.json", b"{}"),
        ("tokenizer.json", None),
    ],
)
def test_a_folder_that_is_no_encoder_is_refused(toy_folder: Path, tmp_path: Path, name: str, content: bytes | None) -> None:
    folder = _altered(toy_folder, tmp_path / "broken", name, content)
    with pytest.raises(EncoderError, match="broken"):
        load_base(str(folder))
