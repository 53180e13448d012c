"""How the mix of labels in traffic differs from what was learned, and what a head's answers gain by knowing it.

A head learns how often each label occurs together with what its texts are like. Where traffic brings some labels more often
than the base data did, a few hundred new rows hardly move that. What chance drew of the answers and people judged is a fair
sample of traffic, so it tells the mix: one number for each label, added to its logit, that makes the right labels of those rows
likeliest. Under label shift, where texts of a label stay what they are, that is all there is to learn (Saerens, Latinne and
Decaestecker 2002, Neural Computation 14, 21-41; Alexandari, Kundaje and Shrikumar 2020, arXiv 1901.06852). Where the texts tell
the change by themselves there is nothing to add, and nothing is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from scipy.optimize import minimize
from scipy.special import log_softmax

from core.errors import BundleError

if TYPE_CHECKING:
    from core.classifier import Head
    from train.features import FloatMatrix, IntVector

LABEL_SHIFT = "label-shift.json"
# From so many rows that chance drew on the mix is looked at.
LEAST_DRAWN_ROWS = 50
# The standard deviations, in nats, that shifts may be expected to have, from hardly any to a label three times as frequent.
SPREADS = (0.1, 0.18, 0.32, 0.56, 1.0, 1.8)
# By how many standard errors rows left out have to be likelier. Every run asks anew: at two, one in forty would follow chance.
_CERTAIN_ERRORS = 2.5

Vector = NDArray[np.float64]
_OFFSETS: TypeAdapter[dict[str, float]] = TypeAdapter(dict[str, float])


@dataclass(frozen=True)
class LabelShift:
    """By how many nats each label is likelier in traffic than a head would say that learned the rows as they are.

    ``offsets`` has the labels that are any likelier or less likely; nothing is shifted where there is none.
    """

    offsets: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, labels: Sequence[str], offsets: Vector) -> LabelShift:
        """Return the shift by ``offsets`` (c,) of ``labels``."""
        return cls({name: round(float(value), 4) for name, value in zip(labels, offsets, strict=True) if round(value, 4)})

    def over(self, labels: Sequence[str]) -> NDArray[np.float32]:
        """Return the offset of each label (c,), 0 for one that is not shifted."""
        return np.array([self.offsets.get(name, 0.0) for name in labels], dtype=np.float32)

    def applied(self, head: Head, labels: Sequence[str], temperature: float) -> Head:
        """Return the head that answers so much likelier, once its logits are divided by ``temperature``."""
        return replace(head, bias=head.bias + np.float32(temperature) * self.over(labels)) if self.offsets else head

    def undone(self, scores: FloatMatrix, labels: Sequence[str]) -> FloatMatrix:
        """Return the probabilities (n, c) that were given as ``scores``, as they were before the shift."""
        if not self.offsets:
            return scores
        found = scores * np.exp(-self.over(labels))
        return np.asarray(found / found.sum(axis=1, keepdims=True), dtype=np.float32)

    def save(self, folder: Path) -> None:
        """Write it into the bundle in ``folder``; nothing where nothing is shifted."""
        if self.offsets:
            (folder / LABEL_SHIFT).write_text(json.dumps(dict(self.offsets), ensure_ascii=False, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> LabelShift:
        """Return the shift of the bundle in ``folder``.

        Raises:
            BundleError: there is such a file, and it cannot be read.
        """
        path = folder / LABEL_SHIFT
        if not path.is_file():
            return cls()
        try:
            return cls(_OFFSETS.validate_json(path.read_bytes()))
        except (OSError, ValidationError) as error:
            raise BundleError(f"{path.name} does not hold a number for each label") from error


@dataclass(frozen=True)
class Estimate:
    """The ``offsets`` (c,) that rows drawn by chance tell, and for each part of them those (c,) that the other parts tell."""

    offsets: Vector
    without: Mapping[int, Vector]

    @classmethod
    def of(cls, scores: FloatMatrix, truth: IntVector, parts: IntVector) -> Estimate:
        """Return what rows tell of which a head knows none of the part in question.

        How far the offsets may go is decided on rows left out, part by part: the spread that makes their right labels
        likeliest, and none where they are not likelier by two and a half standard errors.

        Args:
            scores: logits at their temperature (n, c), each row's by a head that did not learn its part.
            truth: the right labels (n,).
            parts: in which part each row is (n,).
        """
        nothing = np.zeros(scores.shape[1])
        logits = scores.astype(np.float64)
        turns = [int(turn) for turn in np.unique(parts)]
        without = dict.fromkeys(turns, nothing)
        best, best_gain = cls(nothing, without), 0.0
        if len(truth) < LEAST_DRAWN_ROWS or len(turns) < 2:
            return best
        plain = _log_likelihood(logits, truth)
        everything = nothing
        for spread in SPREADS:
            # From what a little less freedom came to, the next is a few steps away.
            without = {turn: likeliest(logits[parts != turn], truth[parts != turn], spread, without[turn]) for turn in turns}
            everything = likeliest(logits, truth, spread, everything)
            shifted = logits + np.array([without[int(part)] for part in parts])
            gains = _log_likelihood(shifted, truth) - plain
            if gains.mean() <= best_gain:
                break
            if gains.mean() > _CERTAIN_ERRORS * gains.std() / np.sqrt(len(gains)):
                best, best_gain = cls(everything, without), float(gains.mean())
        return best


def likeliest(logits: Vector, truth: IntVector, spread: float, start: Vector) -> Vector:
    """Return the offsets (c,) most likely to be, where each is expected within ``spread`` nats of 0.

    That is the least of the log loss of ``logits`` (n, c) plus offsets, and of their squares over twice that of ``spread``.
    """
    counts = np.bincount(truth, minlength=logits.shape[1])
    penalty = 1.0 / spread**2

    def loss(offsets: Vector) -> tuple[float, Vector]:
        found = log_softmax(logits + offsets, axis=1)
        slope = np.exp(found).sum(axis=0) - counts + penalty * offsets
        return float(penalty / 2 * (offsets @ offsets) - found[np.arange(len(truth)), truth].sum()), slope

    found: Vector = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 100}).x
    return found


def _log_likelihood(logits: Vector, truth: IntVector) -> Vector:
    found: Vector = log_softmax(logits, axis=1)[np.arange(len(truth)), truth]
    return found
