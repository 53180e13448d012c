"""`hone labels`: how labels stand, and deciding about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from core.label_bodies import LabelEventRequest
from deploy.cli.context import JsonOption, LocalOption, settings_of, who
from deploy.cli.show import note, say, show_json, show_table

if TYPE_CHECKING:
    from core.label_bodies import LabelEvent
    from deploy.clients.correction_calls import Decision

app = typer.Typer(help="Labels: list, accept, reject, merge, rename, retire.", no_args_is_help=True)

LabelArgument = Annotated[str, typer.Argument(help="The label it is about.")]
IntoArgument = Annotated[str, typer.Argument(help="What it becomes.")]
WhyOption = Annotated[str, typer.Option("--why", help="Why; kept with the decision.")]


@app.command("list")
def list_labels(context: typer.Context, as_json: JsonOption = False, local: LocalOption = False) -> None:
    """List the champion's labels, and those that were proposed, accepted, turned down, merged, renamed or retired.

    \b
    Example:
      hone labels list
    """
    from deploy.client import ServiceClient
    from deploy.local_corrections import labels_of

    settings = settings_of(context)
    client = ServiceClient(settings)
    answer = client.labels() if not local and client.alive() else labels_of(settings)
    if as_json:
        show_json(answer.model_dump(mode="json"))
        return
    rows = [[item.label, item.state, item.stands_for, item.texts, item.annotators] for item in answer.labels]
    show_table(["label", "state", "stands for", "texts", "annotators"], rows)
    note(f"a proposal needs {answer.texts_needed} texts of {answer.annotators_needed} annotators, or an operator")


@app.command("accept")
def accept_label(
    context: typer.Context,
    label: LabelArgument,
    why: WhyOption = "by hand",
    as_json: JsonOption = False,
    local: LocalOption = False,
) -> None:
    """Take a label into the set, proposed or not; corrections may say it from now on, and the next run learns it.

    \b
    Example:
      hone labels accept "lost luggage"
    """
    _show(_decide(context, "accept", label, None, why, local=local), as_json=as_json)


@app.command("reject")
def reject_label(
    context: typer.Context,
    label: LabelArgument,
    why: WhyOption = "by hand",
    as_json: JsonOption = False,
    local: LocalOption = False,
) -> None:
    """Turn a proposal down; it cannot be proposed again.

    \b
    Example:
      hone labels reject "misc" --why "says nothing"
    """
    _show(_decide(context, "reject", label, None, why, local=local), as_json=as_json)


@app.command("retire")
def retire_label(
    context: typer.Context,
    label: LabelArgument,
    why: WhyOption = "by hand",
    as_json: JsonOption = False,
    local: LocalOption = False,
) -> None:
    """Take a label and its examples out of later runs; accepting it again brings them back.

    \b
    Example:
      hone labels retire "fax"
    """
    _show(_decide(context, "retire", label, None, why, local=local), as_json=as_json)


@app.command("merge")
def merge_labels(
    context: typer.Context,
    label: LabelArgument,
    into: IntoArgument,
    why: WhyOption = "by hand",
    as_json: JsonOption = False,
    local: LocalOption = False,
) -> None:
    """Let a label count as another one of the set, in all that was said and will be.

    \b
    Example:
      hone labels merge "card stolen" "lost or stolen card"
    """
    _show(_decide(context, "merge", label, into, why, local=local), as_json=as_json)


@app.command("rename")
def rename_label(
    context: typer.Context,
    label: LabelArgument,
    into: IntoArgument,
    why: WhyOption = "by hand",
    as_json: JsonOption = False,
    local: LocalOption = False,
) -> None:
    """Give a label a new name; the champion keeps the old one until the next run.

    \b
    Example:
      hone labels rename "pos" "positive"
    """
    _show(_decide(context, "rename", label, into, why, local=local), as_json=as_json)


def _decide(context: typer.Context, action: Decision, label: str, into: str | None, why: str, *, local: bool) -> LabelEvent:
    from deploy.client import ServiceClient
    from deploy.local_corrections import decide_label

    settings = settings_of(context)
    client = ServiceClient(settings)
    by = who()
    if not local and client.alive():
        return client.decide_label(action, label, into, by=by, why=why)
    return decide_label(settings, LabelEventRequest(action=action, label=label, into=into, by=by, why=why))


def _show(event: LabelEvent, *, as_json: bool) -> None:
    if as_json:
        show_json(event.model_dump(mode="json"))
    else:
        say(f"decided: {event.action} {event.label}" + (f" into {event.into}" if event.into else ""))
