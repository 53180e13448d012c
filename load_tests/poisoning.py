"""One hostile annotator against three honest ones on SST-2: ``python -m load_tests.poisoning [--home FOLDER]``.

The honest ones are wrong in one vote of ten. The hostile one says the opposite of the truth, of ten times as many texts as each
of the others. Three layouts: the honest ones share their texts, share half of them, or each has texts of their own. The
bar is for the first: what one person alone says of a text is as wrong as that person, unless a model is sure of it.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from core.classifier import softmax
from core.settings import Settings
from core.text import text_key
from feedback.consensus import Vote
from feedback.suspicion import Evidence, Limits
from feedback.trust import trust
from load_tests.quality_data import LabelledTexts, load
from train.head import fit_head, fit_temperature, logits

HONEST = ("ann", "ben", "cid")
HOSTILE = "eve"
BASE_TEXTS = 2_000
VOTES_EACH = 400
HONEST_ERROR_RATIO = 0.1
MOST_WRONG_RATIO = 0.05
LAYOUTS = {"shared": 1.0, "half shared": 0.5, "apart": 0.0}


@dataclass(frozen=True)
class Outcome:
    """What training gets: how many texts, which share of them wrongly labelled, and annotators, the most reliable first."""

    learned: int
    wrong_ratio: float
    wrong_before_ratio: float
    ranking: tuple[str, ...]


def poison(data: LabelledTexts, shared_ratio: float, limits: Limits, seed: int) -> Outcome:
    """Return what comes of the votes where the honest annotators share that ratio of their texts."""
    chance = np.random.default_rng(seed)
    order = chance.permutation(data.train)
    base, pool = order[:BASE_TEXTS], order[BASE_TEXTS:]
    together = int(shared_ratio * VOTES_EACH)
    own = VOTES_EACH - together
    votes: list[Vote] = []
    for number, who in enumerate(HONEST):
        start = together + number * own
        texts = np.concatenate([pool[:together], pool[start : start + own]])
        wrong = chance.random(len(texts)) < HONEST_ERROR_RATIO
        votes += _cast(data, texts, np.where(wrong, 1 - data.labels[texts], data.labels[texts]), who, len(votes))
    hostile = chance.permutation(pool)[: 10 * VOTES_EACH]
    votes += _cast(data, hostile, 1 - data.labels[hostile], HOSTILE, len(votes))
    trusted = trust(votes, {}, _evidence(data, base, votes), limits)
    truth = {text_key(data.texts[place]): str(data.labels[place]) for place in pool}
    wrong_words = sum(word.label != truth[word.text_key] for word in trusted.corrections)
    last = {vote.text_key: vote.label for vote in votes}
    return Outcome(
        learned=len(trusted.corrections),
        wrong_ratio=wrong_words / max(1, len(trusted.corrections)),
        wrong_before_ratio=sum(label != truth[key] for key, label in last.items()) / len(last),
        ranking=tuple(item.annotator for item in trusted.consensus.reliabilities),
    )


def _cast(data: LabelledTexts, places: np.ndarray, labels: np.ndarray, who: str, first: int) -> list[Vote]:
    """Return votes, a minute apart: who is patient is not found by pace."""
    start = datetime(2025, 1, 1, tzinfo=UTC)
    return [
        Vote(
            sequence=first + number,
            text=data.texts[place],
            text_key=text_key(data.texts[place]),
            label=str(label),
            kind="correction",
            annotator=who,
            created_at=start + timedelta(minutes=number),
        )
        for number, (place, label) in enumerate(zip(places, labels, strict=True))
    ]


def _evidence(data: LabelledTexts, base: np.ndarray, votes: list[Vote]) -> dict[int, Evidence]:
    """Return what a head that was fitted on the base texts alone says of every vote's text."""
    fitted, held = base[: BASE_TEXTS * 4 // 5], base[BASE_TEXTS * 4 // 5 :]
    head = fit_head(data.rows.take(fitted), data.labels[fitted], classes=data.classes)
    temperature = fit_temperature(logits(head, data.rows.take(held)), data.labels[held])
    scores = softmax(logits(head, data.rows) / np.float32(temperature))
    place_of = {text_key(text): place for place, text in enumerate(data.texts)}
    found = {}
    for vote in votes:
        row = scores[place_of[vote.text_key]]
        best = int(row.argmax())
        found[vote.sequence] = Evidence("v1", str(best), float(row[best]))
    return found


def main() -> None:
    """Print the outcome of each layout with three seeds, and fail where one is above the bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, default=None, help="folder that keeps embeddings from run to run")
    options = parser.parse_args()
    missed = []
    with tempfile.TemporaryDirectory() as spare:
        home = options.home or Path(spare)
        data = load("sst2", home)
        limits = Limits.of(Settings.model_validate({"HONE_HOME": home}))
        for name, ratio in LAYOUTS.items():
            for seed in range(3):
                outcome = poison(data, ratio, limits, seed)
                print(
                    f"{name:<12} seed {seed}: {outcome.wrong_before_ratio:.1%} wrong as sent; learned {outcome.learned}, "
                    f"{outcome.wrong_ratio:.1%} of them wrong; most reliable first: {', '.join(outcome.ranking)}"
                )
                too_many = name == "shared" and outcome.wrong_ratio > MOST_WRONG_RATIO
                if too_many or outcome.ranking[-1] != HOSTILE:
                    missed.append(name)
    if missed:
        raise SystemExit(f"above {MOST_WRONG_RATIO:.0%} wrong, or the hostile one not last: {', '.join(dict.fromkeys(missed))}")


if __name__ == "__main__":
    main()
