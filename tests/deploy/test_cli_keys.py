"""`hone keys …`, and commands that speak to a service which takes a key."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from core.errors import HoneError, KeysDamaged, Unauthenticated
from core.keys import KeyRing, read_keys
from core.registry import Registry
from core.schemas import now
from core.settings import Settings
from deploy.cli.up import TerminalScreen, try_lines
from deploy.client import ServiceClient
from deploy.stack.run import run_stack
from deploy.stack.start_key import missing_keys, start_key
from tests.deploy.conftest import RunHone, serving


@pytest.fixture
def keyed(settings: Settings, registry: Registry) -> Iterator[Settings]:
    """Give a service on this test's port that takes keys."""
    with serving(settings.model_copy(update={"auth": "on"})) as served:
        yield served


def test_a_key_is_shown_once_and_opens_what_its_role_says(hone: RunHone, settings: Settings) -> None:
    made = hone("keys", "create", "--role", "annotate", "--name", "ada")
    secret = made.stdout.strip()
    assert re.fullmatch(r"hone_[0-9a-f]{12}_[\w-]{43}", secret), "nothing else is on standard output"
    assert "ada" in made.stderr
    key = read_keys(settings.home.keys).find(secret)
    assert key is not None
    assert (key.name, key.role, key.expires_at) == ("ada", "annotate", None)
    for shown in (hone("keys", "list"), hone("keys", "list", "--json"), hone("keys", "revoke", "ada")):
        assert "ada" in shown.stdout
        assert secret.split("_", 2)[2] not in shown.output
        assert key.sha256 not in shown.output
    assert json.loads(hone("keys", "list", "--json").stdout)[0]["state"] == "revoked"
    assert read_keys(settings.home.keys).find(secret) is None


def test_json_carries_the_secret_at_its_making_only(hone: RunHone) -> None:
    made = json.loads(hone("keys", "create", "--role", "operate", "--name", "ada", "--json").stdout)
    assert set(made) == {"key_id", "name", "role", "created_at", "expires_at", "revoked_at", "state", "secret"}
    (listed,) = json.loads(hone("keys", "list", "--json").stdout)
    assert listed == {name: value for name, value in made.items() if name != "secret"}


@pytest.mark.parametrize(
    ("said", "least", "most"),
    [("30m", timedelta(minutes=29), timedelta(minutes=31)), ("90d", timedelta(days=89), timedelta(days=91))],
)
def test_a_key_ends_when_it_was_said_to(hone: RunHone, said: str, least: timedelta, most: timedelta) -> None:
    made = json.loads(hone("keys", "create", "--role", "predict", "--name", "a", "--expires", said, "--json").stdout)
    assert now() + least < datetime.fromisoformat(made["expires_at"]) < now() + most


def test_a_date_is_a_time_too(hone: RunHone) -> None:
    made = json.loads(hone("keys", "create", "--role", "predict", "--name", "a", "--expires", "2999-01-31", "--json").stdout)
    assert made["expires_at"].startswith("2999-01-31T00:00:00")


@pytest.mark.parametrize("said", ["", "soon", "10", "-1d", "2001-01-01", "999999d9", "99999999999d"])
def test_a_time_that_is_none_or_over_is_refused(hone: RunHone, settings: Settings, said: str) -> None:
    result = hone("keys", "create", "--role", "predict", "--name", "a", "--expires", said)
    assert result.exit_code == 2
    assert not settings.home.keys.exists()


def test_mistakes_are_told(hone: RunHone, settings: Settings) -> None:
    assert hone("keys", "revoke", "nobody").exit_code == 1
    assert hone("keys", "create", "--role", "root", "--name", "a").exit_code == 2
    settings.home.keys.write_text("{", encoding="utf-8")
    damaged = hone("keys", "list")
    assert damaged.exit_code == 1
    assert "keys.json cannot be read" in damaged.stderr


def test_commands_send_the_key_of_their_environment(keyed: Settings, hone: RunHone) -> None:
    refused = hone("predict", "positive")
    assert refused.exit_code == 1
    assert "HONE_API_KEY" in refused.stderr
    with pytest.raises(Unauthenticated):
        ServiceClient(keyed).status()
    _, secret = KeyRing(keyed.home.keys).create("ada", "operate")
    with_key = keyed.model_copy(update={"api_key": secret})
    client = ServiceClient(with_key)
    assert client.ready()
    _until_let_in(client)
    assert client.predict("so positive").label == "positive"


def _until_let_in(client: ServiceClient) -> None:
    while True:
        try:
            client.status()
        except Unauthenticated:
            continue
        return


def test_a_start_has_a_key_of_its_own_and_leaves_none(settings: Settings) -> None:
    keyed = settings.model_copy(update={"host": "0.0.0.0"})
    assert "hone keys create" in (missing_keys(keyed) or "")
    with start_key(keyed) as asking:
        key = read_keys(keyed.home.keys).find(asking.api_key)
        assert key is not None
        assert key.role == "predict"
        assert key.expires_at is not None
    assert KeyRing(keyed.home.keys).listed() == []
    KeyRing(keyed.home.keys).create("ada", "predict")
    assert missing_keys(keyed) is None
    keyed.home.keys.write_text("{", encoding="utf-8")
    with pytest.raises(KeysDamaged):
        missing_keys(keyed)


def test_on_loopback_a_start_needs_no_key(settings: Settings) -> None:
    assert missing_keys(settings) is None
    with start_key(settings) as asking:
        assert asking is settings
    assert not settings.home.keys.exists()


def test_to_be_open_to_others_without_a_key_is_refused_before_anything_starts(settings: Settings) -> None:
    exposed = settings.model_copy(update={"host": "0.0.0.0", "auth": "off"})
    with pytest.raises(HoneError, match="HONE_ALLOW_UNAUTHENTICATED=true") as caught:
        run_stack(exposed, TerminalScreen(exposed))
    assert caught.value.code == "exposed"


def test_the_lines_to_try_carry_the_key_where_one_is_needed() -> None:
    assert all("$HONE_API_KEY" in command for _, command in try_lines("http://hone", with_key=True))
    assert not any("KEY" in command for _, command in try_lines("http://hone"))
