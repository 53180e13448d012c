"""`hone evaluate`: how good a version is, in short or in full."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.settings import Settings
from deploy.cli.context import JsonOption, settings_of
from deploy.cli.show import note, percent, say, show_json, show_table
from deploy.cli.teaching import LabelColumnOption, TextColumnOption

if TYPE_CHECKING:
    from train.evaluate import EvaluationReport
    from train.judgement import Judgement, JudgeRequest

_SHOWN_CLASSES = 10


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
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="Judge it in full: writes report.html and report.json into the folder."),
    ] = None,
    slice_by: Annotated[
        list[str] | None, typer.Option("--slice-by", metavar="COLUMN", help="With --out: also each value of this column.")
    ] = None,
    terms: Annotated[
        Path | None,
        typer.Option(
            "--terms", metavar="FILE", help='With --out: JSON of terms to compare and swap, {"a": ["she"], "b": ["he"]}.'
        ),
    ] = None,
    out_of_scope: Annotated[
        str | None, typer.Option("--out-of-scope", metavar="LABEL", help="With --out: rows that are none of its business.")
    ] = None,
    in_scope_accuracy: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="What rows in scope must keep on validation rows; absent: most rows right."),
    ] = None,
    out_of_scope_recall: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Or the share of rows out of scope to be found on validation rows."),
    ] = None,
    text_column: TextColumnOption = None,
    label_column: LabelColumnOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a version on labelled texts: accuracy, macro F1, calibration, and each class.

    Only rows the version was not trained on say anything about it: use the test split, or a file it never saw. With --out such
    rows are left out, and there is more: intervals, precision and recall, ROC and precision-recall curves, the linear floor and
    what each costs, reliability, thresholds for abstaining, slices.

    \b
    Examples:
      hone evaluate heldout.csv
      hone evaluate data.parquet --version v3 --json
      hone evaluate data.parquet --compare-with torch
      hone evaluate data.parquet --out report --slice-by country --terms terms.json
      hone evaluate clinc.parquet --out report --out-of-scope oos --in-scope-accuracy 0.97
    """
    from core.registries import registry_of
    from train.evaluate import evaluate_file

    settings = settings_of(context)
    settings.home.prepare()
    if in_scope_accuracy is not None and out_of_scope_recall is not None:
        raise typer.BadParameter("--in-scope-accuracy and --out-of-scope-recall exclude each other")
    if out_of_scope is None and (in_scope_accuracy is not None or out_of_scope_recall is not None):
        raise typer.BadParameter("a threshold is chosen for rows out of scope; name their label with --out-of-scope")
    more = [name for name, given in (("--slice-by", slice_by), ("--terms", terms), ("--out-of-scope", out_of_scope)) if given]
    if out is None and more:
        raise typer.BadParameter(f"{more[0]} is part of the full report; say where with --out")
    if out is not None:
        if compare_with is not None:
            raise typer.BadParameter("--compare-with and --out exclude each other")
        from train.judgement import JudgeRequest

        request = JudgeRequest(
            version=version,
            data=data,
            split=split.value if split else None,
            engine=engine.value,
            text_column=text_column,
            label_column=label_column,
            slice_by=tuple(slice_by or ()),
            terms=terms,
            out_of_scope=out_of_scope,
            in_scope_accuracy=in_scope_accuracy,
            out_of_scope_recall=out_of_scope_recall,
        )
        _judge(settings, request, out, as_json=as_json)
        return
    registry = registry_of(settings)
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


def _judge(settings: Settings, request: JudgeRequest, out: Path, *, as_json: bool) -> None:
    from train.judgement import judge
    from train.judgement_page import judgement_page
    from train.page import write_report

    found = judge(settings, request)
    page = judgement_page(found).save(out / "report.html")
    written = write_report(out / "report.json", found.model_dump_json(indent=1))
    note(f"wrote {page} and {written}")
    if as_json:
        show_json(found.model_dump(mode="json"))
    else:
        _show_judgement(found)


def _show_judgement(found: Judgement) -> None:
    from train.judgement_page import shown

    _show_evaluation(found.version, found.evaluation)
    if found.learned_rows:
        say(f"{found.learned_rows} rows were left out: the version learned their texts")
    rows = [["accuracy", shown(found.accuracy)], *([name, shown(value)] for name, value in found.averages.items())]
    show_table(["", "with 95% interval"], rows)
    if found.floor is not None:
        floor = found.floor
        say(f"the linear floor has {shown(floor.accuracy)}; gained over it {shown(floor.gain)}, p = {floor.p_value:.3g}")
    for item in found.thresholds:
        if item.min_score is not None and item.measured is not None:
            answered, accuracy = percent(item.measured.coverage_ratio), shown(item.measured.accuracy)
            say(f"min_score {item.min_score:.4f}: {answered} answered, of these right {accuracy}")
    if found.scope is not None:
        point = found.scope.measured
        say(
            f"out of scope at min_score {point.min_score:.4f}: {percent(point.out_of_scope_recall)} found, "
            f"{percent(point.in_scope_accuracy)} of the others right ({found.scope.rule})"
        )
    for gap in (item for item in found.slices if item.holds):
        say(f"slice {gap.name}: accuracy {shown(gap.accuracy)}, gap {shown(gap.accuracy_gap)}")
