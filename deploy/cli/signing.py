"""`hone models approve` and `reject`: a person's signature under what the gate recommends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.cli.context import JsonOption, LocalOption, settings_of, who
from deploy.cli.moving import ask
from deploy.cli.show import say, show_decision, show_json

if TYPE_CHECKING:
    from core.registry import Registry
    from deploy.client import ServiceClient

VersionArgument = Annotated[str, typer.Argument(help="A version (v3), or champion, previous, challenger.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; kept in the audit trail.")]


def approve(
    context: typer.Context,
    version: VersionArgument,
    reason: ReasonOption,
    stale: Annotated[bool, typer.Option("--stale", help="Although it was compared with another champion.")] = False,
    as_json: JsonOption = False,
    local: LocalOption = False,
) -> None:
    """Sign for a version that waits for approval (HONE_GATE_MODE=approve): make it the champion.

    The signature, with the hash of the gate's decision, is in the audit trail (hone trail list). Probation watches the version
    as any other.

    \b
    Examples:
      hone models approve v3 --reason "read the report, tried ten texts"
    """
    _sign(context, version, _Said(True, reason, stale), as_json=as_json, local=local)


def reject(
    context: typer.Context,
    version: VersionArgument,
    reason: ReasonOption,
    as_json: JsonOption = False,
    local: LocalOption = False,
) -> None:
    """Refuse a version that waits for approval; it challenges nobody any more.

    \b
    Examples:
      hone models reject v3 --reason "too many complaints turn up in billing"
    """
    _sign(context, version, _Said(False, reason), as_json=as_json, local=local)


@dataclass(frozen=True)
class _Said:
    approve: bool
    reason: str
    stale: bool = False


def _sign(context: typer.Context, version: str, said: _Said, *, as_json: bool, local: bool) -> None:
    """Show what is signed for, sign, and show who answers then."""
    from core.approvals import Signing
    from core.gate import GateDecision
    from feedback.approving import sign
    from feedback.store import Store
    from serve.registry_view import show_version

    settings, by = settings_of(context), who()

    def here(registry: Registry) -> dict[str, Any]:
        model = show_version(registry, version)
        store = Store.of(settings)
        try:
            signing = Signing(f"{by} (command line)", said.reason, model.decision_hash, said.stale)
            aliases = sign(store, registry, model.version, signing, approve=said.approve)
        finally:
            store.close()
        standing = "approved" if said.approve else "refused"
        return {**aliases.model_dump(), "version": model.version, "standing": standing, "decision": model.decision}

    def remote(client: ServiceClient) -> dict[str, Any]:
        model = client.model(version)
        seen = model.decision_hash
        answer = client.sign(model.version, approve=said.approve, reason=said.reason, by=by, seen=seen, stale=said.stale)
        return {**answer.model_dump(), "decision": model.decision}

    answer = ask(settings, local, remote, here)
    decision = answer.pop("decision")
    if as_json:
        show_json(answer)
        return
    if isinstance(decision, GateDecision):
        show_decision(decision)
    say(f"{answer['version']} is {answer['standing']} by {by}; {answer['champion'] or 'none'} is the champion")
