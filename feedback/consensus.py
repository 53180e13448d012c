"""One label per text out of what several annotators said, each weighed by how often they are right.

Annotators are judged where others said something of the same text, and on held-out texts, whose label is known. They are not
judged by the model: people look at what it got wrong, so that whoever corrects it differs from it in every correction.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from scipy.stats import beta

from core.schemas import CorrectionKind
from feedback.contrary import Contrary
from feedback.dawid_skene import Fit, Prior, VoteArrays, fit

ANONYMOUS = ""
"""The name under which votes count that came without one."""
MODEL = "\0model"
"""The name of a model that votes; no annotator can have it, and it is judged like one but not listed."""
_PRIOR = Prior()
_NOBODY: Mapping[str, Contrary] = {}


@dataclass(frozen=True)
class Vote:
    """The last word of one annotator on one text; ``sequence`` is that of the correction or confirmation.

    ``predicted_label`` and ``score`` are what the version itself had said, whatever the memory answered in its stead.
    """

    sequence: int
    text: str
    text_key: str
    label: str
    kind: CorrectionKind
    annotator: str
    created_at: datetime
    model_version: str | None = None
    predicted_label: str | None = None
    score: float | None = None
    correction_id: str = ""
    # It says something else than the version had said, also where it confirms what the memory answered.
    overrules: bool = False
    # The answer to an item of the audit: chance drew the text, and the annotator did not see what the model says.
    drawn: bool = False

    @property
    def corrects(self) -> bool:
        """Whether there is something in it that the version had not known."""
        return self.kind == "correction" or self.overrules


@dataclass(frozen=True)
class Reliability:
    """How often an annotator is right.

    ``accuracy`` is the mean and ``low`` to ``high`` the central 90% of what the judged votes leave possible, from a prior of
    four votes of which 80% are right.
    """

    annotator: str
    votes: int
    judged: int
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True)
class Decision:
    """What the votes on a text amount to, and the probability that it is right; ``voters`` said something of it."""

    label: str
    probability: float
    voters: int


@dataclass(frozen=True)
class _Fitted:
    fit: Fit
    labels: Sequence[str]
    voters: Mapping[str, int]

    def decide(self, group: Sequence[Vote]) -> tuple[str, float]:
        places = {label: at for at, label in enumerate(self.labels)}
        said = [self.voters[vote.annotator] * len(self.labels) + places[vote.label] for vote in group]
        row = self.fit.weigh(np.array(said, dtype=np.int64))
        best = int(row.argmax())
        return self.labels[best], float(row[best])


@dataclass(frozen=True)
class Consensus:
    """Annotators, the least reliable last, and what follows from that for texts."""

    reliabilities: tuple[Reliability, ...]
    _fitted: _Fitted | None

    def of(self, annotator: str) -> Reliability:
        """Return what is known of an annotator; of one who never voted, the prior."""
        return next((found for found in self.reliabilities if found.annotator == annotator), _reliability(annotator, 0, 0, 0))

    def decide(self, votes: Iterable[Vote]) -> dict[str, Decision]:
        """Return a decision for each text that ``votes``, all or some of those it was found from, say something of."""
        alone = {item.annotator: item.accuracy for item in self.reliabilities}
        decisions = {}
        for key, group in _by_text(votes).items():
            if len(group) > 1 and self._fitted is not None:
                label, probability = self._fitted.decide(group)
            else:
                label, probability = group[0].label, alone[group[0].annotator]
            decisions[key] = Decision(label, probability, len(group))
        return decisions


def find_consensus(votes: Sequence[Vote], known: Mapping[str, str], contrary: Mapping[str, Contrary] = _NOBODY) -> Consensus:
    """Return the consensus of ``votes``, one per annotator and text; ``known`` are labels of held-out texts by their keys.

    ``contrary`` annotators have no say in it: where others only ever spoke of the same texts as one of these, it would be as
    likely that all others are wrong. What chance drew for them has judged them.
    """
    heard = [vote for vote in votes if vote.annotator not in contrary]
    groups = {key: group for key, group in _by_text(heard).items() if len(group) > 1 or key in known}
    fitted, judges = _fit(groups, known) if groups else (None, {})
    judges |= {who: (float(item.drawn - item.against), float(item.drawn)) for who, item in contrary.items()}
    cast = Counter(vote.annotator for vote in votes if vote.annotator != MODEL)
    found = [_reliability(who, count, *judges.get(who, (0.0, 0.0))) for who, count in cast.items()]
    return Consensus(tuple(sorted(found, key=lambda item: (-item.accuracy, item.annotator))), fitted)


def _by_text(votes: Iterable[Vote]) -> dict[str, list[Vote]]:
    groups: dict[str, list[Vote]] = defaultdict(list)
    # One order for all: sums of floats depend on it, and annotators that are equally good must not change places.
    for vote in sorted(votes, key=lambda vote: (vote.text_key, vote.annotator)):
        groups[vote.text_key].append(vote)
    return groups


def _fit(groups: Mapping[str, Sequence[Vote]], known: Mapping[str, str]) -> tuple[_Fitted, dict[str, tuple[float, float]]]:
    """Return the fit, and for each annotator in it how many votes are right and how many were judged."""
    votes = [vote for group in groups.values() for vote in group]
    labels = sorted({vote.label for vote in votes} | {known[key] for key in groups if key in known})
    voters = {who: at for at, who in enumerate(sorted({vote.annotator for vote in votes}))}
    label_at = {label: at for at, label in enumerate(labels)}
    text_at = {key: at for at, key in enumerate(groups)}
    rows = [(text_at[vote.text_key], voters[vote.annotator], label_at[vote.label]) for vote in votes]
    text, voter, label = np.array(rows, dtype=np.int64).T
    truth = np.array([label_at[known[key]] if key in known else -1 for key in groups], dtype=np.int64)
    fitted = fit(VoteArrays(text, voter, label, len(text_at), len(voters), len(labels)), truth, _PRIOR)
    return _Fitted(fitted, labels, voters), {
        who: (float(fitted.right[at]), float(fitted.judged[at])) for who, at in voters.items()
    }


def _reliability(annotator: str, votes: int, right: float, judged: float) -> Reliability:
    good = right + _PRIOR.strength * _PRIOR.accuracy
    bad = judged - right + _PRIOR.strength * (1.0 - _PRIOR.accuracy)
    low, high = (float(beta.ppf(share, good, bad)) for share in (0.05, 0.95))
    return Reliability(annotator, votes, round(judged), good / (good + bad), low, high)
