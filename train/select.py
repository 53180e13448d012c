"""Which features to serve: the encoder, n-grams or both, decided on the validation part."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from scipy.special import log_softmax

from core.bundle import Features
from core.classifier import Head, softmax
from train.head import REGULARISATION, TOLERANCE, FeatureRows, fit_head, fit_temperature, logits
from train.measure import log_loss
from train.request import Wanted

FloatMatrix = NDArray[np.float32]
IntVector = NDArray[np.int64]

# On BANKING77 a head fitted so far had 93.93% where one fitted to 10⁻⁸ had 94.09%, for a third of the steps.
_JUDGED_TOLERANCE = 1e-4
# Inverse strengths of the penalty that are tried for each kind of features. Few texts of many labels want a weak one, noisy
# texts of two labels a strong one: docs/learning.md, load_tests.regularisation.
REGULARISATIONS = (1.0, 3.0, REGULARISATION, 30.0, 100.0)
# The more rows, the less it matters, and each costs a fit.
_MOST_TRIED_ROWS = 20_000
# Fewer validation rows say nothing of their own standard error.
_LEAST_CHOOSING_ROWS = 30
# The option with a trained encoder alone; those with n-grams beside it begin like it.
FULL = "full"
# How much the n-gram head's logits count beside a fine-tuned encoder's. Adding log-probabilities of two linear heads is adding
# their logits up to a constant per row, so the combination is again one linear layer over both features.
COMBINATION_WEIGHTS = (0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0)


class OptionReport(BaseModel):
    """One way to build the head, as measured on the validation rows (which the head did not see)."""

    name: str
    features: Features
    accuracy: float | None = Field(description="On the validation part; null when there is none.")
    log_loss: float | None
    fit_s: float
    chosen: bool = False


@dataclass(frozen=True)
class Option:
    """One way to build the head. ``ngram_weight`` is set where an n-gram head was added to a fine-tuned encoder's."""

    name: str
    features: Features
    head: Head
    temperature: float
    accuracy: float | None
    log_loss: float | None
    fit_s: float
    ngram_weight: float | None = None
    regularisation: float = REGULARISATION

    def report(self, *, chosen: bool) -> OptionReport:
        """Return what a person reads of it."""
        return OptionReport(
            name=self.name,
            features=self.features,
            accuracy=self.accuracy,
            log_loss=self.log_loss,
            fit_s=self.fit_s,
            chosen=chosen,
        )


@dataclass(frozen=True)
class HeadRows:
    """All texts as features with class indices and weights; ``train`` and ``validation`` are places of rows."""

    features: FeatureRows
    labels: IntVector
    weights: FloatMatrix
    train: IntVector
    validation: IntVector
    classes: int

    def fit(
        self,
        kind: Features,
        places: IntVector,
        start: Head | None = None,
        on_step: Callable[[], None] = lambda: None,
        tolerance: float = TOLERANCE,
        regularisation: float = REGULARISATION,
    ) -> Head:
        """Return a head of one kind of features fitted on the rows at ``places``."""
        rows = self.kind(kind).take(places)
        return fit_head(
            rows,
            self.labels[places],
            classes=self.classes,
            weights=self.weights[places],
            start=start,
            on_step=lambda *_: on_step(),
            tolerance=tolerance,
            regularisation=regularisation,
        )

    def kind(self, kind: Features) -> FeatureRows:
        """Return the features with those left out that ``kind`` does not use."""
        return self.features.only(encoder=kind != "ngrams", ngrams=kind != "encoder")


def judge(rows: HeadRows, name: str, kind: Features, head: Head, fit_s: float, ngram_weight: float | None = None) -> Option:
    """Return the option with its temperature and its score on the validation part."""
    places = rows.validation
    if not len(places):
        return Option(name, kind, head, 1.0, None, None, fit_s, ngram_weight)
    scores = logits(head, rows.kind(kind).take(places))
    right = rows.labels[places]
    temperature = fit_temperature(scores, right)
    loss = log_loss(softmax(scores / np.float32(temperature)), right)
    return Option(name, kind, head, temperature, float((scores.argmax(axis=1) == right).mean()), loss, fit_s, ngram_weight)


def fit_option(
    rows: HeadRows,
    name: str,
    kind: Features,
    on_step: Callable[[], None] = lambda: None,
    regularisation: float | None = None,
) -> Option:
    """Return a linear head of one kind of features, fitted on the training part and judged on the validation part.

    Without a ``regularisation`` the validation part chooses one of :data:`REGULARISATIONS`, beginning at the usual one and
    going on while the log loss falls by more than its standard error.
    """
    began = time.monotonic()
    # Judged only, and then fitted on to the end with the validation rows, where there are any.
    tolerance = _JUDGED_TOLERANCE if len(rows.validation) else TOLERANCE

    def tried(strength: float, start: Head | None = None) -> Option:
        head = rows.fit(kind, rows.train, start, on_step, tolerance, strength)
        return replace(judge(rows, name, kind, head, 0.0), regularisation=strength)

    best = tried(regularisation or REGULARISATION)
    choosing = len(rows.validation) >= _LEAST_CHOOSING_ROWS and len(rows.train) <= _MOST_TRIED_ROWS
    if regularisation is None and choosing:
        usual = REGULARISATIONS.index(REGULARISATION)
        for ladder in (REGULARISATIONS[usual + 1 :], REGULARISATIONS[usual - 1 :: -1]):
            for strength in ladder:
                other = tried(strength, best.head)
                if not _clearly_better(rows, other, best):
                    break
                best = other
            if best.regularisation != REGULARISATION:
                break
    return replace(best, fit_s=time.monotonic() - began)


def _clearly_better(rows: HeadRows, option: Option, than: Option) -> bool:
    """Return whether ``option`` finds the right labels of validation rows likelier by more than a standard error."""
    gains = _row_losses(rows, than) - _row_losses(rows, option)
    return bool(gains.mean() > gains.std() / math.sqrt(len(gains)))


def _row_losses(rows: HeadRows, option: Option) -> NDArray[np.float64]:
    places = rows.validation
    scores = logits(option.head, rows.kind(option.features).take(places)) / np.float32(option.temperature)
    found: NDArray[np.float64] = -log_softmax(scores.astype(np.float64), axis=1)[np.arange(len(places)), rows.labels[places]]
    return found


def combine(rows: HeadRows, encoder: Head, ngrams: Head, fit_s: float) -> list[Option]:
    """Return the fine-tuned encoder's head with the n-gram head added at each of ``COMBINATION_WEIGHTS``."""
    return [
        judge(rows, f"{FULL} + {weight:g} · ngrams", "both", add_heads(encoder, ngrams, weight), fit_s, weight)
        for weight in COMBINATION_WEIGHTS
    ]


def add_heads(encoder: Head, ngrams: Head, weight: float) -> Head:
    """Return one head over both features whose logits are ``encoder + weight · ngrams``."""
    if ngrams.ngrams is None:
        raise ValueError("the second head must be one over n-grams")
    scale = np.float32(weight)
    return Head(encoder.encoder, scale * ngrams.ngrams, encoder.bias + scale * ngrams.bias)


def choose(options: Sequence[Option], wanted: Wanted) -> Option:
    """Return the option to serve: of those allowed, the one with the least log loss on validation at its own temperature.

    Log loss says the same as accuracy in the long run and less noisily on a few hundred rows, where accuracy moves by one
    answer at a time. Without validation rows the last allowed one is taken: options are listed from the plainest to the
    richest.
    """
    allowed = [option for option in options if wanted in ("auto", option.features)]
    if not allowed:
        raise ValueError(f"no option has the features {wanted}")
    judged = [option for option in allowed if option.accuracy is not None and option.log_loss is not None]
    if not judged:
        return allowed[-1]
    return min(judged, key=lambda option: option.log_loss or 0.0)
