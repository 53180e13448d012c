"""Toy data and toy encoders: everything is real, but so small that a whole fit takes seconds."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertModel

from core.bundle import HEAD, Manifest, seal
from core.classifier import Head
from core.registry import Registry
from core.schemas import FitSpeed
from core.settings import Settings
from core.text import Split
from feedback.snapshot import BaseDataset, Example, build_snapshot
from tests.bundles import LABELS, write_ngram_bundle
from train.crossfit import OutOfFold

SIGNAL = {
    "angry": ("broken", "refund", "awful", "late", "rude"),
    "calm": ("lovely", "thanks", "great", "quick", "kind"),
    "lost": ("where", "how", "which", "when", "why"),
}
FILLER = ("the", "card", "phone", "order", "my", "was", "is", "on", "today", "again", "app", "it")
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,?!:"


@dataclass(frozen=True)
class Row:
    """One row of a toy file."""

    text: str
    label: str
    split: Split


def toy_rows(count: int = 240, *, seed: int = 0, labels: Sequence[str] = tuple(SIGNAL)) -> list[Row]:
    """Return rows whose label two of their words decide; half train, a quarter validation, a quarter test; no text twice."""
    chance = random.Random(seed)  # noqa: S311 - toy data
    splits: tuple[Split, ...] = ("train", "train", "validation", "test")
    texts: dict[str, Row] = {}
    while len(texts) < count:
        place = len(texts)
        label = labels[place % len(labels)]
        words = chance.sample(SIGNAL[label], 2) + chance.sample(FILLER, chance.randint(2, 6))
        chance.shuffle(words)
        text = " ".join(words)
        texts.setdefault(text, Row(text, label, splits[place // len(labels) % 4]))
    return list(texts.values())


def to_examples(rows: Iterable[Row]) -> list[Example]:
    """Return the rows as base examples."""
    return [Example.of(row.text, row.label, split=row.split) for row in rows]


def write_csv(path: Path, rows: Iterable[Row]) -> Path:
    """Write the rows as CSV with a ``split`` column and return ``path``."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label", "split"))
        writer.writerows((row.text, row.label, row.split) for row in rows)
    return path


def toy_tokenizer(extra: Sequence[str] = ()) -> Tokenizer:
    """Return a WordPiece tokenizer that knows the toy words, ``extra`` ones, and every Latin letter."""
    words = [*_SPECIAL, *FILLER, *(word for group in SIGNAL.values() for word in group), *extra]
    pieces = dict.fromkeys([*words, *_LETTERS, *(f"##{sign}" for sign in _LETTERS)])
    vocabulary = {piece: place for place, piece in enumerate(pieces)}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))  # noqa: S106 - a token of text
    tokenizer.normalizer = BertNormalizer()
    tokenizer.pre_tokenizer = BertPreTokenizer()
    special = [(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=special)
    return tokenizer


def write_toy_base(folder: Path, *, seed: int = 0, spare_embeddings: int = 0) -> Path:
    """Write a randomly initialised BERT of 2 layers in Hugging Face layout and return ``folder``."""
    tokenizer = toy_tokenizer()
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size() + spare_embeddings,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def write_bundle(
    folder: Path,
    *,
    mistaken: bool = False,
    dataset: str = "0" * 64,
    snapshot: str = "0" * 64,
    speed: FitSpeed = "head",
    parent: str | None = None,
) -> Manifest:
    """Write a bundle that answers a text with the label it names; a ``mistaken`` one confuses two of the three labels."""
    manifest = write_ngram_bundle(folder)
    if mistaken:
        head = Head.load(folder / HEAD)
        order = [0, 2, 1]
        assert head.ngrams is not None
        Head(None, head.ngrams[:, order], head.bias[order]).save(folder / HEAD)
    lineage = manifest.lineage.model_copy(update={"dataset": dataset, "snapshot": snapshot, "speed": speed, "parent": parent})
    probes = [] if mistaken else manifest.probes
    return seal(folder, manifest.model_copy(update={"lineage": lineage, "probes": probes}))


def labelled_texts(each: int = 40) -> list[Example]:
    """Return base examples that name their label, for the bundles of :func:`write_bundle`; half of them are held out."""
    splits: tuple[Split, ...] = ("train", "test")
    return [
        Example.of(f"number {number} is {label}", label, split=splits[number % 2]) for label in LABELS for number in range(each)
    ]


def install_champion(settings: Settings, *, mistaken: bool = True) -> Registry:
    """Register and promote ``v1`` with a base data set and a snapshot on disk, and return the registry."""
    home = settings.home
    dataset = BaseDataset.of(labelled_texts())
    dataset.save(home.datasets)
    snapshot = build_snapshot(dataset.examples, [], dataset.labels, settings.correction_weight)
    snapshot.save(home.snapshots)
    registry = Registry(home.registry)
    staged = home.runs / "first"
    write_bundle(staged, mistaken=mistaken, dataset=dataset.hash, snapshot=snapshot.hash)
    registry.promote(registry.register(staged, None, by="test", why="a fixture"), by="test", why="a fixture")
    return registry


def write_out_of_fold(settings: Settings, bundle: Path, answers: Mapping[str, str], sure: float = 3.0) -> None:
    """Keep labels by text key as what ``bundle`` says of the texts had it not learned from them, ``sure`` its logits."""
    labels = sorted(set(answers.values()))
    scores = np.zeros((len(answers), len(labels)), dtype=np.float32)
    scores[np.arange(len(answers)), [labels.index(label) for label in answers.values()]] = sure
    OutOfFold.of(list(answers), labels, scores).save(settings.home.cache, bundle)
