"""Charts as SVG text, to be put into a page: bars, lines, a grid of counts."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Of Okabe and Ito, told apart by people who see few colours.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#7f7f7f")
_MOST_NAMED = 40
_MOST_WRITTEN = 15
_NAME_CHARS = 40


@dataclass(frozen=True)
class Line:
    """Points joined in order; ``low`` and ``high`` shade a band around them, ``marks`` draws each point too.

    With ``apart`` only the points are drawn.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    marks: bool = False
    apart: bool = False


@dataclass(frozen=True)
class Axis:
    """What an axis says, and from where to where it goes; None leaves that to the values."""

    label: str
    span: tuple[float, float] | None = None


@dataclass(frozen=True)
class Lines:
    """What :func:`lines` draws. ``diagonal`` adds the line of equality, ``names`` writes one beside each point."""

    lines: Sequence[Line]
    x: Axis
    y: Axis
    diagonal: bool = False
    names: Sequence[str] = field(default=())


def bars(rows: Sequence[tuple[str, Sequence[float]]], groups: Sequence[str], label: str) -> str:
    """Return horizontal bars stacked from ``groups``, one row each, the first on top."""
    with _figure(7.5, 0.9 + 0.22 * max(1, len(rows))) as (figure, axes):
        left = np.zeros(len(rows))
        for place, group in enumerate(groups):
            widths = np.array([values[place] for _, values in rows])
            axes.barh(range(len(rows)), widths, left=left, color=COLOURS[place % len(COLOURS)], label=group, height=0.8)
            left += widths
        axes.set_yticks(range(len(rows)), [_short(name) for name, _ in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlabel(label)
        axes.grid(axis="x", alpha=0.25)
        if len(groups) > 1:
            axes.legend(fontsize=8)
        return _svg(figure)


def lines(chart: Lines) -> str:
    """Return curves over numbers."""
    with _figure(5.2, 3.6) as (figure, axes):
        if chart.diagonal:
            axes.plot([0, 1], [0, 1], color="#7f7f7f", linestyle=":", linewidth=1)
        for place, line in enumerate(chart.lines):
            colour = COLOURS[place % len(COLOURS)]
            marker, joined = ("o" if line.marks or line.apart else ""), ("" if line.apart else "-")
            axes.plot(
                line.x, line.y, color=colour, linewidth=1.5, label=line.name, marker=marker, markersize=4, linestyle=joined
            )
            if len(line.low):
                axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.15, linewidth=0)
        if chart.lines:
            first = chart.lines[0]
            for name, x, y in zip(chart.names, first.x, first.y, strict=False):
                axes.annotate(_short(name), (x, y), textcoords="offset points", xytext=(5, 4), fontsize=8)
        for axis, spec in (("x", chart.x), ("y", chart.y)):
            axes.set(**{f"{axis}label": spec.label})
            if spec.span is not None:
                axes.set(**{f"{axis}lim": spec.span})
        axes.grid(alpha=0.25)
        if chart.names:
            # Names stand to the right of their points.
            axes.margins(x=0.25, y=0.2)
        if len(chart.lines) > 1:
            axes.legend(fontsize=8)
        return _svg(figure)


def grid(counts: Sequence[Sequence[int]], names: Sequence[str], x: str, y: str) -> str:
    """Return a square of counts (c, c), each row shaded by its share of the row."""
    values = np.asarray(counts, dtype=np.float64)
    shares = values / np.maximum(values.sum(axis=1, keepdims=True), 1.0)
    side = min(9.0, 2.4 + 0.24 * len(names))
    with _figure(side + 1.2, side) as (figure, axes):
        axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0, interpolation="nearest")
        if len(names) <= _MOST_NAMED:
            shown = [_short(name) for name in names]
            axes.set_xticks(range(len(names)), shown, rotation=90, fontsize=7)
            axes.set_yticks(range(len(names)), shown, fontsize=7)
        if len(names) <= _MOST_WRITTEN:
            for (row, column), value in np.ndenumerate(values):
                if value:
                    colour = "white" if shares[row, column] > 0.6 else "black"
                    axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=7, color=colour)
        axes.set(xlabel=x, ylabel=y)
        return _svg(figure)


def histogram(groups: Sequence[tuple[str, Mapping[int, int]]], label: str) -> str:
    """Return how whole numbers are spread, each group given as how often it has which; the highest hundredth is one bin."""
    everything = np.concatenate([np.repeat([*counts], [*counts.values()]) for _, counts in groups])
    end = max(1.0, float(np.quantile(everything, 0.99)))
    edges = np.linspace(0.0, end, min(40, int(end) + 1) + 1)
    middles = ((edges[:-1] + edges[1:]) / 2).tolist()
    drawn = []
    for name, counts in groups:
        found, _ = np.histogram(np.minimum([*counts], end), bins=edges, weights=[*counts.values()])
        drawn.append(Line(name, middles, (found / max(1, found.sum())).tolist()))
    return lines(Lines(drawn, Axis(label, (0.0, end)), Axis("share of texts")))


@contextmanager
def look() -> Iterator[None]:
    """Draw inside the block as all pictures of the project are drawn.

    Text stays text: it is small, can be searched, and is drawn in the reader's fonts, which know more scripts than
    matplotlib's own. Without dates and random names, so that the same numbers are the same file. A label may hold a dollar
    sign, which is no formula.
    """
    # Costs a second to import, which only those who draw should wait for.
    import matplotlib as mpl

    style: Any = {"svg.hashsalt": "hone", "svg.fonttype": "none", "font.size": 9, "text.parse_math": False}
    with mpl.rc_context(style), warnings.catch_warnings():
        # Of Chinese, say, which only the measuring of widths meets.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


@contextmanager
def _figure(width: float, height: float) -> Iterator[tuple[Figure, Axes]]:
    from matplotlib.figure import Figure

    with look():
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.subplots()


def _svg(figure: Figure) -> str:
    written = io.StringIO()
    figure.savefig(written, format="svg", metadata={"Date": None})
    text = written.getvalue()
    return text[text.index("<svg") :]


def _short(name: str) -> str:
    return name if len(name) <= _NAME_CHARS else f"{name[: _NAME_CHARS - 1]}…"
