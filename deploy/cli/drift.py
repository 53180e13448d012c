"""`hone drift`: whether traffic is still what the champion was measured on, why not, and taking note of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.drift_bodies import AcknowledgeRequest, Moved, ReferenceRequest
from deploy.cli.context import JsonOption, settings_of
from deploy.cli.quality import open_store
from deploy.cli.show import note, percent, say, show_json, show_table

if TYPE_CHECKING:
    from core.drift_bodies import DriftAnswer, DriftWhy
    from core.settings import Settings
    from feedback.store import Store

_SHOWN_CHARS = 60
HELD_OUT = "held-out"


def drift(
    context: typer.Context,
    why: Annotated[bool, typer.Option("--why", help="What moved most in the newest window, or in --window.")] = False,
    window: Annotated[str | None, typer.Option("--window", metavar="ID", help="A window, for --why.")] = None,
    acknowledge: Annotated[
        str | None, typer.Option("--acknowledge", metavar="ALARM", help="Take note of an alarm; no run starts because of it.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="With --why: also write it as a page, one HTML file with pictures."),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option("--reference", metavar="ID", help="Compare with this window from now on; `held-out`: with its own rows."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=500, help="Show at most so many windows.")] = 10,
    as_json: JsonOption = False,
) -> None:
    """Show whether traffic is still what the champion was measured on.

    Each window of predictions is compared with the version's own held-out rows: inputs, answers, errors.

    \b
    Examples:
      hone drift
      hone drift --why
      hone drift --why --out drift.html
      hone drift --acknowledge d_0123…
      hone drift --reference w_0123…
    """
    from feedback.drift_report import drift_of, why_of

    settings = settings_of(context)
    with open_store(settings) as store:
        if acknowledge is not None:
            store.acknowledge_drift_alarm(acknowledge, AcknowledgeRequest(by="command line", why="by hand"))
            note(f"{acknowledge} is taken note of; the same drift raises no other alarm unless it grows")
            return
        if reference is not None:
            _set_reference(store, settings, reference)
            return
        found = drift_of(store, settings, limit)
        chosen = window or (found.windows[0].window_id if found.windows else None)
        if why and chosen is None:
            raise typer.BadParameter("there is no window yet to say why of", param_hint="--why")
        report = why_of(store, settings, chosen) if why and chosen is not None else None
    if out is not None:
        if report is None:
            raise typer.BadParameter("a page says why; add --why", param_hint="--out")
        _write_page(report, out)
    if as_json:
        show_json((report or found).model_dump(mode="json"))
    elif report is not None:
        _show_why(report)
    else:
        _show_windows(found)


def _set_reference(store: Store, settings: Settings, chosen: str) -> None:
    from deploy.local import champion_of

    champion = champion_of(settings)
    window_id = None if chosen == HELD_OUT else chosen
    request = ReferenceRequest(window_id=window_id, by="command line", why="by hand")
    store.set_drift_reference(champion, request, "command line")
    note(f"traffic of {champion} is compared with {'its held-out rows' if window_id is None else window_id} from now on")


def _write_page(report: DriftWhy, out: Path) -> None:
    from core.errors import DataError
    from core.home import write_atomically
    from serve.drift_page import page_of

    try:
        write_atomically(out, page_of(report).encode())
    except OSError as error:
        raise DataError(f"{out} cannot be written: {error.strerror}") from error
    note(f"written to {out}")


def _show_windows(found: DriftAnswer) -> None:
    say(f"{found.state}: {found.why}")
    rows: list[list[Any]] = [
        [
            item.window_id,
            item.model_version,
            f"{item.ended_at:%Y-%m-%d %H:%M}",
            f"{item.rows} of {item.seen}",
            item.state,
            None if item.estimate is None else percent(item.estimate.accuracy),
            ", ".join(finding.detector for finding in item.findings if finding.verdict in ("drift", "known")),
        ]
        for item in found.windows
    ]
    show_table(["window", "version", "until", "predictions", "state", "accuracy guessed", "drifting"], rows)
    for alarm in found.alarms:
        say(f"alarm {alarm.alarm_id} of {alarm.created_at:%Y-%m-%d %H:%M}: {alarm.state}; {', '.join(sorted(alarm.detectors))}")
    if found.reference is not None:
        decided = found.reference
        say(f"compared with {decided.window_id} since {decided.decided_at:%Y-%m-%d %H:%M}, by {decided.decided_by}")
    say(f"{found.waiting_rows} predictions wait for the next window of {found.window_rows}")


def _show_why(report: DriftWhy) -> None:
    say(f"{report.window.state}: {report.window.why}")
    for title, moved in (("label", report.classes), ("word", report.words), ("slice", report.slices)):
        show_table([title, "reference", "window", "bits", "confidence"], [_row(item) for item in moved[:10]])
    rows: list[list[Any]] = [
        [" ".join(item.text.split())[:_SHOWN_CHARS], item.label, percent(item.confidence), f"{item.unlikeness:.2f}"]
        for item in report.examples[:10]
    ]
    show_table(["text unlike the reference", "answer", "confidence", "bits a word"], rows)


def _row(item: Moved) -> list[Any]:
    reference = None if item.reference_ratio is None else percent(item.reference_ratio)
    confidence = None if item.confidence is None else percent(item.confidence)
    return [item.name, reference, percent(item.window_ratio), f"{item.impact:.3f}", confidence]
