"""What a scenario of Locust saw, and its report: a table, the service's own metrics as CSV, and a page with plots."""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl

from load_tests.bars import Verdict
from load_tests.report import table
from load_tests.scenario import Scenario, growth

mpl.use("Agg")
import matplotlib.pyplot as plt


@dataclass
class Outcome:
    """What was seen beside Locust's own counts; ``samples`` are the service's metrics over time."""

    versions: set[str] = field(default_factory=set)
    torn: int = 0
    acts: int = 0
    trouble: list[str] = field(default_factory=list)
    samples: list[dict[str, float]] = field(default_factory=list)

    def saw_versions(self, named: Sequence[str]) -> None:
        """Note the versions that one answer names."""
        # A run may have made a version since; what an answer may never do is to name two.
        self.torn += len(set(named)) != 1

    def figures(self, stats: Any) -> dict[str, float | None]:
        """Return every figure that a limit may be on, by Locust's ``stats``. What cannot be told is None: not kept."""
        sent, failed = stats.total.num_requests, stats.total.num_failures + len(self.trouble)
        return {
            "failed_ratio": failed / sent if sent else None,
            "torn_answers": float(self.torn),
            "p95_ms": _p95_ms(stats, "one"),
            "batch_p95_ms": _p95_ms(stats, "many"),
            "memory_growth_ratio": growth(self.samples, "memory_bytes"),
            "open_files_growth_ratio": growth(self.samples, "open_files"),
        }


def _p95_ms(stats: Any, name: str) -> float | None:
    found = stats.get(name, "POST")
    return float(found.get_response_time_percentile(0.95)) if found.num_requests else None


def write_report(name: str, scenario: Scenario, outcome: Outcome, verdicts: Sequence[Verdict], folder: Path | None) -> None:
    """Print the verdicts; with ``folder`` also leave ``verdicts.json``, ``metrics.csv`` and ``index.html`` there."""
    print(f"\n{name}: {scenario.meaning}\n{table(verdicts)}")
    for line in outcome.trouble[:10]:
        print(f"trouble: {line}")
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    told = [{"figure": item.bar.figure, "limit": item.bar.limit, "value": item.value, "kept": item.kept} for item in verdicts]
    facts = {"scenario": name, "verdicts": told, "acts": outcome.acts, "trouble": outcome.trouble}
    (folder / "verdicts.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    with (folder / "metrics.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["at_s", "memory_bytes", "open_files"])
        writer.writeheader()
        writer.writerows(outcome.samples)
    (folder / "index.html").write_text(_page(name, scenario, outcome, verdicts, folder), encoding="utf-8")


def _page(name: str, scenario: Scenario, outcome: Outcome, verdicts: Sequence[Verdict], folder: Path) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(item.bar.meaning)}</td><td>{item.bar.limit:g}</td>"
        f"<td>{'–' if item.value is None else f'{item.value:.4g}'}</td><td>{'kept' if item.kept else 'MISSED'}</td></tr>"
        for item in verdicts
    )
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{name}</title>"
        "<style>body{font:16px sans-serif;max-width:70em;margin:2em auto}td,th{padding:.2em 1em;text-align:left}</style>"
        f"<h1>{name}</h1><p>{html.escape(scenario.meaning)}</p>"
        f"<table><tr><th>what<th>at most<th>found<th></tr>{rows}</table>"
        f"{_plots(folder / 'history_stats_history.csv', outcome)}"
        "<p><a href=locust.html>Locust's own report</a> · <a href=metrics.csv>metrics.csv</a></p></html>\n"
    )


def _plots(history: Path, outcome: Outcome) -> str:
    """Return callers, answers and latency as Locust saw them, over the service's own memory and open files, as SVG."""
    figure, axes = plt.subplots(4, 1, figsize=(10, 9), sharex=True, layout="constrained")
    if history.exists():
        with history.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["Name"] == "Aggregated"]
        if rows:
            began = float(rows[0]["Timestamp"])
            at_s = [float(row["Timestamp"]) - began for row in rows]
            axes[0].plot(at_s, [float(row["Requests/s"]) for row in rows], label="requests/s")
            axes[0].plot(at_s, [float(row["User Count"]) for row in rows], label="callers")
            slow = [float(row["95%"]) if row["95%"] not in ("", "N/A") else float("nan") for row in rows]
            axes[1].plot(at_s, slow, label="p95, ms")
    for axis, name, unit in ((axes[2], "memory_bytes", 1e6), (axes[3], "open_files", 1.0)):
        known = [(sample["at_s"], sample[name] / unit) for sample in outcome.samples if name in sample]
        if known:
            axis.plot(*zip(*known, strict=True), label="memory, MB" if name == "memory_bytes" else "open files")
    for axis in axes:
        axis.set_ylim(bottom=0)
        if axis.lines:
            axis.legend(loc="lower right")
    axes[-1].set_xlabel("seconds")
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg")
    plt.close(figure)
    return drawn.getvalue().partition("<!DOCTYPE")[2].partition(">")[2]
