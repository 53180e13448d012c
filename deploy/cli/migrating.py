"""`hone migrate`: the store's schema, brought to this release's before the release itself comes."""

from __future__ import annotations

from typing import Annotated

import typer

from deploy.cli.context import JsonOption, settings_of
from deploy.cli.show import say, show_json


def migrate(
    context: typer.Context,
    check: Annotated[
        bool, typer.Option("--check", help="Only say what there is to do; exit code 1 where there is something.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Bring the feedback store to this release's schema, while the release before goes on serving.

    Every release does so by itself at its first use of the store; an upgrade without a gap does it beforehand. The release
    before may go on using the store, and may come back: each schema says which is the oldest that it was made for. Make a
    backup first.

    \b
    Examples:
      hone backup && hone migrate
      hone migrate --check
    """
    from feedback.store import Store
    from feedback.tables import SCHEMA

    settings = settings_of(context)
    settings.home.prepare()
    store = Store.of(settings)
    try:
        before = store.schema_state()
        if not check:
            store.prepare()
        after = store.schema_state()
    finally:
        store.close()
    if as_json:
        show_json({"before": before.found, "after": after.found, "release": SCHEMA, "oldest_reader": after.oldest_reader})
    elif not after.usable:
        say(f"the store has {_named(after.found)}; this release brings it to schema {SCHEMA}")
    elif after.newer:
        say(f"the store has schema {after.found}, of a later release, which this one, of schema {SCHEMA}, may use as it is")
    else:
        came = "" if before == after else f", brought there from {_named(before.found)}"
        say(
            f"the store has schema {after.found}{came}; releases from schema {after.oldest_reader or after.found} on may use it"
        )
    if not after.usable:
        raise typer.Exit(1)


def _named(schema: str | None) -> str:
    return "no schema yet" if schema is None else f"schema {schema}"
