"""`hone ensemble`: one version made of several."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.context import JsonOption, settings_of
from deploy.cli.show import percent, progress_bar, say, show_decision, show_json, show_table

if TYPE_CHECKING:
    from train.ensemble import EnsembleReport


class HowName(StrEnum):
    """How one becomes of several."""

    soup = "soup"
    greedy = "greedy"
    distill = "distill"


def ensemble(
    context: typer.Context,
    versions: Annotated[list[str], typer.Argument(help="Two versions (v3) or more; also champion, previous, challenger.")],
    how: Annotated[
        HowName,
        typer.Option(
            "--how",
            help="soup: average all weights; greedy: of members that help on validation rows; distill: teach one what all say.",
        ),
    ] = HowName.soup,
    weight: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="distill: what the members' answers count; the rest are the labels.")
    ] = 0.7,
    temperature: Annotated[float, typer.Option(min=0.1, max=20.0, help="distill: above 1 their answers become softer.")] = 2.0,
    base: Annotated[
        str | None,
        typer.Option("--base", help="distill: encoder to start from; absent: that of the member best on validation."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="distill: the same seed and members give the same model.")] = 0,
    promote: Annotated[bool, typer.Option(help="Let it serve at once, if the gate allows.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Make one version of several, which answers as fast as one of them.

    soup and greedy take seconds, and members that were trained at full speed from one encoder; distill takes a training,
    and any members. What comes out learns from the rows of the newest of them and goes before the gate like any version.

    \b
    Examples:
      hone ensemble v2 v3 v4
      hone ensemble v2 v3 v4 --how greedy --no-promote
      hone ensemble v2 v5 champion --how distill --temperature 3
    """
    from train.ensemble import EnsembleRequest
    from train.ensemble import ensemble as make_one

    request = EnsembleRequest(
        tuple(versions), how.value, weight=weight, temperature=temperature, base=base, seed=seed, promote=promote
    )
    with progress_bar("making one of several") as progress:
        report = make_one(settings_of(context), request, progress)
    if as_json:
        show_json(report.model_dump(mode="json"))
    else:
        show_ensemble(report)


def show_ensemble(report: EnsembleReport) -> None:
    """Show what one was made of, and what it led to."""
    members: list[list[object]] = [
        [member.version, percent(member.validation_accuracy), percent(member.accuracy), "yes" if member.used else "no"]
        for member in report.members
    ]
    show_table(["member", "accuracy on validation", "on test", "used"], members)
    options: list[list[object]] = [
        [option.name, percent(option.accuracy), "chosen" if option.chosen else ""] for option in report.options
    ]
    show_table(["features", "accuracy on validation", ""], options)
    show_decision(report.decision)
    waits = f"it waits for a signature: hone models approve {report.version}"
    fate = "it is the champion now" if report.promoted else waits if report.decision.waits else "it was not promoted"
    accuracy = percent(report.metrics.get("accuracy"))
    say(f"{report.version}: accuracy {accuracy} on the test rows, after {sum(report.seconds.values()):.0f} s; {fate}")
