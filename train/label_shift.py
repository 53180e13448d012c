"""How the mix of labels in traffic differs from what was learned, and what a head's answers gain by knowing it.

A head learns how often each label occurs together with what its texts are like. Where traffic brings some labels more often
than the base data did, a few hundred new rows hardly move that. What chance drew of the answers and people judged is a fair
sample of traffic, so it tells the mix: one number for each label, added to its logit, that makes the right labels of those rows
likeliest. Under label shift, where texts of a label stay what they are, that is all there is to learn (Saerens, Latinne and
Decaestecker 2002, Neural Computation 14, 21-41; Alexandari, Kundaje and Shrikumar 2020, arXiv 1901.06852). Where the texts tell
the change by themselves there is nothing to add, and nothing is.

A label that chance never drew is left where it is: that nobody asked about something for a while is no sign that its texts are
others when they come again.
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
# What following traffic may cost of the validation rows, which are mostly of the old mix: as much as the gate lets be forgotten
# by default.
_MOST_LOST_RATIO = 0.05
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
class Scored:
    """``n`` rows with their ``logits`` (n, c) at their temperature and their right labels ``truth`` (n,)."""

    logits: Vector
    truth: IntVector

    def take(self, rows: NDArray[np.bool_]) -> Scored:
        """Return the rows that are marked (n,)."""
        return Scored(self.logits[rows], self.truth[rows])

    def log_likelihood(self, offsets: Vector) -> Vector:
        """Return that of each right label (n,), with ``offsets`` (c,) or (n, c) added to the logits."""
        found: Vector = log_softmax(self.logits + offsets, axis=1)[np.arange(len(self.truth)), self.truth]
        return found

    def right(self, offsets: Vector) -> int:
        """Return how many answers are right with ``offsets`` (c,) added to the logits."""
        return int(((self.logits + offsets).argmax(axis=1) == self.truth).sum()) if len(self.truth) else 0


@dataclass(frozen=True)
class Estimate:
    """The ``offsets`` (c,) that rows drawn by chance tell, and for each part of them those (c,) that the other parts tell."""

    offsets: Vector
    without: Mapping[int, Vector]

    @classmethod
    def of(cls, drawn: Scored, parts: IntVector, held: Scored) -> Estimate:
        """Return what rows tell of which a head knows none of the part in question.

        How far the offsets may go is decided on rows left out, part by part: the spread that makes their right labels
        likeliest, and none where they are not likelier by two and a half standard errors. Nor does it go further than
        ``held`` rows can bear: of those no more than a twentieth may turn wrong.

        Args:
            drawn: what chance drew, each row answered by a head that did not learn its part.
            parts: in which part each of these rows is (n,).
            held: validation rows, answered by a head that did not learn them.
        """
        nothing = np.zeros(drawn.logits.shape[1])
        turns = [int(turn) for turn in np.unique(parts)]
        without = dict.fromkeys(turns, nothing)
        best, best_gain = cls(nothing, without), 0.0
        if len(drawn.truth) < LEAST_DRAWN_ROWS or len(turns) < 2:
            return best
        others = {turn: drawn.take(parts != turn) for turn in turns}
        plain, everything = drawn.log_likelihood(nothing), nothing
        for spread in SPREADS:
            # From what a little less freedom came to, the next is a few steps away.
            without = {turn: likeliest(others[turn], spread, without[turn]) for turn in turns}
            everything = likeliest(drawn, spread, everything)
            gains = drawn.log_likelihood(np.array([without[int(part)] for part in parts])) - plain
            if gains.mean() <= best_gain or held.right(nothing) - held.right(everything) > _MOST_LOST_RATIO * len(held.truth):
                break
            if gains.mean() > _CERTAIN_ERRORS * gains.std() / np.sqrt(len(gains)):
                best, best_gain = cls(everything, without), float(gains.mean())
        return best


def likeliest(drawn: Scored, spread: float, start: Vector) -> Vector:
    """Return the offsets (c,) most likely to be, where each is expected within ``spread`` nats of 0.

    That is the least of the log loss among the labels that were drawn, with the offsets added to their logits, and of the
    squares of offsets over twice that of ``spread``. Labels that were not drawn have none, and the others together, each as
    often as it was drawn, are made no likelier than those.
    """
    counts = np.bincount(drawn.truth, minlength=drawn.logits.shape[1])
    known = np.flatnonzero(counts)
    logits, truth = drawn.logits[:, known], np.searchsorted(known, drawn.truth)
    often, penalty = counts[known].astype(np.float64), 1.0 / spread**2

    def loss(offsets: Vector) -> tuple[float, Vector]:
        found = log_softmax(logits + offsets, axis=1)
        slope = np.exp(found).sum(axis=0) - often + penalty * offsets
        return float(penalty / 2 * (offsets @ offsets) - found[np.arange(len(truth)), truth].sum()), slope

    found: Vector = minimize(loss, start[known], jac=True, method="L-BFGS-B", options={"maxiter": 100}).x
    offsets = np.zeros(len(counts))
    offsets[known] = found - (often @ found) / often.sum()
    return offsets
