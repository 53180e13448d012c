"""Who reaches a stack from another machine: nobody by default, and with a key elsewhere. Asked from another machine, nearly."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from core.keys import KeyRing
from core.settings import Settings
from tests.deploy.networks import HERE, Machine, two_machines
from tests.deploy.test_up import refused, up

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("registry")]

_JSON = "content-type: application/json"
_BODY = '{"text": "so positive"}'


@pytest.fixture(scope="module")
def machines() -> Iterator[tuple[Machine, Machine]]:
    with two_machines() as made:
        yield made


@pytest.fixture
def user(tmp_path: Path) -> Path:
    folder = tmp_path / "user"
    folder.mkdir()
    return folder


def test_a_stack_of_defaults_answers_nobody_beyond_loopback(
    machines: tuple[Machine, Machine], settings: Settings, user: Path
) -> None:
    here, there = machines
    with up(settings, user, here.prefix):
        assert here.ask("127.0.0.1", settings.port, "POST", "/v1/predict", [_JSON], _BODY).startswith("200")
        assert there.ask(HERE, settings.port, "GET", "/healthz") == "ConnectionRefusedError"
        ports = here.listening()
        assert ports
        assert [found for found in ports if not _is_loopback(found[0])] == []
        # The listing could be wrong; the door cannot.
        assert {there.ask(HERE, port, "GET", "/") for _, port in ports} == {"ConnectionRefusedError"}


def test_a_stack_that_is_open_to_others_asks_them_for_a_key(
    machines: tuple[Machine, Machine], settings: Settings, user: Path
) -> None:
    here, there = machines
    open_to_all = settings.model_copy(update={"host": "0.0.0.0", "ingress": "proxy"})
    _, secret = KeyRing(settings.home.keys).create("ada", "predict")
    key = f"authorization: Bearer {secret}"

    def ask(*headers: str, path: str = "/v1/predict") -> str:
        return there.ask(HERE, settings.port, "POST", path, [_JSON, *headers], _BODY)

    with up(open_to_all, user, here.prefix):
        assert there.ask(HERE, settings.port, "GET", "/readyz").startswith("200")
        assert ask().startswith("401")
        assert ask("authorization: Bearer hone_wrong").startswith("401")
        assert ask(key).startswith("200")
        assert ask(key, path="/v1/rollback").startswith("403")
        assert ask(key, "x-long: " + "x" * 20_000).startswith("431")
        # One door and no other, whichever process it belongs to.
        doors = {port for host, port in here.listening() if not _is_loopback(host)}
        assert doors == {settings.port}
        KeyRing(settings.home.keys).revoke("ada")
        while not ask(key).startswith("401"):
            pass
    assert [entry.name for entry in KeyRing(settings.home.keys).listed()] == ["ada"], "the key of the start is gone"


def test_to_be_open_without_keys_takes_two_words(settings: Settings, user: Path) -> None:
    assert "HONE_ALLOW_UNAUTHENTICATED=true" in refused(settings.model_copy(update={"host": "0.0.0.0", "auth": "off"}), user)


def _is_loopback(host: str) -> bool:
    bare = host.strip("[]").partition("%")[0]
    return bare != "*" and ip_address(bare.removeprefix("::ffff:")).is_loopback


def test_the_two_machines_see_each_other(machines: tuple[Machine, Machine]) -> None:
    here, there = machines
    command = [*here.prefix, "python3", "-m", "http.server", "9999", "--bind", "0.0.0.0"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while there.ask(HERE, 9999, "GET", "/no") == "ConnectionRefusedError":
            assert server.poll() is None
        # So what is refused elsewhere is refused by Hone, and not by the cable.
        assert there.ask(HERE, 9999, "GET", "/no").startswith("404")
    finally:
        server.kill()
        server.wait()
