"""`hone search`: settings of fine-tuning, tried out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.finetuning import finetuning
from deploy.cli.context import JsonOption, settings_of
from deploy.cli.finetuning import PresetOption, SetOption, wish_of
from deploy.cli.show import note, percent, progress_bar, say, show_decision, show_json, show_table
from deploy.cli.teaching import FeatureName, LabelColumnOption, TextColumnOption, ValidationOption

if TYPE_CHECKING:
    from core.settings import Settings
    from train.search import SearchReport
    from train.search_book import SearchBook


def search(
    context: typer.Context,
    data: Annotated[Path | None, typer.Option("--data", metavar="FILE", help="As for hone train; absent: the sample.")] = None,
    text_column: TextColumnOption = None,
    label_column: LabelColumnOption = None,
    validation: ValidationOption = None,
    base: Annotated[str | None, typer.Option("--base", help="As for hone train.")] = None,
    features: Annotated[FeatureName, typer.Option("--features", help="Of the version that is made.")] = FeatureName.auto,
    preset: PresetOption = None,
    changes: SetOption = None,
    over: Annotated[
        list[str] | None,
        typer.Option("--over", metavar="NAME=LOW:HIGH", help="A setting to search, or NAME=A,B,C; absent: the usual ones."),
    ] = None,
    trials: Annotated[int, typer.Option(min=1, max=1000, help="Trainings in all, that of the preset included.")] = 8,
    seconds: Annotated[
        float | None, typer.Option(min=0.0, help="Seconds that all trials together may take; 0, the default: no limit.")
    ] = None,
    parallel: Annotated[int, typer.Option(min=1, max=256, help="Trials at a time; they share the cores.")] = 1,
    resume: Annotated[
        str | None,
        typer.Option("--resume", metavar="SEARCH", help="Go on with one that was stopped; it keeps its options."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the trials that are drawn, and of each training.")] = 0,
    register: Annotated[bool, typer.Option(help="Make the best the next version, after asking the gate.")] = True,
    promote: Annotated[bool, typer.Option(help="Let that serve at once, if the gate allows.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Search settings of fine-tuning: train with the preset and with others, and keep what validation rows find best.

    Trials that fall behind the better half at the same share of their training are given up. The test part chooses nothing: on
    it the best is compared with the preset, once. Ctrl-C leaves what is needed to go on.

    \b
    Examples:
      hone search --data reviews.csv
      hone search --data tickets.parquet --trials 16 --seconds 7200
      hone search --data reviews.csv --preset thorough --over learning_rate=1e-5:1e-3 --over schedule=linear,cosine
      hone search --resume s_1f0c9a2b
    """
    from deploy.stack.cluster import ray_at_hand
    from deploy.stack.preflight import teaching
    from train.search import SearchRequest, begin_search, carry_out
    from train.search_space import USUAL
    from train.teach import TeachRequest

    settings = settings_of(context)
    settings.home.prepare()
    with teaching(settings.home):
        if resume is not None:
            book = _found(settings, resume, seconds)
        else:
            wish = wish_of("full", preset, changes)
            teach = TeachRequest(
                data=data,
                text_column=text_column,
                label_column=label_column,
                base=base,
                speed="full",
                features=features.value,
                seed=seed,
                finetune=finetuning(wish.preset or "balanced", {"seed": seed, **wish.changes}),
                validation_ratio=validation,
            )
            request = SearchRequest(teach, tuple(over) if over else USUAL, trials, seconds or 0.0, parallel)
            book = begin_search(settings, request)
        note(f"search {book.plan.id}: if it is stopped, go on with hone search --resume {book.plan.id}")
        with ray_at_hand(settings, wanted=True), progress_bar("searching") as progress:
            report = carry_out(settings, book, progress, register=register, promote=promote)
    if as_json:
        show_json(report.model_dump(mode="json"))
    else:
        _show(report)


def _found(settings: Settings, name: str, seconds: float | None) -> SearchBook:
    from train.search_book import SearchBook

    book = SearchBook.find(settings.home, name)
    if seconds is not None:
        book.plan = book.plan.model_copy(update={"seconds": seconds})
    return book


def _show(report: SearchReport) -> None:
    rows: list[list[object]] = [
        [
            trial.number,
            " ".join(f"{name}={value}" for name, value in trial.changes.items()) or report.compared_with,
            trial.epochs,
            None if trial.log_loss is None else f"{trial.log_loss:.4f}",
            percent(trial.accuracy),
            f"{trial.spent_s:.0f} s",
            "best" if trial.best else trial.state,
        ]
        for trial in report.trials
    ]
    # A setting to a column each would leave none of them room on a terminal.
    columns = ["trial", "settings", "epochs", "log loss", "accuracy", "took", ""]
    show_table(columns, rows, title=f"{report.source}, {report.validation_rows} validation rows")
    for trial in report.trials:
        if trial.why:
            say(f"trial {trial.number}, {trial.state}: {trial.why}")
    say(f"compared with: {report.compared_with}")
    say(f"best: {report.best}")
    found = report.bought
    if found is not None:
        say(
            f"on {found.rows} held-out rows that chose nothing: {percent(found.accuracy)} against "
            f"{percent(found.compared_accuracy)}, a gain of {found.gain.value * 100:+.2f} points "
            f"(95%: {found.gain.low * 100:+.2f} to {found.gain.high * 100:+.2f}; chance p = {found.p_value:.3g})"
        )
    elif report.trials[0].best:
        say("nothing that was tried is better than what it was compared with")
    if report.decision is not None:
        show_decision(report.decision)
        fate = "it is the champion now" if report.promoted else f"to let it serve: hone models promote {report.registered}"
        say(f"{report.registered} is the best trial; {fate}")
