"""The choice of engine: parity first, then what is faster on this machine, measured once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from core import engines
from core.bundle import EncoderSpec, Manifest, Variant, read_manifest
from core.classifier import Classifier
from core.engines import EngineChoice, choose_engine
from core.errors import BundleError
from tests.core.encoders import FP32


def _judged_with(folder: Path, variant: Variant) -> Manifest:
    manifest = read_manifest(folder)
    assert manifest.encoder is not None
    return manifest.model_copy(update={"encoder": manifest.encoder.model_copy(update={"serving": variant})})


def _measured(monkeypatch: pytest.MonkeyPatch, texts_per_s: dict[str, float]) -> list[int]:
    """Let a measurement find ``texts_per_s`` in batches of any size; the list grows with each."""
    calls: list[int] = []

    def measure(
        _folder: Path, _manifest: Manifest, _spec: EncoderSpec, candidates: Sequence[engines._Candidate], _threads: int
    ) -> engines._Rates:
        calls.append(1)
        return {found: dict.fromkeys((8, 32), texts_per_s[found.name]) for found in candidates if found.name in texts_per_s}

    monkeypatch.setattr(engines, "_measure", measure)
    return calls


@pytest.mark.parametrize(
    ("texts_per_s", "variant", "reason"),
    [
        ({"int8/cpu": 900.0, "fp32/cpu": 400.0}, "int8", "not beaten here, 2.25 times the next"),
        ({"int8/cpu": 400.0, "fp32/cpu": 420.0}, "int8", "not beaten here, 0.95 times the next"),
        ({"int8/cpu": 400.0, "fp32/cpu": 600.0}, "fp32", "1.50 times as fast here as int8/cpu"),
        ({"int8/cpu": 400.0}, "int8", "not beaten here"),
        ({"fp32/cpu": 400.0}, "int8", "could not be measured"),
    ],
)
def test_the_judged_variant_is_left_only_for_a_clear_gain(
    sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, texts_per_s: dict[str, float], variant: str, reason: str
) -> None:
    _measured(monkeypatch, texts_per_s)
    choice = choose_engine(sealed, _judged_with(sealed, "int8"), threads=1, cache=tmp_path)
    assert choice is not None
    assert (choice.variant, choice.provider, choice.threads, choice.texts_per_s) == (variant, "cpu", 1, texts_per_s)
    assert reason in choice.reason


@pytest.mark.parametrize(
    ("texts_per_s", "lanes", "threads"),
    [
        ({"int8/cpu": 600.0, "int8/cpu x2": 900.0, "int8/cpu x4": 950.0, "fp32/cpu": 400.0}, 4, 1),
        ({"int8/cpu": 600.0, "int8/cpu x2": 900.0, "int8/cpu x4": 910.0, "fp32/cpu": 400.0}, 2, 2),
        ({"int8/cpu": 600.0, "int8/cpu x2": 610.0, "int8/cpu x4": 500.0}, 1, 4),
        # What another variant gains counts at its best.
        ({"int8/cpu": 600.0, "fp32/cpu": 400.0, "fp32/cpu x4": 700.0}, 4, 1),
    ],
)
def test_the_cores_work_on_one_batch_or_on_several_whichever_is_faster(
    sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, texts_per_s: dict[str, float], lanes: int, threads: int
) -> None:
    _measured(monkeypatch, texts_per_s)
    choice = choose_engine(sealed, _judged_with(sealed, "int8"), threads=4, cache=tmp_path)
    assert choice is not None
    assert (choice.lanes, choice.threads, choice.texts_per_s) == (lanes, threads, texts_per_s)


def test_a_batch_is_no_larger_than_the_engine_is_fast(sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = {8: 900.0, 16: 890.0, 32: 700.0}
    monkeypatch.setattr(engines, "_measure", lambda *found: dict.fromkeys(found[3], rates))
    choice = choose_engine(sealed, _judged_with(sealed, "int8"), threads=1, cache=tmp_path)
    assert choice is not None
    assert choice.batch_texts == 16


def test_a_variant_that_failed_parity_is_never_a_candidate(
    sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = _measured(monkeypatch, {"int8/cpu": 9e9, "fp32/cpu": 1.0})
    choice = choose_engine(sealed, _judged_with(sealed, "fp32"), threads=1, cache=tmp_path)
    assert choice is not None
    assert (choice.variant, choice.texts_per_s, calls) == ("fp32", {}, [])
    assert "only variant that agrees" in choice.reason


def test_it_is_measured_for_real_and_then_remembered(sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = _judged_with(sealed, "int8")
    first = choose_engine(sealed, manifest, threads=1, cache=tmp_path)
    assert first is not None
    assert set(first.texts_per_s) == {"int8/cpu", "fp32/cpu"}
    assert all(rate > 0 for rate in first.texts_per_s.values())
    calls = _measured(monkeypatch, {"int8/cpu": 1.0, "fp32/cpu": 100.0})
    assert choose_engine(sealed, manifest, threads=1, cache=tmp_path) == first
    assert calls == []
    assert choose_engine(sealed, manifest, threads=2, cache=tmp_path) != first
    assert calls == [1]


def test_a_damaged_memory_is_measured_again(sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = _measured(monkeypatch, {"int8/cpu": 2.0, "fp32/cpu": 1.0})
    manifest = _judged_with(sealed, "int8")
    choose_engine(sealed, manifest, cache=tmp_path)
    (kept,) = (tmp_path / "engines").iterdir()
    kept.write_text("{", encoding="utf-8")
    assert choose_engine(sealed, manifest, cache=tmp_path) is not None
    assert calls == [1, 1]
    assert EngineChoice.model_validate_json(kept.read_bytes()).variant == "int8"


def test_a_cache_that_cannot_be_written_costs_a_measurement_only(
    sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _measured(monkeypatch, {"int8/cpu": 2.0, "fp32/cpu": 1.0})
    (tmp_path / "engines").write_text("in the way", encoding="utf-8")
    choice = choose_engine(sealed, _judged_with(sealed, "int8"), cache=tmp_path)
    assert choice is not None
    assert choice.variant == "int8"


def test_a_candidate_that_does_not_load_is_left_out(bundle: Path, tmp_path: Path) -> None:
    (bundle / FP32).write_bytes(b"no graph")
    choice = choose_engine(bundle, _judged_with(bundle, "int8"), threads=1, cache=tmp_path)
    assert choice is not None
    assert set(choice.texts_per_s) == {"int8/cpu"}


def test_without_an_encoder_there_is_no_engine(sealed: Path, tmp_path: Path) -> None:
    manifest = read_manifest(sealed).model_copy(update={"encoder": None})
    assert choose_engine(sealed, manifest, cache=tmp_path) is None


def test_a_missing_gpu_is_an_error_not_a_slow_cpu(sealed: Path) -> None:
    with pytest.raises(BundleError, match=r"cannot be (run on cuda|loaded)"):
        Classifier.load(sealed, threads=1, provider="cuda")
