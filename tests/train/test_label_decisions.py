"""A run honours what was decided about labels: its snapshot, what it may learn, and whom the gate calls right."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.bundle import read_manifest, seal
from core.label_bodies import LabelEventRequest
from core.label_book import LabelBook
from core.metrics import Metrics
from core.schemas import CorrectionRequest, RunAnswer
from core.settings import Settings
from core.text import split_of, text_key
from feedback.labels import with_labels_of
from feedback.snapshot import Snapshot, build_snapshot
from feedback.store import Store
from tests.bundles import LABELS, write_ngram_bundle
from tests.train.toys import install_champion, labelled_texts, write_bundle
from train.execute import Executor, FitJob
from train.judging import judge_candidate


def _run(settings: Settings, store: Store) -> tuple[RunAnswer, Snapshot]:
    seen: list[str] = []

    def fit(job: FitJob) -> Path:
        seen.append(job.snapshot)
        folder = job.place.staging / "bundle"
        # As the champion answers, so that it stays.
        write_bundle(folder, mistaken=True, dataset=job.dataset, snapshot=job.snapshot)
        return folder

    store.create_run("head")
    run = store.claim_run("holder")
    assert run is not None
    ended = Executor(settings, store, Metrics()).execute(run, fit)
    assert ended.error is None
    return ended, Snapshot.load(settings.home.snapshots, seen[0])


def _decide(store: Store, action: str, label: str, into: str | None = None) -> LabelBook:
    store.decide_label(LabelEventRequest.model_validate({"action": action, "label": label, "into": into}), LABELS)
    return store.label_book()


def test_a_proposal_with_enough_behind_it_is_learned_by_the_next_run(settings: Settings, store: Store) -> None:
    # The champion is sure of another label, and cannot know better: that is no reason to hold them back.
    settings = settings.model_copy(update={"suspect_model_score": 0.9})
    install_champion(settings)
    texts = [text for text in (f"a positive thing {n}" for n in range(40)) if split_of(text_key(text)) == "train"][:6]

    def say(text: str, annotator: str) -> None:
        request = CorrectionRequest(text=text, label="mixed", annotator=annotator)
        store.add_correction(request, proposes=True)

    for number, text in enumerate(texts[:4]):
        say(text, f"annotator {number % 2}")
    _, before = _run(settings, store)
    assert "mixed" not in {example.label for example in before.examples}
    say(texts[4], "annotator 0")
    ended, after = _run(settings, store)
    learned = {example.text for example in after.examples if example.label == "mixed"}
    assert learned == set(texts[:5])
    assert ended.state == "succeeded"
    assert all(answer.used_by == [ended.version] for answer in store.corrections().corrections)


def test_snapshots_follow_what_was_merged_renamed_and_retired(settings: Settings, store: Store) -> None:
    install_champion(settings)
    _decide(store, "accept", "spare")
    _decide(store, "merge", "neutral", "negative")
    _decide(store, "rename", "positive", "good")
    _, merged = _run(settings, store)
    assert {example.label for example in merged.examples} == {"negative", "good"}
    assert len(merged.examples) == len(labelled_texts())
    _decide(store, "retire", "good")
    _, retired = _run(settings, store)
    assert {example.label for example in retired.examples} == {"negative"}


@pytest.mark.parametrize("renamed", ["positive", "neutral"])
def test_the_gate_counts_the_champion_by_the_names_of_now(
    settings: Settings, store: Store, tmp_path: Path, renamed: str
) -> None:
    registry = install_champion(settings, mistaken=False)
    book = _decide(store, "rename", renamed, "new name")
    examples = with_labels_of(book, labelled_texts())
    snapshot = build_snapshot(examples, [], book.label_set(LABELS), settings.correction_weight)
    names = [book.now(label) or label for label in LABELS]
    candidate = tmp_path / "candidate"
    _write_renamed(candidate, names)
    decision = judge_candidate(candidate, "v1", registry, snapshot, settings, book)
    flips = next(rule for rule in decision.rules if "flip" in rule.name)
    assert flips.value == 0.0
    assert not decision.promote, "a new name alone is no gain"


def _write_renamed(folder: Path, names: list[str]) -> None:
    """Write the champion's twin under other names of its labels."""
    write_ngram_bundle(folder)
    manifest = read_manifest(folder)
    renamed = dict(zip(LABELS, names, strict=True))
    probes = [probe.model_copy(update={"label": renamed[probe.label]}) for probe in manifest.probes]
    seal(folder, manifest.model_copy(update={"labels": names, "probes": probes}))
