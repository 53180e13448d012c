"""Whether a correction may answer at once, before the learner has screened it with all its rules.

The learner looks at all corrections together, every half minute or so. Until then those rules decide that need no more than the
correction itself, how its annotator has fared, and what a model says of the text; from then on its word counts. Nothing is
answered of which people whose words count say different things.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from core.label_book import LabelBook
from core.memory import Lesson, MemoryTrust
from feedback.consensus import Vote
from feedback.suspicion import Evidence, Limits, against_model


@dataclass(frozen=True)
class Looked:
    """What the store knows of votes beyond the votes themselves.

    ``held`` are held back by the learner or a person and ``released`` by a person; both, ``in_burst``, and ``screened_up_to``
    are sequence numbers. Of ``doubted`` annotators the learner has lately held back most.
    """

    screened_up_to: int = 0
    held: Set[int] = frozenset()
    released: Set[int] = frozenset()
    in_burst: Set[int] = frozenset()
    doubted: Set[str] = frozenset()


@dataclass(frozen=True)
class FirstLook:
    """The rules, for one version that answers, whose labels are ``taught``; ``said`` is what it says of texts, by their key."""

    looked: Looked
    limits: Limits
    trust: MemoryTrust
    book: LabelBook
    taught: Set[str]
    said: Mapping[str, Evidence] = field(default_factory=dict)

    def lesson_of(self, votes: Sequence[Vote]) -> Lesson | None:
        """Return what may be answered to the text of ``votes``, each the last word of one annotator; None for nothing."""
        settled = [vote for vote in votes if self._is_settled(vote)]
        fresh = [vote for vote in votes if self._may_pass(vote)]
        suspicious = self._against_model(settled, fresh)
        counted = [*settled, *(vote for vote in fresh if vote.sequence not in suspicious)]
        if len({vote.label for vote in counted}) != 1 or not any(vote.corrects for vote in counted):
            return None
        newest = max(counted, key=lambda vote: vote.sequence)
        supported_by = tuple(sorted(vote.sequence for vote in counted))
        return Lesson(newest.text_key, newest.text, newest.label, newest.sequence, newest.correction_id, supported_by)

    def needs_evidence(self, votes: Iterable[Vote]) -> bool:
        """Return whether it has to be known first what a model says of the text of ``votes``."""
        return self.limits.model_score < 1.0 and any(
            self._may_pass(vote) and vote.label in self.taught and vote.score is None and vote.text_key not in self.said
            for vote in votes
        )

    def _is_settled(self, vote: Vote) -> bool:
        looked = self.looked
        return vote.sequence in looked.released or (vote.sequence <= looked.screened_up_to and vote.sequence not in looked.held)

    def _may_pass(self, vote: Vote) -> bool:
        looked = self.looked
        return (
            self.trust == "at_once"
            and vote.sequence > looked.screened_up_to
            and vote.sequence not in looked.held
            and vote.sequence not in looked.released
            and vote.sequence not in looked.in_burst
            and vote.annotator not in looked.doubted
        )

    def _against_model(self, settled: Iterable[Vote], fresh: Sequence[Vote]) -> set[int]:
        evidence = {vote.sequence: said for vote in fresh if (said := self._evidence(vote)) is not None}
        backing = Counter((vote.text_key, vote.label) for vote in (*settled, *fresh))
        return {sequence for sequence, _ in against_model(fresh, evidence, backing, self.limits)}

    def _evidence(self, vote: Vote) -> Evidence | None:
        # Of a label that is new to it a model can say nothing.
        if vote.label not in self.taught:
            return None
        if vote.model_version is None or vote.predicted_label is None or vote.score is None:
            return self.said.get(vote.text_key)
        own = Evidence(vote.model_version, vote.predicted_label, vote.score)
        return replace(own, label=self.book.now(own.label) or own.label)
