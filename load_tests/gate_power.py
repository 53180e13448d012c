"""How often the gate is right: candidates that are better, equal or worse, a thousand times each.

::

    python -m load_tests.gate_power --rounds 1000 --out results/gate

Draws what both models say of the holdout, of recent predictions that chance drew, and of what people corrected, and asks the
gate. The champion is 90% right; a candidate differs on a share of the rows. In each round it is looked at once, and in some
trials thirty times: other candidates of the same worth on as many rows. Scored trials draw probabilities, of the holdout and
of recent predictions, so that the gate hears how likely each model found the right labels. Writes a CSV, and prints it; exit
code 1 when a limit is passed: equal models 5%, models two points worse never, models two points better on 3,000 rows 90%.
"""

from __future__ import annotations

import argparse
import csv
import sys
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.classifier import softmax
from core.gate import NO_ANSWERS, Answers, Evidence, GateLimits, Looks, Make, decide
from train.likelihood import likelihood_gains

FloatMatrix = NDArray[np.float32]

_LABELS = [f"label {number}" for number in range(10)]
_ACCURACY = 0.9
_RECENT_ROWS = 200
_CORRECTIONS = 60
# On how many rows two models differ that have nothing in common but being right as often.
_DISCORDANT = 0.18


@dataclass(frozen=True)
class Trial:
    """One kind of candidate: ``gain`` against the champion, ``discordant`` the share of rows on which they differ.

    ``fresh`` gives it ``recent`` rows and corrections; with ``wished`` it puts all of those corrections right, whatever it is
    worth, and there are no recent rows to tell unless it says how many. With ``scored`` all but corrections have probabilities.
    """

    rows: int
    gain: float
    discordant: float
    fresh: bool
    looks: int
    wished: bool = False
    recent: int | None = None
    scored: bool = False


def draw(random: np.random.Generator, rows: int, gain: float, discordant: float) -> Answers:
    """Return what both models say of ``rows`` rows."""
    truth = random.integers(0, len(_LABELS), rows)
    better, worse = (discordant + gain) / 2, (discordant - gain) / 2
    kind = random.choice(4, size=rows, p=[_ACCURACY - worse, better, worse, 1.0 - _ACCURACY - better])
    wrong = (truth + random.integers(1, len(_LABELS), rows)) % len(_LABELS)
    return Answers(truth, np.where((kind == 0) | (kind == 2), truth, wrong), np.where((kind == 0) | (kind == 1), truth, wrong))


def draw_scored(random: np.random.Generator, rows: int, gain: float, discordant: float) -> Answers:
    """Return what both models say of ``rows`` rows, from logits in which the right label stands out.

    Their noise has as much in common as makes them differ on about ``discordant`` of the rows.
    """
    truth = random.integers(0, len(_LABELS), rows)
    champion, candidate = (_strength(_ACCURACY + more) for more in (0.0, gain))
    shared = random.normal(size=(rows, len(_LABELS)))
    own = min(1.0, (discordant / _DISCORDANT) ** 2)

    def probabilities(strength: float) -> FloatMatrix:
        noise = np.sqrt(1.0 - own) * shared + np.sqrt(own) * random.normal(size=shared.shape)
        logits = strength * noise
        # Gaussian classes of unit variance at distance ``strength``: these are their log-likelihoods.
        logits[np.arange(rows), truth] += strength**2
        return softmax(logits.astype(np.float32))

    before, after = probabilities(champion), probabilities(candidate)
    return Answers(truth, before.argmax(axis=1), after.argmax(axis=1), likelihood_gains(truth, before, after))


@cache
def _strength(accuracy: float) -> float:
    """Return how far the right label has to stand out for that accuracy, found on rows of its own."""
    random = np.random.default_rng(1)
    right, others = random.normal(size=400_000), random.normal(size=(400_000, len(_LABELS) - 1)).max(axis=1)
    return float(np.quantile(others - right, accuracy))


def promoted(random: np.random.Generator, trial: Trial) -> bool:
    """Return whether any of the looks promotes a candidate."""
    for look in range(1, trial.looks + 1):
        recent = corrections = NO_ANSWERS
        if trial.fresh:
            rows = trial.recent or (0 if trial.wished else _RECENT_ROWS)
            recent = (draw_scored if trial.scored else draw)(random, rows, trial.gain, trial.discordant)
            drawn = draw(random, 4_000, trial.gain, trial.discordant)
            # People correct what the champion has wrong.
            corrections = drawn.take(np.flatnonzero(drawn.champion != drawn.truth)[:_CORRECTIONS])
            if trial.wished:
                corrections = Answers(corrections.truth, corrections.champion, corrections.truth)
        seen = Looks(holdout_looks=look, recent_looks=look)
        holdout = (draw_scored if trial.scored else draw)(random, trial.rows, trial.gain, trial.discordant)
        evidence = Evidence(holdout, recent, corrections, looks=seen)
        if decide(evidence, Make(1.0), labels=_LABELS, champion="v1", limits=GateLimits()).promote:
            return True
    return False


def trials() -> list[Trial]:
    """Return the kinds that are tried."""
    found = [
        Trial(rows, gain, discordant, fresh, 1)
        for rows in (300, 1_000, 3_000)
        for discordant in (0.04, 0.08, 0.12)
        for gain in (-0.02, 0.0, 0.02)
        for fresh in (False, True)
    ]
    wished = [
        Trial(rows, -0.02, discordant, True, 1, True) for rows in (300, 1_000, 3_000) for discordant in (0.04, 0.08, 0.12)
    ]
    # A small audit: with the holdout it is rows enough to tell.
    audited = [Trial(300, gain, 0.02, True, 1, True, recent=400) for gain in (-0.02, 0.0)]
    tried = [Trial(3_000, gain, 0.06, True, 30) for gain in (-0.02, 0.0)]
    scored = [
        Trial(rows, gain, discordant, True, looks, recent=recent, scored=True)
        for rows, recent, looks in ((1_000, 40, 1), (1_000, 200, 1), (3_000, 200, 1), (3_000, 1_000, 1), (1_000, 200, 30))
        for discordant in (0.04, 0.08)
        for gain in (-0.02, 0.0, 0.02)
    ]
    return [*found, *wished, *audited, *tried, Trial(3_000, -0.02, 0.06, True, 30, True), *scored]


def missed(trial: Trial, ratio: float) -> bool:
    """Return whether ``ratio`` of promotions passes a limit."""
    if trial.gain < 0:
        # What is wished for is evidence, and a small holdout may be lucky: chance has its way that often.
        return ratio > (0.002 if trial.wished or trial.rows < 1_000 else 0.0)
    if trial.gain == 0:
        # Who is as good and does what was asked for is better.
        return ratio > 0.05 and not trial.wished
    return trial.rows >= 3_000 and trial.discordant <= 0.08 and ratio < 0.9


def main() -> int:
    """Simulate, write, print, and return 1 when a limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1_000)
    parser.add_argument("--only", default="", help="Only trials whose description holds this, such as 'rows=300,'.")
    parser.add_argument("--out", type=Path, default=Path("results/gate"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    bad = False
    with (options.out / "power.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*Trial.__dataclass_fields__, "rounds", "promoted_ratio", "missed"])
        writer.writeheader()
        for trial in (trial for trial in trials() if options.only in str(trial)):
            rounds = options.rounds if trial.looks == 1 else max(1, options.rounds // 2)
            random = np.random.default_rng(20261128)
            ratio = sum(promoted(random, trial) for _ in range(rounds)) / rounds
            row = {**asdict(trial), "rounds": rounds, "promoted_ratio": ratio, "missed": missed(trial, ratio)}
            bad |= row["missed"]
            writer.writerow(row)
            print(" ".join(f"{name}={value}" for name, value in row.items()), flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
