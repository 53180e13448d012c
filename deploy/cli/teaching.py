"""`hone train`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import InputError
from core.finetuning import finetuning
from core.settings import Settings
from deploy.cli.context import JsonOption, settings_of
from deploy.cli.ensembling import show_ensemble
from deploy.cli.finetuning import LoraOption, PresetOption, SetOption, wish_of
from deploy.cli.show import percent, progress_bar, say, show_decision, show_json, show_table

if TYPE_CHECKING:
    from train.ensemble import EnsembleReport
    from train.teach import TeachReport, TeachRequest


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


SpeedOption = Annotated[
    SpeedName, typer.Option("--speed", help="head: refit the linear head, in seconds to minutes; full: the encoder too.")
]
TextColumnOption = Annotated[str | None, typer.Option("--text-column", help="Column of the texts; found by itself if absent.")]
LabelColumnOption = Annotated[
    str | None, typer.Option("--label-column", help="Column of the labels; found by itself if absent.")
]
ValidationOption = Annotated[
    float | None,
    typer.Option(
        "--validation",
        metavar="RATIO",
        help="Share of training and validation rows that only choose, up to 0.5; the rest teaches. Absent: what the file says.",
    ),
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
    validation: ValidationOption = None,
    base: Annotated[
        str | None, typer.Option("--base", help="Encoder to start from: a folder or a hub id; absent: the bundled MiniLM.")
    ] = None,
    speed: SpeedOption = SpeedName.head,
    features: Annotated[
        FeatureName, typer.Option("--features", help="auto tries all three and keeps the best on validation rows.")
    ] = FeatureName.auto,
    preset: PresetOption = None,
    changes: SetOption = None,
    lora: LoraOption = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed and data give the same model.")] = 0,
    promote: Annotated[bool, typer.Option(help="Let it serve at once, if the gate allows.")] = True,
    balance: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Weigh rare labels up: 0 not at all, 1 until all labels count alike.")
    ] = 0.0,
    reweigh: Annotated[
        str | None, typer.Option("--reweigh", metavar="COLUMN", help="Weigh labels alike in each group that this column names.")
    ] = None,
    folds: Annotated[
        int | None, typer.Option("--folds", min=2, max=50, help="Cross-validate in so many folds instead; registers nothing.")
    ] = None,
    members: Annotated[
        int,
        typer.Option(
            min=1, max=20, help="With --speed full: train so many, with seeds from --seed on, and average their weights."
        ),
    ] = 1,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=1024, help="Train the encoder over so many workers, in place of HONE_LEARN_WORKERS."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Teach a new classifier from labelled texts, and register it as the next version.

    A column `split` (train, validation, test) is honoured; without one a hash of each text decides. The report names the rows
    that were left out, and shows the linear floor (n-grams alone) beside what was chosen.

    \b
    Examples:
      hone train --data reviews.csv
      hone train --data tickets.parquet --label-column intent --speed full --preset thorough
      hone train --data reviews.csv --speed full --set epochs=5 --set layer_decay=0.9
      hone train --data reviews.csv --no-promote --json > report.json
      hone train --data tickets.parquet --speed full --base Qwen/Qwen3-0.6B --lora
      hone train --data reviews.csv --folds 5
      hone train --data applications.csv --balance 0.5 --reweigh region
      hone train --data reviews.parquet --speed full --workers 4
      hone train --data reviews.parquet --speed full --members 3
      hone train --data intents.parquet --speed full --validation 0.05
    """
    from deploy.stack.cluster import ray_at_hand
    from deploy.stack.preflight import teaching
    from train.members import teach_members
    from train.request import Workers
    from train.teach import TeachReport, TeachRequest, teach

    settings = settings_of(context)
    if workers is not None:
        settings = settings.model_copy(update={"learn_workers": workers})
    settings.home.prepare()
    wish = wish_of(speed.value, preset, changes, lora=lora)
    request = TeachRequest(
        data=data,
        text_column=text_column,
        label_column=label_column,
        base=base,
        speed=speed.value,
        features=features.value,
        seed=seed,
        promote=promote,
        finetune=finetuning(wish.preset or "balanced", {"seed": seed, **wish.changes}),
        balance=balance,
        reweigh=reweigh,
        validation_ratio=validation,
    )
    spread = request.speed == "full" and Workers.of(settings) is not None
    if folds is not None and members > 1:
        raise InputError("--folds measures single trainings; leave --members out")
    if folds is not None:
        with ray_at_hand(settings, wanted=spread):
            _cross_validate(settings, request, folds, as_json=as_json)
        return
    with teaching(settings.home), ray_at_hand(settings, wanted=spread), progress_bar("training") as progress:
        if members > 1:
            made: TeachReport | EnsembleReport = teach_members(settings, request, members, progress)
        else:
            made = teach(settings, request, progress)
    if as_json:
        show_json(made.model_dump(mode="json"))
    elif isinstance(made, TeachReport):
        show_report(made)
    else:
        show_ensemble(made)


def _cross_validate(settings: Settings, request: TeachRequest, folds: int, *, as_json: bool) -> None:
    from train.folds import cross_validate

    with progress_bar("cross-validating") as progress:
        report = cross_validate(settings, request, folds, progress)
    if as_json:
        show_json(report.model_dump(mode="json"))
        return
    rows: list[list[object]] = [
        [number, fold.rows, percent(fold.metrics["accuracy"]), fold.chosen, percent(fold.floor_accuracy), f"{fold.fit_s:.1f} s"]
        for number, fold in enumerate(report.folds, start=1)
    ]
    show_table(["fold", "rows", "accuracy", "chosen", "floor on validation", "fitted in"], rows)
    spreads = [
        [name, f"{of.mean:.4f}", f"{of.deviation:.4f}", f"{of.low:.4f} to {of.high:.4f}"] for name, of in report.metrics.items()
    ]
    show_table(["metric", "mean", "deviation between folds", "range"], spreads)
    say(f"{report.source}: {len(report.folds)} folds of the rows outside the test part; nothing was registered")


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
    waits = f"it waits for a signature: hone models approve {report.version}"
    fate = "it is the champion now" if report.promoted else waits if report.decision.waits else "it was not promoted"
    total_s = sum(report.seconds.values())
    accuracy = percent(report.metrics.get("accuracy"))
    say(f"{report.version}: accuracy {accuracy} on the test rows, after {total_s:.0f} s; {fate}")
