"""Pictures of a simulation: accuracy step by step with what the gate did, and what learning cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deploy.simulate.bars import Records, prequential, train_s
from deploy.simulate.records import StepRecord
from train.charts import look

# Of Okabe and Ito, told apart by people who see few colours; one for each strategy, in every picture.
COLOURS = {
    "frozen": "#7f7f7f",
    "memory": "#cc79a7",
    "head": "#0072b2",
    "full": "#e69f00",
    "auto": "#009e73",
    "oracle": "#d55e00",
    "oracle-head": "#56b4e9",
}
_SMOOTHED_STEPS = 3
_SHOWN_NAMES = 12


def draw(folder: Path, title: str, records: Records) -> list[Path]:
    """Draw ``accuracy.svg`` and ``compute.svg`` into ``folder`` and return their paths."""
    import matplotlib as mpl

    mpl.use("Agg")
    with look():
        return [_accuracy(folder / "accuracy.svg", title, records), _compute(folder / "compute.svg", title, records)]


def _accuracy(path: Path, title: str, records: Records) -> Path:
    import matplotlib.pyplot as plt

    tests = sorted({name for own in records.values() for record in own for name in record.tests})
    shown = tests if len(tests) <= 2 else []
    figure, axes = plt.subplots(
        1 + len(shown), 1, figsize=(8, 3.4 + 2.4 * len(shown)), layout="constrained", sharex=True, squeeze=False
    )
    _lines(axes[0][0], records)
    of = f", mean of {_SMOOTHED_STEPS} steps" if len(max(records.values(), key=len)) > 2 * _SMOOTHED_STEPS else ""
    axes[0][0].set(ylabel=f"right answers, %{of}", title=title)
    for row, name in enumerate(shown, start=1):
        for strategy, own in records.items():
            values = [100 * record.tests[name] if name in record.tests else float("nan") for record in own]
            axes[row][0].plot(range(len(own)), values, color=_colour(strategy), linestyle=_style(strategy), linewidth=1.2)
        axes[row][0].set(ylabel=f"{name}, %")
        axes[row][0].grid(alpha=0.25)
    longest = max(records.values(), key=len)
    every = max(1, len(longest) // _SHOWN_NAMES)
    names = [record.name for record in longest]
    axes[-1][0].set_xticks(range(0, len(names), every), names[::every], rotation=35, ha="right")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return path


def _lines(axis: object, records: Records) -> None:
    for strategy, own in records.items():
        values = _smooth(own)
        colour = _colour(strategy)
        label = f"{strategy} ({100 * prequential(own):.1f})"
        axis.plot(range(len(own)), values, color=colour, linestyle=_style(strategy), label=label, linewidth=1.4)  # type: ignore[attr-defined]
        if strategy.startswith(("oracle", "frozen")):
            continue
        for promoted, marker in ((True, "^"), (False, "x")):
            at = [record.place for record in own if record.run is not None and record.run.promoted == promoted]
            if at:
                axis.scatter(at, [values[place] for place in at], color=colour, marker=marker, s=22, zorder=3)  # type: ignore[attr-defined]
    axis.scatter([], [], color="black", marker="^", s=22, label="promoted")  # type: ignore[attr-defined]
    axis.scatter([], [], color="black", marker="x", s=22, label="not promoted")  # type: ignore[attr-defined]
    axis.grid(alpha=0.25)  # type: ignore[attr-defined]
    axis.legend(fontsize=8, ncols=2, framealpha=0.9)  # type: ignore[attr-defined]


def _smooth(own: Sequence[StepRecord]) -> list[float]:
    """Return percentages of right answers over each step and those beside it: a step alone is too few rows to look at."""
    half = _SMOOTHED_STEPS // 2 if len(own) > 2 * _SMOOTHED_STEPS else 0
    return [100 * prequential(own[max(0, place - half) : place + half + 1]) for place in range(len(own))]


def _compute(path: Path, title: str, records: Records) -> Path:
    import matplotlib.pyplot as plt

    names = [name for name, own in records.items() if any(record.run is not None for record in own)]
    figure, axis = plt.subplots(figsize=(8, 0.9 + 0.42 * max(1, len(names))), layout="constrained")
    spent = [train_s(records[name])[1] for name in names]
    axis.barh(range(len(names)), spent, color=[_colour(name) for name in names])
    for place, seconds in enumerate(spent):
        runs = sum(record.run is not None for record in records[names[place]])
        axis.text(seconds, place, f" {seconds:,.0f} s in {runs} runs", va="center", fontsize=8)
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.margins(x=0.2)
    axis.set(xlabel="processor seconds of training", title=title)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return path


def _colour(strategy: str) -> str:
    return COLOURS.get(strategy.split(",")[0], "black")


def _style(strategy: str) -> str:
    return ":" if "," in strategy else "-"
