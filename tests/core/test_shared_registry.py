"""A registry in an object store: what other nodes see of it, and what is left when the store, or a copy, fails."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from obstore.store import MemoryStore

from core.bundle import HEAD, MANIFEST, verify
from core.classifier import Classifier
from core.errors import BundleError, BundlesUnavailable, Conflict, GateRefused, UnknownVersion
from core.gate import GateDecision, Rule
from core.objects import Objects
from core.registries import publish, registry_of
from core.registry import Aliases, Registry
from core.settings import Settings
from core.shared_registry import SharedRegistry
from core.shared_state import STATE, SharedState, key_of
from tests.bundles import register_ngram_bundle, write_ngram_bundle
from tests.core.shared import Nodes
from tests.s3 import S3

_REFUSAL = GateDecision(
    promote=False,
    summary="failed accuracy_loss",
    champion="v1",
    rules=[Rule(name="accuracy_loss", value=0.02, limit=0.005, kind="required", passed=False, why="it loses")],
)


class Fickle(Objects):
    """A store in memory that can be away, be quicker for others, and lose its answers; it counts what is moved."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        super().__init__(self.store, self.store, "a test's memory")
        self.away = False
        self.before_write: Callable[[], None] = lambda: None
        self.after_write: Callable[[], None] = lambda: None
        self.pulled: list[str] = []

    def read(self, key: str, *, unless: str = "") -> Any:
        self._check()
        return super().read(key, unless=unless)

    def write(self, key: str, data: bytes, *, replacing: str) -> str:
        self._check()
        self.before_write()
        tag = super().write(key, data, replacing=replacing)
        self.after_write()
        return tag

    def push(self, key: str, content: Path | bytes) -> None:
        self._check()
        super().push(key, content)

    def fetch(self, key: str) -> bytes:
        self._check()
        return super().fetch(key)

    def pull(self, key: str, path: Path) -> str:
        self._check()
        self.pulled.append(key)
        return super().pull(key, path)

    def _check(self) -> None:
        if self.away:
            raise BundlesUnavailable("the store of bundles is away")


@pytest.fixture
def objects() -> Fickle:
    return Fickle()


@pytest.fixture
def nodes(tmp_path: Path, objects: Fickle) -> Nodes:
    return Nodes(tmp_path, objects)


def test_what_one_node_registers_another_pulls_and_answers_with(nodes: Nodes) -> None:
    a, b = nodes.node("a"), nodes.node("b")
    version = register_ngram_bundle(a, decision=None)
    a.promote(version, by="ann", why="first")
    assert b.look() == Aliases(champion="v1")
    assert b.history() == a.history()
    assert not (b.root / "versions" / version).exists()
    assert b.manifest(version) == a.manifest(version)
    assert b.card(version) == a.card(version)
    assert not (b.root / "versions" / version).exists()
    assert verify(b.path("champion")) == a.manifest(version)
    assert Classifier.load(b.path("champion")).predict(["positive"]).argmax() == 2


def test_what_the_gate_said_travels_along_and_refuses_elsewhere(nodes: Nodes) -> None:
    register_ngram_bundle(nodes.node("a"), decision=_REFUSAL)
    b = nodes.node("b")
    assert b.decision("v1") == _REFUSAL
    assert b.decision_hash("v1") == nodes.node("a").decision_hash("v1")
    with pytest.raises(GateRefused):
        b.promote("v1", by="bob", why="")


def test_what_versions_share_is_pushed_once_and_linked_where_it_is_pulled(
    nodes: Nodes, objects: Fickle, tmp_path: Path
) -> None:
    a, b = nodes.node("a"), nodes.node("b")
    for _ in range(2):
        register_ngram_bundle(a, seed=5)
    b.path("v1")
    before = len(objects.pulled)
    b.path("v2")
    assert len(objects.pulled) == before
    assert os.stat(b.path("v1") / HEAD).st_ino == os.stat(b.path("v2") / HEAD).st_ino


def test_a_copy_that_was_altered_is_pulled_again(nodes: Nodes) -> None:
    a, b = nodes.node("a"), nodes.node("b")
    for seed in range(2):
        register_ngram_bundle(a, seed=seed)
    (b.path("v1") / HEAD).write_bytes(b"")
    (b.path("v2") / MANIFEST).write_bytes(b"{}")
    assert b.promote("v1", by="a", why="").champion == "v1"
    assert b.renew("v2")
    assert not b.renew("v2")
    for version in b.versions():
        assert verify(b.path(version)) == a.manifest(version)


@pytest.mark.parametrize("data", [b"", b"altered"])
def test_what_was_altered_in_the_store_is_never_used(nodes: Nodes, objects: Fickle, data: bytes) -> None:
    a, b = nodes.node("a"), nodes.node("b")
    register_ngram_bundle(a)
    digest = a.manifest("v1").files[HEAD]
    objects.store.put(key_of(digest), data)
    with pytest.raises(BundleError, match="altered head"):
        b.path("v1")
    assert [entry.name for entry in (b.root / "versions").iterdir() if not entry.name.endswith(".lock")] == []
    with pytest.raises(BundleError):
        b.promote("v1", by="a", why="")
    assert a.look() == Aliases(challenger="v1")


def test_a_manifest_leads_nowhere_outside(nodes: Nodes, objects: Fickle, tmp_path: Path) -> None:
    a, b = nodes.node("a"), nodes.node("b")
    register_ngram_bundle(a)
    manifest = a.manifest("v1")
    body = manifest.model_copy(update={"files": {"../../escaped": manifest.files[HEAD]}}).model_dump_json().encode()
    with pytest.raises(BundleError, match="outside"):
        b._copies.pull("v1", type(manifest).model_validate_json(body), body)
    assert not (b.root / "escaped").exists()


# The store is away


def test_while_the_store_is_away_reading_goes_on_and_nothing_moves(nodes: Nodes, objects: Fickle) -> None:
    a, b = nodes.node("a"), nodes.node("b")
    for seed in range(2):
        register_ngram_bundle(a, seed=seed)
    a.promote("v1", by="a", why="")
    b.look()
    b.path("v1")
    objects.away = True
    again = nodes.node("b")
    for node in (b, again):
        assert node.look().champion == "v1"
        assert verify(node.path("champion"))
        assert node.versions() == ["v1", "v2"]
        with pytest.raises(BundlesUnavailable):
            node.promote("v1", by="b", why="")
        with pytest.raises(BundlesUnavailable):
            node.withdraw(by="b", why="")
        with pytest.raises(BundlesUnavailable):
            node.path("v2")
    objects.away = False
    assert b.promote("v2", by="b", why="").champion == a.look().champion == "v2"


def test_a_node_that_never_saw_the_store_says_so(nodes: Nodes, objects: Fickle) -> None:
    objects.away = True
    with pytest.raises(BundlesUnavailable):
        nodes.node("new").versions()


def test_nothing_is_registered_when_the_store_does_not_take_it(nodes: Nodes, objects: Fickle, tmp_path: Path) -> None:
    a = nodes.node("a")
    a.look()
    write_ngram_bundle(tmp_path / "staged")
    objects.away = True
    with pytest.raises(BundlesUnavailable):
        a.register(tmp_path / "staged", None, by="a", why="")
    objects.away = False
    assert (tmp_path / "staged" / MANIFEST).exists()
    assert a.register(tmp_path / "staged", None, by="a", why="") == "v1"


def test_a_bucket_that_lost_everything_is_not_believed(nodes: Nodes, objects: Fickle) -> None:
    a = nodes.node("a")
    a.promote(register_ngram_bundle(a), by="a", why="")
    objects.store.delete(STATE)
    assert a.look().champion == "v1"
    with pytest.raises(BundlesUnavailable, match="has lost"):
        a.withdraw(by="a", why="")
    assert nodes.node("a").look().champion == "v1"


def test_an_answer_that_is_lost_leaves_the_move_made_once(nodes: Nodes, objects: Fickle) -> None:
    a = nodes.node("a")
    version = register_ngram_bundle(a)

    def lose() -> None:
        objects.after_write = lambda: None
        raise BundlesUnavailable("no answer came")

    objects.after_write = lose
    assert a.promote(version, by="a", why="").champion == version
    assert [move.action for move in nodes.node("b").history()] == ["register", "promote"]


# Several nodes at once


def test_of_two_that_move_at_once_both_are_heard_one_after_the_other(nodes: Nodes, objects: Fickle) -> None:
    a, b = nodes.node("a"), nodes.node("b")
    for seed in range(3):
        register_ngram_bundle(a, seed=seed)
    a.promote("v1", by="a", why="")

    def meddle() -> None:
        objects.before_write = lambda: None
        b.promote("v2", by="b", why="meanwhile")

    objects.before_write = meddle
    assert a.promote("v3", by="a", why="") == Aliases(champion="v3", previous="v2")
    assert [(move.version, move.replaced) for move in a.history()[3:]] == [("v1", None), ("v2", "v1"), ("v3", "v2")]
    objects.before_write = lambda: meddle_again(b, objects)
    with pytest.raises(Conflict, match="v1 was compared with v3, and v2 is champion now"):
        a.promote("v1", by="gate", why="", judged_against="v3")


def meddle_again(node: SharedRegistry, objects: Fickle) -> None:
    objects.before_write = lambda: None
    node.promote("v2", by="b", why="meanwhile")


def test_nodes_that_register_and_promote_at_once_lose_no_move(nodes: Nodes) -> None:
    def work(name: str) -> list[str]:
        node = nodes.node(name)
        names = []
        for seed in range(4):
            staged = node.root / f"staged-{seed}"
            write_ngram_bundle(staged, seed=seed)
            version = _until_heard(partial(node.register, staged, None, by=name, why=""))
            names.append(version)
            _until_heard(partial(node.promote, version, by=name, why=""))
        return names

    with ThreadPoolExecutor(3) as pool:
        names = [version for found in pool.map(work, "abc") for version in found]
    last = nodes.node("d")
    assert sorted(names, key=lambda name: int(name[1:])) == last.versions() == [f"v{place + 1}" for place in range(12)]
    moved = [move for move in last.history() if move.action == "promote"]
    assert [move.replaced for move in moved] == [None, *(move.version for move in moved[:-1])]
    for version in names:
        assert verify(last.path(version)) == last.manifest(version)


def _until_heard(move: Callable[[], Any]) -> Any:
    while True:
        try:
            return move()
        except Conflict:
            continue


# Folders that knew no store, and the other way about


def test_a_folder_with_versions_is_not_overlooked_and_is_published_once(tmp_path: Path, objects: Fickle) -> None:
    own = Registry(tmp_path / "a")
    for seed in range(2):
        own.promote(register_ngram_bundle(own, seed=seed, decision=None), by="a", why="")
    history = own.history()
    nodes = Nodes(tmp_path, objects)
    with pytest.raises(BundleError, match="hone models publish"):
        nodes.node("a").aliases()
    assert nodes.node("a").publish() == ["v1", "v2"]
    for name in "ab":
        node = nodes.node(name)
        assert node.look() == Aliases(champion="v2", previous="v1")
        assert node.history() == history
        verify(node.path("v1"))
    with pytest.raises(Conflict, match="has versions already"):
        nodes.node("b").publish()


def test_a_store_that_is_given_up_leaves_a_registry_of_what_was_pulled(nodes: Nodes) -> None:
    a, b = nodes.node("a"), nodes.node("b")
    for seed in range(2):
        a.promote(register_ngram_bundle(a, seed=seed), by="a", why="")
    b.look()
    b.path("champion")
    left = Registry(b.root)
    assert left.aliases() == Aliases(champion="v2", previous="v1")
    assert left.history() == a.history()
    assert left.versions() == ["v2"]
    left.verify("champion")


@pytest.mark.parametrize("data", [b"{", b'{"format": 2}', b'{"versions": {"../v1": {"manifest": "0"}}}', b"[]"])
def test_a_state_that_this_release_cannot_read_is_told(nodes: Nodes, objects: Fickle, data: bytes) -> None:
    objects.store.put(STATE, data)
    with pytest.raises(BundleError, match="cannot be read by this release"):
        nodes.node("a").versions()


def test_a_state_is_read_as_it_was_written(nodes: Nodes, objects: Fickle) -> None:
    a = nodes.node("a")
    register_ngram_bundle(a, decision=_REFUSAL)
    a.withdraw(by="甲", why="a\u2028b 🙂")
    state = SharedState.parse(bytes(objects.store.get(STATE).bytes()))
    assert state.aliases == Aliases()
    assert state.moves == nodes.node("b").history() == a.history()
    assert state.moves[-1].why == "a\u2028b 🙂"


# Over HTTP


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    server = S3()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def places(s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Settings]:
    """Give settings of nodes that share a prefix of this test's own."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)

    def place(node: str) -> Settings:
        made = Settings.model_validate({"HONE_HOME": tmp_path / node, "bundles_url": f"s3://hone/{tmp_path.name}"})
        made.home.prepare()
        return made

    return place


@pytest.mark.integration
def test_s3_keeps_to_its_conditions(places: Callable[[str], Settings], s3: S3) -> None:
    a, b = registry_of(places("a")), registry_of(places("b"))
    for seed in range(2):
        register_ngram_bundle(a, seed=seed, decision=_REFUSAL)
    a.promote("v1", by="a", why="", override=True)
    assert b.look().champion == "v1"
    assert b.promote("v2", by="b", why="", override=True) == a.look() == Aliases(champion="v2", previous="v1")
    assert verify(b.path("v2")) == verify(a.path("v2"))
    with pytest.raises(UnknownVersion):
        a.path("v3")
    objects = Objects.of(places("a"))
    seen = objects.read(STATE)
    assert seen is not None
    assert objects.read(STATE, unless=seen.tag) is None
    with pytest.raises(Conflict):
        objects.write(STATE, b"{}", replacing="")
    with pytest.raises(Conflict):
        objects.write(STATE, b"{}", replacing='"00000000000000000000000000000000"')
    prefix = f"{places('a').bundles_url.rpartition('/')[2]}/"
    assert all(key.startswith((f"{prefix}objects/", f"{prefix}{STATE}")) for key in s3.names() if key.startswith(prefix))


@pytest.mark.integration
def test_s3_that_hangs_stops_no_reader_for_long(places: Callable[[str], Settings], s3: S3) -> None:
    a = registry_of(places("a"), watched=True)
    a.promote(register_ngram_bundle(a), by="a", why="")
    with s3.frozen():
        # Only who watches waits, and not for ever.
        assert a.aliases().champion == "v1"
        assert a.look().champion == "v1"
        with pytest.raises(BundlesUnavailable, match="does not answer"):
            a.withdraw(by="a", why="")
    assert a.withdraw(by="a", why="").challenger is None


@pytest.mark.integration
def test_a_bucket_that_is_not_there_is_told(places: Callable[[str], Settings]) -> None:
    settings = places("a").model_copy(update={"bundles_url": "s3://another/prefix"})
    with pytest.raises(BundlesUnavailable, match="lacks the bucket"):
        register_ngram_bundle(registry_of(settings))
    with pytest.raises(BundlesUnavailable, match="HONE_BUNDLES_URL"):
        registry_of(settings.model_copy(update={"bundles_url": "nonsense"}))
    with pytest.raises(Conflict, match="names no store"):
        publish(settings.model_copy(update={"bundles_url": ""}))
