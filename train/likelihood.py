"""How much likelier one model finds the right labels than another: what the gate's test of recent traffic is made of."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core.classifier import softmax
from train.head import FloatMatrix, IntVector, fit_temperature

# Of every label's probability: one row that a model found all but impossible may not outweigh a hundred others.
_FLOOR = 1e-3
# What a label that a model does not know counts as before that.
_UNKNOWN = 1e-9


def likelihood_gains(truth: IntVector, champion: FloatMatrix, candidate: FloatMatrix) -> NDArray[np.float64]:
    """Return by how many nats the candidate finds each right label likelier (n,), from the probabilities (n, c) of both.

    Each model is read at the temperature that suits these very rows best, so that what is compared is what it tells apart, not
    how sure it sounds: where traffic has changed, any new temperature would win against an old one.
    """
    return _log_likelihood(truth, candidate) - _log_likelihood(truth, champion)


def _log_likelihood(truth: IntVector, scores: FloatMatrix) -> NDArray[np.float64]:
    logits = np.log(np.maximum(scores, np.float32(_UNKNOWN)), dtype=np.float32)
    honest = softmax((logits / fit_temperature(logits, truth)).astype(np.float32))
    found: NDArray[np.float64] = np.log(honest[np.arange(len(truth)), truth].astype(np.float64) + _FLOOR)
    return found
