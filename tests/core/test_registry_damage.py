"""What a crash, a disk or a person left of a registry: what is still read, what is refused, what is mended."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.bundle import HEAD, MANIFEST
from core.errors import BundleError, UnknownVersion
from core.gate import GateDecision, Rule
from core.registry import Aliases, Registry
from tests.bundles import register_ngram_bundle, write_ngram_bundle

_REFUSAL = GateDecision(
    promote=False,
    summary="failed accuracy_loss",
    champion="v1",
    rules=[Rule(name="accuracy_loss", value=0.02, limit=0.005, kind="required", passed=False, why="it loses")],
)


def _moves(registry: Registry) -> list[tuple[str, str, str | None]]:
    return [(move.action, move.version, move.replaced) for move in registry.history()]


@pytest.mark.parametrize("body", [b"", b"{", b"null", b"[]", b'{"champion": 7}', b"\xff\xfe", b'{"champion": ["v1"]}'])
def test_damaged_aliases_are_told_and_nothing_moves(registry: Registry, body: bytes) -> None:
    register_ngram_bundle(registry)
    (registry.root / "aliases.json").write_bytes(body)
    for act in (
        registry.aliases,
        registry.sweep,
        lambda: registry.resolve("champion"),
        lambda: registry.promote("v1", by="a", why=""),
        lambda: registry.rollback(by="a", why=""),
    ):
        with pytest.raises(BundleError, match=r"aliases\.json is damaged; write the three names by hand or restore it"):
            act()
    assert (registry.root / "aliases.json").read_bytes() == body
    # What needs no alias still answers.
    assert registry.manifest("v1").labels


def test_an_alias_cannot_lead_out_of_the_registry(registry: Registry, tmp_path: Path) -> None:
    write_ngram_bundle(tmp_path / "outside")
    (registry.root / "aliases.json").write_text('{"champion": "../../outside"}', encoding="utf-8")
    with pytest.raises(UnknownVersion):
        registry.path("champion")


def test_sweeping_clears_what_is_not_there_any_more(registry: Registry) -> None:
    for seed in range(3):
        version = register_ngram_bundle(registry, seed=seed)
        registry.promote(version, by="a", why="")
    versions = registry.root / "versions"
    (versions / "v3" / MANIFEST).unlink()
    (versions / "v2").rename(registry.root / "taken away")
    (versions / ".DS_Store").write_bytes(b"a file of the desktop")
    assert sorted(registry.sweep()) == [
        "the alias champion named v3, which is not there",
        "the alias previous named v2, which is not there",
        "the folder v3 was no whole bundle",
    ]
    assert registry.versions() == ["v1"]
    assert registry.aliases() == Aliases()
    assert registry.sweep() == []


# History


def test_a_line_cut_short_is_left_out_and_spoils_no_other(registry: Registry) -> None:
    register_ngram_bundle(registry)
    history = registry.root / "history.jsonl"
    whole = history.read_bytes()
    registry.promote("v1", by="a", why="理由")
    line = history.read_bytes()[len(whole) :]
    # Every place a crash could cut the line at, also within a character.
    for kept in range(len(line) - 1):
        history.write_bytes(whole + line[:kept])
        assert _moves(registry)[:1] == [("register", "v1", None)]
        assert len(registry.history()) == 1
    register_ngram_bundle(registry, seed=1)
    assert _moves(registry) == [("register", "v1", None), ("register", "v2", None)]


def test_a_reason_may_hold_any_character(registry: Registry) -> None:
    register_ngram_bundle(registry)
    why = 'a\u2028b\u2029c\x85d\ne\rf\x0bg"h\\ 理由 🙂'
    registry.promote("v1", by="甲", why=why)
    assert registry.history()[-1].why == why
    assert registry.history()[-1].by == "甲"
    assert len(registry.history()) == 2


def test_history_is_one_json_object_a_line_and_can_be_limited(registry: Registry) -> None:
    for seed in range(4):
        register_ngram_bundle(registry, seed=seed)
    lines = (registry.root / "history.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["version"] for line in lines] == ["v1", "v2", "v3", "v4"]
    assert [move.version for move in registry.history(limit=2)] == ["v3", "v4"]


# Bundles and decisions


def test_a_damaged_version_is_neither_promoted_nor_rolled_back_to(registry: Registry) -> None:
    for seed in range(3):
        register_ngram_bundle(registry, seed=seed)
    registry.promote("v1", by="a", why="")
    registry.promote("v2", by="a", why="")
    before = registry.aliases()
    for version in ("v1", "v3"):
        (registry.path(version) / HEAD).write_bytes(b"")
    with pytest.raises(BundleError):
        registry.promote("v3", by="a", why="", override=True)
    with pytest.raises(BundleError):
        registry.rollback(by="a", why="")
    assert registry.aliases() == before
    assert len(registry.history()) == 5


@pytest.mark.parametrize("body", ["", "{", "[]", '{"promote": true}'])
def test_a_damaged_decision_promotes_nobody(registry: Registry, body: str) -> None:
    register_ngram_bundle(registry, decision=_REFUSAL)
    (registry.root / "decisions" / "v1.json").write_text(body, encoding="utf-8")
    with pytest.raises(BundleError, match="what the gate said is not known"):
        registry.promote("v1", by="a", why="")
    assert registry.aliases().champion is None
