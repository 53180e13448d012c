"""What speaks for a candidate: four kinds of evidence, each a rule with the chance that equal models would look as good."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from core.gate import NO_ANSWERS, Answers, Evidence, FloatVector, GateLimits, Looks, Rule
from core.gate_statistics import SURE_LEVEL, mcnemar, more_than_chance, quantile, sign_flips, spending, sure_loss

# From how many rows on the gate asks how likely the right labels are: a bound that holds for any gains is wide for a few.
_SCORED_ROWS = 30
# The same for the holdout, whose rows are more.
_SCORED_HOLDOUT_ROWS = 100
# How often a candidate has to be right more often on the holdout, by chance between equals, for likelier to count there.
_MORE_OFTEN_RIGHT_CHANCE = 0.1
# What a candidate that rows outside the holdout speak for reaches, and one in ten that are no better.
_PROMISING_CHANCE = 0.1


def share_of_alpha(evidence: Evidence, limits: GateLimits) -> float:
    """Return what each kind of evidence may use of ``alpha``, before looks are counted."""
    kinds = 1 + sum(bool(len(rows.truth)) for rows in (evidence.recent, evidence.corrections, evidence.new))
    return limits.alpha / kinds


def evidence_rules(evidence: Evidence, limits: GateLimits) -> Iterator[Rule]:
    """Ask four ways whether the candidate is better; what there are no rows for takes no share of ``alpha``."""
    alpha, looks = share_of_alpha(evidence, limits), evidence.looks
    yield _if_harmless(_holdout_gain(evidence, limits), [evidence.holdout], looks, limits)
    yield from recent_gain(evidence, limits)
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


def recent_gain(evidence: Evidence, limits: GateLimits) -> Iterator[Rule]:
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
    found = [_likelier(rows, gains, len(scored), level, looks) for rows, gains in scored]
    yield min(found, key=lambda rule: (not rule.passed, rule.value))


def _scored(evidence: Evidence) -> list[tuple[Answers, FloatVector]]:
    """Return the sets of rows that chance drew of which likelihoods can tell, each with its gains (n,)."""
    recent, earlier = evidence.recent, evidence.earlier
    everything = recent.beside(earlier) if len(recent.truth) and len(earlier.truth) else NO_ANSWERS
    sets = (recent, everything)
    return [(rows, rows.gains) for rows in sets if rows.gains is not None and len(rows.truth) >= _SCORED_ROWS]


def promising(evidence: Evidence) -> bool:
    """Return whether rows that are not held out speak for a candidate at all, or are too few to speak against it.

    They do where recent traffic is answered better, or more of what people corrected is put right than of the errors that
    chance drew, as equal models do once in ten times; or where there are rows of labels that the champion does not know.
    """
    scored = _scored(evidence)
    if len(evidence.new.truth) or not scored:
        return True
    chances = [sign_flips(gains) for rows, gains in scored if rows.flips[0] >= rows.flips[1]]
    if min(1.0, len(scored) * min(chances, default=1.0)) <= _PROMISING_CHANCE:
        return True
    recent, corrections = evidence.recent, evidence.corrections
    fixed, wrong = corrections.flips[0], int((corrections.champion != corrections.truth).sum())
    usual, errors = recent.flips[0], int((recent.champion != recent.truth).sum())
    return bool(wrong) and more_than_chance(fixed, wrong, usual, errors) <= _PROMISING_CHANCE


def _likelier(rows: Answers, gains: FloatVector, asked: int, level: float, looks: Looks) -> Rule:
    """Return whether ``rows``, one of the ``asked`` sets that share ``level``, find their right labels likelier."""
    gained, lost = rows.flips
    why = (
        f"chance that {len(rows.truth)} predictions, drawn by chance and not learned from, find their right labels likelier "
        f"by {gains.mean():.3f} nats or more between equal models (sign flips), look {looks.recent_looks}; {gained} "
        f"are put right and {lost} wrong"
    )
    rule = _rare("recent_gain", min(1.0, asked * sign_flips(gains)), level, why)
    if rule.passed and gained < lost:
        loss = (lost - gained) / len(rows.truth)
        worse = at_most("recent_gain", loss, 0.0, f"{why}, so likelier is not better")
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
    return at_most(rule.name, most, limits.max_sure_loss_ratio, why).model_copy(update={"kind": "evidence"})


def at_most(name: str, value: float, limit: float, why: str) -> Rule:
    """Return a rule that has to hold: the value may be ``limit`` at most."""
    return Rule(name=name, value=value, limit=limit, kind="required", passed=value <= limit, why=why)


def at_least(name: str, value: float, limit: float, why: str) -> Rule:
    """Return a rule that has to hold: the value has to be ``limit`` at least."""
    return Rule(name=name, value=value, limit=limit, kind="required", passed=value >= limit, why=why)


def _rare(name: str, chance: float, level: float, why: str) -> Rule:
    return Rule(name=name, value=chance, limit=level, kind="evidence", passed=chance <= level, why=why)
