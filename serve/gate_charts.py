"""The pictures of a gate report: SVG as text, with what people named escaped, and no script."""

from __future__ import annotations

from collections.abc import Sequence

from core.gate import Bin, Reliability
from core.pages import picture, short, shown
from serve.gate_report import Change, Flips

_ROW_PX = 20
_NAMES_PX = 210
_PLOT_PX = 400
_WIDTH_PX = 760
_SQUARE_PX = 280
# Beyond so many rows a picture is a wall; what moved most, either way, is what a reader looks for.
MOST_ROWS = 40


def changes_chart(changes: Sequence[Change], title: str) -> str:
    """Return gains with their intervals, the worst first; of more than ``MOST_ROWS`` those that moved most."""
    worst_first = sorted(changes, key=lambda change: (change.gain_ratio, -change.rows))
    half = MOST_ROWS // 2
    rows = worst_first if len(worst_first) <= MOST_ROWS else [*worst_first[:half], *worst_first[-half:]]
    reach = max([0.01, *(abs(end) for change in rows for end in _ends(change))])
    height = _ROW_PX * len(rows) + 34
    middle = _NAMES_PX + _PLOT_PX / 2

    def at(ratio: float) -> float:
        return round(middle + ratio / reach * _PLOT_PX / 2, 1)

    parts = [f'<line class="axis" x1="{middle}" y1="4" x2="{middle}" y2="{height - 28}"/>']
    for place, change in enumerate(rows):
        y = 14 + place * _ROW_PX
        low, high = _ends(change)
        kind = "good" if low > 0 else "bad" if high < 0 else "open"
        name = shown(short(change.name))
        parts += [
            f'<g class="{kind}"><title>{shown(change.name)}: {_points(change.gain_ratio)} on {change.rows} rows</title>',
            f'<text x="{_NAMES_PX - 8}" y="{y + 4}" text-anchor="end">{name}</text>',
            f'<line class="mark" x1="{at(low)}" y1="{y}" x2="{at(high)}" y2="{y}"/>',
            f'<circle class="mark" cx="{at(change.gain_ratio)}" cy="{y}" r="4"/>',
            f'<text x="{_NAMES_PX + _PLOT_PX + 8}" y="{y + 4}">{_points(change.gain_ratio)}, {change.rows} rows</text></g>',
        ]
    for ratio in (-reach, 0.0, reach):
        parts.append(f'<text class="hint" x="{at(ratio)}" y="{height - 8}" text-anchor="middle">{_points(ratio)}</text>')
    return picture(_WIDTH_PX, height, title, parts)


def flips_chart(flips: Flips) -> str:
    """Return the rows of the holdout as one bar, by who answers them rightly."""
    kinds = (
        ("open", "both right", flips.both_right),
        ("good", "put right", flips.better),
        ("bad", "put wrong", flips.worse),
        ("dull", "both wrong", flips.both_wrong),
    )
    total = sum(count for _, _, count in kinds) or 1
    parts, x = [], 0.0
    for kind, name, count in kinds:
        width = round(_WIDTH_PX * count / total, 1)
        place = f'x="{x:.1f}" y="4" width="{width}" height="24"'
        parts.append(f'<rect class="{kind}" {place}><title>{name}: {count}</title></rect>')
        x += width
    words = " · ".join(f"{name}: {count}" for _, name, count in kinds)
    parts.append(f'<text x="0" y="48">{words}</text>')
    return picture(_WIDTH_PX, 56, "Rows of the holdout by who answers them rightly", parts)


def reliability_chart(found: Reliability) -> str:
    """Return what answers of a confidence keep, against what they promise; an honest model lies on the diagonal."""
    left, size = 44, _SQUARE_PX

    def curve(bins: Sequence[Bin], kind: str) -> list[str]:
        places = [(left + one.confidence * size, 8 + (1 - one.right_ratio) * size, one) for one in bins]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in places)
        dots = [
            f'<circle class="mark" cx="{x:.1f}" cy="{y:.1f}" r="{_radius(one.rows, bins):.1f}"><title>{one.rows} rows: '
            f"{one.confidence:.2f} promised, {one.right_ratio:.2f} kept</title></circle>"
            for x, y, one in places
        ]
        return [f'<g class="{kind}"><polyline class="curve" points="{line}"/>', *dots, "</g>"]

    parts = [
        f'<rect class="frame" x="{left}" y="8" width="{size}" height="{size}"/>',
        f'<line class="axis" x1="{left}" y1="{8 + size}" x2="{left + size}" y2="8"/>',
        *curve(found.champion, "dull"),
        *curve(found.candidate, "open"),
        f'<text class="hint" x="{left}" y="{size + 26}">0</text>',
        f'<text class="hint" x="{left + size}" y="{size + 26}" text-anchor="end">1</text>',
        f'<text class="hint" x="{left + size / 2}" y="{size + 26}" text-anchor="middle">confidence</text>',
        f'<text class="hint" x="{left - 6}" y="18" text-anchor="end">1</text>',
        f'<text class="hint" x="{left - 6}" y="{8 + size}" text-anchor="end">0</text>',
        f'<g class="dull"><circle class="mark" cx="{left + size + 30}" cy="24" r="5"/></g>',
        f'<text x="{left + size + 42}" y="28">champion</text>',
        f'<g class="open"><circle class="mark" cx="{left + size + 30}" cy="46" r="5"/></g>',
        f'<text x="{left + size + 42}" y="50">candidate</text>',
    ]
    return picture(left + size + 130, size + 36, "Share of answers that are right, by confidence", parts)


def _ends(change: Change) -> tuple[float, float]:
    known = change.low_ratio is not None and change.high_ratio is not None
    return (change.low_ratio or 0.0, change.high_ratio or 0.0) if known else (change.gain_ratio, change.gain_ratio)


def _radius(rows: int, bins: Sequence[Bin]) -> float:
    return 2.0 + 5.0 * float((rows / max(one.rows for one in bins)) ** 0.5)


def _points(ratio: float) -> str:
    return f"{ratio * 100:+.1f} points" if ratio else "0"
