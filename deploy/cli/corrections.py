"""`hone corrections`: many at a time, in and out of files, and one at a time taken back or changed."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from core.errors import DataError
from core.settings import Settings
from deploy.cli.context import JsonOption, LocalOption, settings_of
from deploy.cli.show import note, say, show_json

if TYPE_CHECKING:
    from core.correction_bodies import RowReport
    from core.schemas import CorrectionAnswer
    from deploy.clients.correction_calls import ExportName, RowFields

_SHOWN_REFUSALS = 10
_ENDINGS: dict[str, ExportName] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}

app = typer.Typer(help="Corrections in and out of files; taking one back; changing one.", no_args_is_help=True)


class NewLabelsName(StrEnum):
    """What becomes of a label outside the set."""

    refuse = "refuse"
    propose = "propose"


class FormatName(StrEnum):
    """How an export is written."""

    csv = "csv"
    jsonl = "jsonl"
    parquet = "parquet"


IdArgument = Annotated[str, typer.Argument(metavar="CORRECTION_ID", help="As `hone correct` and the API show it.")]
AnnotatorOption = Annotated[str | None, typer.Option("--annotator", help="Who says so.")]
WhyOption = Annotated[str | None, typer.Option("--why", help="Why; kept with it.")]
NewLabelsOption = Annotated[NewLabelsName, typer.Option("--new-labels", help="What becomes of a label outside the set.")]


@app.command("import")
def import_corrections(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="CSV, TSV, JSON lines, Parquet, or a folder Hugging Face datasets saved.")],
    new_labels: NewLabelsOption = NewLabelsName.refuse,
    as_json: JsonOption = False,
    local: LocalOption = False,
) -> None:
    """Take the corrections of a file; a row that is refused loses no others. With --json a line for each row.

    Columns: text or prediction_id, and label; annotator, confidence, metadata and key where there are any. The exit code is 1
    where a row was refused.

    \b
    Examples:
      hone corrections import labelled.csv
      hone corrections import labelled.parquet --new-labels propose
    """
    from feedback.importing import read_corrections

    counts: Counter[str] = Counter()
    for report in _send(settings_of(context), read_corrections(file), new_labels, local=local):
        counts[report.status] += 1
        if as_json:
            show_json(report.model_dump(mode="json", exclude_none=True))
        elif report.status == "refused" and counts["refused"] <= _SHOWN_REFUSALS:
            note(f"row {report.row}: {report.error}")
    note(f"{counts['kept']} kept, {counts['repeated']} were there already, {counts['refused']} refused")
    if counts["refused"]:
        raise typer.Exit(1)


@app.command("export")
def export_corrections(
    context: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(help=".csv, .jsonl or .parquet, or a folder for a Hugging Face data set; none: standard output."),
    ] = None,
    written_as: Annotated[FormatName | None, typer.Option("--format", help="For standard output: jsonl if absent.")] = None,
    local: LocalOption = False,
) -> None:
    """Write all corrections and confirmations there are, with withdrawn ones marked, a piece at a time.

    \b
    Examples:
      hone corrections export corrections.parquet
      hone corrections export corrections-dataset/
      hone corrections export --format csv | head
    """
    settings = settings_of(context)
    if file is None:
        name: ExportName = written_as.value if written_as else "jsonl"
        for piece in _pieces(settings, name, local=local):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    if file.exists():
        raise DataError(f"{file} is there already; name another file, or remove it first")
    if file.suffix == "":
        _write_data_set(file, _pieces(settings, "parquet", local=local))
        return
    ending = _ENDINGS.get(file.suffix.lower())
    if ending is None:
        raise DataError(f"{file.name} has the ending {file.suffix}; written are {', '.join(_ENDINGS)}, and folders")
    _write_whole(file, _pieces(settings, ending, local=local))


@app.command("withdraw")
def withdraw_correction(
    context: typer.Context,
    correction_id: IdArgument,
    annotator: AnnotatorOption = None,
    why: WhyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a correction back: it stays in the list, marked, and later runs do not learn from it.

    \b
    Example:
      hone corrections withdraw c_0123… --why "a slip"
    """
    from deploy.client import ServiceClient

    answer = ServiceClient(settings_of(context)).withdraw_correction(correction_id, annotator=annotator, why=why)
    _show(answer, f"took back {answer.correction_id}", as_json=as_json)


@app.command("change")
def change_correction(
    context: typer.Context,
    correction_id: IdArgument,
    label: Annotated[str, typer.Argument(help="The right label.")],
    annotator: AnnotatorOption = None,
    why: WhyOption = None,
    new_labels: NewLabelsOption = NewLabelsName.refuse,
    as_json: JsonOption = False,
) -> None:
    """Say something else of the same text: a new correction that stands in the place of this one.

    \b
    Example:
      hone corrections change c_0123… neutral
    """
    from deploy.client import ServiceClient

    answer = ServiceClient(settings_of(context)).change_correction(
        correction_id, label, new_labels=new_labels.value, annotator=annotator, why=why
    )
    _show(answer, f"kept {answer.correction_id} in place of {correction_id}", as_json=as_json)


def _send(settings: Settings, rows: Iterator[dict[str, Any]], new_labels: NewLabelsName, *, local: bool) -> Iterator[RowReport]:
    from deploy.client import ServiceClient
    from deploy.local_corrections import add_corrections

    client = ServiceClient(settings)
    if local or not client.alive():
        return add_corrections(settings, rows, new_labels.value)
    return client.correct_many((cast("RowFields", row) for row in rows), new_labels=new_labels.value)


def _pieces(settings: Settings, written_as: ExportName, *, local: bool) -> Iterator[bytes]:
    from deploy.client import ServiceClient
    from deploy.local_corrections import export_corrections as export_locally

    client = ServiceClient(settings)
    if local or not client.alive():
        return export_locally(settings, written_as)
    return client.export_corrections(written_as)


def _write_whole(file: Path, pieces: Iterator[bytes]) -> None:
    # Under its own name only once it is whole: an export that broke off must not look like one.
    partial = file.with_name(f".{file.name}.partial")
    try:
        with partial.open("xb") as sink:
            for piece in pieces:
                sink.write(piece)
        partial.rename(file)
    except OSError as error:
        raise DataError(f"{file} cannot be written ({type(error).__name__})") from error
    finally:
        partial.unlink(missing_ok=True)


def _write_data_set(folder: Path, pieces: Iterator[bytes]) -> None:
    import tempfile

    import datasets

    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "corrections.parquet"
        _write_whole(file, pieces)
        # Memory-mapped from a cache of its own, which goes with the folder: nothing of it stays in the user's home.
        datasets.Dataset.from_parquet(str(file), cache_dir=scratch).save_to_disk(str(folder))


def _show(answer: CorrectionAnswer, sentence: str, *, as_json: bool) -> None:
    if as_json:
        show_json(answer.model_dump(mode="json"))
    else:
        say(sentence)
