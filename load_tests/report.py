"""One run's results as a person reads them: a table, and plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from load_tests.bars import Verdict
from load_tests.speed import BATCH_TEXTS, Round, ratios

_COLOURS = {"raw": "#7f7f7f", "hone": "#d95f02", "expert": "#1b9e77", "plain_ray": "#7570b3"}


def table(verdicts: Sequence[Verdict]) -> str:
    """Return the verdicts as text, a line each; what was not measured says so."""
    lines = []
    for verdict in verdicts:
        bar = verdict.bar
        measured = "not measured" if verdict.value is None else f"{verdict.value:.3g}"
        outcome = {True: "kept", False: "MISSED", None: "-"}[verdict.kept]
        lines.append(f"{bar.meaning:<84}{bar.side:>9} {bar.limit:<6g}{measured:>13}  {outcome}")
    return "\n".join(lines)


def plot_speed(rounds: Sequence[Round], path: Path) -> None:
    """Draw texts per second of every round, and the latency of one connection, as a PNG."""
    names = [name for name in _COLOURS if any(name in found for found in rounds)]
    figure, axes = plt.subplots(1, 3, figsize=(13, 4.2), layout="constrained")
    kinds = ("single texts, 32 connections: texts/s", "batches of 32: texts/s", "one text at a time: p50, ms")
    for axis, title, value in zip(axes, kinds, (_singles, _batches, _idle), strict=True):
        shown = [name for name in names if not (name == "plain_ray" and value is not _singles)]
        for place, name in enumerate(shown):
            values = [value(found[name]) for found in rounds if name in found]
            axis.bar(place, float(np.median(values)), color=_COLOURS[name], alpha=0.6)
            axis.plot([place] * len(values), values, "k.", markersize=5)
        axis.set_xticks(range(len(shown)), shown)
        axis.set_title(title, fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle("Bars are medians, points are rounds", fontsize=9)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def plot_ratios(rounds: Sequence[Round], verdicts: Sequence[Verdict], path: Path) -> None:
    """Draw each ratio by round, with its bar, as a PNG."""
    by_round = [ratios(found) for found in rounds]
    shown = [verdict.bar for verdict in verdicts if any(verdict.bar.figure in figures for figures in by_round)]
    figure, axes = plt.subplots(1, len(shown), figsize=(2.6 * len(shown), 3.6), layout="constrained", squeeze=False)
    for axis, bar in zip(axes[0], shown, strict=True):
        points = [(number, figures[bar.figure]) for number, figures in enumerate(by_round, 1) if bar.figure in figures]
        axis.plot(*zip(*points, strict=True), "o-", color=_COLOURS["hone"])
        axis.axhline(bar.limit, color="black", linestyle="--", linewidth=1)
        axis.set_title(f"{bar.figure}\n{bar.side} {bar.limit:g}", fontsize=9)
        axis.set_ylim(bottom=0)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def plot_overload(found: Mapping[str, Any], folder: Path, path: Path) -> None:
    """Draw latency and what became of requests, second by second through all three parts, and memory, as a PNG."""
    figure, axes = plt.subplots(3, 1, figsize=(10, 8), layout="constrained")
    start = 0.0
    for name in ("half", "overload", "after"):
        frame = pd.read_csv(folder / f"{name}.csv")
        second = frame.due_s.astype(int)
        right = frame[frame.status == 200]
        for share, style in ((0.5, "-"), (0.99, ":")):
            line = right.groupby(second[right.index]).latency_ms.quantile(share)
            axes[0].plot(
                line.index + start, line, style, color=_COLOURS["hone"], label=f"p{100 * share:g}" if not start else None
            )
        for status, colour in ((200, "#1b9e77"), (429, "#e6ab02"), (0, "#d62728")):
            counts = second[frame.status == status].value_counts().reindex(range(second.max() + 1), fill_value=0)
            axes[1].plot(counts.index + start, counts, color=colour, label=str(status) if not start else None)
        start += float(second.max()) + 1
        for axis in axes[:2]:
            axis.axvline(start, color="black", linewidth=0.5)
    axes[0].set(ylabel="latency of answers, ms", yscale="log")
    axes[1].set(ylabel="requests/s by status (0: none)", xlabel="seconds: half capacity | twice capacity | half capacity")
    times, sizes = zip(*found["memory"], strict=True)
    axes[2].plot(times, np.array(sizes) / 2**20, color="#7f7f7f")
    axes[2].set(ylabel="resident memory, MiB", ylim=(0, 1.2 * max(sizes) / 2**20), xlabel="seconds")
    axes[0].legend()
    axes[1].legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def rows(rounds: Sequence[Round]) -> list[dict[str, object]]:
    """Return a row per round and server with the raw figures, for a CSV file."""
    table_rows: list[dict[str, object]] = []
    for found in rounds:
        for name in _COLOURS:
            if name in found:
                own = found[name]
                values = {"singles_per_s": _singles(own), "batches_texts_per_s": _batches(own), "single_p50_ms": _idle(own)}
                table_rows.append({"round": found["round"], "load_average": found["load_average"], "server": name, **values})
    return table_rows


def _singles(own: Mapping[str, Any]) -> float:
    return float(own["texts_per_s"] if "texts_per_s" in own else own["singles"]["answered_per_s"])


def _batches(own: Mapping[str, Any]) -> float:
    return float(own["texts_per_s"] if "texts_per_s" in own else BATCH_TEXTS * own["batches"]["answered_per_s"])


def _idle(own: Mapping[str, Any]) -> float:
    latency = own["single_ms"] if "single_ms" in own else own["idle"]["latency_ms"]
    return float(latency["p50"]) if latency else float("nan")
