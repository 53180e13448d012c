"""`hone status` and `hone doctor`."""

from __future__ import annotations

import typer

from deploy.cli.context import JsonOption, settings_of
from deploy.cli.show import out, say, show_json

_COLOURS = {"ok": "green", "warning": "yellow", "broken": "red"}


def status(context: typer.Context, as_json: JsonOption = False) -> None:
    """Say what serves, what was corrected, and what the learner does. Works without a service too.

    \b
    Examples:
      hone status
      hone status --json
    """


def doctor(context: typer.Context, as_json: JsonOption = False) -> None:
    """Look at everything Hone stands on, and say how to mend what is wrong. Exit code 1 if something is broken.

    \b
    Examples:
      hone doctor
      hone --port 9000 doctor --json
    """
    from deploy.doctor import examine

    checks = examine(settings_of(context))
    if as_json:
        show_json([check.model_dump() for check in checks])
    else:
        for check in checks:
            out.print(f"[{_COLOURS[check.verdict]}]{check.verdict:>8}[/]  ", end="")
            say(f"{check.name}: {check.found}")
            if check.mend:
                say(f"          → {check.mend}")
    if any(check.verdict == "broken" for check in checks):
        raise typer.Exit(1)
