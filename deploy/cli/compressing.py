"""`hone compress`: a version made smaller and faster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.context import JsonOption, settings_of
from deploy.cli.show import note, percent, progress_bar, say, show_decision, show_json, show_table

if TYPE_CHECKING:
    from train.compress import CompressionReport


def compress(
    context: typer.Context,
    version: Annotated[str, typer.Argument(help="A version (v3), or champion, previous, challenger.")] = "champion",
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            "--recipe", metavar="PARTS", help="tables, half, vocabulary, layers=N, rank=N, joined by +; absent: the usual ones."
        ),
    ] = None,
    choose: Annotated[
        str | None,
        typer.Option("--choose", metavar="RECIPE", help="Register this one, or the `best`; absent: only measure."),
    ] = None,
    max_loss: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Accuracy on validation rows that the best may lose, as a share.")
    ] = 0.003,
    epochs: Annotated[
        int, typer.Option(min=0, max=100, help="Times to read the training texts where layers or rank were taken away.")
    ] = 3,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Also write compress.html and compress.json into the folder.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a version smaller in several ways, and show what each costs: size, texts a second, accuracy.

    What is chosen becomes the next version and goes before the gate. It never serves by itself: being smaller is no evidence of
    being better, so promote it by hand once you have read what it loses.

    \b
    Examples:
      hone compress
      hone compress v3 --out compressed
      hone compress --recipe tables+vocabulary --recipe vocabulary+layers=3+tables --choose best
      hone models promote v4 --override --why "three times as fast for 0.2 points"
    """
    from train.compress import CompressRequest
    from train.compress import compress as make_smaller
    from train.compress_page import compress_page
    from train.page import write_report
    from train.recipes import Recipe

    recipes = tuple(Recipe.parse(text) for text in recipe or ())
    wanted = choose if choose in (None, "best") else Recipe.parse(choose).name
    request = CompressRequest(version, recipes, wanted, max_loss, epochs)
    with progress_bar("compressing") as progress:
        report = make_smaller(settings_of(context), request, progress)
    if out is not None:
        page = compress_page(report).save(out / "compress.html")
        note(f"wrote {page} and {write_report(out / 'compress.json', report.model_dump_json(indent=1))}")
    if as_json:
        show_json(report.model_dump(mode="json"))
    else:
        _show(report, asked=wanted)


def _show(report: CompressionReport, *, asked: str | None) -> None:
    rows: list[list[object]] = [
        [
            option.name,
            percent(option.accuracy),
            None if option.loss is None else f"{option.loss * 100:.2f}",
            None if option.served_bytes is None else f"{option.served_bytes / 1e6:.1f}",
            option.engine,
            option.texts_per_s,
            None if option.speedup is None else f"{option.speedup:.2f}",
            option.problem or "",
        ]
        for option in report.options
    ]
    columns = ["recipe", "accuracy on validation", "points lost", "served, MB", "engine", "texts/s", "times torch fp32", ""]
    show_table(columns, rows, title=f"{report.version}, {report.validation_rows} validation rows")
    if report.decision is not None and report.registered is not None:
        show_decision(report.decision)
        say(f"{report.chosen} is {report.registered}; it does not serve until it is promoted: hone models promote")
    elif asked is not None:
        say("no recipe loses little enough; nothing was registered")
