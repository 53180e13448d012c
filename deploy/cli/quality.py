"""`hone annotators`, `hone accuracy`, `hone quarantine …`, `hone review …` and `hone audit`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.quality_bodies import SuspicionDecision, SuspicionState
from core.settings import Settings
from deploy.cli.context import JsonOption, settings_of
from deploy.cli.show import note, percent, progress_bar, say, show_json, show_table

if TYPE_CHECKING:
    from feedback.store import Store

quarantine = typer.Typer(no_args_is_help=True, help="Corrections that are held back from training: list, release, uphold.")
_SHOWN_CHARS = 60

ByOption = Annotated[str, typer.Option("--by", help="Who decides; kept.")]
WhyOption = Annotated[str, typer.Option("--why", help="Why; kept.")]
IdArgument = Annotated[str | None, typer.Argument(metavar="[CORRECTION_ID]", help="One correction.")]
AnnotatorOption = Annotated[
    str | None, typer.Option("--annotator", help="All that is quarantined of this annotator; an empty name: of nobody's.")
]


def annotators(context: typer.Context, as_json: JsonOption = False) -> None:
    """List annotators, the most reliable first, with how far they agree.

    Accuracy is estimated from texts that several annotators spoke of. Alpha is Krippendorff's: 1 is full agreement, 0 chance.

    \b
    Examples:
      hone annotators
      hone annotators --json
    """
    from feedback.annotators import annotators_of

    settings = settings_of(context)
    with open_store(settings) as store:
        found = annotators_of(store, settings.suspect_contrary_ratio)
    if as_json:
        show_json(found.model_dump(mode="json"))
        return
    rows = [
        [
            item.annotator or "(no name)",
            item.votes,
            item.judged,
            percent(item.accuracy),
            f"{percent(item.low)} to {percent(item.high)}",
            None if item.alpha is None else f"{item.alpha:.2f}",
            item.quarantined,
            "contradicts the model where others do not" if item.contrary else "",
        ]
        for item in found.annotators
    ]
    show_table(["annotator", "votes", "judged", "accuracy", "90% interval", "alpha", "held back", ""], rows)
    overall = "none yet" if found.alpha is None else f"{found.alpha:.3f}"
    say(f"{found.shared_texts} texts have several annotators; Krippendorff's alpha: {overall}")


def accuracy(context: typer.Context, as_json: JsonOption = False) -> None:
    """Estimate how often each version is right on live traffic, from the predictions that chance put up for review.

    Corrections alone would not do: people look at what is wrong. What they give is shown beside it, and what confidences alone
    let one guess of the newest window.

    \b
    Examples:
      hone accuracy
    """
    from feedback.live_accuracy import live_accuracy_of

    with open_store(settings_of(context)) as store:
        found = live_accuracy_of(store)
    if as_json:
        show_json(found.model_dump(mode="json"))
        return
    rows = [
        [
            item.version,
            percent(item.accuracy),
            f"{percent(item.low)} to {percent(item.high)}",
            item.judged,
            item.waiting,
            None if item.naive is None else percent(item.naive.accuracy),
            None if item.estimated is None else percent(item.estimated.accuracy),
        ]
        for item in found.versions
    ]
    show_table(["version", "accuracy", "95% interval", "judged", "waiting", "by corrections", "without labels"], rows)
    for item in found.versions[:1]:
        by_label: list[list[Any]] = [
            [one.label, percent(one.accuracy), f"{percent(one.low)} to {percent(one.high)}", one.judged] for one in item.classes
        ]
        if by_label:
            show_table([f"label, {item.version}", "accuracy", "95% interval", "judged"], by_label)


@quarantine.command("list")
def list_quarantine(
    context: typer.Context,
    state: Annotated[str, typer.Option("--state", help="quarantined, released or upheld.")] = "quarantined",
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="Show at most so many.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List corrections that are held back, and every reason.

    \b
    Examples:
      hone quarantine list
      hone quarantine list --state upheld --json
    """
    states: tuple[SuspicionState, ...] = ("quarantined", "released", "upheld")
    chosen = next((known for known in states if known == state), None)
    if chosen is None:
        raise typer.BadParameter(f"--state is one of {', '.join(states)}")
    with open_store(settings_of(context)) as store:
        found = store.quarantined(chosen, limit)
    if as_json:
        show_json(found.model_dump(mode="json"))
        return
    rows = [
        [
            item.correction.correction_id,
            item.correction.annotator,
            item.correction.label,
            item.model_label,
            "; ".join(f"{reason.rule}: {reason.why}" for reason in item.reasons),
        ]
        for item in found.suspicions
    ]
    show_table(["correction", "annotator", "label", "the model says", "why"], rows)
    say(f"{found.total} {state}")


@quarantine.command("release")
def release(
    context: typer.Context,
    correction_id: IdArgument = None,
    annotator: AnnotatorOption = None,
    by: ByOption = "command line",
    why: WhyOption = "by hand",
) -> None:
    """Let held-back corrections through: the next run learns from them, whatever the rules say.

    \b
    Examples:
      hone quarantine release c_0123…
      hone quarantine release --annotator import-2025 --why "checked a sample"
    """
    _decide(context, correction_id, annotator, SuspicionDecision(decision="release", by=by, why=why))


@quarantine.command("uphold")
def uphold(
    context: typer.Context,
    correction_id: IdArgument = None,
    annotator: AnnotatorOption = None,
    by: ByOption = "command line",
    why: WhyOption = "by hand",
) -> None:
    """Refuse held-back corrections for good: no run ever learns from them.

    \b
    Examples:
      hone quarantine uphold --annotator eve --why "a bot"
    """
    _decide(context, correction_id, annotator, SuspicionDecision(decision="uphold", by=by, why=why))


def audit(
    context: typer.Context,
    data: Annotated[
        Path | None, typer.Argument(help="Labelled texts, in any format that train reads; absent: the champion's base data.")
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, max=100_000, help="Show so many, the most doubtful first.")] = 20,
    text_column: Annotated[str | None, typer.Option("--text-column", help="Column of the texts.")] = None,
    label_column: Annotated[str | None, typer.Option("--label-column", help="Column of the labels.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Find labels that are probably wrong in a data set: every row is judged by a classifier that has not seen its label.

    \b
    Examples:
      hone audit
      hone audit tickets.parquet --top 200 --json > doubtful.json
    """
    from train.noise import NoiseRequest
    from train.noise import audit as find_noise

    with progress_bar("auditing") as progress:
        request = NoiseRequest(data, text_column, label_column)
        report = find_noise(settings_of(context), request, progress, most=top)
    if as_json:
        show_json(report.model_dump(mode="json"))
        return
    say(f"{report.source}: {report.rows} rows; labels that were not seen are guessed right in {percent(report.accuracy)}")
    rows: list[list[Any]] = [
        [_shorten(row.text), row.given, percent(row.given_probability), row.likely, percent(row.likely_probability), row.split]
        for row in report.doubtful
    ]
    show_table(["text", "label", "probability", "likelier", "probability", "split"], rows)
    say(f"of {report.probably_wrong} rows another label is at least three times as probable")


def _decide(context: typer.Context, correction_id: str | None, annotator: str | None, decision: SuspicionDecision) -> None:
    if (correction_id is None) == (annotator is None):
        raise typer.BadParameter("give exactly one of a correction's id and --annotator")
    with open_store(settings_of(context)) as store:
        if correction_id is not None:
            store.decide_suspicion(correction_id, decision)
            decided = 1
        else:
            decided = store.decide_suspicions(annotator or None, decision)
    done = "released to the next run" if decision.decision == "release" else "refused for good"
    note(f"{decided} corrections are {done}")


def open_store(settings: Settings) -> closing[Store]:
    """Return the store of these settings, which is closed at the end of the block."""
    from feedback.store import Store

    settings.home.prepare()
    return closing(Store.open(settings.sqlalchemy_url))


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN_CHARS else f"{line[: _SHOWN_CHARS - 1]}…"
