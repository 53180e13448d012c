"""`hone up`: the local stack, and what to do with it once it answers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import typer

from core.settings import Settings
from deploy.cli.context import settings_of
from deploy.cli.show import out, percent, progress_bar, say

if TYPE_CHECKING:
    from train.progress import Progress
    from train.teach import TeachReport

EXAMPLE_TEXT = "这是一个非常好的产品，我非常喜欢它。"


def up(context: typer.Context) -> None:
    """Start everything on this machine: service, console, learner. Ctrl-C ends it all.

    The first start teaches the default classifier (product reviews, Chinese and English) from the sample data in the package;
    with `hone train --data FILE` beforehand, yours is served instead.

    \b
    Examples:
      hone up
      hone --port 9000 --home ./mine up          a second stack beside the first
      HONE_HOST=0.0.0.0 hone up                  answer other machines too, who need an API key
    """
    from deploy.stack.run import run_stack

    settings = settings_of(context)
    run_stack(settings, TerminalScreen(settings))


class TerminalScreen:
    """Shows the start of a stack in the terminal."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._bar: AbstractContextManager[Callable[[Progress], None]] | None = None
        self._draw: Callable[[Progress], None] | None = None

    def say(self, sentence: str) -> None:
        """Show one sentence."""
        self._close_bar()
        say(sentence)

    def teaching(self, progress: Progress) -> None:
        """Show how far the first training is."""
        if self._draw is None:
            self._bar = progress_bar("teaching")
            self._draw = self._bar.__enter__()
        self._draw(progress)

    def taught(self, report: TeachReport) -> None:
        """Show what the first training led to."""
        self._close_bar()
        accuracy = report.metrics.get("accuracy")
        say(f"taught {report.version}: accuracy {percent(accuracy)} on the held-out sample rows")

    def answering(self, version: str) -> None:
        """Show the console's address and three commands to try."""
        self._close_bar()
        url = self._settings.url
        out.print(f"\n[bold green]Hone answers[/] with {version} at [bold]{url}[/]\n")
        if not self._settings.on_loopback and not self._settings.authenticated:
            out.print(
                f"[yellow]It listens on {self._settings.host}:[/] whoever reaches this machine may ask, correct and promote.\n"
            )
        for title, command in try_lines(url, with_key=self._settings.authenticated):
            out.print(f"[dim]# {title}[/]")
            out.print(command, soft_wrap=True, markup=False)
        out.print("\n[dim]Ctrl-C ends it.[/]")

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = self._draw = None


def try_lines(url: str, *, with_key: bool = False) -> list[tuple[str, str]]:
    """Return three commands that show the loop, each with what it does; ``with_key`` as they must be sent with an API key."""
    key_header = '-H "authorization: Bearer $HONE_API_KEY"'
    json_header = "-H 'content-type: application/json'" + (f" {key_header}" if with_key else "")
    return [
        ("ask", f"""curl -s {url}/v1/predict {json_header} -d '{{"text": "{EXAMPLE_TEXT}"}}'"""),
        (
            "correct it, with the prediction_id of the answer",
            f"""curl -s {url}/v1/corrections {json_header} -d '{{"prediction_id": "PREDICTION_ID", "label": "negative"}}'""",
        ),
        ("see what it knows", f"curl -s {url}/v1/status" + (f" {key_header}" if with_key else "")),
    ]
