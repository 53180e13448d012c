"""What ``speed=auto`` trains: the head, or the encoder too, and why.

A head is fitted in seconds and brings most of what there is to gain, so every run fits one first. Training the encoder costs a
hundred times as much; it is worth that where the fitted head leaves a gap which is certain, which the encoder may close, and
for which there is new evidence since it was last tried. An encoder that was never trained on these labels may close some of
whatever is wrong: what that is, only a trial tells. Everything here is arithmetic over :class:`Evidence`.
"""

from __future__ import annotations

from dataclasses import dataclass

from core.gate_statistics import Z, wilson
from core.schemas import FitSpeed

# What nothing but curiosity speaks for takes half an hour at most; a person may ask for more.
_MAX_TRIAL_S = 1_800.0


@dataclass(frozen=True)
class Labelled:
    """Rows with a known label that the classifier had not learned from, and on how many of them it is wrong."""

    rows: int = 0
    wrong: int = 0

    def least_error_ratio(self) -> float:
        """Return the lower limit of its error, one-sided at 95% (Wilson 1927).

        >>> round(Labelled(100, 20).least_error_ratio(), 4), Labelled().least_error_ratio()
        (0.1425, 0.0)
        """
        return wilson(self.wrong, self.rows, Z)[0] if self.wrong else 0.0


@dataclass(frozen=True)
class Evidence:
    """What is known once the head has been fitted.

    ``usual_error_ratio`` is what the champion got wrong on its holdout. ``recent`` are labelled texts of traffic that the head
    was not fitted on, ``of_new_labels`` those of them whose label the encoder had not been trained with. ``new_examples``
    counts what people said since the encoder was last trained, or last tried in vain. ``untrained``: the head stands on an
    encoder which no run and no teaching has trained yet. Of the latest runs that trained the encoder and did not replace the
    champion ``fulls_in_vain`` gained nothing or failed a rule of the gate; ``fulls_unproven`` were better on validation rows,
    and what they were judged by was too little to show it.
    """

    usual_error_ratio: float
    recent: Labelled = Labelled()
    of_new_labels: Labelled = Labelled()
    labels: int = 0
    new_labels: int = 0
    new_examples: int = 0
    drift: bool = False
    untrained: bool = False
    fulls_in_vain: int = 0
    fulls_unproven: int = 0
    recovered_ratio: float | None = None
    expected_full_s: float = 0.0
    budget_left_s: float | None = None

    def gap(self) -> float:
        """Return what share of answers is wrong that a better encoder may get right.

        >>> round(Evidence(0.1, recent=Labelled(300, 100)).gap(), 3), Evidence(0.1, untrained=True).gap()
        (0.19, 0.1)
        """
        return max(self.since(), self.usual_error_ratio) if self.worth_a_trial() else self.since()

    def since(self) -> float:
        """Return what share of answers is certainly wrong beyond what is usual."""
        return max(0.0, self.recent.least_error_ratio() - self.usual_error_ratio)

    def worth_a_trial(self) -> bool:
        """Return whether to train the encoder for no other reason than that nobody has."""
        return self.untrained and self.expected_full_s <= _MAX_TRIAL_S


@dataclass(frozen=True)
class ChoiceLimits:
    """From where training the encoder is worth its time.

    ``recovered_ratio`` is the share of a gap that it is expected to close before any run has shown it: on BANKING77 it took
    0.6 of the 6.2 points that the head leaves (docs/results.md).
    """

    min_gain_ratio: float = 0.005
    min_new_label_gap_ratio: float = 0.10
    min_new_examples: int = 50
    min_new_labels_ratio: float = 0.25
    recovered_ratio: float = 0.15


@dataclass(frozen=True)
class Choice:
    """What to train, and a sentence that says why."""

    speed: FitSpeed
    why: str


def choose_speed(evidence: Evidence, limits: ChoiceLimits | None = None) -> Choice:
    """Return what to train after the head was fitted.

    >>> choose_speed(Evidence(0.06, recent=Labelled(200, 14), new_examples=200)).why
    'head: of 200 recent texts it gets 7.0% wrong, usual are 6.0%; no gap is certain'
    """
    limits = limits or ChoiceLimits()
    gap, reason = _reason(evidence, limits)
    if reason is None:
        return Choice("head", f"head: {_head_does(evidence)}; no gap is certain")
    # Four times as much after each time in vain: 30 rounds of 33 labels with a gap that nothing closes then cost two full runs.
    # What was better and could not show it has more to learn from, and more to show it by, with twice as much.
    needed = limits.min_new_examples * 4**evidence.fulls_in_vain * 2**evidence.fulls_unproven // (2 if evidence.drift else 1)
    if evidence.new_examples < needed:
        tried = evidence.fulls_in_vain + evidence.fulls_unproven
        vain = f" after {tried} in vain" if tried else ""
        return Choice(
            "head", f"head: {reason}, but {evidence.new_examples} new labelled texts are too few{vain}; {needed} are needed"
        )
    if gap is not None:
        recovered = limits.recovered_ratio if evidence.recovered_ratio is None else evidence.recovered_ratio
        gain = gap * recovered
        # A drift alarm says that a gap is real which a few labels only suggest.
        if gain < limits.min_gain_ratio / (2 if evidence.drift else 1):
            return Choice("head", f"head: {reason}, but the encoder would close {gain:.1%} of it at most")
    if evidence.budget_left_s is not None and evidence.expected_full_s > evidence.budget_left_s:
        return Choice(
            "head",
            f"head: {reason}, but a full run takes about {evidence.expected_full_s:.0f} s "
            f"and {evidence.budget_left_s:.0f} s are left of today's budget",
        )
    return Choice("full", f"full: {reason}{', with a drift alarm open' if evidence.drift else ''}")


def _reason(evidence: Evidence, limits: ChoiceLimits) -> tuple[float | None, str | None]:
    """Return the gap that is certain, None where that is not what speaks for the encoder, and what does speak for it."""
    usual, new = evidence.usual_error_ratio, evidence.of_new_labels
    if new.least_error_ratio() - usual >= limits.min_new_label_gap_ratio:
        return None, f"the head gets {new.wrong} of {new.rows} texts of new labels wrong, of all labels {usual:.1%} are usual"
    unseen = evidence.new_labels / evidence.labels if evidence.labels else 0.0
    if unseen >= limits.min_new_labels_ratio and not new.rows:
        return (
            None,
            f"{evidence.new_labels} of {evidence.labels} labels are new to the encoder, and no text tells how the head does",
        )
    if since := evidence.since():
        return evidence.gap(), f"{_head_does(evidence)}, and at least {since:.1%} of that is a gap"
    if evidence.worth_a_trial():
        return evidence.gap(), f"{usual:.1%} of held-out texts are wrong, and the encoder was never trained on these labels"
    return None, None


def _head_does(evidence: Evidence) -> str:
    recent = evidence.recent
    if not recent.rows:
        return "no recent text tells how it does"
    wrong, usual = recent.wrong / recent.rows, evidence.usual_error_ratio
    return f"of {recent.rows} recent texts it gets {wrong:.1%} wrong, usual are {usual:.1%}"
