"""`hone models …`: versions, what the gate said about them, and which of them answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.settings import Settings
from deploy.cli.context import JsonOption, LocalOption, settings_of, who
from deploy.cli.show import percent, say, show_decision, show_json, show_table

if TYPE_CHECKING:
    from pydantic import BaseModel

    from core.registry import Registry
    from deploy.client import ServiceClient

app = typer.Typer(no_args_is_help=True, help="List versions, look at one, make one the champion, go back to the one before.")

VersionArgument = Annotated[str, typer.Argument(help="A version (v3), or champion, previous, challenger.")]
WhyOption = Annotated[str, typer.Option("--why", help="Why; kept in the history.")]


@app.command("list")
def list_models(context: typer.Context, as_json: JsonOption = False, local: LocalOption = False) -> None:
    """List the versions, newest first.

    \b
    Examples:
      hone models list
      hone models list --json
    """
    from serve.registry_view import list_versions

    models = _ask(
        settings_of(context),
        local,
        lambda client: {"models": [model.model_dump(mode="json") for model in client.models()]},
        lambda registry: list_versions(registry).model_dump(mode="json"),
    )["models"]
    if as_json:
        show_json(models)
        return
    rows = [
        [
            model["version"],
            ", ".join(model["aliases"]),
            (model["created_at"] or "")[:16].replace("T", " "),
            model["speed"],
            model["features"],
            percent(model["metrics"].get("accuracy")),
            model["problem"] or (model["gate"] or {}).get("summary"),
        ]
        for model in models
    ]
    show_table(["version", "alias", "made (UTC)", "speed", "features", "accuracy", "gate"], rows)


@app.command("show")
def show(context: typer.Context, version: VersionArgument, as_json: JsonOption = False, local: LocalOption = False) -> None:
    """Show a version: what it is, what it learned from, and what the gate said, rule by rule.

    \b
    Examples:
      hone models show champion
      hone models show v3 --json
    """
    from core.gate import GateDecision
    from serve.registry_view import show_version

    model = _ask(
        settings_of(context),
        local,
        lambda client: client.model(version).model_dump(mode="json"),
        lambda registry: show_version(registry, version).model_dump(mode="json"),
    )
    if as_json:
        show_json(model)
        return
    lineage = model["lineage"]
    facts = {
        "version": ", ".join([model["version"], *model["aliases"]]),
        "labels": len(model["labels"]),
        "features": model["features"],
        "encoder": f"{model['encoder']['base']}, {model['encoder']['serving']}" if model["encoder"] else None,
        "learned from": f"{lineage['parent'] or 'scratch'}, at speed {lineage['speed']}, seed {lineage['seed']}",
        "rows": ", ".join(f"{count} {split}" for split, count in lineage["rows"].items()),
        **{name: f"{value:.4f}" for name, value in model["metrics"].items()},
    }
    show_table(["", ""], facts.items())
    if model["decision"]:
        show_decision(GateDecision.model_validate(model["decision"]))
    if model["rollouts"]:
        rows = [[row["at"][:19].replace("T", " "), row["state"], row["reason"], row["replica_id"]] for row in model["rollouts"]]
        show_table(["when (UTC)", "rollout", "", "replica"], rows)


@app.command("promote")
def promote(
    context: typer.Context,
    version: VersionArgument,
    why: WhyOption = "by hand",
    override: Annotated[bool, typer.Option("--override", help="Although the gate refused it.")] = False,
    as_json: JsonOption = False,
    local: LocalOption = False,
) -> None:
    """Make a version the champion, after its files were verified. Replicas swap without a gap.

    \b
    Examples:
      hone models promote v3 --why "reviewed by hand"
      hone models promote challenger --override
    """
    by = who()
    _move(context, lambda at: at.promote(version, by=by, why=why, override=override), as_json=as_json, local=local)


@app.command("rollback")
def rollback(
    context: typer.Context, why: WhyOption = "by hand", as_json: JsonOption = False, local: LocalOption = False
) -> None:
    """Make the previous champion the champion again; asked twice, it goes forth again.

    \b
    Example:
      hone models rollback --why "complaints about v4"
    """
    from core.registry import Registry

    by = who()
    _move(
        context,
        lambda at: at.rollback(by=by, why=why) if isinstance(at, Registry) else at.roll_back(by=by, why=why),
        as_json=as_json,
        local=local,
    )


@app.command("challenge")
def challenge(
    context: typer.Context,
    version: VersionArgument,
    why: WhyOption = "by hand",
    override: Annotated[bool, typer.Option("--override", help="Let it answer although the gate refused it.")] = False,
    as_json: JsonOption = False,
    local: LocalOption = False,
) -> None:
    """Make a version the challenger. It answers the share HONE_CANARY_RATIO names, or is only compared (HONE_SHADOW_RATIO).

    \b
    Examples:
      hone models challenge v4 --why "try it on a tenth"
      hone models withdraw
    """
    by = who()
    _move(context, lambda at: at.challenge(version, by=by, why=why, override=override), as_json=as_json, local=local)


@app.command("withdraw")
def withdraw(
    context: typer.Context, why: WhyOption = "by hand", as_json: JsonOption = False, local: LocalOption = False
) -> None:
    """Have no challenger any more; the champion answers its share too.

    \b
    Example:
      hone models withdraw --why "seen enough"
    """
    by = who()
    _move(context, lambda at: at.withdraw(by=by, why=why), as_json=as_json, local=local)


def _ask(
    settings: Settings,
    local: bool,
    remote: Callable[[ServiceClient], dict[str, Any]],
    here: Callable[[Registry], dict[str, Any]],
) -> dict[str, Any]:
    """Return the service's answer, or the registry's where no service runs."""
    from core.registry import Registry
    from deploy.client import ServiceClient

    client = ServiceClient(settings)
    if not local and client.alive():
        return remote(client)
    settings.home.prepare()
    return here(Registry(settings.home.registry))


def _move(context: typer.Context, move: Callable[[ServiceClient | Registry], BaseModel], *, as_json: bool, local: bool) -> None:
    """Have ``move`` done by the service, or by the registry where no service runs, and show who answers then."""
    aliases = _ask(
        settings_of(context), local, lambda client: move(client).model_dump(), lambda registry: move(registry).model_dump()
    )
    if as_json:
        show_json(aliases)
    else:
        say(f"{aliases['champion'] or 'none'} is the champion; before it was {aliases['previous'] or 'none'}")
        if aliases["challenger"]:
            say(f"{aliases['challenger']} challenges it")
