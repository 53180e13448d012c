"""`hone privacy …` and `hone trail …`: erasing and exporting a person's data, and who did what."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from core.settings import Settings
from deploy.cli.context import JsonOption, settings_of
from deploy.cli.show import say, show_json, show_table

app = typer.Typer(no_args_is_help=True, help="Erase or export what is kept of a person.")
trail_app = typer.Typer(no_args_is_help=True, help="Who did what, when: list the audit trail, verify it.")

SubjectOption = Annotated[str | None, typer.Option("--subject", help="The person, by the key sent with their texts.")]


@app.command("erase")
def erase_data(
    context: typer.Context,
    subject: SubjectOption = None,
    text: Annotated[str | None, typer.Option("--text", help="A text, whoever sent it.")] = None,
    retrain: Annotated[bool, typer.Option("--retrain", help="Queue a run that learns without it.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Erase a person, or a text, from the store and all files, beside a running service or without one.

    The versions that had learned from it are named; they are not changed.

    \b
    Examples:
      hone privacy erase --subject customer-1017
      hone privacy erase --text "my name is Ada" --retrain
    """
    from core.privacy_bodies import ErasureRequest
    from feedback.erasing import erase
    from feedback.store import Store

    if (subject is None) == (text is None):
        raise typer.BadParameter("give exactly one of --subject and --text")
    settings = settings_of(context)
    settings.home.prepare()
    store = Store.of(settings)
    try:
        answer = erase(store, settings, ErasureRequest(subject=subject, text=text, retrain=retrain), _who())
    finally:
        store.close()
    if as_json:
        show_json(answer.model_dump(mode="json"))
        return
    show_table(["what", "gone"], [[name, count] for name, count in answer.counts.items()])
    say(f"erased as {answer.erasure_id}; versions that had learned from it: {', '.join(answer.versions) or 'none'}")


@app.command("export")
def export_subject(
    context: typer.Context,
    subject: Annotated[str, typer.Option("--subject", help="The person, by the key sent with their texts.")],
) -> None:
    """Print all that the store keeps of a person, a line of JSON for each prediction and correction.

    \b
    Examples:
      hone privacy export --subject customer-1017 > customer-1017.jsonl
    """
    from core.discretion import Discretion
    from feedback.store import Store

    settings = settings_of(context)
    settings.home.prepare()
    store = Store.of(settings)
    try:
        pseudonym = Discretion.of(settings).pseudonym(subject) or ""
        store.begin_subject_export(pseudonym, _who())
        for line in store.subject_lines(pseudonym):
            show_json(line)
    finally:
        store.close()


@trail_app.command("list")
def list_trail(
    context: typer.Context,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many, newest first.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List who did what, newest first.

    \b
    Examples:
      hone trail list --limit 100
    """
    from feedback.store import Store

    store = Store.of(_prepared(context))
    try:
        entries = store.trail_entries(limit).entries
    finally:
        store.close()
    if as_json:
        show_json([entry.model_dump(mode="json") for entry in entries])
        return
    rows = [
        [entry.sequence, entry.at.strftime("%Y-%m-%d %H:%M:%S"), entry.actor, entry.action, entry.target] for entry in entries
    ]
    show_table(["entry", "when (UTC)", "who", "what", "on"], rows)


@trail_app.command("verify")
def verify_trail(
    context: typer.Context,
    known_hash: Annotated[str | None, typer.Option("--hash", help="A last hash from before, which must be among them.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Check that no entry was altered, removed or inserted; exit code 1 where one was.

    Note the last hash somewhere else: given next time, it shows that nothing was cut off the end.

    \b
    Examples:
      hone trail verify
      hone trail verify --hash 5f2c…
    """
    from feedback.store import Store

    store = Store.of(_prepared(context))
    try:
        proof = store.verify_trail(known_hash)
    finally:
        store.close()
    if as_json:
        show_json(proof.model_dump(mode="json"))
    else:
        say(f"the trail is whole: {proof.entries} entries, last hash {proof.last_hash}")


def _prepared(context: typer.Context) -> Settings:
    settings = settings_of(context)
    settings.home.prepare()
    return settings


def _who() -> str:
    try:
        return f"{getpass.getuser()} (command line)"
    except (KeyError, OSError):
        return "command line"
