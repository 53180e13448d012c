"""How often drift alarms without drift, and how soon with it, for the champion of a state folder.

``python -m load_tests.drift_alarms none --home HOME`` draws references and windows from the rows of the champion's own profile,
so that nothing ever changes. ``… moved --home HOME --stream FILE [--usual FILE --planted-ratio 0.2]`` takes windows from the
texts of a file in their order, or plants a share of them among usual ones, and says in which window drift is seen.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.bundle import read_manifest
from core.drift.errors import Outcome, rises, shortfall
from core.drift.estimating import calibrate
from core.drift.profile import Profile, read_profile
from core.drift.reading import known_words
from core.drift.samples import Sample, Texts, measure_texts
from core.drift.suite import ERRORS, SHORTFALL, compare, make_detectors
from core.drift.verdict import decide
from core.registry import Registry
from core.text import clean
from train.encode import EmbeddingCache, ExportedEncoder
from train.scoring import scores_of

AUDITED_PER_WINDOW = 25
RECENT_OUTCOMES = 200


def champion_of(home: Path) -> tuple[Path, Profile]:
    """Return the champion's folder and profile."""
    folder = Registry(home / "registry").path("champion")
    profile = read_profile(folder)
    if profile is None:
        raise SystemExit(f"the champion of {home} keeps no profile; teach one first: hone train --data FILE")
    return folder, profile


def drawn(pool: Profile, places: NDArray[np.int64], embedded: NDArray[np.int64]) -> Sample:
    """Return rows of the profile as a sample of their own; its embeddings are drawn apart, since not all rows have one."""
    whole, texts = pool.sample, pool.sample.texts
    measured = None
    if texts is not None:
        embeddings = None if texts.embeddings is None else texts.embeddings[embedded]
        languages = tuple(texts.languages[place] for place in places)
        measured = Texts(texts.lengths[places], texts.unknown_ratios[places], languages, embeddings)
    return Sample(tuple(whole.labels[place] for place in places), whole.confidences[places], measured)


def without_drift(pool: Profile, options: argparse.Namespace, seed: int) -> list[list[str]]:
    """Return the detectors that saw drift in each window of one simulation, in which nothing changes."""
    random = np.random.default_rng(seed)
    embeddings = pool.sample.texts.embeddings if pool.sample.texts is not None else None
    embedded = 0 if embeddings is None else len(embeddings)

    def draw(rows: int, embedding_rows: int) -> tuple[Sample, NDArray[np.int64]]:
        places = random.integers(0, len(pool.sample), rows)
        return drawn(pool, places, random.integers(0, max(1, embedded), embedding_rows if embedded else 0)), places

    reference, places = draw(options.reference, options.embeddings)
    right = pool.right[places]
    detectors = [detector.fit(reference) for detector in make_detectors()]
    confidences, outcomes, found = reference.confidences.astype(float), list[Outcome](), []
    for _ in range(options.windows):
        window, places = draw(options.rows, options.embeddings // 2)
        audited = places[:AUDITED_PER_WINDOW]
        outcomes += [Outcome(float(pool.sample.confidences[place]), bool(pool.right[place])) for place in audited]
        recent = outcomes[-RECENT_OUTCOMES:]
        expected, error = calibrate(confidences, right, np.array([outcome.confidence for outcome in recent]))
        scores = {**compare(detectors, window), SHORTFALL: shortfall(recent, expected.tolist(), error)}
        found.append([item.detector for item in decide(scores, options.alpha) if item.verdict == "drift"])
    # ADWIN says of an answer what it says with those before it alone, so once over all of them is as good as at each window.
    for place, _ in rises(outcomes):
        found[place // AUDITED_PER_WINDOW].append(ERRORS)
    return found


def tell_false_alarms(options: argparse.Namespace) -> None:
    """Print how many of the windows of each simulation alarm, and fail above one of 30."""
    _, pool = champion_of(options.home)
    found = []
    for seed in range(options.simulations):
        found.append(without_drift(pool, options, seed))
        if seed % 10 == 9:
            print(f"{seed + 1} simulations, {sum(bool(window) for windows in found for window in windows)} alarms", flush=True)
    alarms = [sum(bool(window) for window in windows) for windows in found]
    detectors = Counter(name for windows in found for window in windows for name in window)
    mean = float(np.mean(alarms)) * 30 / options.windows
    print(f"{options.simulations} simulations of {options.windows} windows of {options.rows}: {mean:.3f} alarms per 30 windows")
    print("simulations by alarms:", dict(sorted(Counter(alarms).items())))
    print("by detector:", dict(detectors.most_common()))
    if mean > 1:
        raise SystemExit("above 1")


def examine(folder: Path, cache: Path, texts: Sequence[str]) -> Sample:
    """Return how the bundle in ``folder`` reads and answers the texts."""
    manifest = read_manifest(folder)
    scores = scores_of(folder, texts, cache)
    cleaned = [clean(text, manifest.text) for text in texts]
    encoder = ExportedEncoder.of_bundle(folder, manifest)
    embeddings = None
    if encoder is not None and manifest.encoder is not None:
        limit, serving = manifest.encoder.max_tokens, manifest.encoder.serving
        embeddings = EmbeddingCache(cache).embed(encoder, cleaned, max_tokens=limit, variant=serving)
    labels = tuple(manifest.labels[place] for place in scores.argmax(axis=1).tolist())
    return Sample(labels, scores.max(axis=1), measure_texts(cleaned, known_words(folder, manifest), embeddings))


def tell_power(options: argparse.Namespace) -> None:
    """Print what each window's detectors say, and fail where none of three sees drift."""
    folder, profile = champion_of(options.home)
    detectors = [detector.fit(profile.sample) for detector in make_detectors()]
    stream = _texts_of(options.stream)
    usual = _texts_of(options.usual) if options.usual is not None else []
    random, seen = np.random.default_rng(options.seed), 0
    for number in range(3):
        if usual:
            planted = round(options.planted_ratio * options.rows)
            texts = [usual[place] for place in random.choice(len(usual), options.rows - planted, replace=False)]
            texts += [stream[place] for place in random.choice(len(stream), planted, replace=False)]
        else:
            texts = stream[number * options.rows : (number + 1) * options.rows]
        found = decide(compare(detectors, examine(folder, options.home / "cache", texts)), options.alpha)
        seen += any(item.verdict == "drift" for item in found)
        said = "; ".join(
            f"{item.detector} {item.size:.3g} (p {item.p_value:.2g}) {item.verdict}" for item in found if item.size
        )
        print(f"window {number + 1}, {len(texts)} texts: {said}")
    if not seen:
        raise SystemExit("drift was not seen within 3 windows")


def _texts_of(path: Path) -> list[str]:
    frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    texts: list[str] = frame["text"].tolist()
    return texts


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["none", "moved"])
    parser.add_argument("--home", type=Path, required=True, help="state folder with a champion")
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--alpha", type=float, default=0.01)
    parser.add_argument("--simulations", type=int, default=300)
    parser.add_argument("--windows", type=int, default=30)
    parser.add_argument("--reference", type=int, default=2_000, help="rows of a simulated reference")
    parser.add_argument("--embeddings", type=int, default=300, help="embeddings of a simulated reference; half in a window")
    parser.add_argument("--stream", type=Path, help="texts that have moved, Parquet or CSV with a column text")
    parser.add_argument("--usual", type=Path, help="texts among which a share of the stream is planted")
    parser.add_argument("--planted-ratio", type=float, default=0.2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.what == "none":
        tell_false_alarms(options)
    else:
        tell_power(options)


if __name__ == "__main__":
    main()
