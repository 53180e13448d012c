"""`hone models …`: versions, what the gate said about them, and which of them answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.cli.context import JsonOption, LocalOption, settings_of, who
from deploy.cli.moving import ask, noted
from deploy.cli.show import percent, say, show_decision, show_json, show_table
from deploy.cli.signing import VersionArgument, approve, reject

if TYPE_CHECKING:
    from pydantic import BaseModel

    from core.registry import Registry
    from deploy.client import ServiceClient

app = typer.Typer(no_args_is_help=True, help="List versions, look at one, make one the champion, go back to the one before.")

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

    models = ask(
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
            model["problem"] or _verdict(model),
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

    model = ask(
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
    if model["standing"]:
        say(f"a person's word: {model['standing']}")
    if model["signatures"]:
        columns = ["when (UTC)", "who", "what", "why", "decision seen"]
        show_table(columns, [_signature(signature) for signature in model["signatures"]])
    if model["rollouts"]:
        rows = [[row["at"][:19].replace("T", " "), row["state"], row["reason"], row["replica_id"]] for row in model["rollouts"]]
        show_table(["when (UTC)", "rollout", "", "replica"], rows)


@app.command("report")
def report(
    context: typer.Context,
    version: VersionArgument,
    out: Annotated[Path, typer.Option("--out", help="File to write: a page where it ends in .html, else JSON.")],
    local: LocalOption = False,
) -> None:
    """Write what the gate decided on a version as one page with pictures, or as JSON.

    The page needs no network and no script: rules, flips, labels and slices with their uncertainty, reliability, signatures.

    \b
    Examples:
      hone models report challenger --out gate.html
      hone models report v3 --out gate.json
    """
    from serve.gate_page import page_of
    from serve.gate_report import GateReport, report_of

    found = ask(
        settings_of(context),
        local,
        lambda client: client.gate(version).model_dump(mode="json"),
        lambda registry: report_of(registry, version).model_dump(mode="json"),
    )
    told = GateReport.model_validate(found)
    text = page_of(told) if out.suffix.lower() in (".html", ".htm") else told.model_dump_json(indent=1) + "\n"
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"{out} cannot be written: {error.strerror or error}", param_hint="--out") from error
    say(f"{told.version}: {told.summary}; written to {out}")


@app.command("card")
def card(context: typer.Context, version: VersionArgument, as_json: JsonOption = False, local: LocalOption = False) -> None:
    """Print the model card as Markdown: use, data, results, slices, limits, time and carbon, approval.

    \b
    Examples:
      hone models card champion > CARD.md
      hone models card v3 --json
    """
    from serve.model_card import ModelCard, card_of, markdown_of

    settings = settings_of(context)
    found = ask(
        settings,
        local,
        lambda client: client.card(version).model_dump(mode="json"),
        lambda registry: card_of(registry, version, settings).model_dump(mode="json"),
    )
    if as_json:
        show_json(found)
    else:
        typer.echo(markdown_of(ModelCard.model_validate(found)), nl=False)


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


app.command("approve")(approve)
app.command("reject")(reject)


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


@app.command("publish")
def publish(context: typer.Context) -> None:
    """Take the versions of this state folder into the object store of HONE_BUNDLES_URL, once, before nodes share them by it.

    \b
    Example:
      HONE_BUNDLES_URL=s3://models/reviews hone models publish
    """
    from core.registries import publish as take

    settings = settings_of(context)
    settings.home.prepare()
    names = take(settings)
    say(f"{len(names)} versions are in {settings.bundles_address} now, and are moved there from here on")


def _verdict(model: dict[str, Any]) -> str | None:
    """Return what the gate said and how the version stands with who signs."""
    summary = (model["gate"] or {}).get("summary")
    said = {
        "waiting": "waits for approval",
        "approved": "approved",
        "refused": "refused by a person",
        "overridden": "overridden",
    }
    return f"{summary}; {said[model['standing']]}" if model["standing"] else summary


def _signature(signature: dict[str, Any]) -> list[str]:
    what = signature["action"] if signature["action"] in ("approve", "refuse") else f"{signature['action']} by override"
    seen = (signature["decision_hash"] or "")[:12]
    return [signature["at"][:19].replace("T", " "), signature["by"], what, signature["reason"], seen]


def _move(context: typer.Context, move: Callable[[ServiceClient | Registry], BaseModel], *, as_json: bool, local: bool) -> None:
    """Have ``move`` done by the service, or by the registry where no service runs, and show who answers then."""
    settings = settings_of(context)
    aliases = ask(
        settings,
        local,
        lambda client: move(client).model_dump(),
        lambda registry: noted(settings, registry, move).model_dump(),
    )
    if as_json:
        show_json(aliases)
    else:
        say(f"{aliases['champion'] or 'none'} is the champion; before it was {aliases['previous'] or 'none'}")
        if aliases["challenger"]:
            say(f"{aliases['challenger']} challenges it")
