"""API keys: what opens what, what is kept of them, and that changes from many processes are all there."""

from __future__ import annotations

import multiprocessing
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Conflict, InputError, KeysDamaged, UnknownKey
from core.keys import ROLES, KeyRing, KeySet, Role, read_keys
from core.schemas import now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def ring(path: Path) -> KeyRing:
    return KeyRing(path)


def test_a_role_has_the_rights_of_those_below(ring: KeyRing, path: Path) -> None:
    reach = {}
    for role in ROLES:
        key, secret = ring.create(f"key-{role}", role)
        assert read_keys(path).find(secret) == key
        reach[role] = [other for other in ROLES if key.reaches(other)]
    assert reach == {
        "predict": ["predict"],
        "annotate": ["predict", "annotate"],
        "operate": ["predict", "annotate", "operate"],
    }


def test_the_secret_is_kept_nowhere(ring: KeyRing, path: Path) -> None:
    key, secret = ring.create("ada", "operate")
    kept = path.read_text(encoding="utf-8")
    assert secret not in kept
    assert secret.split("_", 2)[2] not in kept
    assert len(secret.removeprefix(f"hone_{key.key_id}_")) == 43, "32 bytes"
    assert secret not in repr(key)
    assert key.sha256 not in repr(key)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_secrets_differ(ring: KeyRing) -> None:
    assert len({ring.create(f"key-{number}", "predict")[1] for number in range(20)}) == 20


def test_a_revoked_key_opens_nothing_and_stays_listed(ring: KeyRing, path: Path) -> None:
    _, secret = ring.create("ada", "predict")
    other, other_secret = ring.create("bob", "predict")
    revoked = ring.revoke("ada")
    assert revoked.revoked_at is not None
    assert read_keys(path).find(secret) is None
    assert read_keys(path).find(other_secret) == other
    assert [key.name for key in ring.listed()] == ["ada", "bob"]
    with pytest.raises(UnknownKey):
        ring.revoke("ada")
    renewed, _ = ring.create("ada", "annotate")
    assert ring.revoke(renewed.key_id).key_id == renewed.key_id


def test_an_expired_key_opens_nothing(ring: KeyRing, path: Path) -> None:
    _, over = ring.create("over", "predict", expires_at=now() - timedelta(seconds=1))
    key, coming = ring.create("coming", "predict", expires_at=now() + timedelta(hours=1))
    assert read_keys(path).find(over) is None
    assert read_keys(path).find(coming) == key


@pytest.mark.parametrize("name", ["", "a b", "a\nb", "-a", "x" * 65, "<script>", "ключ"])
def test_strange_names_are_refused(ring: KeyRing, path: Path, name: str) -> None:
    with pytest.raises(InputError):
        ring.create(name, "predict")
    assert not path.exists()


def test_one_name_is_one_valid_key(ring: KeyRing) -> None:
    ring.create("ada", "predict")
    with pytest.raises(Conflict, match="ada"):
        ring.create("ada", "operate")
    assert len(ring.listed()) == 1


def test_a_forgotten_key_leaves_no_trace(ring: KeyRing, path: Path) -> None:
    key, secret = ring.create("start", "predict")
    ring.forget(key.key_id)
    ring.forget(key.key_id)
    assert ring.listed() == []
    assert read_keys(path).find(secret) is None


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b'{"format": 2, "keys": []}', b'{"keys": [{"role": "root"}]}', b"\xff", b"[" * 100_000]
)
def test_a_damaged_file_is_told_and_left_as_it_is(ring: KeyRing, path: Path, damage: bytes) -> None:
    path.write_bytes(damage)
    for act in (ring.listed, lambda: ring.create("ada", "predict"), lambda: ring.revoke("ada"), lambda: read_keys(path)):
        with pytest.raises(KeysDamaged) as caught:
            act()
        assert caught.value.__cause__ is None
    assert path.read_bytes() == damage


def test_no_file_is_no_keys(path: Path) -> None:
    assert read_keys(path) == KeySet({})


@given(st.text() | st.from_regex(r"\Ahone_[0-9a-f]{12}_[A-Za-z0-9_-]{43}\Z"))
def test_what_was_not_made_opens_nothing(secret: str) -> None:
    assert KeySet({}).find(secret) is None


def test_a_secret_opens_its_own_key_only(ring: KeyRing, path: Path) -> None:
    first, secret = ring.create("ada", "predict")
    second, other = ring.create("bob", "operate")
    mixed = secret.replace(first.key_id, second.key_id)
    changed = other[:-1] + ("A" if other[-1] != "A" else "B")
    for wrong in (mixed, changed, secret[:-1], f"{secret} ", f"{secret}\n", secret.upper(), other.rpartition("_")[2]):
        assert read_keys(path).find(wrong) is None


def _make(path: Path, number: int, role: Role) -> None:
    KeyRing(path).create(f"key-{number}", role)


def test_keys_made_at_once_by_many_processes_are_all_there(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    makers = [context.Process(target=_make, args=(path, number, "predict")) for number in range(4)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert {key.name for key in KeyRing(path).listed()} == {f"key-{number}" for number in range(4)}
