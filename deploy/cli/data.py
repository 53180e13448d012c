"""`hone data …`: what a file of labelled texts is like, and dividing it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.context import JsonOption
from deploy.cli.show import note, percent, say, show_json, show_table

if TYPE_CHECKING:
    from train.survey import DataSurvey

app = typer.Typer(no_args_is_help=True, help="Look at labelled texts before anything learns from them, and divide them.")

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="Labelled texts, in any format that train reads.")]
TextColumnOption = Annotated[str | None, typer.Option("--text-column", help="Column of the texts; found by itself if absent.")]
LabelColumnOption = Annotated[
    str | None, typer.Option("--label-column", help="Column of the labels; found by itself if absent.")
]
RatioOption = Annotated[float, typer.Option(min=0.0, max=0.9, help="Share of the rows.")]
_SHOWN_LABELS = 15


class WayName(StrEnum):
    """How rows are divided."""

    stratified = "stratified"
    grouped = "grouped"
    time = "time"


@app.command("report")
def report(
    data: FileArgument,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Also write it as a page: one HTML file with pictures.")
    ] = None,
    base: Annotated[
        str | None, typer.Option("--base", help="Whose tokenizer to read with: a folder or hub id; absent: the bundled MiniLM.")
    ] = None,
    text_column: TextColumnOption = None,
    label_column: LabelColumnOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what a file is like: labels, duplicates, leaks between splits, contradictions, lengths, unknown tokens, languages.

    Nothing is trained. `hone audit FILE` looks for wrong labels, which takes longer.

    \b
    Examples:
      hone data report tickets.csv
      hone data report tickets.parquet --out report.html --json > report.json
    """
    from train.survey import survey
    from train.survey_page import survey_page

    found = survey(data, base=base, text_column=text_column, label_column=label_column)
    if out is not None:
        survey_page(found).save(out)
        note(f"wrote {out}")
    if as_json:
        show_json(found.model_dump(mode="json"))
    else:
        _show(found)


@app.command("split")
def split(
    data: FileArgument,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write it: .parquet, .csv, .tsv or .jsonl.")],
    way: Annotated[
        WayName,
        typer.Option("--by", help="stratified: labels alike; grouped: values of --column together; time: oldest rows train."),
    ] = WayName.stratified,
    column: Annotated[str | None, typer.Option("--column", help="Of the groups, or of the time.")] = None,
    test: RatioOption = 0.2,
    validation: RatioOption = 0.1,
    seed: Annotated[int, typer.Option("--seed", help="The same seed and file give the same parts.")] = 0,
    text_column: TextColumnOption = None,
    label_column: LabelColumnOption = None,
    as_json: JsonOption = False,
) -> None:
    """Divide a file into train, validation and test, in a column `split` that train honours. Equal texts stay together.

    Without it train divides by a hash of each text, which later versions keep to; a file divided here says so itself.

    \b
    Examples:
      hone data split tickets.csv --out divided.parquet
      hone data split tickets.csv --out divided.csv --by grouped --column customer
      hone data split news.parquet --out divided.parquet --by time --column published --test 0.3
    """
    from train.splitting import SplitRequest, split_file

    request = SplitRequest(
        data=data,
        way=way.value,
        column=column,
        test_ratio=test,
        validation_ratio=validation,
        seed=seed,
        text_column=text_column,
        label_column=label_column,
    )
    found = split_file(request, out)
    if as_json:
        show_json(found.model_dump(mode="json"))
        return
    until = found.until or {}
    total = sum(found.rows.values())
    rows = [[name, count, percent(count / total), found.labels[name], until.get(name)] for name, count in found.rows.items()]
    show_table(["split", "rows", "share", "labels", "until"], rows)
    say(f"wrote {out}; {found.groups} groups of rows were kept whole")


def _show(found: DataSurvey) -> None:
    cleaning = found.cleaning
    say(f"{found.source}: {cleaning.rows} rows, {len(found.labels)} labels; {cleaning.examples} examples would be kept")
    for finding in cleaning.findings:
        rows = ", ".join(map(str, finding.rows)) + (", …" if finding.count > len(finding.rows) else "")
        say(f"  {finding.count} × {finding.what}: {finding.action} (rows {rows})")
    near = found.near_duplicates
    say(
        f"  {near.pairs} pairs of texts are all but the same: {near.across_splits} across splits, {near.contradicting} with "
        "different labels"
    )
    parts = [
        [
            part.split,
            part.rows,
            part.labels,
            f"{part.words.median:.0f}, {part.words.p95:.0f}",
            percent(part.unknown_token_ratio),
            percent(part.new_word_ratio),
            ", ".join(f"{name} {percent(share)}" for name, share in list(part.languages.items())[:3]),
        ]
        for part in found.parts
    ]
    show_table(["split", "rows", "labels", "words (median, 95%)", "unknown tokens", "new words", "languages"], parts)
    shown = [[label.label, label.rows, percent(label.share_ratio)] for label in found.labels[:_SHOWN_LABELS]]
    more = f"the {_SHOWN_LABELS} largest of {len(found.labels)} labels" if len(found.labels) > _SHOWN_LABELS else None
    show_table(["label", "rows", "share"], shown, title=more)
    if found.imbalance is not None:
        uneven = found.imbalance
        say(
            f"{uneven.largest_rows} training rows of {uneven.largest}, {uneven.smallest_rows} of {uneven.smallest}; "
            f"{len(uneven.few)} labels have fewer than 10"
        )
