"""One fit, from snapshot to sealed bundle: what it sees, what it writes, what it says of itself."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.bundle import CARD, HEAD, NGRAMS, Features, file_sha256, read_manifest
from core.classifier import Classifier, Head
from core.errors import BundleError, DataError, RunCancelled
from core.schemas import FitSpeed
from core.settings import Settings
from core.text import text_key
from feedback.corrections import TrainingCorrection
from feedback.snapshot import BaseDataset, Snapshot, build_snapshot
from tests.train.toys import FILLER, SIGNAL, Row, to_examples, toy_rows
from train import base as bases
from train import doubt, export, fitter, full, select
from train.base import Base
from train.crossfit import OutOfFold
from train.finetune import TokenRows, finetune
from train.fit import fit
from train.fitter import Fitted
from train.label_shift import LabelShift
from train.measure import summary
from train.progress import Progress, Stages, silent
from train.request import STAGES, FinetuneSettings, FitRequest, Parent, Workplace
from train.select import Option
from train.teach import TeachReport

_TUNING = FinetuneSettings(epochs=1, learning_rate=1e-3, batch_texts=16)
_SPEEDS: list[FitSpeed] = ["head", "full"]


def _snapshot(rows: list[Row]) -> Snapshot:
    examples = to_examples(rows)
    return build_snapshot(examples, [], BaseDataset.of(examples).labels, 4.0)


def _place(folder: Path) -> Workplace:
    staging = folder / "staging"
    staging.mkdir(parents=True, exist_ok=True)
    return Workplace(folder / "cache", staging)


def _request(base: Path, speed: FitSpeed = "head", features: Features = "both") -> FitRequest:
    return FitRequest(speed=speed, features=features, base=str(base), finetune=_TUNING)


def _stages(speed: FitSpeed) -> Stages:
    return Stages(STAGES[speed], silent)


def _hold_out_other_rows(rows: list[Row]) -> list[Row]:
    """Return the rows with a wholly different holdout: other texts, wrong labels."""
    names = sorted({row.label for row in rows})
    return [
        row if row.split != "test" else Row(f"{row.text} ok", names[(names.index(row.label) + 1) % len(names)], "test")
        for row in rows
    ]


@pytest.mark.parametrize("speed", _SPEEDS)
def test_what_is_held_out_has_no_influence(tmp_path: Path, toy_folder: Path, speed: FitSpeed) -> None:
    rows = toy_rows(96)
    files = []
    for name, held_out in (("one", rows), ("other", _hold_out_other_rows(rows))):
        place = _place(tmp_path / name)
        fitted = fit(_snapshot(held_out), "d" * 64, _request(toy_folder, speed), place, _stages(speed))
        assert fitted.manifest.encoder is not None
        files.append(
            (
                file_sha256(fitted.folder / HEAD),
                file_sha256(fitted.folder / NGRAMS),
                fitted.manifest.encoder.weights_sha256,
                fitted.manifest.temperature,
                [(option.name, option.log_loss, option.chosen) for option in fitted.options],
            )
        )
    assert files[0] == files[1]


def test_fine_tuning_never_sees_a_held_out_row(
    tmp_path: Path, toy_folder: Path, monkeypatch: pytest.MonkeyPatch, base: Base
) -> None:
    seen: list[tuple[TokenRows, TokenRows]] = []

    def spy(
        encoder: Base, head: Head, train: TokenRows, validation: TokenRows, settings: FinetuneSettings, **more: object
    ) -> Head:
        seen.append((train, validation))
        return finetune(encoder, head, train, validation, settings, **more)  # type: ignore[arg-type] # handed on

    monkeypatch.setattr(full, "finetune", spy)
    rows = toy_rows(48)
    fit(_snapshot(rows), "d" * 64, _request(toy_folder, "full"), _place(tmp_path), _stages("full"))
    ((train, validation),) = seen
    for part, split in ((train, "train"), (validation, "validation")):
        expected = [base.tokenizer.encode(row.text).ids for row in rows if row.split == split]
        assert sorted(part.ids) == sorted(expected)


@pytest.fixture(params=["head", "full"])
def fitted_folder(
    request: pytest.FixtureRequest,
    taught_once: tuple[Settings, TeachReport],
    taught_in_full: tuple[Settings, TeachReport],
) -> tuple[Path, TeachReport]:
    """Give the folder of a toy bundle of each speed, and what teaching said of it."""
    settings, report = taught_once if request.param == "head" else taught_in_full
    return settings.home.registry / "versions" / report.version, report


def test_the_bundle_answers_as_its_numbers_say(fitted_folder: tuple[Path, TeachReport]) -> None:
    folder, report = fitted_folder
    classifier = Classifier.load(folder, checked=True)
    manifest = classifier.manifest
    held_out = [row for row in toy_rows() if row.split == "test"]
    scores = classifier.predict([row.text for row in held_out])
    measured = summary(scores, np.array([manifest.labels.index(row.label) for row in held_out]))
    for name, value in measured.items():
        assert manifest.metrics[name] == pytest.approx(value, abs=2e-3)
    assert report.metrics == manifest.metrics
    assert manifest.metrics["accuracy"] > 0.9
    assert manifest.lineage.rows.items() >= {"train": 120, "validation": 60, "test": 60}.items()
    assert manifest.parity is not None
    assert manifest.parity.rows == 60
    assert manifest.parity.label_agreement_ratio >= 0.9
    assert manifest.parity == report.parity


def test_the_bundle_says_where_it_comes_from(fitted_folder: tuple[Path, TeachReport], toy_folder: Path) -> None:
    folder, report = fitted_folder
    manifest = read_manifest(folder)
    dataset = BaseDataset.of(to_examples(toy_rows()))
    assert (manifest.lineage.parent, manifest.lineage.run) == (None, None)
    assert manifest.lineage.dataset == dataset.hash
    assert manifest.lineage.settings["base"] == str(toy_folder)
    assert manifest.lineage.settings["features"] == "both"
    assert (manifest.features, manifest.labels) == ("both", ["angry", "calm", "lost"])
    assert manifest.encoder is not None
    assert (manifest.encoder.base, manifest.encoder.hidden, manifest.encoder.vocabulary) == ("toy", 32, None)
    assert manifest.ngrams is not None
    assert manifest.lineage.libraries.keys() >= {"torch", "transformers", "numpy"}
    assert report.seconds.keys() >= {"load", "encode", "fit", "measure"}


def test_the_card_has_its_sections(fitted_folder: tuple[Path, TeachReport]) -> None:
    folder, report = fitted_folder
    card = (folder / CARD).read_text(encoding="utf-8")
    trained = ["Training"] if read_manifest(folder).lineage.speed == "full" else []
    assert re.findall(r"^#+ (.*)$", card, flags=re.MULTILINE) == ["Model card", *trained, "Results", "Data", "Memory", "Limits"]
    assert f"- accuracy: {report.metrics['accuracy']:.4f}" in card
    assert "On 60 held-out rows" in card
    assert "validation_accuracy" not in card
    for option in report.options:
        assert f"| {option.name} |" in card
    assert card.count("| yes |") == 1


def test_the_linear_floor_is_always_shown(fitted_folder: tuple[Path, TeachReport]) -> None:
    _, report = fitted_folder
    assert report.options[0].features == "ngrams"
    assert sum(option.chosen for option in report.options) == 1
    assert next(option for option in report.options if option.chosen).features == "both"


@pytest.mark.parametrize("features", ["ngrams", "encoder"])
def test_one_kind_of_features_alone(tmp_path: Path, toy_folder: Path, features: Features) -> None:
    request = _request(toy_folder, features=features)
    fitted = fit(_snapshot(toy_rows(96)), "d" * 64, request, _place(tmp_path), _stages("head"))
    classifier = Classifier.load(fitted.folder)
    assert classifier.manifest.features == features
    assert (classifier.manifest.encoder is None) == (features == "ngrams")
    assert (classifier.manifest.ngrams is None) == (features == "encoder")
    assert (fitted.folder / NGRAMS).exists() == (features == "ngrams")
    answer = classifier.predict(["my phone is broken and rude"])[0]
    assert classifier.manifest.labels[int(answer.argmax())] == "angry"


def _chinese(rows: list[Row]) -> list[Row]:
    signs = {"angry": "差退", "calm": "好喜", "lost": "怎哪"}
    return [replace(row, text=f"这个产品{signs[row.label]}，{place}") for place, row in enumerate(rows)]


def test_a_vocabulary_is_extended_at_full_speed_and_said_so(tmp_path: Path, toy_folder: Path) -> None:
    snapshot = _snapshot(_chinese(toy_rows(72)))
    request = _request(toy_folder, "full", "both")
    fitted = fit(snapshot, "d" * 64, request, _place(tmp_path), _stages("full"))
    encoder = fitted.manifest.encoder
    assert encoder is not None
    assert encoder.vocabulary is not None
    assert encoder.vocabulary.unknown_ratio_after < encoder.vocabulary.unknown_ratio_before
    card = (fitted.folder / CARD).read_text(encoding="utf-8")
    assert f"{encoder.vocabulary.added} pieces" in card
    classifier = Classifier.load(fitted.folder)
    assert classifier.manifest.labels[int(classifier.predict(["这个产品差退"]).argmax())] == "angry"
    _continue(fitted, snapshot, tmp_path / "next")


def _continue(first: Fitted, snapshot: Snapshot, folder: Path) -> None:
    """Fit on from ``first`` at full speed; its names and its record of the vocabulary are taken on."""
    request = FitRequest(speed="full", features="both", finetune=_TUNING)
    parent = Parent("v1", first.folder)
    second = fit(snapshot, "d" * 64, request, _place(folder), _stages("full"), parent=parent, run="r_1")
    assert first.manifest.encoder is not None
    assert second.manifest.encoder is not None
    assert second.manifest.encoder.base == first.manifest.encoder.base
    assert second.manifest.encoder.vocabulary == first.manifest.encoder.vocabulary
    assert (second.manifest.lineage.parent, second.manifest.lineage.run) == ("v1", "r_1")


def test_a_fit_with_a_parent_takes_its_encoder_on(tmp_path: Path, taught: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = Parent("v1", taught.home.registry / "versions" / "v1")

    def refuse(name: str | None = None) -> Base:
        raise AssertionError("no base has to be loaded")

    monkeypatch.setattr(bases, "load_base", refuse)
    place = _place(tmp_path)
    fitted = fit(_snapshot(toy_rows()), "d" * 64, FitRequest(features="both"), place, _stages("head"), parent=parent, run="r_1")
    before, after = read_manifest(parent.folder), fitted.manifest
    assert before.encoder is not None
    assert after.encoder is not None
    assert after.encoder.weights_sha256 == before.encoder.weights_sha256
    assert after.encoder.max_tokens == before.encoder.max_tokens
    assert after.encoder.base == before.encoder.base
    assert (after.lineage.parent, after.lineage.run) == ("v1", "r_1")
    engine = before.encoder.variants["fp32"]
    assert (fitted.folder / engine).samefile(parent.folder / engine)


def test_a_holdout_without_rows_is_no_crash(tmp_path: Path, toy_folder: Path) -> None:
    rows = [row for row in toy_rows(96) if row.split != "test"]
    fitted = fit(_snapshot(rows), "d" * 64, _request(toy_folder), _place(tmp_path), _stages("head"))
    assert "accuracy" not in fitted.manifest.metrics
    assert fitted.manifest.parity is not None
    assert fitted.manifest.parity.rows == 0
    assert fitted.manifest.encoder is not None
    assert fitted.manifest.encoder.serving == "fp32"


def test_without_validation_rows_the_richest_features_are_served(tmp_path: Path, toy_folder: Path) -> None:
    rows = [row for row in toy_rows(96) if row.split != "validation"]
    request = replace(_request(toy_folder), features="auto")
    fitted = fit(_snapshot(rows), "d" * 64, request, _place(tmp_path), _stages("head"))
    assert fitted.manifest.features == "both"
    assert fitted.manifest.temperature == 1.0
    assert "validation_accuracy" not in fitted.manifest.metrics


def test_texts_too_few_to_learn_from_are_refused(tmp_path: Path, toy_folder: Path) -> None:
    rows = [Row("one", "yes", "train"), Row("two", "no", "train")]
    with pytest.raises(DataError, match="more rows"):
        fit(_snapshot(rows), "d" * 64, _request(toy_folder), _place(tmp_path), _stages("head"))


@pytest.mark.parametrize("speed", _SPEEDS)
def test_a_wish_to_stop_is_obeyed_at_any_stage(tmp_path: Path, toy_folder: Path, speed: FitSpeed) -> None:
    snapshot, place = _snapshot(toy_rows(48)), _place(tmp_path)
    heard: list[Progress] = []
    fit(snapshot, "d" * 64, _request(toy_folder, speed), place, Stages(STAGES[speed], heard.append))
    ratios = [moment.ratio for moment in heard]
    assert ratios == sorted(ratios)
    assert {moment.stage for moment in heard} >= {"load", "encode", "fit", "measure"}
    for stage in ("fit", "measure") if speed == "head" else ("finetune", "export"):
        with pytest.raises(RunCancelled):
            fit(snapshot, "d" * 64, _request(toy_folder, speed), place, _stopped_at(speed, stage))


def _stopped_at(speed: FitSpeed, stage: str) -> Stages:
    """Return stages that are asked to stop once ``stage`` is reached."""
    reached: list[str] = []
    return Stages(STAGES[speed], lambda moment: reached.append(moment.stage), lambda: stage in reached)


def test_an_export_that_is_not_its_encoders_equal_ends_the_fit(
    tmp_path: Path, toy_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise BundleError("the exported encoder differs")

    monkeypatch.setattr(export, "export_encoder", refuse)
    place = _place(tmp_path)
    with pytest.raises(BundleError):
        fit(_snapshot(toy_rows(48)), "d" * 64, _request(toy_folder), place, _stages("head"))
    assert list(place.staging.iterdir()) == []


def test_rows_that_corrections_contradict_count_less(tmp_path: Path, toy_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = to_examples(toy_rows(96))
    corrected = {example.text_key for example in examples[:40] if example.split == "train"}
    snapshot = build_snapshot(examples, [], BaseDataset.of(examples).labels, 4.0)
    mended = [replace(e, origin="correction", weight=4.0) if e.text_key in corrected else e for e in snapshot.examples]
    heads, doubted = [], []
    # Neighbourhood says nothing at all; or every correction speaks for whatever is nearest to it, and nothing else does.
    monkeypatch.setattr(doubt, "vouched_ratio", lambda *arguments: np.zeros(len(arguments[-1]), np.float32))
    for name, similarity in (("nothing", None), ("everything", -1.0)):
        monkeypatch.setattr(doubt, "near_similarity", lambda *_, found=similarity, **__: found)
        place = _place(tmp_path / name)
        fitted = fit(replace(snapshot, examples=tuple(mended)), "d" * 64, _request(toy_folder), place, _stages("head"))
        heads.append(file_sha256(fitted.folder / HEAD))
        doubted.append(fitted.manifest.lineage.rows["doubted"])
        assert fitted.manifest.lineage.rows["corrected"] == len(corrected)
    assert doubted[0] == 0 < doubted[1]
    assert heads[0] != heads[1]


def test_the_penalty_is_chosen_anew_over_an_encoder_that_was_just_trained(
    taught_in_full: tuple[Settings, TeachReport],
    taught_once: tuple[Settings, TeachReport],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[float | None] = []

    def fit_option(*arguments: Any, **named: Any) -> Option:
        given.append(arguments[4])
        return select.fit_option(*arguments, **named)

    monkeypatch.setattr(fitter, "fit_option", fit_option)
    usual = FitRequest("head", "both")
    for taught, report in (taught_once, taught_in_full):
        folder = taught.home.registry / "versions" / report.version
        place = _place(tmp_path / str(len(given)))
        fit(_snapshot(toy_rows()), "0" * 64, usual, place, _stages("head"), parent=Parent(report.version, folder))
    of_head = read_manifest(taught_once[0].home.registry / "versions" / "v1").lineage.settings["regularisation"]
    assert given == [of_head, None]


def _doubtful(count: int, lost_ratio: float, seed: int) -> list[Row]:
    """Return texts with a word of two labels each, one of them "lost", which is the right one as often as told."""
    chance = random.Random(seed)  # noqa: S311 - toy data
    rows: dict[str, Row] = {}
    while len(rows) < count:
        other = chance.choice(["angry", "calm"])
        words = [chance.choice(SIGNAL[other]), chance.choice(SIGNAL["lost"]), *chance.sample(FILLER, 3)]
        text = " ".join(chance.sample(words, len(words)))
        label = "lost" if chance.random() < lost_ratio else other
        rows.setdefault(text, Row(text, label, "validation" if len(rows) % 4 == 0 else "train"))
    return list(rows.values())


def _drawn() -> list[TrainingCorrection]:
    """Return what chance drew from traffic in which texts are "lost" far more often than in the base data."""
    return [
        TrainingCorrection(place, row.text, text_key(row.text), row.label, "confirmation", "ann", None, None, drawn=True)
        for place, row in enumerate(_doubtful(120, 0.95, seed=5), start=1)
    ]


def _fit_drawn(place: Workplace, base: Path, speed: FitSpeed, **changes: Any) -> tuple[Fitted, LabelShift]:
    examples = to_examples([*toy_rows(), *_doubtful(400, 0.4, seed=6)])
    snapshot = build_snapshot(examples, _drawn(), BaseDataset.of(examples).labels, 4.0)
    fitted = fit(snapshot, "d" * 64, replace(_request(base, speed), **changes), place, _stages(speed))
    return fitted, LabelShift.load(fitted.folder)


@pytest.mark.parametrize("speed", _SPEEDS)
def test_answers_follow_the_mix_of_labels_that_chance_drew(tmp_path: Path, toy_folder: Path, speed: FitSpeed) -> None:
    fitted, shift = _fit_drawn(_place(tmp_path), toy_folder, speed)
    plain, nothing = _fit_drawn(_place(tmp_path), toy_folder, speed, label_shift=False)
    assert nothing == LabelShift()
    assert min(shift.offsets["lost"] - shift.offsets[other] for other in ("angry", "calm")) > 0.5
    head, other = (Head.load(one.folder / HEAD) for one in (fitted, plain))
    labels, temperature = fitted.manifest.labels, fitted.manifest.temperature
    np.testing.assert_allclose(head.bias - other.bias, temperature * shift.over(labels), atol=1e-4)
    # Held-out rows are of the old mix, so what is measured on them is what the head knows without it.
    assert fitted.manifest.metrics == plain.manifest.metrics
    card = (fitted.folder / CARD).read_text()
    assert "## Mix of labels" in card
    assert "- lost: × " in card
    assert "## Mix of labels" not in (plain.folder / CARD).read_text()
    Classifier.load(fitted.folder, checked=True)


def test_labels_that_were_weighed_on_purpose_stay_so(tmp_path: Path, toy_folder: Path) -> None:
    examples = to_examples([*toy_rows(), *_doubtful(400, 0.4, seed=6)])
    weighed = [replace(example, weight=2.0 if example.label == "angry" else 0.8) for example in examples]
    snapshot = build_snapshot(weighed, _drawn(), BaseDataset.of(weighed).labels, 4.0)
    fitted = fit(snapshot, "d" * 64, _request(toy_folder), _place(tmp_path), _stages("head"))
    assert LabelShift.load(fitted.folder) == LabelShift()


def test_what_the_gate_asks_about_changes_nothing_of_what_is_fitted(tmp_path: Path, toy_folder: Path) -> None:
    keys = [text_key(word.text) for word in _drawn()]
    base_key = text_key(next(row.text for row in toy_rows() if row.split == "train"))
    files = []
    for name, asked in (("none", ()), ("some", (*keys[:40], base_key)), ("all", tuple(keys))):
        place = _place(tmp_path / name)
        fitted, _ = _fit_drawn(place, toy_folder, "head", cross_fit=asked)
        files.append(file_sha256(fitted.folder / HEAD))
        known = OutOfFold.load(place.cache, fitted.folder)
        assert all(key in known for key in asked if key != base_key or name == "some")
    assert len(set(files)) == 1
