"""`hone status` and `hone doctor`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import typer

from deploy.cli.context import JsonOption, settings_of
from deploy.cli.show import out, percent, say, show_json, show_table

# A learner speaks at least every 10 s while it is idle, and every few while it learns.
_SILENT_S = 60.0
_COLOURS = {"ok": "green", "warning": "yellow", "broken": "red"}


def status(context: typer.Context, as_json: JsonOption = False) -> None:
    """Say what serves, what was corrected, and what the learner does. Works without a service too.

    \b
    Examples:
      hone status
      hone status --json
    """
    from deploy.client import ServiceClient

    settings = settings_of(context)
    client = ServiceClient(settings)
    if client.alive():
        found = {"service": "up", "url": settings.url, **client.status().model_dump(mode="json")}
    else:
        from deploy.local import status_of

        found = {"service": "down", "url": settings.url, **status_of(settings)}
    if as_json:
        show_json(found)
    else:
        show_table(["", ""], _status_rows(found))


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


def _status_rows(found: dict[str, Any]) -> Iterator[tuple[str, object]]:
    yield "service", f"{found['service']}, {found['url']}"
    yield "answers with", found["model_version"]
    if found.get("loading"):
        yield "loading", found["loading"]
    if found.get("rollout_failure"):
        failure = found["rollout_failure"]
        yield "could not load", f"{failure['version']}: {failure['reason']}"
    for replica in found.get("replicas", []):
        yield f"replica {replica['replica_id']}", f"{replica['state']}, {replica['model_version']}"
    yield "store", "answers" if found["store_up"] else "away"
    yield "corrections", found["corrections"]
    yield "confirmations", found["confirmations"]
    if memory := found.get("memory"):
        yield "memory", f"{memory['answers']} texts answered from it, {memory['learned']} learned since"
    for item in found.get("live_accuracy", []):
        judged = item["right"] + item["wrong"]
        yield f"live accuracy {item['version']}", f"{percent(item['accuracy'])} of {judged} answers people judged"
    if found.get("outlook"):
        yield "next run", next_run(found["outlook"])
    run = found["last_run"]
    if run:
        outcome = run["version"] or run["error"] or run["stage"]
        speed = run["speed"] if run.get("chosen") in (None, run["speed"]) else f"{run['speed']}: {run['chosen']}"
        yield "last run", ", ".join(str(part) for part in (run["run_id"], speed, run["state"], outcome) if part)


def next_run(outlook: dict[str, Any]) -> str:
    """Return when the learner learns next in words; one that has not been heard of for a while is named."""
    silent_s = (datetime.now(UTC) - datetime.fromisoformat(outlook["at"])).total_seconds()
    if silent_s > _SILENT_S:
        return f"no learner is at work (last heard of {outlook['at']:.19} UTC)"
    return str(outlook["why"])
