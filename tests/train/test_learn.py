"""One run, here and now: what people corrected is learned, by whoever holds the lease."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from core.classifier import Classifier
from core.errors import LeaseHeld, RunCancelled
from core.registry import Registry
from core.schemas import CorrectionRequest, FitSpeed, PredictionRecord, now
from core.settings import Settings
from core.text import split_of, text_key
from feedback.store import Store
from tests.train.toys import FILLER, toy_rows, write_csv
from train import learn as module
from train.execute import Fit, FitJob
from train.head import REGULARISATION
from train.learn import Wish, learn_once
from train.learner import LEASE
from train.progress import Progress
from train.teach import TeachRequest, teach


def _texts(word: str, count: int) -> list[str]:
    """Return texts with a word that no base row has, to be trained on."""
    found = (f"{word} {first} {second}" for first in FILLER for second in FILLER if first != second)
    return [text for text in found if split_of(text_key(text)) != "test"][:count]


def _label(settings: Settings, text: str) -> str:
    classifier = Classifier.load(Registry(settings.home.registry).path("champion"))
    return classifier.manifest.labels[int(classifier.predict([text]).argmax())]


def _predicted(number: int, text: str) -> PredictionRecord:
    fields = {"text": text, "text_key": text_key(text), "label": "calm", "score": 0.9}
    return PredictionRecord.model_validate(
        {
            "prediction_id": f"p{number}",
            "created_at": now(),
            "model_version": "v1",
            "source": "head",
            "metadata": None,
            **fields,
        }
    )


@pytest.fixture
def corrected(taught: Settings) -> Settings:
    """Give a state folder whose champion is wrong about a word, and people said so."""
    word = "quick broken lovely"
    assert _label(taught, f"{word} card") == "calm"
    store = Store(taught.sqlalchemy_url)
    # Drawn by the audit: on a holdout as small as this, what people choose to correct is no evidence by itself.
    store.log_predictions([_predicted(place, text) for place, text in enumerate(_texts(word, 12))])
    store.draw_audit(1.0, None)
    for item in store.next_review("ann", 100, {"audit": 1.0, "suspect": 0.0, "uncertain": 0.0}, 60.0).items:
        store.finish_review(item.item_id, "ann", "angry")
        store.add_correction(CorrectionRequest(text=item.text, label="angry"))
    store.close()
    # One person contradicts a model that is sure; here that person is believed.
    return taught.model_copy(update={"suspect_model_score": 1.0})


def test_a_corrected_label_is_learned(corrected: Settings) -> None:
    heard: list[Progress] = []
    run = learn_once(corrected, Wish(note="by hand"), progress=heard.append)
    assert (run.state, run.version, run.promoted, run.trigger, run.note) == ("succeeded", "v2", True, "manual", "by hand")
    assert _label(corrected, "quick broken lovely card") == "angry"
    registry = Registry(corrected.home.registry)
    assert registry.aliases().champion == "v2"
    manifest = registry.manifest("v2")
    assert (manifest.lineage.parent, manifest.lineage.run, manifest.features) == ("v1", run.run_id, "both")
    decision = registry.decision("v2")
    assert decision is not None
    assert "recent_gain" in decision.summary
    store = Store(corrected.sqlalchemy_url)
    used = [found.used_by for found in store.corrections().corrections]
    store.close()
    assert used == [["v2"]] * 12
    assert heard
    assert run.snapshot == manifest.lineage.snapshot


def test_a_run_has_the_penalty_that_validation_rows_chose_for_its_parent(settings: Settings, tmp_path: Path) -> None:
    rows = [replace(row, label="calm") if place % 3 == 0 else row for place, row in enumerate(toy_rows(600))]
    teach(settings, TeachRequest(data=write_csv(tmp_path / "doubtful.csv", rows), features="ngrams"))
    store = Store(settings.sqlalchemy_url)
    for text in _texts("quick broken lovely", 12):
        store.add_correction(CorrectionRequest(text=text, label="angry"))
    store.close()
    assert learn_once(settings, Wish()).state == "succeeded"
    parent, child = (Registry(settings.home.registry).manifest(version).lineage.settings for version in ("v1", "v2"))
    assert child["regularisation"] == parent["regularisation"] != REGULARISATION


def test_corrections_alone_wait_for_an_audit_where_the_holdout_is_small(taught: Settings) -> None:
    store = Store(taught.sqlalchemy_url)
    for text in _texts("quick broken lovely", 12):
        store.add_correction(CorrectionRequest(text=text, label="angry"))
    store.close()
    run = learn_once(taught.model_copy(update={"suspect_model_score": 1.0}), Wish())
    assert (run.state, run.version, run.promoted) == ("succeeded", "v2", False)
    decision = Registry(taught.home.registry).decision("v2")
    assert decision is not None
    (rule,) = [rule for rule in decision.rules if rule.name == "corrections_fixed"]
    assert "puts 12 of 12 corrected answers right" in rule.why
    assert "more audited rows, or a person, can tell" in rule.why


def test_a_full_run_starts_from_the_champions_encoder(corrected: Settings) -> None:
    run = learn_once(corrected, Wish("full"))
    assert run.state == "succeeded"
    manifest = Registry(corrected.home.registry).manifest("v2")
    assert (manifest.lineage.speed, manifest.lineage.parent) == ("full", "v1")
    assert manifest.encoder is None or manifest.encoder.base == "toy"


def test_while_another_learner_works_nothing_is_done(taught: Settings) -> None:
    store = Store(taught.sqlalchemy_url)
    assert store.take_lease(LEASE, "another", 60.0)
    with pytest.raises(LeaseHeld):
        learn_once(taught)
    assert store.runs().runs == []
    store.release_lease(LEASE, "another")
    store.close()


def _replace_fit(monkeypatch: pytest.MonkeyPatch, fit: Fit) -> None:
    monkeypatch.setattr(module, "fit_here", lambda job, *_: fit(job))


def _cancelled(_: FitJob) -> Path:
    raise RunCancelled("stopped")


def test_the_lease_is_given_back_however_it_ends(taught: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(_: FitJob) -> Path:
        raise KeyboardInterrupt

    store = Store(taught.sqlalchemy_url)
    _replace_fit(monkeypatch, _cancelled)
    assert learn_once(taught).state == "cancelled"
    assert store.take_lease(LEASE, "another", 60.0)
    store.release_lease(LEASE, "another")
    _replace_fit(monkeypatch, stop)
    with pytest.raises(KeyboardInterrupt):
        learn_once(taught)
    assert store.take_lease(LEASE, "another", 60.0)
    assert [run.state for run in store.runs().runs] == ["failed", "cancelled"]
    store.close()


def test_a_run_that_was_waiting_goes_first(taught: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(taught.sqlalchemy_url)
    waiting = store.create_run("full", note="waiting")
    seen: list[tuple[str, FitSpeed]] = []

    def fit(job: FitJob) -> Path:
        seen.append((job.run_id, job.request.speed))
        raise RunCancelled("stopped")

    _replace_fit(monkeypatch, fit)
    run = learn_once(taught, Wish("head", "asked for"))
    assert (run.speed, run.note) == ("head", "asked for")
    assert seen == [(waiting.run_id, "full"), (run.run_id, "head")]
    store.close()


def test_a_run_whose_learner_died_is_failed(taught: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(taught.sqlalchemy_url)
    store.create_run("head")
    orphan = store.claim_run("somebody who died")
    assert orphan is not None
    _replace_fit(monkeypatch, _cancelled)
    learn_once(taught)
    assert store.run(orphan.run_id).state == "failed"
    store.close()
