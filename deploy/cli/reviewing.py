"""`hone review`: looking at what is worth a look, one text after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from core.settings import Settings
from deploy.cli.context import settings_of
from deploy.cli.quality import open_store
from deploy.cli.show import note, say, show_json

if TYPE_CHECKING:
    from core.quality_bodies import ReviewItem
    from feedback.store import Store

_WHY = {"audit": "drawn by chance", "suspect": "a correction that is held back", "uncertain": "the model is not sure"}


def review(
    context: typer.Context,
    annotator: Annotated[str, typer.Option("--annotator", help="Who answers; nobody judges corrections of their own.")],
    limit: Annotated[int, typer.Option("--limit", min=1, help="End after so many answers.")] = 1_000,
    fill: Annotated[bool, typer.Option("--fill", help="Look for texts first, as a running stack does by itself.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Show what waits, one JSON line per item, and ask nothing.")] = False,
) -> None:
    """Ask for the right label of one text after the other: a label, or s to skip, u to undo, q to end.

    A text is kept for who was asked until HONE_REVIEW_LEASE_S seconds have passed. Answers are corrections like any other, and
    those to texts that chance drew give the live accuracy, see hone accuracy.

    \b
    Examples:
      hone review --annotator ada
      hone review --annotator ada --json --limit 20 > texts.jsonl
    """
    from serve.reviewing import shares_of

    settings = settings_of(context)
    with open_store(settings) as store:
        if fill:
            from train.planning import ReviewPlanner

            note(f"{ReviewPlanner(settings, store).fill()} uncertain predictions were added")
        if as_json:
            for item in store.next_review(annotator, limit, shares_of(settings), settings.review_lease_s).items:
                show_json(item.model_dump(mode="json"))
            return
        _converse(settings, store, annotator, limit)


def _converse(settings: Settings, store: Store, annotator: str, limit: int) -> None:
    from serve.reviewing import shares_of

    before: str | None = None
    answered = 0
    while answered < limit:
        items = store.next_review(annotator, 1, shares_of(settings), settings.review_lease_s).items
        if not items:
            say(f"nothing waits for {annotator}")
            break
        item = items[0]
        say(f"\n{item.text}")
        for reason in item.reasons:
            say(f"  doubted: {reason.why}")
        guess = f"; the model says {item.predicted_label}" if item.predicted_label else ""
        said = typer.prompt(f"[{_WHY[item.stratum]}{guess}] label, s, u or q").strip()
        if said == "q":
            break
        if said == "u" and before is not None:
            _undo(store, before, annotator)
            answered, before = answered - 1, None
        elif said == "s":
            store.skip_review(item.item_id, annotator)
        elif said != "u" and _answer(settings, store, item, annotator, said):
            answered, before = answered + 1, item.item_id
    note(f"{answered} answered")


def _answer(settings: Settings, store: Store, item: ReviewItem, annotator: str, label: str) -> bool:
    """Return whether the label could be kept."""
    from core.errors import InputError
    from core.schemas import CorrectionRequest
    from deploy.local import add_correction

    task = store.review_task(item.item_id, annotator)
    request = CorrectionRequest(prediction_id=task.prediction_id, text=task.text, label=label, annotator=annotator)
    try:
        kept = add_correction(settings, request, task.key)
    except InputError as error:
        note(error.message)
        return False
    store.finish_review(item.item_id, annotator, kept.label)
    return True


def _undo(store: Store, item_id: str, annotator: str) -> None:
    key = store.undo_review(item_id, annotator)
    if key is not None:
        store.withdraw_corrections(key)
