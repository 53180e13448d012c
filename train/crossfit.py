"""What a fit says of rows that it learned from, had it not: the same head fitted without them, a part at a time.

The gate asks whether a candidate is better on recent traffic. To hold those labels back would waste them, and to ask about what
was learned would flatter. Cross-fitting (Stone 1974, Journal of the Royal Statistical Society B 36) does neither: for each part
of the rows the head is fitted on all others. With the encoder fixed that costs a few seconds.

The answers are kept in the cache, by the manifest of the bundle: when another candidate is compared with this one, they are
what it would have said of the rows it knows by heart. Where they are gone, fewer rows tell.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from scipy.special import log_softmax

from core.bundle import MANIFEST, file_sha256
from core.classifier import Head
from core.home import write_atomically
from train.head import FloatMatrix, IntVector, logits
from train.select import HeadRows, Option

FOLDS = 4
# How near to the least loss a head must come, as a share of what the rows in question can move it by. Forgetting them has to be
# thorough, since whatever is left of them flatters: on huffpost a head that was let off at 1e-4 was right 1.6 points too often,
# and at 1e-5 as often as one that never saw them. Learning the other parts again may stop sooner, which only makes modest.
_SHARE = 0.01
_FORGET_TOLERANCE = 1e-5
_LEARN_TOLERANCE = 1e-4

_NAMES: TypeAdapter[list[str]] = TypeAdapter(list[str])
_FOLDER = "out-of-fold"


@dataclass(frozen=True)
class OutOfFold:
    """What a fit says of rows had it not learned from them: ``scores`` (m, c) are log-probabilities, before any temperature.

    ``places`` says in which row a text stands, by its key.
    """

    labels: Sequence[str] = ()
    scores: FloatMatrix = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))
    places: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, keys: Sequence[str], labels: Sequence[str], scores: FloatMatrix) -> OutOfFold:
        """Return the logits ``scores`` (m, c) of the texts ``keys``, as what is kept."""
        return cls(labels, log_softmax(scores, axis=1).astype(np.float32), {key: place for place, key in enumerate(keys)})

    def __contains__(self, text_key: str) -> bool:
        return text_key in self.places

    def answer(self, text_key: str) -> str:
        """Return the label of a text."""
        return self.labels[int(self.scores[self.places[text_key]].argmax())]

    def save(self, cache: Path, bundle: Path) -> None:
        """Keep it in ``cache`` as what was said by the bundle in the folder ``bundle``."""
        texts = {"keys": json.dumps(list(self.places)), "labels": json.dumps(list(self.labels))}
        path = _path(cache, bundle)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, save({"scores": np.ascontiguousarray(self.scores)}, texts))

    @classmethod
    def load(cls, cache: Path, bundle: Path) -> OutOfFold:
        """Return what was kept of that bundle; nothing where its fit was not asked, or the cache was emptied."""
        try:
            with safe_open(_path(cache, bundle), "np") as file:
                texts, scores = file.metadata() or {}, file.get_tensor("scores")
            keys, labels = (_NAMES.validate_json(texts[name]) for name in ("keys", "labels"))
        except (OSError, SafetensorError, ValidationError, KeyError):
            return cls()
        if scores.shape != (len(keys), len(labels)):
            return cls()
        return cls(labels, scores, {key: place for place, key in enumerate(keys)})


def part_of(text_key: str) -> int:
    """Return in which part a text is, the same in every fit: what two fits say of it then differs by what they learned alone.

    >>> part_of("00000000000000000000000000000005")
    1
    """
    return int(text_key[-8:], 16) % FOLDS


def cross_fitted(
    rows: HeadRows,
    learnable: IntVector,
    asked: IntVector,
    option: Option,
    start: Head,
    weights_without: Callable[[IntVector], FloatMatrix],
    parts: IntVector,
) -> FloatMatrix:
    """Return the logits (m, c) that the head gives each row at ``asked`` when that row's part was left out.

    A row whose part is all there is to learn from has none: NaN.

    Args:
        rows: all rows as features.
        learnable: places that the fit learns from; ``asked`` are some of them.
        asked: places of the rows in question (m,).
        option: which features the head uses.
        start: the head fitted on all of them. It forgets all rows in question first, and each part is left out from there: a
            fit that ends early has learned less, never more than it should.
        weights_without: the weights (n,) of all rows when those at the given places are unknown.
        parts: in which part each row in question is (m,), see :func:`part_of`.
    """
    found = np.full((len(asked), rows.classes), np.nan, dtype=np.float32)
    moved = float(rows.weights[asked].sum() / rows.weights[learnable].sum())

    def fitted(unknown: IntVector, begin: Head | None, tolerance: float) -> Head | None:
        inside = np.setdiff1d(learnable, unknown)
        if not len(inside):
            return None
        weighed = HeadRows(rows.features, rows.labels, weights_without(unknown), rows.train, rows.validation, rows.classes)
        return weighed.fit(
            option.features,
            inside,
            start=begin,
            tolerance=min(tolerance, _SHARE * moved),
            regularisation=option.regularisation,
        )

    without_all = fitted(asked, start, _FORGET_TOLERANCE)
    for turn in np.unique(parts):
        part = np.flatnonzero(parts == turn)
        head = fitted(asked[part], without_all, _LEARN_TOLERANCE)
        if head is not None:
            found[part] = logits(head, rows.kind(option.features).take(asked[part]))
    return found


def _path(cache: Path, bundle: Path) -> Path:
    return cache / _FOLDER / f"{file_sha256(bundle / MANIFEST)}.safetensors"
