"""What came of all peers, as a person reads it: a table in Markdown, a CSV of the rounds, and a plot."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl

from load_tests.bars import judge
from load_tests.peers.measuring import PEER_BARS, per_cpu_s, rate, ratio_of
from load_tests.speed import BATCH_TEXTS

mpl.use("Agg")
import matplotlib.pyplot as plt

Result = dict[str, Any]
_FIELDS = ("peer", "round", "load_average", "hone_singles_per_s", "peer_singles_per_s", "hone_batches_texts_per_s",
           "peer_batches_texts_per_s")  # fmt: skip


def read_results(folder: Path, order: Sequence[str]) -> list[Result]:
    """Return what was found of each peer so far, in ``order``; each is a file, so that a run adds to earlier ones."""
    paths = [folder / f"{name}.json" for name in order]
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.exists()]


def missed(result: Result) -> list[str]:
    """Return the bars that a measured peer shows to be missed."""
    return [verdict.bar.meaning for verdict in judge(result.get("figures", {}), PEER_BARS) if verdict.kept is False]


def table(results: Sequence[Result]) -> str:
    """Return the table of the documentation; a ratio that misses its bar is bold, rounds stand in brackets."""
    lines = [
        "| instead of Hone | engine | accuracy (Hone's) | single texts/s (Hone's) | Hone ÷ it | by processor time | "
        "texts/s in batches (Hone's) | Hone ÷ it | by processor time |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for result in results:
        if "skipped" in result:
            lines.append(f"| {result['title']} | – | not measured: {result['skipped']} | | | | | | |")
            continue
        accuracy = f"{result['accuracy']['peer']:.1%} ({result['accuracy']['hone']:.1%})"
        shape = f"{result['engine']}, {result['workers']}×{result['threads']}"
        cells = [f"{result['title']}{_version(result)}", shape, accuracy]
        for load, texts in (("singles", 1), ("batches", BATCH_TEXTS)):
            own, other = (median(texts * rate(found[side][load]) for found in result["rounds"]) for side in ("hone", "peer"))
            by_round = ", ".join(f"{ratio_of(found, load):.2f}" for found in result["rounds"])
            ratio = result["figures"][f"{load}_ratio"]
            (bar,) = [bar for bar in PEER_BARS if bar.figure == f"{load}_ratio"]
            shown = f"{ratio:.2f}" if bar.holds(ratio) else f"**{ratio:.2f}**"
            cells += [f"{other:.0f} ({own:.0f})", f"{shown} ({by_round})", _by_processor(result, load)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def write_rounds(results: Sequence[Result], path: Path) -> None:
    """Write a row per peer and round with the raw figures."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, _FIELDS)
        writer.writeheader()
        for result in results:
            for found in result.get("rounds", ()):
                sides = {
                    f"{side}_{name}": round(texts * rate(found[side][load]), 2)
                    for side in ("hone", "peer")
                    for load, name, texts in (("singles", "singles_per_s", 1), ("batches", "batches_texts_per_s", BATCH_TEXTS))
                }
                facts = {"peer": result["peer"], "round": found["round"], "load_average": found["load_average"]}
                writer.writerow({**facts, **sides})


def plot(results: Sequence[Result], path: Path) -> None:
    """Draw Hone's throughput beside that of each peer, both loads, as a PNG; points are rounds, a bar ends at their median."""
    measured = [result for result in results if "rounds" in result]
    figure, axes = plt.subplots(1, 2, figsize=(12, 0.7 * len(measured) + 1.8), layout="constrained", sharey=True)
    loads = (("singles", 1, "single texts, 32 connections: texts/s"), ("batches", BATCH_TEXTS, "batches of 32: texts/s"))
    for axis, (load, texts, title) in zip(axes, loads, strict=True):
        for place, result in enumerate(measured):
            for side, shift, colour in (("hone", -0.2, "#d95f02"), ("peer", 0.2, "#7570b3")):
                values = [texts * rate(found[side][load]) for found in result["rounds"]]
                axis.barh(place + shift, median(values), 0.36, color=colour, alpha=0.6, label=side if place == 0 else None)
                axis.plot(values, [place + shift] * len(values), "k.", markersize=4)
        axis.set_title(title, fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(range(len(measured)), [result["title"] for result in measured])
    axes[0].invert_yaxis()
    axes[1].legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _by_processor(result: Result, load: str) -> str:
    """Return the ratio of texts per second of processor time, the median of the rounds."""
    pairs = [(per_cpu_s(found["hone"][load]), per_cpu_s(found["peer"][load])) for found in result["rounds"]]
    known = [own / other for own, other in pairs if own is not None and other]
    return f"{median(known):.2f}" if known else "–"


def _version(result: Result) -> str:
    found = result["versions"].get(result["package"])
    return f" {found}" if found else ""
