"""`hone learn`."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from core.finetuning import FinetuneWish
from core.schemas import LIVE_STATES
from core.settings import Settings
from deploy.cli.context import JsonOption, LocalOption, settings_of
from deploy.cli.finetuning import LoraOption, PresetOption, SetOption, wish_of
from deploy.cli.show import note, progress_bar, say, show_json, show_table

if TYPE_CHECKING:
    from deploy.clients import Client

_LOOK_EVERY_S = 0.3


class RunSpeedName(StrEnum):
    """What a run refits, or that the run decides."""

    auto = "auto"
    head = "head"
    full = "full"


def learn(
    context: typer.Context,
    speed: Annotated[
        RunSpeedName,
        typer.Option(
            "--speed", help="head: the linear head, in seconds; full: the encoder too; auto: the latter where it pays."
        ),
    ] = RunSpeedName.auto,
    preset: PresetOption = None,
    changes: SetOption = None,
    lora: LoraOption = False,
    why: Annotated[str | None, typer.Option("--note", help="Why; kept with the run.")] = None,
    resume: Annotated[str | None, typer.Option(help="A full run that was stopped or failed, to go on with.")] = None,
    repeat: Annotated[str | None, typer.Option(help="A run to do again: same data, same settings, same result.")] = None,
    as_json: JsonOption = False,
    local: LocalOption = False,
) -> None:
    """Have it learn now from the corrections so far, and wait for the outcome.

    The run trains beside the service, never in it; what the gate refuses never serves. Ctrl-C stops watching, not the run.

    \b
    Examples:
      hone learn
      hone learn --speed full --note "after the weekend's corrections"
      hone learn --speed full --preset thorough --set learning_rate=5e-5
      hone learn --resume r_1f0c9a
      hone learn --repeat r_1f0c9a
    """
    from deploy.client import ServiceClient

    settings = settings_of(context)
    client = ServiceClient(settings)
    asked = _Asked.of(speed, resume, repeat, why, wish_of(speed.value, preset, changes, lora=lora))
    run = _follow(client, asked) if not local and client.alive() else _learn_here(settings, asked)
    if as_json:
        show_json(run)
    else:
        _show_run(run)
    if run["state"] != "succeeded":
        raise typer.Exit(1)


@dataclass(frozen=True)
class _Asked:
    """The run that was asked for: one of its own, or one that resumes or repeats ``earlier``."""

    speed: RunSpeedName
    note: str | None
    manner: Literal["resume", "repeat"] | None = None
    earlier: str = ""
    wish: FinetuneWish = field(default_factory=FinetuneWish)

    @classmethod
    def of(cls, speed: RunSpeedName, resume: str | None, repeat: str | None, note: str | None, wish: FinetuneWish) -> _Asked:
        if resume is not None and repeat is not None:
            raise typer.BadParameter("--resume and --repeat exclude each other")
        if resume is None and repeat is None:
            return cls(speed, note, wish=wish)
        if wish != FinetuneWish():
            raise typer.BadParameter(
                "a run that is resumed or repeated has its own settings; leave out --preset, --set and --lora"
            )
        return cls(speed, note, "resume", resume) if resume is not None else cls(speed, note, "repeat", repeat or "")


def _follow(client: Client, asked: _Asked) -> dict[str, Any]:
    """Start a run, draw its progress until it ends, and return it."""
    from train.progress import Progress, pace_of

    if asked.manner is None:
        wish = asked.wish
        run = client.start_run(asked.speed.value, asked.note, preset=wish.preset, finetune=wish.changes)
    else:
        run = client.continue_run(asked.earlier, asked.manner, asked.note)
    with progress_bar("learning") as draw:
        while run.state in LIVE_STATES:
            draw(Progress(run.stage or run.state, run.progress_ratio, pace_of(run.metrics), run.remaining_s))
            time.sleep(_LOOK_EVERY_S)
            run = client.run(run.run_id)
    return run.model_dump(mode="json")


def _learn_here(settings: Settings, asked: _Asked) -> dict[str, Any]:
    from deploy.stack.cluster import ray_at_hand
    from train.learn import Wish, learn_once
    from train.request import Workers

    spread = asked.speed is not RunSpeedName.head and Workers.of(settings) is not None
    with ray_at_hand(settings, wanted=spread), progress_bar("learning") as draw:
        wanted = Wish(asked.speed.value, asked.note, asked.manner, asked.earlier, asked.wish)
        return dict(learn_once(settings, wanted, progress=draw).model_dump(mode="json"))


def _show_run(run: dict[str, Any]) -> None:
    if run["state"] != "succeeded":
        note(f"run {run['run_id']} {run['state']}: {run['error'] or 'no reason was given'}")
        return
    version = str(run["version"])
    fate = "and serves" if run["promoted"] else "and was not promoted; see hone models show " + version
    if run["promoted"] is None:
        fate = "which waits for a signature: hone models approve " + version
    say(f"run {run['run_id']} made {version} {fate}")
    if run["why"]:
        say(run["why"])
    show_table(["metric", "value"], [[name, f"{value:.4g}"] for name, value in sorted(run["metrics"].items())])
