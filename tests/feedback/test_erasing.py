"""What is erased is gone from the store and from every file, stays gone, and who had learned from it is named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from core.discretion import Discretion
from core.errors import InputError, SubjectsDamaged, UnknownPrediction
from core.labels import LabelSet
from core.privacy_bodies import ErasureRequest
from core.schemas import CorrectionRequest, PredictionRecord, now
from core.settings import Settings
from core.subjects import Subjects
from core.text import text_key
from feedback.dataset import BaseDataset
from feedback.erasing import erase, finish_erasures
from feedback.erasures import Target
from feedback.examples import Example, load_examples
from feedback.runs import RunEnd
from feedback.snapshot import Snapshot, build_snapshot
from feedback.spool import Spool
from feedback.store import Store
from feedback.tables import metadata
from tests.feedback.records import prediction

ADA, BEN = "customer-1017", "customer-2"
SECRET = "zq Ada Lovelace lives at 12 St James Square zq"


@dataclass(frozen=True)
class Place:
    """A state folder with a store."""

    settings: Settings
    store: Store

    def said(self, number: int, subject: str | None, words: str | None = None) -> PredictionRecord:
        """Return a prediction made now, of a person's text."""
        text = words or f"text number {number}"
        who = Discretion.of(self.settings).pseudonym(subject)
        changes: dict[str, Any] = {"created_at": now(), "text": text, "text_key": text_key(text), "subject": who}
        return prediction(number, **changes)

    def erase(self, **request: object) -> dict[str, object]:
        """Erase, and return the answer."""
        answer = erase(self.store, self.settings, ErasureRequest.model_validate(request), "test")
        return answer.model_dump()


@pytest.fixture
def place(store_url: str, tmp_path: Path) -> Iterator[Place]:
    """Give an empty place."""
    settings = Settings.model_validate({"HONE_HOME": tmp_path / "home", "store_url": store_url})
    settings.home.prepare()
    store = Store.of(settings)
    try:
        yield Place(settings, store)
    finally:
        store.close()


def _fill(place: Place) -> str:
    """Have Ada and Ben say things, a run learn from a snapshot of them, and things wait in the spool; return the snapshot."""
    store, home = place.store, place.settings.home
    store.log_predictions([place.said(1, ADA, SECRET), place.said(2, BEN), place.said(3, None)])
    store.add_correction(CorrectionRequest(prediction_id="p1", label="negative"), idempotency_key="k1")
    store.add_correction(CorrectionRequest(text=f"{SECRET} again", label="negative", subject=ADA))
    store.add_correction(CorrectionRequest(prediction_id="p2", label="negative"), idempotency_key="k2")
    base = [Example.of(f"base {number}", "negative", split="train") for number in range(4)]
    BaseDataset.of(base).save(home.datasets)
    snapshot = build_snapshot(base, store.training_corrections(), LabelSet(("negative", "positive")), 4.0)
    snapshot.save(home.snapshots)
    run = store.create_run("head")
    store.claim_run("holder")
    store.finish_run(run.run_id, RunEnd("succeeded", version="v7", snapshot=snapshot.hash, learned_from=snapshot.learned_from))
    spool = Spool(home.spool, 1_000_000)
    spool.append([place.said(4, ADA, SECRET), place.said(5, BEN)])
    spool.release()
    (home.cache / "embeddings").mkdir(parents=True)
    (home.cache / "embeddings" / "x.safetensors").write_bytes(b"rows")
    home.checkpoints.mkdir(exist_ok=True)
    (home.checkpoints / "r_1.pt").write_bytes(b"weights")
    return snapshot.hash


def _files_with(root: Path, words: str) -> list[str]:
    return [path.name for path in root.rglob("*") if path.is_file() and words.encode() in path.read_bytes()]


def test_a_persons_data_leaves_store_spool_snapshots_and_caches_and_the_versions_are_named(place: Place) -> None:
    name = _fill(place)
    home = place.settings.home
    answer = place.erase(subject=ADA, retrain=True)
    counts = answer["counts"]
    assert isinstance(counts, dict)
    assert (counts["predictions"], counts["corrections"], counts["idempotency_keys"]) == (1, 2, 1)
    assert (counts["spooled"], counts["spool_files_in_use"], counts["embedding_files"]) == (1, 0, 1)
    assert answer["versions"] == ["v7"]
    assert answer["complete"]
    assert place.store.run(str(answer["run_id"])).state == "queued"
    assert [correction.label for correction in place.store.corrections().corrections] == ["negative"]
    assert all(SECRET not in example.text for example in Snapshot.load(home.snapshots, name).examples)
    later = build_snapshot(
        BaseDataset.load(home.datasets).examples, place.store.training_corrections(), LabelSet(("negative", "positive")), 4.0
    )
    assert all(SECRET not in example.text for example in later.examples)
    # Ben's are all there.
    assert place.store.prediction("p2").text == "text number 2"
    assert "text number 5" in "".join(path.read_text() for path in Spool(home.spool, 0).waiting())
    assert not list((home.cache).rglob("*.safetensors"))
    assert not list(home.root.rglob("*.pt"))
    # Not even in free pages, or in the log beside the database.
    assert _files_with(home.root.parent, SECRET) == []
    assert place.store.verify_trail().entries == 1


def test_a_text_leaves_the_base_data_too_whoever_sent_it(place: Place) -> None:
    home = place.settings.home
    base = BaseDataset.of([Example.of(SECRET, "a", split="train"), Example.of("other", "b", split="train")])
    base.save(home.datasets)
    place.store.log_predictions([place.said(1, None, SECRET)])
    answer = place.erase(text=f"  {SECRET} ")
    counts = answer["counts"]
    assert isinstance(counts, dict)
    assert (counts["predictions"], counts["dataset_examples"]) == (1, 1)
    assert [example.text for example in BaseDataset.load(home.datasets, base.hash).examples] == ["other"]
    assert [example.text for example in load_examples(home.datasets, base.hash)] == ["other"]
    # From the same data anew it is there again: somebody has trained on it again.
    base.save(home.datasets)
    assert len(BaseDataset.load(home.datasets).examples) == 2


def test_what_was_on_its_way_does_not_arrive_and_what_is_said_later_does(place: Place) -> None:
    late, kept = place.said(1, ADA), place.said(2, BEN)
    late_text = place.said(3, None, SECRET)
    place.erase(subject=ADA)
    place.erase(text=SECRET)
    place.store.log_predictions([late, kept, late_text])
    for gone in ("p1", "p3"):
        with pytest.raises(UnknownPrediction):
            place.store.prediction(gone)
    assert place.store.prediction("p2").text == kept.text
    place.store.log_predictions([place.said(4, ADA)])
    assert place.store.prediction("p4").text == "text number 4"


def test_a_key_of_an_erased_correction_is_free_again_and_others_are_not(place: Place) -> None:
    _fill(place)
    place.erase(subject=ADA)
    request = CorrectionRequest(prediction_id="p2", label="negative")
    before = place.store.last_sequence()
    place.store.add_correction(request, idempotency_key="k2")
    assert place.store.last_sequence() == before
    place.store.add_correction(CorrectionRequest(text="new", label="positive"), idempotency_key="k1")
    assert place.store.last_sequence() == before + 1


def test_the_person_stands_in_the_store_by_a_pseudonym_alone(place: Place) -> None:
    _fill(place)
    assert _files_with(place.settings.home.root.parent, ADA) == []


def test_a_run_at_work_is_stopped_and_a_version_that_ends_later_is_named(place: Place) -> None:
    answer = place.store.add_correction(CorrectionRequest(text=SECRET, label="negative", subject=ADA))
    run = place.store.create_run("head")
    place.store.claim_run("holder")
    erased = place.erase(subject=ADA)
    assert erased["runs_stopped"] == [run.run_id]
    assert place.store.cancel_requested(run.run_id)
    assert erased["versions"] == []
    # Had it been past its last look already:
    place.store.finish_run(run.run_id, RunEnd("succeeded", version="v2", learned_from=[1]))
    assert place.store.erasure(str(erased["erasure_id"])).versions == ("v2",)
    assert answer.correction_id


def test_an_erasure_that_was_killed_before_the_files_is_finished_later(place: Place) -> None:
    _fill(place)
    home = place.settings.home
    erasure_id, _ = place.store.erase(Target(Discretion.of(place.settings).pseudonym(ADA)), "test")
    assert _files_with(home.root, SECRET)
    assert [erasure.erasure_id for erasure in place.store.unswept_erasures()] == [erasure_id]
    assert finish_erasures(place.store, place.settings) == 1
    assert _files_with(home.root.parent, SECRET) == []
    assert place.store.unswept_erasures() == []
    assert finish_erasures(place.store, place.settings) == 0


def test_subjects_of_another_secret_are_not_passed_over_in_silence(place: Place) -> None:
    place.store.log_predictions([place.said(1, ADA)])
    place.settings.home.subjects.unlink()
    with pytest.raises(SubjectsDamaged, match="another secret"):
        place.erase(subject=ADA)
    place.settings.home.subjects.write_text("not a secret")
    with pytest.raises(SubjectsDamaged, match="64 hexadecimal"):
        place.erase(subject=ADA)


@pytest.mark.parametrize("request_", [{}, {"subject": "a", "text": "b"}])
def test_an_erasure_names_one_thing(place: Place, request_: dict[str, object]) -> None:
    with pytest.raises(InputError, match="exactly one"):
        place.erase(**request_)


def test_all_that_is_kept_of_a_person_is_told(place: Place) -> None:
    _fill(place)
    subject = Discretion.of(place.settings).pseudonym(ADA) or ""
    lines = list(place.store.subject_lines(subject))
    assert [(line["record"], line["text"]) for line in lines] == [
        ("prediction", SECRET),
        ("correction", SECRET),
        ("correction", f"{SECRET} again"),
    ]


def test_processes_that_come_first_together_agree_on_one_secret(tmp_path: Path) -> None:
    path = tmp_path / "subjects.key"
    first, second = Subjects(path), Subjects(path)
    assert first.pseudonym("a") == second.pseudonym("a") != first.pseudonym("b")
    assert path.stat().st_mode & 0o777 == 0o600


# Each table of the store, and why erasing a person need not look there or does.
_ERASED = {"predictions", "corrections", "withdrawals", "idempotency", "suspicions", "review_items", "review_skips"}
_ERASED |= {"lesson_changes"}
_NO_TEXTS = {"runs", "run_corrections", "leases", "replicas", "erasures", "erased_corrections", "trail", "label_events"}
_NO_TEXTS |= {"outlooks", "drift_windows", "drift_alarms", "drift_references", "traffic"}


def test_every_table_is_known_to_be_erased_from_or_to_hold_no_texts() -> None:
    assert set(metadata.tables) <= _ERASED | _NO_TEXTS
