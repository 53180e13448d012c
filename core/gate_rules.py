"""The rules of the gate, each a function that returns its value, limit, verdict and reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from core.gate import NO_ANSWERS, Answers, Evidence, GateLimits, IntVector, Looks, Make, Rule, by_label
from core.gate_statistics import (
    SURE_LEVEL,
    at_most_chance,
    loss_bounds,
    mcnemar,
    more_than_chance,
    quantile,
    sign_flips,
    spending,
    sure_loss,
)

# From how many rows on the gate asks how likely the right labels are: a bound that holds for any gains is wide for a few.
_SCORED_ROWS = 30
# The same for the holdout, whose rows are more.
_SCORED_HOLDOUT_ROWS = 100
# How often a candidate has to be right more often on the holdout, by chance between equals, for likelier to count there.
_MORE_OFTEN_RIGHT_CHANCE = 0.1
# What a candidate that rows outside the holdout speak for reaches, and one in ten that are no better.
_PROMISING_CHANCE = 0.1
# Of the right answers that independent errors would turn wrong, the share that a candidate may turn.
_MOST_RELATIVE_FLIPS = 0.5


def holdout_rows(rows: int, limits: GateLimits) -> Rule:
    """Ask whether there are rows enough to judge on."""
    why = f"{rows} holdout rows to judge on"
    return _at_least("holdout_rows", rows, limits.min_rows, why)


def parity(ratio: float, limits: GateLimits) -> Rule:
    """Ask whether the exported engine says what torch says."""
    why = "share of rows on which the exported engine gives the label torch gives"
    return _at_least("parity", ratio, limits.min_parity_ratio, why)


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
        return _at_most("holdout_loss", loss, limits.max_loss_ratio, why)
    recent_better, recent_worse = evidence.recent.flips
    gained = -loss_bounds(recent_better, recent_worse, len(evidence.recent.truth))[1]
    allowed = min(gained, limits.max_forgetting_ratio)
    if most <= allowed:
        why += f"; recent traffic gains {100 * gained:.2f} points at least"
        return _at_most("holdout_loss", most, allowed, why)
    if loss <= limits.max_forgetting_ratio and any(rule.passed for rule in _recent_gain(evidence, limits)):
        why += f"; recent traffic is answered better, and of this {100 * max(0.0, least):.2f} points are no chance"
        return _at_most("holdout_loss", least, limits.max_loss_ratio, why)
    return _at_most("holdout_loss", loss, limits.max_loss_ratio, why)


def recent_loss(recent: Answers) -> Rule:
    """Ask whether the candidate is not significantly worse on recent traffic."""
    better, worse = recent.flips
    least, _ = loss_bounds(better, worse, len(recent.truth))
    why = f"of {len(recent.truth)} recent predictions that chance drew it puts {better} right and {worse} wrong"
    return _at_most("recent_loss", least, 0.0, why)


def class_floor(holdout: Answers, labels: list[str], limits: GateLimits) -> Rule:
    """Ask whether every label keeps its recall."""
    value, who = _worst(holdout, by_label(holdout, labels), limits)
    why = who and f"recall of {who[0]!r} falls by {value * 100:.1f} points on {who[1]} rows"
    return _at_most("class_floor", value, limits.max_class_loss_ratio, why or "no class loses significantly")


def minimum_gain(evidence: Evidence, limits: GateLimits) -> Iterator[Rule]:
    """Ask, where a least gain is set, whether the candidate gains as much: on the holdout, on recent traffic, or new labels."""
    if limits.min_gain_ratio <= 0.0:
        return
    gains = {"the holdout": evidence.holdout, "recent predictions": evidence.recent, "new labels": evidence.new}
    found = {name: _gain(answers) for name, answers in gains.items() if len(answers.truth)}
    name = max(found, key=lambda name: found[name], default="the holdout")
    gain = found.get(name, 0.0)
    yield _at_least("minimum_gain", gain, limits.min_gain_ratio, f"{100 * gain:+.2f} points on {name}, where it gains most")


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
        yield _at_most("forgetting", value, limits.max_class_loss_ratio, why)
        return
    better, worse = answers.flips
    least, _ = loss_bounds(better, worse, len(answers.truth))
    points = f"{100 * _gain(answers):+.2f} points on the holdout, at best {-100 * least:+.2f}"
    why = f"against {version}, the best that served: {points}"
    yield _at_most("forgetting", least, limits.max_forgetting_ratio, why)


def slice_floor(holdout: Answers, slices: Mapping[str, IntVector], limits: GateLimits) -> Rule:
    """Ask whether every slice of the holdout keeps its accuracy."""
    value, who = _worst(holdout, slices, limits)
    why = who and f"accuracy on {who[0]} falls by {value * 100:.1f} points on {who[1]} rows"
    none = f"none of {len(slices)} slices loses significantly" if slices else "the holdout has no slices to look at"
    return _at_most("slice_floor", value, limits.max_class_loss_ratio, why or none)


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
    return _at_most("negative_flips", ratio, limit, why)


def make(found: Make, limits: GateLimits) -> Iterator[Rule]:
    """Ask whether probabilities stay honest, and whether the candidate stays small and fast."""
    if found.calibration is not None:
        before, after = found.calibration
        why = f"expected calibration error on the holdout, {before:.3f} before and {after:.3f} now"
        yield _at_most("calibration", after - before, limits.max_calibration_loss_ratio, why)
    if found.size_ratio is not None:
        yield _at_most("size", found.size_ratio, limits.max_growth, "bytes on disk against the champion's")
    if found.latency_ratio is not None:
        why = "time to answer the same texts against the champion's, medians of rounds in turns"
        yield _at_most("latency", found.latency_ratio, limits.max_growth, why)


def share_of_alpha(evidence: Evidence, limits: GateLimits) -> float:
    """Return what each kind of evidence may use of ``alpha``, before looks are counted."""
    kinds = 1 + sum(bool(len(rows.truth)) for rows in (evidence.recent, evidence.corrections, evidence.new))
    return limits.alpha / kinds


def evidence_rules(evidence: Evidence, limits: GateLimits) -> Iterator[Rule]:
    """Ask four ways whether the candidate is better; what there are no rows for takes no share of ``alpha``."""
    alpha, looks = share_of_alpha(evidence, limits), evidence.looks
    yield _if_harmless(_holdout_gain(evidence, limits), [evidence.holdout], looks, limits)
    yield from _recent_gain(evidence, limits)
    if len(evidence.corrections.truth):
        yield _corrections_fixed(evidence, alpha * spending(looks.recent_looks), limits)
    if len(evidence.new.truth):
        yield _new_classes_learned(evidence, alpha * spending(looks.recent_looks), limits)


def holdout_ways(holdout: Answers) -> int:
    """Return how many ways the holdout is asked for a gain: each has its part of the level.

    By right and wrong, and where rows are many by how much likelier right labels became: of a few, temperatures are fitted so
    well that equal models look likelier.
    """
    return 2 if holdout.gains is not None and len(holdout.truth) >= _SCORED_HOLDOUT_ROWS else 1


def _holdout_gain(evidence: Evidence, limits: GateLimits) -> Rule:
    """Ask whether the candidate answers the holdout better.

    Right and wrong tell of the rows on which models differ alone; how likely each finds the right label, all of them tell. An
    encoder 2.5 points better put 67 of 872 rows right and 45 wrong, which equal models do once in 40 times, and found right
    labels likelier as they would once in a million. Likelier counts only where the candidate is right more often, too, as
    equal models are once in ten times: probabilities can become more honest while answers do not.
    """
    holdout, looks = evidence.holdout, evidence.looks
    level = share_of_alpha(evidence, limits) * spending(looks.weights, looks.holdout_weight)
    better, worse = holdout.flips
    ways, by_answers = holdout_ways(holdout), mcnemar(better, worse)
    why = f"chance of {better} against {worse} or better between equal models (exact McNemar), look {looks.holdout_looks}"
    told = _rare("holdout_gain", min(1.0, ways * by_answers), level, why)
    if ways == 1 or holdout.gains is None or by_answers > _MORE_OFTEN_RIGHT_CHANCE:
        return told
    likelier = min(1.0, ways * sign_flips(holdout.gains))
    if likelier >= told.value:
        return told
    why = (
        f"chance that {len(holdout.truth)} holdout rows find their right labels likelier by {holdout.gains.mean():.3f} nats or "
        f"more between equal models (sign flips), look {looks.holdout_looks}; {better} are put right and {worse} wrong"
    )
    return _rare("holdout_gain", likelier, level, why)


def _recent_gain(evidence: Evidence, limits: GateLimits) -> Iterator[Rule]:
    """Ask whether the candidate answers recent traffic better, where chance drew any of it and people judged it.

    Few labels come in, and few of them are answered differently: whether three points are gained, right and wrong alone tell
    after hundreds of rows. By how much likelier the right label became, every row tells, also those that the champion was
    fitted on, both models out of fold. Likelier counts only where no fewer answers are right.

    Two things are asked, at half of the level each: of what came in since the champion learned alone, and of all that chance
    ever drew. Where traffic changes the first shows what was gained by it, which thousands of earlier rows would bury under
    what any two fits differ by; where nothing changes the second has the more rows.
    """
    recent, looks = evidence.recent, evidence.looks
    if not len(recent.truth):
        return
    level = share_of_alpha(evidence, limits) * spending(looks.recent_looks)
    scored = _scored(evidence)
    if not scored:
        gained, lost = recent.flips
        why = (
            f"chance of {gained} against {lost} of {len(recent.truth)} recent predictions, drawn by chance and not "
            f"learned from, or better between equal models (exact McNemar), look {looks.recent_looks}"
        )
        yield _rare("recent_gain", mcnemar(gained, lost), level, why)
        return
    found = [_likelier(rows, len(scored), level, looks) for rows in scored]
    yield min(found, key=lambda rule: (not rule.passed, rule.value))


def _scored(evidence: Evidence) -> list[Answers]:
    """Return the sets of rows that chance drew of which likelihoods can tell."""
    recent, earlier = evidence.recent, evidence.earlier
    everything = recent.beside(earlier) if len(recent.truth) and len(earlier.truth) else NO_ANSWERS
    return [rows for rows in (recent, everything) if rows.gains is not None and len(rows.truth) >= _SCORED_ROWS]


def promising(evidence: Evidence) -> bool:
    """Return whether rows that are not held out speak for a candidate at all, or are too few to speak against it.

    They do where recent traffic is answered better, or more of what people corrected is put right than of the errors that
    chance drew, as equal models do once in ten times; or where there are rows of labels that the champion does not know.
    """
    scored = _scored(evidence)
    if len(evidence.new.truth) or not scored:
        return True
    better = [rows for rows in scored if rows.flips[0] >= rows.flips[1]]
    chances = [sign_flips(rows.gains) for rows in better if rows.gains is not None]
    if min(1.0, len(scored) * min(chances, default=1.0)) <= _PROMISING_CHANCE:
        return True
    recent, corrections = evidence.recent, evidence.corrections
    fixed, wrong = corrections.flips[0], int((corrections.champion != corrections.truth).sum())
    usual, errors = recent.flips[0], int((recent.champion != recent.truth).sum())
    return bool(wrong) and more_than_chance(fixed, wrong, usual, errors) <= _PROMISING_CHANCE


def _likelier(rows: Answers, asked: int, level: float, looks: Looks) -> Rule:
    """Return whether ``rows``, one of the ``asked`` sets that share ``level``, find their right labels likelier."""
    assert rows.gains is not None  # noqa: S101 - only such rows are asked
    gained, lost = rows.flips
    why = (
        f"chance that {len(rows.truth)} predictions, drawn by chance and not learned from, find their right labels likelier "
        f"by {rows.gains.mean():.3f} nats or more between equal models (sign flips), look {looks.recent_looks}; {gained} "
        f"are put right and {lost} wrong"
    )
    rule = _rare("recent_gain", min(1.0, asked * sign_flips(rows.gains)), level, why)
    if rule.passed and gained < lost:
        loss = (lost - gained) / len(rows.truth)
        worse = _at_most("recent_gain", loss, 0.0, f"{why}, so likelier is not better")
        rule = worse.model_copy(update={"kind": "evidence"})
    return rule


def _corrections_fixed(evidence: Evidence, level: float, limits: GateLimits) -> Rule:
    """Ask whether the candidate does what people asked for, and is surely not much worse at all else.

    They correct what is wrong, so on these rows every other model looks better than the champion. What counts is that more is
    put right than of the errors on the holdout, which nobody chose. That says nothing of what nobody corrected: so it is
    evidence only where rows that chance drew, the holdout and recent ones, are enough to rule out a large loss.
    """
    wrong = evidence.corrections.champion != evidence.corrections.truth
    fixed, _ = evidence.corrections.flips
    errors = int((evidence.holdout.champion != evidence.holdout.truth).sum())
    better, _ = evidence.holdout.flips
    chance = more_than_chance(fixed, int(wrong.sum()), better, errors)
    why = (
        f"it puts {fixed} of {int(wrong.sum())} corrected answers right that it did not learn from, and {better} of {errors} "
        f"errors on the holdout (beta-binomial), look {evidence.looks.recent_looks}"
    )
    fixes = _rare("corrections_fixed", chance, level, why)
    return _if_harmless(fixes, [evidence.holdout, evidence.recent], evidence.looks, limits)


def _new_classes_learned(evidence: Evidence, level: float, limits: GateLimits) -> Rule:
    """Ask whether rows of new labels are found among all others, and whether the old labels surely do not pay for it.

    A candidate that answers everything with a new label has all of its rows right; so what counts is that they are given new
    labels more often than rows of the holdout are, none of which has one.
    """
    right, rows = evidence.new.flips[0], len(evidence.new.truth)
    taken = int(np.isin(evidence.holdout.candidate, np.unique(evidence.new.truth)).sum())
    total = len(evidence.holdout.truth)
    chance = more_than_chance(right, rows, taken, total)
    why = (
        f"of {rows} rows whose labels the champion does not know it puts {right} right, and calls {taken} of {total} holdout "
        f"rows by such a label (beta-binomial), look {evidence.looks.recent_looks}"
    )
    learned = _rare("new_classes_learned", chance, level, why)
    return _if_harmless(learned, [evidence.holdout, evidence.recent], evidence.looks, limits)


def _if_harmless(rule: Rule, drawn: Sequence[Answers], looks: Looks, limits: GateLimits) -> Rule:
    """Return the evidence in ``rule``, which has failed where rows that chance drew do not rule out a large loss.

    The certainty is 99.9% over all looks at the holdout, so each may use a share of the 0.1%.
    """
    if not rule.passed:
        return rule
    better, worse = (sum(flips) for flips in zip(*(answers.flips for answers in drawn), strict=True))
    rows = sum(len(answers.truth) for answers in drawn)
    level = SURE_LEVEL * spending(looks.weights, looks.holdout_weight)
    most = sure_loss(better, worse, rows, quantile(level))
    if most <= limits.max_sure_loss_ratio:
        return rule
    why = (
        f"{rule.why}; but of {rows} rows that chance drew it puts {worse} wrong and {better} right, which leaves a loss of "
        f"{100 * most:.2f} points possible ({100 * (1 - level):.4g}% certainty): more audited rows, or a person, can tell"
    )
    return _at_most(rule.name, most, limits.max_sure_loss_ratio, why).model_copy(update={"kind": "evidence"})


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


def _at_most(name: str, value: float, limit: float, why: str) -> Rule:
    return Rule(name=name, value=value, limit=limit, kind="required", passed=value <= limit, why=why)


def _at_least(name: str, value: float, limit: float, why: str) -> Rule:
    return Rule(name=name, value=value, limit=limit, kind="required", passed=value >= limit, why=why)


def _rare(name: str, chance: float, level: float, why: str) -> Rule:
    return Rule(name=name, value=chance, limit=level, kind="evidence", passed=chance <= level, why=why)
