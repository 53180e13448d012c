"""Extending a tokenizer's vocabulary from the data, when much of the text is unknown to it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.trainers import WordPieceTrainer
from torch import nn

from core.bundle import Vocabulary
from train.base import Base, token_embeddings

# Below this share of unknown tokens an extension costs more (new, untrained embeddings) than the lost words are worth.
WORTH_EXTENDING_RATIO = 0.02
_MOST_PIECES = 6_000
_LEAST_COUNT = 2


def unknown_ratio(tokenizer: Tokenizer, texts: Sequence[str]) -> float:
    """Return the share of tokens of ``texts`` that are the unknown token; 0 for tokenizers that have none."""
    unknown = _unknown_token(tokenizer)
    place = tokenizer.token_to_id(unknown) if unknown is not None else None
    if place is None:
        return 0.0
    total = found = 0
    for encoding in tokenizer.encode_batch(list(texts), add_special_tokens=False):
        total += len(encoding.ids)
        found += encoding.ids.count(place)
    return found / total if total else 0.0


def extend_vocabulary(base: Base, texts: Sequence[str]) -> Vocabulary | None:
    """Add the pieces that ``texts`` need to ``base`` and return what was done; None when nothing had to be.

    Words the tokenizer cannot read are collected, WordPiece is trained on them alone, and the pieces it finds are appended with
    embeddings drawn around the mean of the old ones. They mean nothing until the encoder is trained.
    """
    before = unknown_ratio(base.tokenizer, texts)
    body = json.loads(base.tokenizer.to_str())
    if before < WORTH_EXTENDING_RATIO or body["model"]["type"] != "WordPiece":
        return None
    words = _unknown_words(base.tokenizer, texts)
    pieces = [piece for piece in _train_pieces(words) if piece not in body["model"]["vocab"]]
    if not pieces:
        return None
    # A vocabulary may end in added tokens, and an encoder may have more embeddings than tokens: pieces start after both.
    start = max(base.tokenizer.get_vocab_size(with_added_tokens=True), len(token_embeddings(base).weight))
    body["model"]["vocab"].update({piece: start + place for place, piece in enumerate(pieces)})
    base.tokenizer = Tokenizer.from_str(json.dumps(body, ensure_ascii=False))
    _grow_embeddings(base.encoder.transformer, start + len(pieces))
    base.changed()
    return Vocabulary(
        unknown_ratio_before=round(before, 4),
        unknown_ratio_after=round(unknown_ratio(base.tokenizer, texts), 4),
        added=len(pieces),
    )


def _unknown_token(tokenizer: Tokenizer) -> str | None:
    name = getattr(tokenizer.model, "unk_token", None)
    return name if isinstance(name, str) and tokenizer.token_to_id(name) is not None else None


def _unknown_words(tokenizer: Tokenizer, texts: Sequence[str]) -> Counter[str]:
    words: Counter[str] = Counter()
    for text in texts:
        normal = tokenizer.normalizer.normalize_str(text) if tokenizer.normalizer else text
        pieces = tokenizer.pre_tokenizer.pre_tokenize_str(normal) if tokenizer.pre_tokenizer else [(normal, (0, 0))]
        words.update(word for word, _ in pieces)
    known = tokenizer.model
    unknown = _unknown_token(tokenizer)
    return Counter({word: n for word, n in words.items() if any(token.value == unknown for token in known.tokenize(word))})


def _train_pieces(words: Counter[str]) -> list[str]:
    # The trainer numbers single signs inside words in the order of a hash map, and breaks ties by number; named here, they have
    # the same numbers every time, so that equal texts give equal pieces.
    inner = sorted({f"##{sign}" for word, n in words.items() if n >= _LEAST_COUNT for sign in word[1:]})
    trainer = WordPieceTrainer(
        vocab_size=_MOST_PIECES, min_frequency=_LEAST_COUNT, special_tokens=["[UNK]", *inner], show_progress=False
    )
    learner = Tokenizer(WordPiece(unk_token="[UNK]"))  # noqa: S106 - a token of text, not a secret
    learner.train_from_iterator((word for word, n in words.items() if n >= _LEAST_COUNT for _ in range(n)), trainer)
    vocabulary = learner.get_vocab()
    return [piece for piece in sorted(vocabulary, key=vocabulary.__getitem__) if piece != "[UNK]"]


def _grow_embeddings(transformer: nn.Module, size: int) -> None:
    old = transformer.get_input_embeddings()  # type: ignore[operator] # nn.Module hides the method
    weight = old.weight.detach()
    generator = torch.Generator().manual_seed(0)
    spread = weight.std(dim=0)
    fresh = weight.mean(dim=0) + spread * torch.randn(size - len(weight), weight.shape[1], generator=generator)
    grown = nn.Embedding(size, weight.shape[1], padding_idx=old.padding_idx)
    with torch.no_grad():
        grown.weight.copy_(torch.cat([weight, fresh]))
    transformer.set_input_embeddings(grown)  # type: ignore[operator] # nn.Module hides the method
    transformer.config.vocab_size = size  # type: ignore[union-attr] # nn.Module hides the attribute
