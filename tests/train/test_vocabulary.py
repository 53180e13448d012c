"""Text the tokenizer cannot read: pieces are added, and what was there stays as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import BPE, WordPiece
from tokenizers.pre_tokenizers import Whitespace

from tests.train.toys import FILLER, write_toy_base
from train.base import Base, load_base, token_embeddings
from train.encode import VARIANTS, ExportedEncoder
from train.export import export_encoder
from train.tensors import embed_ids
from train.vocabulary import extend_vocabulary, unknown_ratio

_CHINESE = [
    "这个产品非常好，我很喜欢",
    "这个产品非常差，我不喜欢",
    "产品很好 the card",
    "我喜欢这个",
    "Обслуживание плохое",
    "плохое обслуживание",
]
_ENGLISH = ["the card is late", "refund my order today"] * 3


def test_the_share_of_unknown_tokens_is_counted_without_special_ones(base: Base) -> None:
    assert unknown_ratio(base.tokenizer, ["the 好 card 坏"]) == 0.5
    assert unknown_ratio(base.tokenizer, ["the card"]) == 0.0
    assert unknown_ratio(base.tokenizer, []) == 0.0


def test_new_pieces_make_the_text_readable(base: Base) -> None:
    before = unknown_ratio(base.tokenizer, _CHINESE)
    digest = base.digest()
    done = extend_vocabulary(base, _CHINESE)
    assert done is not None
    assert done.unknown_ratio_before == pytest.approx(before, abs=1e-3)
    assert done.unknown_ratio_after == pytest.approx(unknown_ratio(base.tokenizer, _CHINESE), abs=1e-3)
    assert done.unknown_ratio_after < before / 2
    assert base.digest() != digest
    tokens = base.tokenizer.encode("我喜欢 плохое").tokens
    assert "[UNK]" not in tokens
    assert {"我", "喜", "欢"} <= set(tokens)


def test_what_the_encoder_knew_stays_as_it_was(base: Base, toy_folder: Path) -> None:
    before = load_base(str(toy_folder))
    done = extend_vocabulary(base, _CHINESE)
    assert done is not None
    old, new = before.tokenizer.get_vocab(), base.tokenizer.get_vocab()
    assert {piece: new[piece] for piece in old} == old
    assert len(new) == len(old) + done.added
    assert sorted(new.values()) == list(range(len(new)))
    grown, original = token_embeddings(base).weight, token_embeddings(before).weight
    assert len(grown) == len(new)
    assert torch.equal(grown[: len(original)], original)
    ids = [encoding.ids for encoding in before.tokenizer.encode_batch(_ENGLISH)]
    assert [encoding.ids for encoding in base.tokenizer.encode_batch(_ENGLISH)] == ids
    assert abs(embed_ids(base, ids) - embed_ids(before, ids)).max() < 1e-6


def test_new_embeddings_are_like_the_old_ones_and_differ_from_each_other(base: Base) -> None:
    start = base.tokenizer.get_vocab_size()
    extend_vocabulary(base, _CHINESE)
    weight = token_embeddings(base).weight.detach()
    old, fresh = weight[:start], weight[start:]
    assert 0.5 < float(fresh.std() / old.std()) < 2.0
    assert len(torch.unique(fresh, dim=0)) == len(fresh)


def test_the_same_texts_give_the_same_extension(toy_folder: Path) -> None:
    digests = []
    for _ in range(2):
        base = load_base(str(toy_folder))
        extend_vocabulary(base, _CHINESE)
        digests.append(base.digest())
    assert digests[0] == digests[1]


@pytest.mark.parametrize("spare", [1, 3, 200])
def test_spare_embeddings_beyond_the_vocabulary_do_no_harm(tmp_path: Path, spare: int) -> None:
    base = load_base(str(write_toy_base(tmp_path / "spare", spare_embeddings=spare)))
    original = token_embeddings(base).weight.detach().clone()
    done = extend_vocabulary(base, _CHINESE)
    assert done is not None
    weight = token_embeddings(base).weight.detach()
    assert torch.equal(weight[: len(original)], original)
    assert max(base.tokenizer.get_vocab().values()) == len(weight) - 1
    ids = [encoding.ids for encoding in base.tokenizer.encode_batch(_CHINESE)]
    assert embed_ids(base, ids).shape == (len(_CHINESE), 32)


def test_nothing_happens_where_little_is_unknown(base: Base) -> None:
    digest = base.digest()
    assert extend_vocabulary(base, [*_ENGLISH * 20, "好"]) is None
    assert extend_vocabulary(base, []) is None
    base.changed()
    assert base.digest() == digest


def test_nothing_happens_where_no_unknown_word_comes_twice(base: Base) -> None:
    digest = base.digest()
    assert extend_vocabulary(base, ["плохое обслуживание", "никогда больше"]) is None
    base.changed()
    assert base.digest() == digest


def _with(base: Base, tokenizer: Tokenizer) -> Base:
    tokenizer.pre_tokenizer = Whitespace()
    return Base("other", base.encoder, tokenizer, base.hidden, base.max_positions)


def test_nothing_happens_where_no_token_means_unknown(base: Base) -> None:
    letters = {sign: place for place, sign in enumerate("acdehrt")}
    assert extend_vocabulary(_with(base, Tokenizer(BPE(letters, []))), _CHINESE) is None
    words = {word: place for place, word in enumerate(FILLER)}
    nameless = _with(base, Tokenizer(WordPiece(words, unk_token="[UNK]")))  # noqa: S106 - a token of text
    assert unknown_ratio(nameless.tokenizer, ["the card"]) == 0.0


def test_only_word_pieces_are_extended(base: Base) -> None:
    letters = {sign: place for place, sign in enumerate(["?", *"acdehrt"])}
    other = _with(base, Tokenizer(BPE(letters, [], unk_token="?")))  # noqa: S106 - a token of text
    assert unknown_ratio(other.tokenizer, _CHINESE) > 0.5
    assert extend_vocabulary(other, _CHINESE) is None


def test_a_grown_encoder_is_exported_like_any_other(base: Base, tmp_path: Path) -> None:
    done = extend_vocabulary(base, _CHINESE)
    exported = export_encoder(base, tmp_path, _CHINESE, done)
    assert exported.facts.vocabulary == done
    ids = exported.tokenize(_CHINESE, max_tokens=64)
    assert ids == [encoding.ids for encoding in base.tokenizer.encode_batch(_CHINESE)]
    assert abs(exported.embed_ids(ids, "fp32") - embed_ids(base, ids)).max() < 1e-4
    again = load_base(str((exported.folder / VARIANTS["fp32"]).parent.parent))
    assert again.digest() == base.digest() == exported.facts.digest
    kept = exported.keep(tmp_path / "cache")
    assert ExportedEncoder.of_cache(tmp_path / "cache", base.digest()) == kept
