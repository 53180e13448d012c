"""What a new version may do worse than the one it replaced, and when there is enough evidence that it does more.

Every check counts hits among trials; the limit is the share of hits that is still allowed. A limit counts as passed when the
evidence (:mod:`serve.evidence`) reaches ``1 / alpha``; the checks share ``alpha`` (Bonferroni).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import log
from typing import Literal

from serve.evidence import log_evidence

Check = Literal["failures", "slower", "less_sure", "disagreement", "collapse"]
CHECKS: tuple[Check, ...] = ("failures", "slower", "less_sure", "disagreement", "collapse")

# A version that is slower at the median text is slower; one that is slow now and then has met a busy machine.
_MAX_SLOW_RATIO = 0.5
# Of the texts the old version gives other labels, so many may move to one label.
_MAX_COLLAPSE_RATIO = 0.5
_SURE_DROP = 0.3


@dataclass(frozen=True)
class Limits:
    """The settings of probation; see ``core.settings`` for their meaning."""

    min_texts: int = 30
    alpha: float = 0.01
    max_failure_ratio: float = 0.01
    max_slowdown: float = 2.0
    slow_s: float = 0.02
    max_less_sure_ratio: float = 0.4
    max_disagreement_ratio: float = 0.5


@dataclass(frozen=True)
class Spoken:
    """What one version said about a text, off the answer path, and how long the engine took for it."""

    label: str
    score: float
    seconds: float


@dataclass(frozen=True)
class Finding:
    """One check: ``hits`` of ``trials``, the share that is allowed, and how much evidence there is of more.

    ``evidence`` and ``needed`` are natural logarithms.
    """

    check: Check
    hits: int
    trials: int
    limit: float
    evidence: float
    needed: float

    @property
    def broken(self) -> bool:
        """Whether the limit is passed beyond doubt."""
        return self.evidence >= self.needed

    @property
    def sentence(self) -> str:
        """What was found, for people."""
        things = "requests" if self.check == "failures" else "texts"
        return f"{_MEANINGS[self.check]} on {self.hits} of {self.trials} {things}; {self.limit:.0%} is allowed"


_MEANINGS: dict[Check, str] = {
    "failures": "its engine failed",
    "slower": "it was slower than the version before",
    "less_sure": f"it was less sure by more than {_SURE_DROP:g}",
    "disagreement": "it contradicted the version before",
    "collapse": "it moved other labels to one and the same label",
}


@dataclass
class Tally:
    """What was seen of ``subject`` beside ``reference`` so far; ``labels`` is how many the subject knows."""

    limits: Limits
    labels: int
    known: frozenset[str] = frozenset()
    answered: int = 0
    failed: int = 0
    compared: int = 0
    agreed: int = 0
    slower: int = 0
    less_sure: int = 0
    comparable: int = 0
    _old: Counter[str] = field(default_factory=Counter)
    _moved: Counter[str] = field(default_factory=Counter)

    def answer(self, *, failed: bool) -> None:
        """Count a request of the subject's; its texts are not counted one by one, because they fail together."""
        self.answered += 1
        self.failed += failed

    def compare(self, subject: Spoken, reference: Spoken) -> None:
        """Count what both versions said about one text."""
        self.compared += 1
        limits = self.limits
        self.slower += subject.seconds > max(limits.slow_s, limits.max_slowdown * reference.seconds)
        self.less_sure += reference.score - subject.score > _SURE_DROP
        if self.known and reference.label not in self.known:
            # A label that was taken out can only be contradicted.
            return
        self.comparable += 1
        self.agreed += subject.label == reference.label
        self._old[reference.label] += 1
        if subject.label != reference.label:
            self._moved[subject.label] += 1

    def forget_comparisons(self) -> None:
        """Begin to compare anew, beside another reference."""
        self.compared = self.agreed = self.slower = self.less_sure = self.comparable = 0
        self._old.clear()
        self._moved.clear()

    @property
    def agreement_ratio(self) -> float | None:
        """Share of compared texts with the same label from both; None before the first."""
        return self.agreed / self.comparable if self.comparable else None

    def findings(self) -> list[Finding]:
        """Return every check, in the order of :data:`CHECKS`."""
        limits = self.limits
        return [
            self._finding("failures", self.failed, self.answered, limits.max_failure_ratio),
            self._finding("slower", self.slower, self.compared, _MAX_SLOW_RATIO),
            self._finding("less_sure", self.less_sure, self.compared, limits.max_less_sure_ratio),
            self._finding("disagreement", self.comparable - self.agreed, self.comparable, limits.max_disagreement_ratio),
            self._collapse(),
        ]

    def verdict(self) -> Finding | None:
        """Return the first check whose limit is passed beyond doubt, or None."""
        return next((finding for finding in self.findings() if finding.broken), None)

    def _collapse(self) -> Finding:
        # As many tests as labels, of which the one with most to show is told.
        candidates = [
            self._finding("collapse", moved, self.comparable - self._old[label], _MAX_COLLAPSE_RATIO, tests=self.labels)
            for label, moved in self._moved.items()
        ]
        return max(candidates, key=_surplus, default=self._finding("collapse", 0, self.comparable, _MAX_COLLAPSE_RATIO))

    def _finding(self, check: Check, hits: int, trials: int, limit: float, *, tests: int = 1) -> Finding:
        needed = log(len(CHECKS) * tests / self.limits.alpha)
        evidence = log_evidence(hits, trials, limit) if trials >= self.limits.min_texts else 0.0
        return Finding(check, hits, trials, limit, evidence, needed)


def _surplus(finding: Finding) -> tuple[float, int]:
    return finding.evidence - finding.needed, finding.hits


def overruled(moves: Sequence[tuple[str, str, str | None]], version: str) -> bool:
    """Return whether a person promoted ``version`` after probation had taken it back.

    ``moves`` are (who, to which version, instead of which), oldest first, as the history has them.
    """
    taken_back = False
    for by, target, replaced in moves:
        if by == PROBATION and replaced == version:
            taken_back = True
        elif taken_back and target == version:
            return True
    return False


PROBATION = "probation"
