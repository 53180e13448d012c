"""Who is right when annotators differ: the model of Dawid and Skene (1979), fitted by EM.

Applied Statistics 28(1), 20-28. Written out here because a text that is held out has a known label, and because annotators
with few votes need a prior; the libraries that have the model offer neither. Votes are kept sparse, so memory grows with votes
times labels, not with annotators times labels squared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

IntVector = NDArray[np.int64]
FloatVector = NDArray[np.float64]
FloatMatrix = NDArray[np.float64]

_MOST_STEPS = 200
_TOLERANCE = 1e-6
_LEAST = 1e-12


@dataclass(frozen=True)
class VoteArrays:
    """``v`` votes as places: of the text, of who voted, and of the label they gave."""

    text: IntVector
    voter: IntVector
    label: IntVector
    texts: int
    voters: int
    labels: int


@dataclass(frozen=True)
class Prior:
    """What is believed of an annotator before any vote: ``accuracy``, worth ``strength`` votes."""

    accuracy: float = 0.8
    strength: float = 4.0


@dataclass(frozen=True)
class Fit:
    """Probabilities of each label for each text (n, c) and of the labels (c,), and expected numbers of votes by voter (a,).

    ``confusion`` (p, c) is the probability that a voter says a label, given each right one; ``pairs`` (p,), sorted, are the
    places of voter and label said, as ``voter * c + label``.
    """

    posterior: FloatMatrix
    label_shares: FloatVector
    right: FloatVector
    judged: FloatVector
    pairs: IntVector
    confusion: FloatMatrix

    def weigh(self, said: IntVector) -> FloatVector:
        """Return the probabilities (c,) of a text's labels, given only the votes ``said``, of :attr:`pairs`."""
        rows = self.confusion[np.searchsorted(self.pairs, said)]
        scores = np.log(self.label_shares + _LEAST) + np.log(rows + _LEAST).sum(axis=0)
        weighed: FloatVector = _normalised(scores[None, :])[0]
        return weighed


def fit(votes: VoteArrays, known: IntVector, prior: Prior | None = None) -> Fit:
    """Return the fit; ``known`` (n,) holds the place of a text's label where it is known, else -1.

    The prior shrinks each row of an annotator's confusion matrix towards one accuracy for all labels, and that towards
    ``prior.accuracy``: what a few votes cannot tell apart is not told apart.
    """
    prior = prior or Prior()
    texts, labels = votes.texts, votes.labels
    pairs, pair = np.unique(votes.voter * labels + votes.label, return_inverse=True)
    voter, said = pairs // labels, pairs % labels
    # (pairs, texts): how often this voter gave this label to this text.
    given = csr_matrix((np.ones(len(pair)), (pair, votes.text)), shape=(len(pairs), texts))
    of_voter = csr_matrix((np.ones(len(pairs)), (voter, np.arange(len(pairs)))), shape=(votes.voters, len(pairs)))
    posterior = _first_guess(votes)
    fixed = known >= 0
    posterior[fixed] = np.eye(labels)[known[fixed]]
    for _ in range(_MOST_STEPS):
        counts = np.asarray(given @ posterior)
        totals = np.asarray(of_voter @ counts)
        judged = totals.sum(axis=1)
        right = np.asarray(of_voter @ counts[np.arange(len(pairs)), said])
        accuracy = (right + prior.strength * prior.accuracy) / np.maximum(judged + prior.strength, _LEAST)
        shares = (posterior.sum(axis=0) + 1.0 / labels * prior.strength) / (texts + prior.strength)
        expected = np.tile(((1.0 - accuracy) / max(1, labels - 1))[voter][:, None], (1, labels))
        expected[np.arange(len(pairs)), said] = accuracy[voter]
        confusion = (counts + prior.strength * expected) / np.maximum(totals[voter] + prior.strength, _LEAST)
        after = _normalised(np.log(shares + _LEAST) + np.asarray(given.T @ np.log(confusion + _LEAST)))
        after[fixed] = posterior[fixed]
        moved = float(np.abs(after - posterior).max(initial=0.0))
        posterior = after
        if moved < _TOLERANCE:
            break
    return Fit(posterior, shares, right, judged, pairs, confusion)


def _first_guess(votes: VoteArrays) -> FloatMatrix:
    """Return each text's shares of votes."""
    guess = np.zeros((votes.texts, votes.labels))
    np.add.at(guess, (votes.text, votes.label), 1.0)
    guess /= np.maximum(guess.sum(axis=1, keepdims=True), 1.0)
    return guess


def _normalised(log_scores: FloatMatrix) -> FloatMatrix:
    powers = np.exp(log_scores - log_scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
