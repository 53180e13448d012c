"""Accuracy guessed without labels against the truth, group by group: every method side by side.

``python -m load_tests.accuracy_without_labels --home HOME --stream FILE --by COLUMN [--months]`` asks the champion of a state
folder about labelled texts. Groups are the values of a column, with ``--months`` the months of a column of dates, or with
``--rows N`` windows of as many texts, as the service looks at them, in the order of the column. The least error that can be had
is that of chance: who knew the true accuracy would still miss the share that is right among few texts.

Where guesses miss because what is right has changed, audited answers have to tell. Printed below for some numbers of them,
drawn from all texts: how often the gap raises the alarm, and how far the guess that is corrected by them still misses.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.bundle import read_manifest
from core.drift.errors import Outcome, shortfall
from core.drift.estimating import METHODS, calibrate, correct, estimate_without_labels
from core.drift.profile import Profile
from load_tests.drift_alarms import champion_of
from train.scoring import scores_of

_MIN_TEXTS = 30
_AUDITED = (50, 100, 200)
_DRAWS = 200
# What one of eight p-values has to fall below for an alarm at the default HONE_DRIFT_ALPHA, the others being large.
_ALARM_LEVEL = 0.01 / 8
Groups = Mapping[str, tuple[NDArray[np.float64], NDArray[np.bool_]]]


def groups_of(frame: pd.DataFrame, folder: Path, cache: Path, names: pd.Series[str]) -> Groups:
    """Return by group the confidence of each answer and whether it is right; small groups are left out."""
    labels = read_manifest(folder).labels
    scores = scores_of(folder, frame["text"].tolist(), cache)
    confidences = scores.max(axis=1).astype(float)
    right = np.array([labels[place] for place in scores.argmax(axis=1)]) == frame["label"].to_numpy()
    found = {}
    for name in sorted(set(names)):
        places = np.flatnonzero(names.to_numpy() == name)
        if len(places) >= _MIN_TEXTS:
            found[str(name)] = (confidences[places], right[places])
    return found


def tell(profile: Profile, groups: Groups) -> None:
    """Print each method's mean absolute error and bias over the groups, in points, and how often its interval covers."""
    reference, right = profile.sample.confidences.astype(float), profile.right
    truths = np.array([truth.mean() for _, truth in groups.values()])
    rows = np.array([len(truth) for _, truth in groups.values()])
    # The mean absolute deviation of a normal variable is sqrt(2 / pi) of its standard one.
    chance = float(np.mean(np.sqrt(2 / np.pi * truths * (1 - truths) / rows)))
    print(f"{len(groups)} groups of {rows.min()} to {rows.max()} texts; reference: {len(right)} rows, {right.mean():.1%} right")
    print(f"right in the groups: {truths.mean():.1%} on average, {truths.min():.1%} to {truths.max():.1%}")
    print(f"error of chance alone: {100 * chance:.2f} points")
    print("| method | mean absolute error | bias | interval covers |\n| --- | --- | --- | --- |")
    for name, method in METHODS.items():
        guesses = [estimate_without_labels(reference, right, window, method) for window, _ in groups.values()]
        kept = [guess for guess in guesses if guess is not None]
        errors = np.array([guess.accuracy for guess in kept]) - truths
        covers = np.mean([guess.low <= truth <= guess.high for guess, truth in zip(kept, truths, strict=True)])
        print(f"| {name} | {100 * np.abs(errors).mean():.2f} | {100 * errors.mean():+.2f} | {covers:.0%} |")


def tell_gap(profile: Profile, groups: Groups, method: str) -> None:
    """Print what audited answers make of the guess, over random draws from all groups together."""
    reference = profile.sample.confidences.astype(float)
    confidences, right = (np.concatenate(parts) for parts in zip(*groups.values(), strict=True))
    guess, truth = METHODS[method](reference, profile.right, confidences), float(right.mean())
    print(f"all together: {truth:.1%} right, {guess:.1%} guessed, a gap of {100 * (guess - truth):+.1f} points by {method}")
    print("| audited answers | alarms | mean absolute error of the corrected guess |\n| --- | --- | --- |")
    random = np.random.default_rng(0)
    for count in _AUDITED:
        if count > len(right):
            continue
        alarms, misses = 0, []
        for _ in range(_DRAWS):
            places = random.choice(len(right), count, replace=False)
            outcomes = [Outcome(float(confidences[place]), bool(right[place])) for place in places]
            expected, error = calibrate(reference, profile.right, confidences[places])
            found = shortfall(outcomes, expected.tolist(), error)
            alarms += found is not None and found.p_value <= _ALARM_LEVEL
            corrected = correct(guess, METHODS[method](reference, profile.right, confidences[places]), right[places])
            misses.append(abs((guess if corrected is None else corrected) - truth))
        print(f"| {count} | {alarms / _DRAWS:.0%} | {100 * float(np.mean(misses)):.2f} |")


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True, help="state folder with a champion")
    parser.add_argument("--stream", type=Path, required=True, help="texts with labels, Parquet or CSV")
    parser.add_argument("--by", required=True, help="column of the groups")
    parser.add_argument("--months", action="store_true", help="the column holds dates; group by month")
    parser.add_argument("--rows", type=int, default=0, help="group by windows of so many texts, in the order of the column")
    parser.add_argument("--estimator", choices=list(METHODS), default="cbpe", help="whose gap to audited answers is told")
    parser.add_argument("--since", default=None, help="leave out what comes before this date")
    parser.add_argument("--where", default="", help="rows to take, as COLUMN=VALUE")
    options = parser.parse_args()
    path: Path = options.stream
    frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    if options.where:
        column, _, value = options.where.partition("=")
        frame = frame[frame[column].astype(str) == value]
    names = frame[options.by].astype(str)
    if options.months:
        names = pd.to_datetime(frame[options.by]).dt.strftime("%Y-%m")
    if options.since is not None:
        frame, names = frame[names >= options.since], names[names >= options.since]
    if options.rows:
        frame = frame.sort_values(options.by, kind="stable")
        # What does not fill a window is left to the last one.
        last = max(0, len(frame) // options.rows - 1)
        names = pd.Series([f"{min(place // options.rows, last):04d}" for place in range(len(frame))])
    folder, profile = champion_of(options.home)
    groups = groups_of(frame.reset_index(drop=True), folder, options.home / "cache", names.reset_index(drop=True))
    tell(profile, groups)
    tell_gap(profile, groups, options.estimator)


if __name__ == "__main__":
    main()
