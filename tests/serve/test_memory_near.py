"""Texts near to a corrected one, where the version was seen to be reliable there; elsewhere nothing is near."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from core.bundle import Nearness, read_manifest, seal
from core.classifier import Classifier
from serve.slot import Loaded
from tests.core import encoders
from tests.serve.conftest import Service, Start

# The tiny encoder takes the mean of its tokens, so that order does not matter to it.
TEXT, NEAR, FAR = "good phone", "phone good", "bad bad bad"


def _loaded(folder: Path, similarity: float | None, *, contrary_score: float = 1.0, encoder_seed: int = 0) -> Loaded:
    """Return a version with an encoder whose bundle says that texts are near enough from ``similarity`` on."""
    manifest = encoders.write_encoder_bundle(folder, encoder_seed=encoder_seed)
    counts = dict.fromkeys(("rows", "answered", "right", "wrong_rows", "wrong_answered", "wrong_right"), 500)
    tested = dict.fromkeys(("test_rows", "test_answered", "test_right"), 500)
    nearness = Nearness(similarity=similarity, contrary_score=contrary_score, right_low=0.99, **counts, **tested)
    seal(folder, manifest.model_copy(update={"nearness": nearness}))
    assert read_manifest(folder).nearness == nearness
    return Loaded(folder.name, Classifier.load(folder), "head")


@pytest.fixture
async def service(start: Start) -> AsyncIterator[Service]:
    """Give a replica without a version, that holds back no correction for a model's sake."""
    async with start(versions=0, changed={"suspect_model_score": 1.0, "memory_poll_s": 60.0}) as service:
        yield service


async def _ask(service: Service, text: str) -> dict[str, Any]:
    body: dict[str, Any] = (await service.post("/v1/predict", {"text": text})).json()
    return body


async def _correct(service: Service, text: str) -> str:
    """Correct a text to the label its version gives least, and return that."""
    label = str((await _ask(service, text))["scores"][-1]["label"])
    assert (await service.post("/v1/corrections", {"text": text, "label": label})).status_code == 201
    return label


async def test_a_text_near_to_a_corrected_one_gets_its_label(service: Service, tmp_path: Path) -> None:
    service.parts.slot.current = _loaded(tmp_path / "v1", 0.95)
    before = await _ask(service, FAR)
    label = await _correct(service, TEXT)
    answer = await _ask(service, NEAR)
    assert (answer["label"], answer["source"], answer["memory"]["match"]) == (label, "memory", "near")
    assert answer["memory"]["similarity"] == pytest.approx(1.0, abs=1e-5)
    assert (await _ask(service, TEXT))["memory"]["match"] == "exact"
    after = await _ask(service, FAR)
    assert (after["label"], after["scores"], after["source"]) == (before["label"], before["scores"], "head")


@pytest.mark.parametrize(("similarity", "contrary_score"), [(None, 1.0), (0.95, 0.0)])
async def test_what_was_not_seen_to_be_reliable_is_not_answered(
    service: Service, tmp_path: Path, similarity: float | None, contrary_score: float
) -> None:
    service.parts.slot.current = _loaded(tmp_path / "v1", similarity, contrary_score=contrary_score)
    await _correct(service, TEXT)
    assert (await _ask(service, NEAR))["source"] == "head"
    assert (await _ask(service, TEXT))["source"] == "memory"


async def test_of_two_that_are_as_near_and_differ_neither_answers(service: Service, tmp_path: Path) -> None:
    service.parts.slot.current = _loaded(tmp_path / "v1", 0.95)
    label = await _correct(service, "good phone very")
    other = next(name for name in encoders.LABELS if name != label)
    assert (await service.post("/v1/corrections", {"text": "very good phone", "label": other})).status_code == 201
    assert (await _ask(service, "phone very good"))["source"] == "head"


async def test_another_encoder_reads_the_memory_anew_before_it_goes_by_nearness(service: Service, tmp_path: Path) -> None:
    service.parts.slot.current = _loaded(tmp_path / "v1", 0.95)
    label = await _correct(service, TEXT)
    service.parts.slot.current = _loaded(tmp_path / "v2", 0.95, encoder_seed=7)
    assert (await _ask(service, NEAR))["source"] == "head"
    assert (await _ask(service, TEXT))["label"] == label
    await service.parts.memory.look()
    answer = await _ask(service, NEAR)
    assert (answer["label"], answer["model_version"], answer["source"]) == (label, "v2", "memory")


async def test_what_is_withdrawn_or_erased_is_near_to_nothing_any_more(service: Service, tmp_path: Path) -> None:
    service.parts.slot.current = _loaded(tmp_path / "v1", 0.95)
    await _correct(service, TEXT)
    assert (await _ask(service, NEAR))["source"] == "memory"
    assert (await service.post("/v1/erasures", {"text": TEXT})).status_code == 201
    assert (await _ask(service, NEAR))["source"] == "head"


async def test_an_empty_memory_asks_nothing_of_the_engine(service: Service, tmp_path: Path) -> None:
    loaded = service.parts.slot.current = _loaded(tmp_path / "v1", 0.95)
    assert service.parts.memory.recall(loaded) is None
    await _correct(service, TEXT)
    recall = service.parts.memory.recall(loaded)
    assert recall is not None
    assert recall.seek is not None
