"""Accuracy of each version on live traffic, told three ways side by side: by the audit, by corrections, and without labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from core.drift_bodies import AccuracyGuess
from core.quality_bodies import AccuraciesAnswer, AccuracyAnswer, ClassAccuracy, NaiveAccuracy
from feedback.accuracy import Judged, estimate_accuracy
from feedback.store import Store


def live_accuracy_of(store: Store) -> AccuraciesAnswer:
    """Return live accuracy by version; a label that comes late counts to the version that had answered.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    sample, waiting, outcomes = store.audit_sample(), store.audit_waiting(), store.label_outcomes()
    by_label, estimates = store.audit_by_label(), store.newest_estimates()
    answers = []
    for version in dict.fromkeys([*sample, *waiting, *estimates, *outcomes]):
        found, guess, outcome = estimate_accuracy(sample.get(version, [])), estimates.get(version), outcomes.get(version)
        answers.append(
            AccuracyAnswer(
                version=version,
                accuracy=found.accuracy if found else None,
                low=found.low if found else None,
                high=found.high if found else None,
                judged=found.judged if found else 0,
                waiting=waiting[version],
                effective=found.effective if found else 0.0,
                classes=_classes(by_label.get(version, {})),
                naive=_naive(outcome.right, outcome.wrong) if outcome else None,
                estimated=guess,
                gap=_gap(guess, found.accuracy if found else None),
            )
        )
    return AccuraciesAnswer(versions=answers)


def _classes(judged: Mapping[str, Sequence[Judged]]) -> list[ClassAccuracy]:
    found = []
    for label, sample in judged.items():
        estimate = estimate_accuracy(sample)
        if estimate is not None:
            numbers = {name: getattr(estimate, name) for name in ("accuracy", "low", "high", "judged")}
            found.append(ClassAccuracy(label=label, **numbers))
    return sorted(found, key=lambda item: (-item.judged, item.label))


def _naive(right: int, wrong: int) -> NaiveAccuracy | None:
    return NaiveAccuracy(right=right, wrong=wrong, accuracy=right / (right + wrong)) if right + wrong else None


def _gap(guess: AccuracyGuess | None, audited: float | None) -> float | None:
    return None if guess is None or audited is None else guess.accuracy - audited
