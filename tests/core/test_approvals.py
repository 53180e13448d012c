"""Signatures: who may promote what the gate only recommends, what is written down, and what is refused."""

from __future__ import annotations

import hashlib

import pytest

from core.approvals import Approvals, Signing, standings
from core.bundle import HEAD
from core.errors import ApprovalNeeded, ApprovalStale, BundleError, Conflict, GateRefused, StoreUnavailable, UnknownVersion
from core.gate import GateDecision
from core.moves import Move
from core.registry import Registry
from tests.bundles import register_ngram_bundle

_RECOMMENDED = GateDecision(promote=True, summary="passed on holdout_gain", champion="v1", rules=[], mode="approve")
_REFUSED = _RECOMMENDED.model_copy(update={"promote": False, "summary": "failed parity"})
_ADA = Signing("ada", "tried ten texts")


@pytest.fixture
def waiting(registry: Registry) -> Registry:
    """Give a registry whose champion is v1 and where v2 waits for a signature."""
    registry.promote(register_ngram_bundle(registry), by="test", why="a fixture")
    register_ngram_bundle(registry, seed=1, decision=_RECOMMENDED)
    return registry


def test_what_is_approved_becomes_champion_and_the_signature_says_what_was_seen(waiting: Registry) -> None:
    approvals, noted = Approvals(waiting), list[Move]()
    assert (waiting.standing("v2"), approvals.waiting()) == ("waiting", ["v2"])
    assert approvals.approve("v2", _ADA, noted.append).champion == "v2"
    seen = hashlib.sha256((waiting.root / "decisions" / "v2.json").read_bytes()).hexdigest()
    (signature,) = approvals.signatures("v2")
    assert noted == [signature]
    assert (signature.action, signature.by, signature.why, signature.seen) == ("approve", "ada", "tried ten texts", seen)
    assert (signature.replaced, signature.stale) == ("v1", False)
    assert [move.action for move in waiting.history()[-2:]] == ["approve", "promote"]
    assert (waiting.standing("v2"), approvals.waiting()) == ("approved", [])
    with pytest.raises(Conflict, match="champion already"):
        approvals.approve("v2", _ADA, noted.append)


def test_what_is_refused_challenges_nobody_and_needs_a_second_thought(waiting: Registry) -> None:
    approvals = Approvals(waiting)
    assert approvals.refuse("v2", _ADA, lambda _: None).challenger is None
    assert waiting.aliases().champion == "v1"
    assert (waiting.standing("v2"), waiting.may_answer("v2"), approvals.waiting()) == ("refused", False, [])
    for act in (waiting.promote, waiting.challenge):
        with pytest.raises(ApprovalNeeded, match="a person refused it"):
            act("v2", by="ben", why="")
    assert approvals.approve("v2", _ADA, lambda _: None).champion == "v2"
    assert [move.action for move in approvals.signatures("v2")] == ["refuse", "approve"]


def test_without_a_signature_nobody_promotes_it_unless_they_say_so(waiting: Registry) -> None:
    with pytest.raises(ApprovalNeeded, match="the gate recommends it, passed on holdout_gain"):
        waiting.promote("v2", by="ben", why="")
    assert not waiting.may_answer("v2")
    # To try it on a share is a person's word too, and takes no signature.
    waiting.challenge("v2", by="ben", why="try it")
    assert waiting.may_answer("v2")
    assert waiting.promote("v2", by="ben", why="urgent", override=True).champion == "v2"
    (mark,) = Approvals(waiting).signatures("v2")
    assert (mark.action, mark.by, mark.override, mark.seen) == ("promote", "ben", True, waiting.decision_hash("v2"))
    assert waiting.standing("v2") == "overridden"


def test_an_override_of_the_gate_leaves_a_mark_and_one_that_was_not_needed_none(waiting: Registry) -> None:
    version = register_ngram_bundle(waiting, seed=2, decision=_REFUSED)
    with pytest.raises(GateRefused):
        waiting.promote(version, by="ben", why="")
    waiting.promote(version, by="ben", why="I know better", override=True)
    waiting.promote("v1", by="ben", why="back", override=True)
    assert [(move.version, move.why) for move in waiting.history() if move.override] == [("v3", "I know better")]


def test_what_was_compared_with_another_champion_takes_saying_so(waiting: Registry) -> None:
    waiting.promote(register_ngram_bundle(waiting, seed=2), by="ben", why="meanwhile")
    approvals = Approvals(waiting)
    assert approvals.waiting() == []
    with pytest.raises(ApprovalStale, match="compared with v1, and v3 is champion now"):
        approvals.approve("v2", _ADA, lambda _: None)
    known = Signing("ada", "better all the same", stale=True)
    assert approvals.approve("v2", known, lambda _: None).champion == "v2"
    assert approvals.signatures("v2")[0].stale
    # Who says so where it is not so has signed for nothing stale.
    version = register_ngram_bundle(waiting, seed=3, decision=_RECOMMENDED.model_copy(update={"champion": "v2"}))
    approvals.approve(version, known, lambda _: None)
    assert not approvals.signatures(version)[0].stale


def test_a_signature_that_cannot_be_put_on_record_changes_nothing(waiting: Registry) -> None:
    def away(_: Move) -> None:
        raise StoreUnavailable("the store is away")

    before = waiting.aliases(), waiting.history()
    for act in (Approvals(waiting).approve, Approvals(waiting).refuse):
        with pytest.raises(StoreUnavailable):
            act("v2", _ADA, away)
    assert (waiting.aliases(), waiting.history()) == before


def test_only_what_waits_and_was_seen_can_be_signed_for(waiting: Registry) -> None:
    register_ngram_bundle(waiting, seed=2, decision=_REFUSED)
    approvals = Approvals(waiting)
    for name, error in (("v1", Conflict), ("v3", Conflict), ("v9", UnknownVersion)):
        for act in (approvals.approve, approvals.refuse):
            with pytest.raises(error):
                act(name, _ADA, lambda _: None)
    with pytest.raises(Conflict, match="another than the one that was seen"):
        approvals.approve("v2", Signing("ada", "read another", seen="0" * 64), lambda _: None)
    (waiting.path("v2") / HEAD).write_bytes(b"")
    with pytest.raises(BundleError):
        approvals.approve("v2", _ADA, lambda _: None)
    assert approvals.signatures("v2") == []
    assert standings(waiting, waiting.versions()) == {"v2": "waiting"}


def test_a_damaged_decision_hides_no_other_standing(waiting: Registry) -> None:
    register_ngram_bundle(waiting, seed=2, decision=_RECOMMENDED)
    (waiting.root / "decisions" / "v3.json").write_text("{")
    assert standings(waiting, waiting.versions()) == {"v2": "waiting"}
    assert Approvals(waiting).waiting() == ["v2"]
