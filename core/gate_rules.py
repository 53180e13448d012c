"""The rules that a candidate has to keep, each a function that returns its value, limit, verdict and reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from core.gate import Answers, Evidence, GateLimits, IntVector, Make, Rule, by_label
from core.gate_evidence import at_least, at_most, recent_gain
from core.gate_statistics import (
    at_most_chance,
    loss_bounds,
    mcnemar,
)

# Of the right answers that independent errors would turn wrong, the share that a candidate may turn.
_MOST_RELATIVE_FLIPS = 0.5


def holdout_rows(rows: int, limits: GateLimits) -> Rule:
    """Ask whether there are rows enough to judge on."""
    why = f"{rows} holdout rows to judge on"
    return at_least("holdout_rows", rows, limits.min_rows, why)


def parity(ratio: float, limits: GateLimits) -> Rule:
    """Ask whether the exported engine says what torch says."""
    why = "share of rows on which the exported engine gives the label torch gives"
    return at_least("parity", ratio, limits.min_parity_ratio, why)


def holdout_loss(evidence: Evidence, limits: GateLimits) -> Rule:
    """Ask whether the candidate loses no more than a margin on the holdout.

    The holdout grows old: where labels change their meaning, a candidate that is right about today's traffic is wrong about
    rows of then. So it may lose more there when recent traffic is sure to gain more than the holdout may lose, each with 95%;
    and where recent traffic is evidence for it, chance may have its way with the holdout, which on a thousand rows moves
    accuracy by a point: then the margin is one that is surely passed, with 95%. Never may it lose more than is to be forgotten.
    """
    rows = len(evidence.holdout.truth)
    better, worse = evidence.holdout.flips
    loss = (worse - better) / rows if rows else 0.0
    least, most = loss_bounds(better, worse, rows)
    points = f"{-100 * loss:+.2f} points, at worst {-100 * most:+.2f}"
    why = f"of {rows} holdout rows it puts {better} right and {worse} wrong: {points}"
    if loss <= limits.max_loss_ratio:
        return at_most("holdout_loss", loss, limits.max_loss_ratio, why)
    recent_better, recent_worse = evidence.recent.flips
    gained = -loss_bounds(recent_better, recent_worse, len(evidence.recent.truth))[1]
    allowed = min(gained, limits.max_forgetting_ratio)
    if most <= allowed:
        why += f"; recent traffic gains {100 * gained:.2f} points at least"
        return at_most("holdout_loss", most, allowed, why)
    if loss <= limits.max_forgetting_ratio and any(rule.passed for rule in recent_gain(evidence, limits)):
        why += f"; recent traffic is answered better, and of this {100 * max(0.0, least):.2f} points are no chance"
        return at_most("holdout_loss", least, limits.max_loss_ratio, why)
    return at_most("holdout_loss", loss, limits.max_loss_ratio, why)


def recent_loss(recent: Answers) -> Rule:
    """Ask whether the candidate is not significantly worse on recent traffic."""
    better, worse = recent.flips
    least, _ = loss_bounds(better, worse, len(recent.truth))
    why = f"of {len(recent.truth)} recent predictions that chance drew it puts {better} right and {worse} wrong"
    return at_most("recent_loss", least, 0.0, why)


def class_floor(holdout: Answers, labels: list[str], limits: GateLimits) -> Rule:
    """Ask whether every label keeps its recall."""
    value, who = _worst(holdout, by_label(holdout, labels), limits)
    why = who and f"recall of {who[0]!r} falls by {value * 100:.1f} points on {who[1]} rows"
    return at_most("class_floor", value, limits.max_class_loss_ratio, why or "no class loses significantly")


def minimum_gain(evidence: Evidence, limits: GateLimits) -> Iterator[Rule]:
    """Ask, where a least gain is set, whether the candidate gains as much: on the holdout, on recent traffic, or new labels."""
    if limits.min_gain_ratio <= 0.0:
        return
    gains = {"the holdout": evidence.holdout, "recent predictions": evidence.recent, "new labels": evidence.new}
    found = {name: _gain(answers) for name, answers in gains.items() if len(answers.truth)}
    name = max(found, key=lambda name: found[name], default="the holdout")
    gain = found.get(name, 0.0)
    yield at_least("minimum_gain", gain, limits.min_gain_ratio, f"{100 * gain:+.2f} points on {name}, where it gains most")


def new_classes(evidence: Evidence, labels: Sequence[str], limits: GateLimits) -> Iterator[Rule]:
    """Ask whether labels that the champion does not know are told from the others, each on its own rows.

    One fails where its recall is surely below the floor, by the exact binomial test, alpha shared among them.
    """
    places = by_label(evidence.new, labels)
    if not places:
        return
    level = limits.alpha / len(places)
    found = {label: evidence.new.take(rows) for label, rows in places.items()}
    recall = {label: _gain(answers) for label, answers in found.items()}
    short = {
        label: recall[label]
        for label, answers in found.items()
        if at_most_chance(answers.flips[0], len(answers.truth), limits.min_new_class_ratio) <= level
    }
    worst = min(short or recall, key=lambda label: recall[label])
    why = f"recall of {worst!r}, which the champion does not know, is {100 * recall[worst]:.1f}% on {len(places[worst])} rows"
    passed = not short
    yield Rule(
        name="new_classes",
        value=recall[worst],
        limit=limits.min_new_class_ratio,
        kind="required",
        passed=passed,
        why=why if not passed or recall[worst] >= limits.min_new_class_ratio else f"{why}: too few to say that it is too low",
    )


def forgetting(before: tuple[str, Answers] | None, labels: Sequence[str], limits: GateLimits) -> Iterator[Rule]:
    """Ask whether the candidate still knows what the best version that ever served knew, in all and label by label."""
    if before is None:
        return
    version, answers = before
    value, who = _worst(answers, by_label(answers, labels), limits)
    if who is not None and value > limits.max_class_loss_ratio:
        why = f"recall of {who[0]!r} is {value * 100:.1f} points below that of {version} on {who[1]} rows"
        yield at_most("forgetting", value, limits.max_class_loss_ratio, why)
        return
    better, worse = answers.flips
    least, _ = loss_bounds(better, worse, len(answers.truth))
    points = f"{100 * _gain(answers):+.2f} points on the holdout, at best {-100 * least:+.2f}"
    why = f"against {version}, the best that served: {points}"
    yield at_most("forgetting", least, limits.max_forgetting_ratio, why)


def slice_floor(holdout: Answers, slices: Mapping[str, IntVector], limits: GateLimits) -> Rule:
    """Ask whether every slice of the holdout keeps its accuracy."""
    value, who = _worst(holdout, slices, limits)
    why = who and f"accuracy on {who[0]} falls by {value * 100:.1f} points on {who[1]} rows"
    none = f"none of {len(slices)} slices loses significantly" if slices else "the holdout has no slices to look at"
    return at_most("slice_floor", value, limits.max_class_loss_ratio, why or none)


def negative_flips(holdout: Answers, limits: GateLimits) -> Rule:
    """Ask how many answers people could rely on turn wrong (Yan et al. 2021, arXiv 2011.09161).

    Models that are wrong about many rows turn many, whatever they are worth. So more may turn, unless none may, where they are
    fewer than half of what two models as good would turn that err independently: a relative rate of 0.5 in that paper.
    """
    rows = len(holdout.truth)
    better, worse = holdout.flips
    ratio = worse / rows if rows else 0.0
    limit = limits.max_negative_flip_ratio
    if limit and rows:
        right_before = float((holdout.champion == holdout.truth).mean())
        wrong_now = float((holdout.candidate != holdout.truth).mean())
        limit = max(limit, _MOST_RELATIVE_FLIPS * right_before * wrong_now)
    why = f"{worse} of {rows} rows that were right turn wrong, and {better} that were wrong turn right"
    return at_most("negative_flips", ratio, limit, why)


def make(found: Make, limits: GateLimits) -> Iterator[Rule]:
    """Ask whether probabilities stay honest, and whether the candidate stays small and fast."""
    if found.calibration is not None:
        before, after = found.calibration
        why = f"expected calibration error on the holdout, {before:.3f} before and {after:.3f} now"
        yield at_most("calibration", after - before, limits.max_calibration_loss_ratio, why)
    if found.size_ratio is not None:
        yield at_most("size", found.size_ratio, limits.max_growth, "bytes on disk against the champion's")
    if found.latency_ratio is not None:
        why = "time to answer the same texts against the champion's, medians of rounds in turns"
        yield at_most("latency", found.latency_ratio, limits.max_growth, why)


def _worst(holdout: Answers, places: Mapping[str, IntVector], limits: GateLimits) -> tuple[float, tuple[str, int] | None]:
    """Return the largest loss that is significant among the parts, and whose it is with its rows; 0 where none is.

    There are as many tests as parts: alpha is shared among them (Bonferroni), so that one unlucky part does not veto.
    """
    value, who = 0.0, None
    level = limits.alpha / max(1, len(places))
    for name, rows in places.items():
        if not len(rows):
            continue
        better, worse = holdout.take(rows).flips
        loss = (worse - better) / len(rows)
        if loss > value and mcnemar(worse, better) <= level:
            value, who = loss, (name, len(rows))
    return value, who


def _gain(answers: Answers) -> float:
    better, worse = answers.flips
    return (better - worse) / len(answers.truth) if len(answers.truth) else 0.0
