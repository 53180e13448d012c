"""`hone models …`: versions, what the gate said about them, and which of them answers."""

from __future__ import annotations

import typer

app = typer.Typer(no_args_is_help=True, help="List versions, look at one, make one the champion, go back to the one before.")
