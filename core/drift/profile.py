"""The profile of a version: how it answered rows it was not fitted on, kept in its bundle as the reference for drift.

It holds numbers, labels, languages, and words that several texts have; no text, and no rare word that could be a name.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from core.drift.samples import Sample, Texts
from core.errors import BundleError, InputError

PROFILE = "profile.safetensors"
# More rows make the reference steadier and no test slower than a second.
MAX_ROWS = 2_000
MAX_EMBEDDINGS = 1_000
MAX_WORDS = 2_000
# A word that fewer different texts have may be a person's name.
MIN_WORD_TEXTS = 5
_FORMAT = "1"


@dataclass(frozen=True)
class Reference:
    """What windows are compared with: answers, and the share of their texts that have each common word."""

    sample: Sample
    words: Mapping[str, float]


@dataclass(frozen=True)
class Profile:
    """The reference of one version: a sample of held-out rows, whether each answer was ``right``, and common words.

    ``words`` maps a word to the share of held-out texts that have it. ``texts_key`` names the texts the sample was taken
    from, so that another version over the same ones need not measure them anew.
    """

    sample: Sample
    right: NDArray[np.bool_]
    words: Mapping[str, float]
    texts_key: str = ""

    @property
    def reference(self) -> Reference:
        """What windows are compared with, unless an operator said otherwise."""
        return Reference(self.sample, self.words)

    def save(self, path: Path) -> None:
        """Write as safetensors, embeddings in half precision."""
        sample, texts = self.sample, self.sample.texts
        labels, label_places = _indexed(sample.labels)
        names = {"labels": labels, "languages": [], "words": list(self.words)}
        tensors = {
            "labels": label_places,
            "confidences": sample.confidences,
            "right": self.right.astype(np.uint8),
            "words": np.array(list(self.words.values()), dtype=np.float32),
        }
        if texts is not None:
            names["languages"], tensors["languages"] = _indexed(texts.languages)
            tensors |= {"lengths": texts.lengths, "unknown_ratios": texts.unknown_ratios}
            if texts.embeddings is not None:
                tensors["embeddings"] = texts.embeddings.astype(np.float16)
        told = {"format": _FORMAT, "names": names, "texts_key": self.texts_key}
        # One entry: the library writes several in an order that differs every time, and equal profiles should be equal files.
        metadata = {"profile": json.dumps(told, ensure_ascii=False)}
        save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, path, metadata)

    @classmethod
    def load(cls, path: Path) -> Profile:
        """Read what :meth:`save` wrote.

        Raises:
            BundleError: when the file is damaged, inconsistent or of another format.
        """
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            told = json.loads(metadata["profile"]) if "profile" in metadata else _told_of_old(metadata)
            form = told.get("format")
            profile = _read(tensors, told["names"], told.get("texts_key", "")) if form == _FORMAT else None
        except (OSError, SafetensorError, ValueError, KeyError, IndexError, TypeError, AttributeError, InputError) as error:
            raise BundleError(f"{path.name} is not a readable profile") from error
        if profile is None:
            raise BundleError(f"{path.name} has format {form!r}; this release reads {_FORMAT}")
        return profile


def read_profile(folder: Path) -> Profile | None:
    """Return the profile of the bundle in ``folder``; None for one that an earlier release made.

    Raises:
        BundleError: there is one, and it cannot be read.
    """
    path = folder / PROFILE
    return Profile.load(path) if path.is_file() else None


def common_words(texts: Iterable[Iterable[str]], rows: int) -> dict[str, float]:
    """Return the ``MAX_WORDS`` words that most of ``rows`` texts have, at least ``MIN_WORD_TEXTS``, with their shares.

    >>> common_words([["so", "so", "good"]] * 5 + [["eve"]], 6)
    {'good': 0.8333333333333334, 'so': 0.8333333333333334}
    """
    counts = Counter(word for words in texts for word in set(words))
    kept = [(word, count) for word, count in counts.items() if count >= MIN_WORD_TEXTS]
    kept.sort(key=lambda item: (-item[1], item[0]))
    return {word: count / rows for word, count in kept[:MAX_WORDS]}


def _told_of_old(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return what the first files of this format say, in three entries."""
    return {**metadata, "names": json.loads(metadata.get("names", "{}"))}


def _indexed(values: tuple[str, ...]) -> tuple[list[str], NDArray[np.int32]]:
    names = sorted(set(values))
    places = {name: place for place, name in enumerate(names)}
    return names, np.array([places[value] for value in values], dtype=np.int32)


def _read(tensors: Mapping[str, NDArray[np.generic]], names: Mapping[str, list[str]], texts_key: str) -> Profile:
    texts = None
    if "lengths" in tensors:
        embeddings = tensors.get("embeddings")
        texts = Texts(
            tensors["lengths"].astype(np.float32),
            tensors["unknown_ratios"].astype(np.float32),
            tuple(names["languages"][place] for place in tensors["languages"].astype(int)),
            None if embeddings is None else embeddings.astype(np.float32),
        )
    labels = tuple(names["labels"][place] for place in tensors["labels"].astype(int))
    sample = Sample(labels, tensors["confidences"].astype(np.float32), texts)
    rows = [len(tensors["right"])] + ([] if texts is None else [len(texts.lengths), len(texts.languages)])
    if any(count != len(labels) for count in rows):
        raise InputError("the profile's parts have different numbers of rows")
    words = dict(zip(names["words"], tensors["words"].astype(float).tolist(), strict=True))
    return Profile(sample, tensors["right"].astype(bool), words, texts_key)
