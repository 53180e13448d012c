"""What ``auto`` decides by: whose words speak for traffic, and answers of a head to what it learned from."""

from __future__ import annotations

import shutil
from collections.abc import Set
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from core.gate import GateDecision, Rule
from core.registry import Registry
from core.schemas import RunAnswer, now
from core.settings import Settings
from core.text import Split
from feedback.examples import Example, Origin
from feedback.snapshot import Snapshot
from tests.train.toys import write_out_of_fold
from train.choosing import Labelled
from train.evidence import Circumstances, gather


@pytest.fixture
def head(taught: Settings, tmp_path: Path) -> Path:
    """Give a fitted head: the champion's own bundle, in another folder."""
    folder = tmp_path / "candidate" / "bundle"
    shutil.copytree(Registry(taught.home.registry).path("v1"), folder)
    return folder


def _said(label: str, number: int, split: Split, origin: Origin) -> Example:
    return Example(f"something {number}", f"key-{number}", label, split, origin)


def _at(taught: Settings, said: list[Example], audited: Set[str] = frozenset()) -> Circumstances:
    registry = Registry(taught.home.registry)
    base = Snapshot.load(taught.home.snapshots, registry.manifest("v1").lineage.snapshot)
    return Circumstances(taught, registry, "v1", replace(base, examples=(*base.examples, *said)), [], audited=audited)


def test_what_chance_drew_speaks_for_traffic_and_the_rest_does_not(taught: Settings, head: Path) -> None:
    labels = Registry(taught.home.registry).manifest("v1").labels
    said = [_said(labels[0], number, "train", "correction") for number in range(6)]
    # Had it not learned from them, the head would have had two of the three drawn ones right.
    answers = {f"key-{number}": labels[0] if number in (0, 1) else labels[1] for number in range(6)}
    write_out_of_fold(taught, head, answers)
    evidence = gather(_at(taught, said, {"key-0", "key-1", "key-2", "key-of-something-else"}), head)
    assert evidence.recent == Labelled(rows=3, wrong=1)


def test_learned_rows_without_such_an_answer_tell_nothing(taught: Settings, head: Path) -> None:
    labels = Registry(taught.home.registry).manifest("v1").labels
    said = [_said(labels[0], number, "train", "confirmation") for number in range(4)]
    assert gather(_at(taught, said, {"key-0", "key-1"}), head).recent == Labelled()


@pytest.mark.parametrize(("origins", "rows"), [(("correction", "correction"), 0), (("correction", "confirmation"), 2)])
def test_without_an_audit_held_out_texts_have_to_do_unless_all_are_mistakes(
    taught: Settings, head: Path, origins: tuple[Origin, Origin], rows: int
) -> None:
    labels = Registry(taught.home.registry).manifest("v1").labels
    said = [_said(labels[0], number, "test", origin) for number, origin in enumerate(origins)]
    write_out_of_fold(taught, head, dict.fromkeys(("key-0", "key-1", "key-7"), labels[0]))
    said.append(_said(labels[0], 7, "train", "correction"))
    assert gather(_at(taught, said), head).recent.rows == rows


def test_texts_of_labels_that_the_encoder_never_saw_are_counted_apart(taught: Settings, head: Path) -> None:
    said = [_said("a new one", number, "test", "correction") for number in range(3)]
    evidence = gather(_at(taught, said), head)
    assert evidence.recent == Labelled()
    assert evidence.of_new_labels == Labelled(), "the head does not know the label either"


def _run(version: str | None, gain: float, *, promoted: bool = False) -> RunAnswer:
    moment = now()
    return RunAnswer(
        run_id=f"run-{version}",
        speed="auto",
        trigger="manual",
        state="succeeded",
        note=None,
        created_at=moment,
        started_at=moment,
        ended_at=moment,
        stage=None,
        progress_ratio=1.0,
        remaining_s=None,
        metrics={"full_s": 30.0, "full_gain": gain, "corrected_rows": 10.0},
        snapshot=None,
        version=version,
        promoted=promoted,
        error=None,
        chosen="full",
    )


def _rule(name: str, kind: Literal["required", "evidence"], *, passed: bool) -> Rule:
    return Rule(name=name, value=0.0, limit=0.0, kind=kind, passed=passed, why="")


@pytest.mark.parametrize(
    ("gain", "required", "expected"), [(0.02, True, (0, 1)), (0.02, False, (1, 0)), (0.0, True, (1, 0)), (-0.01, True, (1, 0))]
)
def test_an_encoder_that_was_better_and_lacked_evidence_alone_was_not_tried_in_vain(
    taught: Settings, head: Path, gain: float, required: bool, expected: tuple[int, int]
) -> None:
    registry = Registry(taught.home.registry)
    rules = [_rule("holdout_loss", "required", passed=required), _rule("holdout_gain", "evidence", passed=False)]
    decision = GateDecision(promote=False, summary="", champion="v1", rules=rules)
    copy = head.parent / "copy"
    shutil.copytree(head, copy)
    version = registry.register(copy, decision, by="learner", why="a run")
    earlier = _run("v1", 0.02, promoted=True)
    evidence = gather(replace(_at(taught, []), runs=[_run(version, gain), earlier, _run(version, gain)]), head)
    assert (evidence.fulls_in_vain, evidence.fulls_unproven) == expected
    # What became of a version that is gone nobody can tell.
    gone = gather(replace(_at(taught, []), runs=[_run("v77", gain)]), head)
    assert (gone.fulls_in_vain, gone.fulls_unproven) == (1, 0)
