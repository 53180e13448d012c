"""The summary: each quoted number beside what was found, as a ratio, with the raw runs a link away."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from load_tests.bench.figures import Figure

Run = Mapping[str, Any]
_STYLE = "body{font:16px sans-serif;max-width:75em;margin:2em auto}td,th{padding:.25em 1em;text-align:left;vertical-align:top}"


def lines(figures: Sequence[Figure], runs: Mapping[str, Sequence[Run]]) -> list[dict[str, Any]]:
    """Return a row per quoted number: what is quoted, the median that was found, their ratio, and each run's value."""
    rows: list[dict[str, Any]] = []
    for figure in figures:
        for quote in figure.quotes:
            values = [run["values"][quote.name] for run in runs.get(figure.name, ()) if "values" in run]
            found = median(values) if values else None
            rows.append(
                {
                    "figure": figure.name,
                    "quantity": quote.name,
                    "page": quote.page,
                    "quoted": quote.text,
                    "found": found,
                    "ratio": None if found is None else quote.ratio(found),
                    "runs": values,
                    "why_not": next((run["why_not"] for run in runs.get(figure.name, ()) if "why_not" in run), None),
                }
            )
    return rows


def as_text(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the rows for a terminal."""
    told = [f"{'figure':<10}{'quantity':<20}{'quoted':>10}{'found':>12}{'found ÷ quoted':>16}  runs"]
    for row in rows:
        found, ratio = _number(row["found"], "{:.2f}"), _number(row["ratio"], "{:.3f}")
        runs = ", ".join(f"{value:.2f}" for value in row["runs"]) or (row["why_not"] or "not measured")
        told.append(f"{row['figure']:<10}{row['quantity']:<20}{row['quoted']:>10}{found:>12}{ratio:>16}  {runs}")
    return "\n".join(told)


def as_page(rows: Iterable[Mapping[str, Any]], runs: Mapping[str, Sequence[Run]]) -> str:
    """Return the rows as a page, with links to the folder of each run and the machine it was made on."""
    body = "".join(
        f"<tr><td>{row['figure']}<td>{row['quantity']}<td>{row['page']}<td>{row['quoted']}"
        f"<td>{_number(row['found'], '{:.2f}')}<td>{_number(row['ratio'], '{:.3f}')}"
        f"<td>{', '.join(f'{value:.2f}' for value in row['runs']) or html.escape(row['why_not'] or 'not measured')}"
        for row in rows
    )
    links = "".join(
        f"<li><a href='{name}/{number}/'>{name}, run {number}</a>: {html.escape(_made(run))}"
        for name, made in runs.items()
        for number, run in enumerate(made, 1)
    )
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Figures</title><style>{_STYLE}</style><h1>Figures</h1>"
        "<p>Percentages, seconds and minutes are in the unit of the page that quotes them.</p>"
        "<table><tr><th>figure<th>quantity<th>page<th>quoted<th>found (median)<th>found ÷ quoted<th>runs"
        f"{body}</table><h2>Raw runs</h2><ul>{links}</ul></html>\n"
    )


def _made(run: Run) -> str:
    machine = run["machine"]
    return f"{machine['at']}, {machine['cpu']}, {machine['cores']} cores, {run['took_s']:.0f} s, commit {run['commit']}"


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)
