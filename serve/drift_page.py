"""Why a window drifts, as one page of HTML that needs nothing else: what moved, by how much, and texts unlike before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from core.drift_bodies import DriftExample, DriftFinding, DriftWhy, DriftWindow, Moved
from core.pages import page, picture, short, shown, table

_ROW_PX = 30
_NAMES_PX = 220
_PLOT_PX = 360
_WIDTH_PX = 760
# What moved most is what a reader looks for; the table below has all.
_MOST_ROWS = 12
_KINDS = {"drift": "bad", "known": "open", "quiet": "good", "unknown": "open"}


def page_of(report: DriftWhy) -> str:
    """Return the page; labels, words, metadata and texts are users' own and stand in it as text."""
    window = report.window
    parts = (("Labels", report.classes), ("Words", report.words), ("Languages, lengths, metadata", report.slices))
    sections = [
        _verdict(window),
        "<h2>Detectors</h2>",
        _findings(window.findings),
        *(section for title, moved in parts for section in _moved(title, moved)),
        *_examples(report.examples),
    ]
    return page(f"Drift: {window.model_version}", sections)


def _verdict(window: DriftWindow) -> str:
    kind = _KINDS[window.state]
    span = f"{window.started_at:%Y-%m-%d %H:%M} to {window.ended_at:%Y-%m-%d %H:%M} UTC"
    rows = f"{window.rows} predictions of {window.seen}, {window.texts} of them with their texts"
    guess = window.estimate
    accuracy = ""
    if guess is not None:
        accuracy = (
            f"<p>Accuracy guessed without labels: {_percent(guess.accuracy)} "
            f"({_percent(guess.low)} … {_percent(guess.high)})</p>"
        )
    return (
        f'<p><b class="{kind}">{window.state}</b>: {shown(window.why)}</p>{accuracy}'
        f'<p class="hint">Window {shown(window.window_id)}; {span}; {rows}</p>'
    )


def _findings(findings: Sequence[DriftFinding]) -> str:
    rows = [
        [
            shown(item.detector),
            item.watches,
            f'<b class="{_KINDS[item.verdict]}">{item.verdict}</b>',
            _number(item.size),
            _number(item.p_value),
            _number(item.limit),
        ]
        for item in findings
    ]
    return table(("detector", "watches", "verdict", "size", "p", "limit"), rows, numbers=(3, 4, 5))


def _moved(title: str, moved: Sequence[Moved]) -> Iterable[str]:
    if not moved:
        return
    yield f"<h2>{title}</h2>{moved_chart(title, moved)}"
    rows = [
        [
            shown(item.name),
            "–" if item.reference_ratio is None else _percent(item.reference_ratio),
            _percent(item.window_ratio),
            f"{item.impact:.3f}",
            "–" if item.confidence is None else _percent(item.confidence),
        ]
        for item in moved
    ]
    columns = ("name", "before", "now", "bits", "confidence now")
    yield f"<details><summary>as a table</summary>{table(columns, rows, numbers=(1, 2, 3, 4))}</details>"


def moved_chart(title: str, moved: Sequence[Moved]) -> str:
    """Return shares before (above) and now (below) of what moved most, as bars."""
    shown_rows = moved[:_MOST_ROWS]
    reach = max([0.01, *(max(item.window_ratio, item.reference_ratio or 0.0) for item in shown_rows)])
    parts = []
    for place, item in enumerate(shown_rows):
        top = 6 + place * _ROW_PX
        before = item.reference_ratio
        told = f"{'–' if before is None else _percent(before)} → {_percent(item.window_ratio)}"
        parts += [
            f"<g><title>{shown(item.name)}: {told}</title>",
            f'<text x="{_NAMES_PX - 8}" y="{top + 14}" text-anchor="end">{shown(short(item.name))}</text>',
            _bar("dull", top, (before or 0.0) / reach),
            _bar("open", top + 11, item.window_ratio / reach),
            f'<text x="{_NAMES_PX + _PLOT_PX + 10}" y="{top + 14}">{told}</text></g>',
        ]
    end = 6 + _ROW_PX * len(shown_rows)
    parts += [
        f'<rect class="dull" x="{_NAMES_PX}" y="{end + 4}" width="10" height="10"/>',
        f'<text class="hint" x="{_NAMES_PX + 16}" y="{end + 13}">before</text>',
        f'<rect class="open" x="{_NAMES_PX + 90}" y="{end + 4}" width="10" height="10"/>',
        f'<text class="hint" x="{_NAMES_PX + 106}" y="{end + 13}">now</text>',
    ]
    return picture(_WIDTH_PX, end + 22, f"{title}: shares before and now", parts)


def _bar(kind: str, top: int, share: float) -> str:
    return f'<rect class="{kind}" x="{_NAMES_PX}" y="{top}" width="{max(share * _PLOT_PX, 0.5):.1f}" height="10"/>'


def _examples(examples: Sequence[DriftExample]) -> Iterable[str]:
    if not examples:
        return
    rows = [[shown(item.text), shown(item.label), _percent(item.confidence), f"{item.unlikeness:.2f}"] for item in examples]
    hint = '<p class="hint">Whose words, language and label are rarest in the reference; what was erased since is not here.</p>'
    yield f"<h2>Texts unlike before</h2>{hint}"
    yield table(("text", "answer", "confidence", "bits a word"), rows, numbers=(2, 3))


def _percent(ratio: float) -> str:
    return f"{ratio * 100:.1f}%"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
