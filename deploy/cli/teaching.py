"""`hone train`, `hone evaluate` and `hone learn`."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.schemas import LIVE_STATES
from core.settings import Settings
from deploy.cli.context import JsonOption, LocalOption, settings_of
from deploy.cli.show import note, percent, progress_bar, say, show_decision, show_json, show_table

if TYPE_CHECKING:
    from deploy.clients import Client
    from train.evaluate import EvaluationReport
    from train.teach import TeachReport

_LOOK_EVERY_S = 0.3
_SHOWN_CLASSES = 10


class SpeedName(StrEnum):
    """What a run refits."""

    head = "head"
    full = "full"


class FeatureName(StrEnum):
    """What the head looks at."""

    auto = "auto"
    encoder = "encoder"
    ngrams = "ngrams"
    both = "both"


class SplitName(StrEnum):
    """Which rows are meant."""

    train = "train"
    validation = "validation"
    test = "test"
    all = "all"


class EngineName(StrEnum):
    """What computes the embeddings."""

    serving = "serving"
    fp32 = "fp32"
    int8 = "int8"
    torch = "torch"


SpeedOption = Annotated[
    SpeedName, typer.Option("--speed", help="head: refit the linear head, in seconds to minutes; full: the encoder too.")
]
TextColumnOption = Annotated[str | None, typer.Option("--text-column", help="Column of the texts; found by itself if absent.")]
LabelColumnOption = Annotated[
    str | None, typer.Option("--label-column", help="Column of the labels; found by itself if absent.")
]


def train(
    context: typer.Context,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="FILE",
            help="CSV, TSV, JSON lines, Parquet, or a Hugging Face data set folder; absent: the sample.",
        ),
    ] = None,
    text_column: TextColumnOption = None,
    label_column: LabelColumnOption = None,
    base: Annotated[
        str | None, typer.Option("--base", help="Encoder to start from: a folder or a hub id; absent: the bundled MiniLM.")
    ] = None,
    speed: SpeedOption = SpeedName.head,
    features: Annotated[
        FeatureName, typer.Option("--features", help="auto tries all three and keeps the best on validation rows.")
    ] = FeatureName.auto,
    seed: Annotated[int, typer.Option("--seed", help="The same seed and data give the same model.")] = 0,
    promote: Annotated[bool, typer.Option(help="Let it serve at once, if the gate allows.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Teach a new classifier from labelled texts, and register it as the next version.

    A column `split` (train, validation, test) is honoured; without one a hash of each text decides. The report names the rows
    that were left out, and shows the linear floor (n-grams alone) beside what was chosen.

    \b
    Examples:
      hone train --data reviews.csv
      hone train --data tickets.parquet --label-column intent --speed full
      hone train --data reviews.csv --no-promote --json > report.json
    """
    from deploy.stack.preflight import teaching
    from train.teach import TeachRequest, teach

    settings = settings_of(context)
    settings.home.prepare()
    request = TeachRequest(
        data=data,
        text_column=text_column,
        label_column=label_column,
        base=base,
        speed=speed.value,
        features=features.value,
        seed=seed,
        promote=promote,
    )
    with teaching(settings.home), progress_bar("training") as progress:
        report = teach(settings, request, progress)
    if as_json:
        show_json(report.model_dump(mode="json"))
    else:
        show_report(report)


def evaluate(
    context: typer.Context,
    data: Annotated[Path, typer.Argument(help="Labelled texts, in any format that train reads.")],
    version: Annotated[str, typer.Option("--version", help="A version, or champion, previous, challenger.")] = "champion",
    split: Annotated[
        SplitName | None, typer.Option("--split", help="Rows to use; absent: test where the file names splits, else all.")
    ] = None,
    engine: Annotated[EngineName, typer.Option("--engine", help="What answers; serving is what the service runs.")] = (
        EngineName.serving
    ),
    compare_with: Annotated[
        EngineName | None, typer.Option("--compare-with", help="Also count the rows that this engine labels alike.")
    ] = None,
    text_column: TextColumnOption = None,
    label_column: LabelColumnOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a version on labelled texts: accuracy, macro F1, calibration, and each class.

    Only rows the version was not trained on say anything about it: use the test split, or a file it never saw.

    \b
    Examples:
      hone evaluate heldout.csv
      hone evaluate data.parquet --version v3 --json
      hone evaluate data.parquet --compare-with torch
    """
    from core.registry import Registry
    from train.evaluate import evaluate_file

    settings = settings_of(context)
    settings.home.prepare()
    registry = Registry(settings.home.registry)
    name = registry.resolve(version)
    report = evaluate_file(
        registry.path(name),
        data,
        split=split.value if split else None,
        engine=engine.value,
        compare_with=compare_with.value if compare_with else None,
        text_column=text_column,
        label_column=label_column,
    )
    if as_json:
        show_json({"version": name, **report.model_dump(mode="json")})
    else:
        _show_evaluation(name, report)


def learn(
    context: typer.Context,
    speed: SpeedOption = SpeedName.head,
    why: Annotated[str | None, typer.Option("--note", help="Why; kept with the run.")] = None,
    as_json: JsonOption = False,
    local: LocalOption = False,
) -> None:
    """Have it learn now from the corrections so far, and wait for the outcome.

    The run trains beside the service, never in it; what the gate refuses never serves. Ctrl-C stops watching, not the run.

    \b
    Examples:
      hone learn
      hone learn --speed full --note "after the weekend's corrections"
    """
    from deploy.client import ServiceClient

    settings = settings_of(context)
    client = ServiceClient(settings)
    run = _follow(client, speed, why) if not local and client.alive() else _learn_here(settings, speed)
    if as_json:
        show_json(run)
    else:
        _show_run(run)
    if run["state"] != "succeeded":
        raise typer.Exit(1)


def show_report(report: TeachReport) -> None:
    """Show what a training read, tried, chose and led to."""
    data = report.data
    splits = ", ".join(f"{count} {split}" for split, count in data.splits.items())
    say(f"read {data.source}: {data.rows} rows, {len(data.labels)} labels; {data.examples} examples kept ({splits})")
    for finding in data.findings:
        rows = ", ".join(map(str, finding.rows)) + (", …" if finding.count > len(finding.rows) else "")
        say(f"  {finding.count} × {finding.what}: {finding.action} (rows {rows})")
    if report.vocabulary is not None:
        before, after = percent(report.vocabulary.unknown_ratio_before), percent(report.vocabulary.unknown_ratio_after)
        say(f"vocabulary: {report.vocabulary.added} pieces added; unknown tokens fell from {before} to {after}")
    options = [
        [option.name, percent(option.accuracy), f"{option.fit_s:.1f} s", "chosen" if option.chosen else ""]
        for option in report.options
    ]
    show_table(["features", "accuracy on validation", "fitted in", ""], options)
    show_decision(report.decision)
    fate = "it is the champion now" if report.promoted else "it was not promoted"
    total_s = sum(report.seconds.values())
    accuracy = percent(report.metrics.get("accuracy"))
    say(f"{report.version}: accuracy {accuracy} on the test rows, after {total_s:.0f} s; {fate}")


def _show_evaluation(version: str, report: EvaluationReport) -> None:
    unknown = f", {report.unknown_labels} more have labels it does not know" if report.unknown_labels else ""
    say(f"{version} on {report.rows} rows of {report.source}, split {report.split}{unknown}; {report.texts_per_s:.0f} texts/s")
    show_table(["metric", "value"], [[name, f"{value:.4f}"] for name, value in report.metrics.items()])
    if report.agreement_ratio is not None:
        say(f"labels as {report.compared_with} gives them: {report.agreement_ratio * 100:.2f} %")
    worst = sorted(report.classes, key=lambda item: item.f1)[:_SHOWN_CLASSES]
    rows = [[item.label, item.rows, percent(item.precision), percent(item.recall), percent(item.f1)] for item in worst]
    title = None if len(worst) == len(report.classes) else f"the {len(worst)} weakest of {len(report.classes)} classes"
    show_table(["label", "rows", "precision", "recall", "F1"], rows, title=title)


def _follow(client: Client, speed: SpeedName, note: str | None) -> dict[str, Any]:
    """Start a run, draw its progress until it ends, and return it."""
    from train.progress import Progress

    run = client.start_run(speed.value, note)
    with progress_bar("learning") as draw:
        while run.state in LIVE_STATES:
            draw(Progress(run.stage or run.state, run.progress_ratio, remaining_s=run.remaining_s))
            time.sleep(_LOOK_EVERY_S)
            run = client.run(run.run_id)
    return run.model_dump(mode="json")


def _learn_here(settings: Settings, speed: SpeedName) -> dict[str, Any]:
    from train.learn import learn_once

    with progress_bar("learning") as draw:
        return dict(learn_once(settings, speed=speed.value, progress=draw).model_dump(mode="json"))


def _show_run(run: dict[str, Any]) -> None:
    if run["state"] != "succeeded":
        note(f"run {run['run_id']} {run['state']}: {run['error'] or 'no reason was given'}")
        return
    fate = "and serves" if run["promoted"] else "and was not promoted; see hone models show " + str(run["version"])
    say(f"run {run['run_id']} made {run['version']} {fate}")
    show_table(["metric", "value"], [[name, f"{value:.4g}"] for name, value in sorted(run["metrics"].items())])
