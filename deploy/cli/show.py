"""How the command line shows things: tables, JSON lines, a progress bar."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable

    from core.gate import GateDecision
    from train.progress import Progress

# Control characters but newline and tab, and what turns the direction of writing: texts come from strangers.
_COMMANDING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def plain(text: str) -> str:
    """Return ``text`` as a terminal shows it: markup is not obeyed, and what would command the terminal is written out.

    >>> plain("[bold]\\x1b]0;title")
    '\\\\[bold]\\\\x1b]0;title'
    """
    return escape(_COMMANDING.sub(lambda found: repr(found[0])[1:-1], text))


def fail(sentence: str) -> None:
    """Say on standard error what went wrong; the caller sets the exit code."""
    err.print(f"[bold red]hone:[/] {plain(sentence)}", soft_wrap=True)


def note(sentence: str) -> None:
    """Say something on standard error, so that standard output stays what was asked for."""
    err.print(f"[dim]{plain(sentence)}[/]", soft_wrap=True)


def say(sentence: str) -> None:
    """Say something on standard output."""
    out.print(plain(sentence), soft_wrap=True)


def show_json(value: object) -> None:
    """Print one JSON value on one line, for machines."""
    line = json.dumps(value, ensure_ascii=False, default=str)
    # JSON itself writes out only some of them.
    typer.echo(_COMMANDING.sub(lambda found: f"\\u{ord(found[0]):04x}", line))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> None:
    """Print rows under columns; what looks like markup in a cell is shown as it is."""
    table = Table(
        *columns, title=plain(title) if title else None, title_justify="left", box=None, header_style="bold", pad_edge=False
    )
    for row in rows:
        table.add_row(*(plain("–" if cell is None else str(cell)) for cell in row))
    out.print(table)


def show_decision(decision: GateDecision) -> None:
    """Show every rule of the gate with its value, its limit and its verdict."""
    rows = [
        [
            rule.name,
            "passed" if rule.passed else ("failed" if rule.kind == "required" else "no"),
            f"{rule.value:.4g}",
            f"{rule.limit:.4g}",
            rule.why,
        ]
        for rule in decision.rules
    ]
    show_table(["rule", "verdict", "value", "limit", "why"], rows, title=f"gate: {decision.summary}")


def percent(ratio: float | None) -> str:
    """Return a ratio the way people read it.

    >>> percent(0.9375), percent(None)
    ('93.8 %', '–')
    """
    return "–" if ratio is None else f"{ratio * 100:.1f} %"


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[Progress], None]]:
    """Yield what takes progress and draws it on standard error; without a terminal each new stage is one line."""
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn
    from rich.progress import Progress as Bar

    if not err.is_terminal:
        yield _stage_lines(title)
        return
    columns = (TextColumn("[bold]{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[facts]}"))
    with Bar(*columns, console=err, transient=True) as bar:
        task = bar.add_task(title, total=1.0, facts="")

        def draw(progress: Progress) -> None:
            bar.update(task, completed=progress.ratio, description=f"{title}: {progress.stage}", facts=facts(progress))

        yield draw


def facts(progress: Progress) -> str:
    """Return what is known of a moment of a run, for the end of its progress line."""
    parts = []
    pace = progress.pace
    if pace is not None:
        parts += [f"step {pace.step}/{pace.steps}", f"loss {pace.loss:.3f}", f"{pace.examples_per_s:.0f} examples/s"]
    if progress.remaining_s is not None:
        parts.append(f"{progress.remaining_s:.0f} s left")
    return ", ".join(parts)


def _stage_lines(title: str) -> Callable[[Progress], None]:
    seen: list[str] = []

    def draw(progress: Progress) -> None:
        if not seen or seen[-1] != progress.stage:
            seen.append(progress.stage)
            note(f"{title}: {progress.stage}")

    return draw
