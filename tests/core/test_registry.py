"""Versions and aliases: what each move does, and what it refuses."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from core.bundle import HEAD, MANIFEST, verify
from core.errors import BundleError, Conflict, GateRefused, NothingToRollBack, UnknownVersion
from core.gate import GateDecision, Rule
from core.registry import Aliases, Registry
from core.schemas import now
from tests.bundles import register_ngram_bundle, write_ngram_bundle
from tests.core.shared import Nodes

_REFUSAL = GateDecision(
    promote=False,
    summary="failed accuracy_loss",
    champion="v1",
    rules=[Rule(name="accuracy_loss", value=0.02, limit=0.005, kind="required", passed=False, why="it loses")],
)
_APPROVAL = _REFUSAL.model_copy(update={"promote": True, "summary": "passed on holdout_gain"})


@pytest.fixture(params=["folder", "object store"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Registry:
    """Give an empty registry of each kind; what is asked here holds of both."""
    return Registry(tmp_path / "registry") if request.param == "folder" else Nodes(tmp_path).node()


def _moves(registry: Registry) -> list[tuple[str, str, str | None]]:
    return [(move.action, move.version, move.replaced) for move in registry.history()]


# Registering


def test_an_empty_registry_names_nobody(registry: Registry) -> None:
    assert registry.versions() == []
    assert registry.aliases() == Aliases(champion=None, previous=None, challenger=None)
    assert registry.history() == []
    assert registry.sweep() == []
    for name in ("champion", "previous", "challenger", "v1"):
        with pytest.raises(UnknownVersion, match="no version was taught here yet"):
            registry.resolve(name)


def test_a_registered_bundle_is_moved_in_whole_and_challenges(registry: Registry, tmp_path: Path) -> None:
    staged = tmp_path / "staged"
    manifest = write_ngram_bundle(staged)
    before = now()
    assert registry.register(staged, None, by="someone", why="because") == "v1"
    assert not staged.exists()
    assert verify(registry.path("v1")) == registry.manifest("v1") == manifest
    assert registry.aliases() == Aliases(challenger="v1")
    (move,) = registry.history()
    assert (move.action, move.version, move.replaced, move.by, move.why) == ("register", "v1", None, "someone", "because")
    assert before <= move.at <= now()
    assert move.at.tzinfo == UTC


def test_versions_count_up_and_are_listed_oldest_first(registry: Registry) -> None:
    names = [register_ngram_bundle(registry, seed=seed) for seed in range(11)]
    assert names == registry.versions() == [f"v{number}" for number in range(1, 12)]
    assert registry.aliases().challenger == "v11"


def test_a_number_is_not_used_again(registry: Registry) -> None:
    for seed in range(3):
        register_ngram_bundle(registry, seed=seed)
    registry.path("v2").rename(registry.root / "taken away")
    assert register_ngram_bundle(registry, seed=7) == "v4"


@pytest.mark.parametrize("spoil", [HEAD, MANIFEST])
def test_a_damaged_bundle_is_not_registered(registry: Registry, tmp_path: Path, spoil: str) -> None:
    write_ngram_bundle(tmp_path / "staged")
    (tmp_path / "staged" / spoil).write_bytes(b"{}")
    with pytest.raises(BundleError):
        registry.register(tmp_path / "staged", None, by="someone", why="")
    assert registry.versions() == []
    assert registry.history() == []
    assert (tmp_path / "staged").is_dir()


# Promoting and rolling back


def test_promoting_moves_the_aliases_together(registry: Registry) -> None:
    for seed in range(3):
        register_ngram_bundle(registry, seed=seed)
    assert registry.promote("v1", by="a", why="") == Aliases(champion="v1", challenger="v3")
    assert registry.promote("challenger", by="a", why="") == Aliases(champion="v3", previous="v1")
    assert registry.promote("v2", by="a", why="") == registry.aliases() == Aliases(champion="v2", previous="v3")
    assert _moves(registry)[3:] == [("promote", "v1", None), ("promote", "v3", "v1"), ("promote", "v2", "v3")]


def test_promoting_the_champion_changes_nothing(registry: Registry) -> None:
    register_ngram_bundle(registry)
    first = registry.promote("v1", by="a", why="")
    for name in ("v1", "champion"):
        assert registry.promote(name, by="a", why="again") == first
    assert len(registry.history()) == 2


def test_rolling_back_lets_champion_and_previous_change_places(registry: Registry) -> None:
    for seed in range(2):
        version = register_ngram_bundle(registry, seed=seed)
        registry.promote(version, by="a", why="")
    register_ngram_bundle(registry, seed=2)
    assert registry.rollback(by="a", why="worse") == Aliases(champion="v1", previous="v2", challenger="v3")
    assert registry.rollback(by="a", why="not worse") == Aliases(champion="v2", previous="v1", challenger="v3")
    assert _moves(registry)[-2:] == [("rollback", "v1", "v2"), ("rollback", "v2", "v1")]


@pytest.mark.parametrize("promoted", [0, 1])
def test_without_an_earlier_champion_there_is_nothing_to_roll_back(registry: Registry, promoted: int) -> None:
    register_ngram_bundle(registry)
    for _ in range(promoted):
        registry.promote("v1", by="a", why="")
    before = registry.aliases()
    with pytest.raises(NothingToRollBack):
        registry.rollback(by="a", why="")
    assert registry.aliases() == before


# The gate's decision


def test_what_the_gate_refused_takes_an_override(registry: Registry) -> None:
    register_ngram_bundle(registry, decision=None)
    register_ngram_bundle(registry, seed=1, decision=_REFUSAL)
    register_ngram_bundle(registry, seed=2, decision=_APPROVAL)
    assert [registry.decision(version) for version in registry.versions()] == [None, _REFUSAL, _APPROVAL]
    registry.promote("v1", by="a", why="")
    with pytest.raises(GateRefused, match="the gate refused v2: failed accuracy_loss"):
        registry.promote("v2", by="a", why="")
    assert registry.aliases().champion == "v1"
    registry.promote("v3", by="a", why="")
    assert registry.promote("v2", by="a", why="I know better", override=True).champion == "v2"
    assert registry.history()[-1].why == "I know better"


def test_a_decision_about_a_version_that_never_was_is_forgotten(registry: Registry) -> None:
    # What a crash between writing the decision and moving the bundle leaves behind.
    (registry.root / "decisions" / "v1.json").write_text(_REFUSAL.model_dump_json(), encoding="utf-8")
    register_ngram_bundle(registry)
    assert registry.decision("v1") is None
    assert registry.promote("v1", by="a", why="").champion == "v1"


# Names


@pytest.mark.parametrize(
    "name", ["", "v0", "v01", "v4", "V1", "v1 ", "v1\n", "../v1", "v1/../v1", "/", "v" + "9" * 20, "latest", "versions", "v１"]
)
def test_a_name_that_is_no_version_is_refused(registry: Registry, name: str) -> None:
    for seed in range(3):
        register_ngram_bundle(registry, seed=seed)
    for ask in (registry.resolve, registry.path, registry.manifest, registry.decision):
        with pytest.raises(UnknownVersion, match="the newest versions are: v1, v2, v3"):
            ask(name)


def test_other_entries_are_no_versions(registry: Registry) -> None:
    register_ngram_bundle(registry)
    (registry.root / "versions" / "v2").write_text("a file", encoding="utf-8")
    (registry.root / "versions" / "old").mkdir()
    with pytest.raises(UnknownVersion):
        registry.resolve("v2")
    assert "old" not in registry.versions()


def test_of_many_that_take_a_version_back_the_first_is_heard(registry: Registry) -> None:
    for seed in range(2):
        registry.promote(register_ngram_bundle(registry, seed=seed), by="a", why="")
    first = registry.rollback(by="probation", why="slower", only="v2")
    assert first == registry.rollback(by="probation", why="slower", only="v2") == Aliases(champion="v1", previous="v2")
    assert [move.by for move in registry.history()].count("probation") == 1
    # A person may overrule it.
    assert registry.promote("v2", by="ann", why="it is right") == Aliases(champion="v2", previous="v1")


def test_a_version_the_gate_refused_challenges_only_when_somebody_says_so(registry: Registry) -> None:
    registry.promote(register_ngram_bundle(registry), by="a", why="")
    register_ngram_bundle(registry, seed=1, decision=_REFUSAL)
    assert registry.aliases().challenger == "v2"
    assert not registry.may_answer("v2")
    with pytest.raises(GateRefused):
        registry.challenge("v2", by="ann", why="")
    assert registry.challenge("v2", by="ann", why="try it", override=True).challenger == "v2"
    assert registry.may_answer("v2")
    assert registry.withdraw(by="canary", why="it failed", only="v3").challenger == "v2"
    assert registry.withdraw(by="canary", why="it failed", only="v2").challenger is None
    assert _moves(registry)[-2:] == [("challenge", "v2", "v2"), ("withdraw", "v2", None)]


# All moves in any order


class _Moves(RuleBasedStateMachine):
    """Compares the registry with three variables and a list."""

    root: Path
    shared = False
    runs = 0

    @initialize()
    def begin(self) -> None:
        type(self).runs += 1
        folder = self.root / str(self.runs)
        self.nodes = Nodes(folder)
        self.registry = self.nodes.node("a") if self.shared else Registry(folder)
        self.count = 0
        self.aliases = Aliases()

    @rule()
    def register(self) -> None:
        self.count += 1
        assert register_ngram_bundle(self.registry, seed=self.count) == f"v{self.count}"
        self.aliases = self.aliases.model_copy(update={"challenger": f"v{self.count}"})

    @precondition(lambda self: self.count > 0)
    @rule(data=st.data())
    def promote(self, data: st.DataObject) -> None:
        version = f"v{data.draw(st.integers(1, self.count))}"
        old = self.aliases
        if version != old.champion:
            challenger = None if old.challenger == version else old.challenger
            self.aliases = Aliases(champion=version, previous=old.champion, challenger=challenger)
        assert self.registry.promote(version, by="a", why="") == self.aliases

    @precondition(lambda self: self.aliases.previous is not None)
    @rule()
    def rollback(self) -> None:
        old = self.aliases
        challenger = None if old.challenger == old.previous else old.challenger
        self.aliases = Aliases(champion=old.previous, previous=old.champion, challenger=challenger)
        assert self.registry.rollback(by="a", why="") == self.aliases

    @precondition(lambda self: self.count > 0)
    @rule(data=st.data())
    def challenge(self, data: st.DataObject) -> None:
        version = f"v{data.draw(st.integers(1, self.count))}"
        if version == self.aliases.champion:
            with pytest.raises(Conflict):
                self.registry.challenge(version, by="a", why="")
        else:
            self.aliases = self.aliases.model_copy(update={"challenger": version})
            assert self.registry.challenge(version, by="a", why="") == self.aliases

    @rule()
    def withdraw(self) -> None:
        self.aliases = self.aliases.model_copy(update={"challenger": None})
        assert self.registry.withdraw(by="a", why="") == self.aliases

    @rule()
    def open_anew(self) -> None:
        self.registry = Registry(self.registry.root) if not self.shared else self.nodes.node(self.registry.root.name)

    @precondition(lambda self: self.shared)
    @rule(name=st.sampled_from("abc"))
    def go_to_another_node(self, name: str) -> None:
        self.registry = self.nodes.node(name)

    @rule()
    def sweep(self) -> None:
        assert self.registry.sweep() == []

    @invariant()
    def agree(self) -> None:
        if hasattr(self, "registry"):
            assert self.registry.aliases() == self.aliases
            assert len(self.registry.versions()) == self.count
            assert self.aliases.champion is None or self.aliases.champion not in (
                self.aliases.previous,
                self.aliases.challenger,
            )


@pytest.mark.parametrize("shared", [False, True], ids=["folder", "object store"])
def test_any_order_of_moves(tmp_path: Path, shared: bool) -> None:
    _Moves.root, _Moves.shared = tmp_path, shared
    run_state_machine_as_test(
        _Moves, settings=settings(max_examples=15, stateful_step_count=12, suppress_health_check=list(HealthCheck))
    )


def test_who_was_judged_against_another_champion_is_not_promoted(registry: Registry) -> None:
    for seed in range(3):
        register_ngram_bundle(registry, ["a", "b"], seed)
    registry.promote("v1", by="test", why="the first")
    registry.promote("v2", by="a person", why="meanwhile")
    with pytest.raises(Conflict, match="v3 was compared with v1, and v2 is champion now"):
        registry.promote("v3", by="gate", why="better", judged_against="v1")
    assert registry.aliases().champion == "v2"
    assert registry.promote("v3", by="gate", why="better", judged_against="v2").champion == "v3"
