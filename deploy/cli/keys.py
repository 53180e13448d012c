"""`hone keys …`: who may ask, correct and operate where requests take a key."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated

import typer

from core.keys import Key, KeyRing
from core.schemas import now
from core.settings import Settings
from deploy.cli.context import JsonOption, settings_of
from deploy.cli.show import note, say, show_json, show_table

app = typer.Typer(no_args_is_help=True, help="Make API keys, list them, revoke them. Replicas notice within a second.")

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


class RoleName(StrEnum):
    """What a key may do; each role may also do what those before it may."""

    predict = "predict"
    annotate = "annotate"
    operate = "operate"


@app.command("create")
def create(
    context: typer.Context,
    role: Annotated[RoleName, typer.Option("--role", help="predict < annotate < operate: each may what those before it may.")],
    name: Annotated[str, typer.Option("--name", help="Whose it is, or what it is for; logs show it.")],
    expires: Annotated[
        str | None, typer.Option("--expires", help="When it ends: 30m, 12h, 90d, or a date such as 2030-01-31 (UTC).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key and show it, once: only its SHA-256 is kept.

    The key goes to standard output and all else to standard error, so that a script can take it.

    \b
    Examples:
      hone keys create --role predict --name web-shop
      export HONE_API_KEY=$(hone keys create --role operate --name ada --expires 90d)
    """
    expires_at = _moment(expires) if expires is not None else None
    key, secret = _ring(settings_of(context)).create(name, role.value, expires_at=expires_at)
    if as_json:
        show_json({**_shown(key), "secret": secret})
        return
    end = f"until {_short(key.expires_at)} UTC" if key.expires_at else "until it is revoked"
    note(f"key {key.key_id} of {key.name}: role {key.role}, {end}. It is shown this once; keep it like a password.")
    say(secret)


@app.command("list")
def list_keys(context: typer.Context, as_json: JsonOption = False) -> None:
    """List all keys, those that ended too, oldest first. The secrets are not known.

    \b
    Examples:
      hone keys list
      hone keys list --json
    """
    keys = _ring(settings_of(context)).listed()
    if as_json:
        show_json([_shown(key) for key in keys])
        return
    rows = [[key.key_id, key.name, key.role, _short(key.created_at), _short(key.expires_at), _state(key)] for key in keys]
    show_table(["id", "name", "role", "made (UTC)", "ends (UTC)", "state"], rows)


@app.command("revoke")
def revoke(
    context: typer.Context,
    key: Annotated[str, typer.Argument(help="The name or the id of a valid key.")],
    as_json: JsonOption = False,
) -> None:
    """End a key for good. Replicas refuse it within a second.

    \b
    Examples:
      hone keys revoke web-shop
    """
    revoked = _ring(settings_of(context)).revoke(key)
    if as_json:
        show_json(_shown(revoked))
    else:
        say(f"key {revoked.key_id} of {revoked.name} is revoked")


def _ring(settings: Settings) -> KeyRing:
    settings.home.prepare()
    return KeyRing(settings.home.keys)


def _shown(key: Key) -> dict[str, object]:
    return {**key.model_dump(mode="json", exclude={"sha256"}), "state": _state(key)}


def _state(key: Key) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "valid" if key.valid(now()) else "expired"


def _short(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M") if moment else None


def _moment(text: str) -> datetime:
    span = re.fullmatch(r"([0-9]{1,6})([mhd])", text)
    try:
        if span:
            return now() + timedelta(**{_UNITS[span[2]]: int(span[1])})
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(f"{text!r} is no time; write 30m, 12h, 90d, or a date such as 2030-01-31") from error
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if moment <= now():
        raise typer.BadParameter(f"{text!r} is over already")
    return moment
