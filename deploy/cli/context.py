"""What every command needs: the settings, and how to say that a request was wrong."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated, cast

import typer
from pydantic import ValidationError

from core.settings import Settings

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
LocalOption = Annotated[bool, typer.Option("--local", help="Do not ask the service; work on the state folder itself.")]


def load_settings(home: Path | None = None, port: int | None = None, name: str | None = None) -> Settings:
    """Return the settings from the environment, with what was given on the command line in their place.

    Raises:
        typer.BadParameter: naming every variable whose value cannot be used.
    """
    given = {field: value for field, value in {"HONE_HOME": home, "port": port, "name": name}.items() if value is not None}
    try:
        return Settings(**given)  # type: ignore[arg-type] # the plugin cannot see through the dictionary
    except ValidationError as error:
        wrong = "; ".join(f"{_variable(item['loc'])}: {item['msg']}" for item in error.errors(include_url=False))
        raise typer.BadParameter(f"{wrong}. See the settings table in README.md") from error


def settings_of(context: typer.Context) -> Settings:
    """Return the settings the root of the command line has loaded."""
    return cast("Settings", context.obj)


def who() -> str:
    """Return the name of the user whose terminal this is, by which a decision is kept."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container's user may have no name.
        return "cli"


def _variable(place: tuple[int | str, ...]) -> str:
    name = str(place[0]) if place else "settings"
    return name if name.startswith("HONE_") else f"HONE_{name.upper()}"
