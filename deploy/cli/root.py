"""The root of the command line: what all commands share, and what becomes of an error."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from core.disk import disk_refusal
from core.errors import HoneError
from deploy.cli import (
    answering,
    backups,
    clusters,
    compressing,
    corrections,
    data,
    drift,
    ensembling,
    evaluating,
    health,
    keys,
    labels,
    learning,
    migrating,
    models,
    privacy,
    quality,
    reviewing,
    searching,
    simulating,
    teaching,
    up,
    watching,
)
from deploy.cli.context import load_settings
from deploy.cli.show import fail

HELP = """Serve a text classifier, correct it, and let it learn from the corrections.

\b
A first round, in two terminals:
  hone up                                      teach the default classifier and serve it
  hone predict "Great phone, I love it"        ask it
  hone correct positive --id p_…               tell it what was right
  hone learn                                   have it learn now

Every setting is an environment variable HONE_…; README.md lists them all.
"""


class Root(TyperGroup):
    """Turns an error into one sentence on standard error and exit code 1."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except HoneError as error:
            fail(error.message)
            raise typer.Exit(1) from error


app = typer.Typer(
    cls=Root,
    help=HELP,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def root(
    context: typer.Context,
    home: Annotated[
        Path | None, typer.Option("--home", metavar="FOLDER", help="Folder of all state, in place of HONE_HOME.")
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", metavar="PORT", help="Port of the service, in place of HONE_PORT.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Which of several classifiers, in place of HONE_NAME.")
    ] = None,
) -> None:
    """Read the settings once, for whatever command follows."""
    context.obj = load_settings(home, port, name)


app.command()(up.up)
app.command()(teaching.train)
app.command()(searching.search)
app.command()(answering.predict)
app.command()(evaluating.evaluate)
app.command()(compressing.compress)
app.command()(ensembling.ensemble)
app.command()(answering.correct)
app.command()(learning.learn)
app.command()(simulating.simulate)
app.command()(reviewing.review)
app.command()(quality.annotators)
app.command()(quality.accuracy)
app.command()(drift.drift)
app.command()(quality.audit)
app.add_typer(quality.quarantine, name="quarantine")
app.add_typer(corrections.app, name="corrections")
app.add_typer(data.app, name="data")
app.add_typer(labels.app, name="labels")
app.add_typer(models.app, name="models")
app.add_typer(clusters.app, name="cluster")
app.add_typer(keys.app, name="keys")
app.add_typer(privacy.app, name="privacy")
app.add_typer(privacy.trail_app, name="trail")
app.command()(backups.backup)
app.command()(backups.restore)
app.command()(migrating.migrate)
app.command()(health.status)
app.command()(health.doctor)
app.command()(watching.rules)


def main(command: Callable[[], object] = app) -> None:
    """Run the command line; a mistake of ours is told in one sentence too, with the place where it happened."""
    try:
        command()
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        # The message of a foreign exception may quote a user's text.
        defect = f"internal error: {type(error).__name__} in {Path(place.filename).name} line {place.lineno}; please report it"
        fail(disk_refusal(error) or defect)
        sys.exit(1)
