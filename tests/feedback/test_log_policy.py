"""What the log keeps of predictions, and what can be said of one whose text it does not keep."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import get_args
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.discretion import Discretion
from core.errors import InvalidText, StoreUnavailable, TextNotKept
from core.redaction import redactor_of
from core.schemas import CorrectionRequest, PredictionRecord, TextKept
from core.text import text_key
from feedback.bulk import BulkRow
from feedback.log_policy import LogPolicy
from feedback.prediction_log import PredictionLog
from feedback.store import Store
from tests.feedback.records import prediction

_REDACT = redactor_of("all", "", "").redact
_TEXT = "write to ada@example.com about the phone"
_LEFT: dict[TextKept, str] = {"full": _TEXT, "redacted": "write to [EMAIL] about the phone", "hash": "", "none": ""}


def _record(number: int = 0) -> PredictionRecord:
    return prediction(number, text=_TEXT, text_key=text_key(_TEXT))


def _policy(text: TextKept) -> LogPolicy:
    return LogPolicy(text=text, redact=None if text == "full" else _REDACT)


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """Give a store that redacts, as one does whose log does not keep full texts."""
    opened = Store(store_url, discretion=Discretion(redactor_of("all", "", "")))
    yield opened
    opened.close()


@pytest.mark.parametrize("kept", get_args(TextKept))
def test_only_what_the_policy_leaves_reaches_the_store_or_the_disk(store: Store, tmp_path: Path, kept: TextKept) -> None:
    log = PredictionLog(store, tmp_path / "spool", policy=_policy(kept))
    log.put([_record()])
    log.close()
    found = store.prediction("p0")
    assert (found.text, found.text_kept, found.sample_ratio) == (_LEFT[kept], kept, 1.0)
    redacted = text_key(_LEFT["redacted"])
    assert found.text_key == {"full": text_key(_TEXT), "redacted": redacted, "hash": redacted, "none": ""}[kept]


@pytest.mark.parametrize("kept", get_args(TextKept))
@pytest.mark.parametrize("hangs", [False, True])
def test_only_what_the_policy_leaves_is_spooled(tmp_path: Path, kept: TextKept, hangs: bool) -> None:
    class Away(Store):
        def log_predictions(self, records: object) -> None:  # noqa: ARG002 - as the store has it
            if hangs:
                ended.wait(30)
            raise StoreUnavailable("the store is away")

    ended = threading.Event()
    store = Away(f"sqlite:///{tmp_path / 'feedback.db'}")
    log = PredictionLog(store, tmp_path / "spool", policy=_policy(kept))
    log.put([_record()])
    log.close(0.1 if hangs else 8.0)
    (spooled,) = [path.read_text() for path in (tmp_path / "spool").glob("*.jsonl")]
    ended.set()
    assert ("ada@example.com" in spooled) == (kept == "full")
    assert (text_key(_TEXT) in spooled) == (kept == "full")


def test_a_policy_that_redacts_needs_to_know_how() -> None:
    with pytest.raises(ValueError, match="nothing says how"):
        LogPolicy(text="redacted")


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_a_larger_share_keeps_all_that_a_smaller_one_keeps(one: float, other: float) -> None:
    less, more = sorted((one, other))
    records = [prediction(prediction_id=f"p_{number:012x}{number * 2_654_435_761 % 2**64:020x}") for number in range(50)]
    assert set(_ids(LogPolicy(less), records)) <= set(_ids(LogPolicy(more), records))


def _ids(policy: LogPolicy, records: list[PredictionRecord]) -> list[str]:
    return [record.prediction_id for record in policy.sampled(records)]


def test_the_share_is_kept_and_the_rest_is_counted(store: Store, tmp_path: Path) -> None:
    log = PredictionLog(store, tmp_path / "spool", policy=LogPolicy(0.25))
    log.put([prediction(prediction_id=f"p_{number:012x}{uuid4().hex[:20]}") for number in range(4_000)])
    log.close()
    # Five standard deviations of a binomial count.
    assert abs(log.written - 1_000) < 137
    assert log.written + log.unsampled == 4_000
    assert log.dropped == 0


@pytest.mark.parametrize("kept", ["hash", "none"])
def test_a_prediction_without_its_text_is_corrected_by_sending_the_text(store: Store, kept: TextKept) -> None:
    store.log_predictions(_policy(kept).kept([_record()]))
    with pytest.raises(TextNotKept, match="send it beside prediction_id"):
        store.add_correction(CorrectionRequest(prediction_id="p0", label="x"), idempotency_key="k")
    answer = store.add_correction(CorrectionRequest(prediction_id="p0", text=_TEXT, label="x"), idempotency_key="k")
    assert (answer.predicted_label, answer.model_version, answer.kind) == ("positive", "v1", "correction")
    confirmed = store.add_correction(CorrectionRequest(prediction_id="p0", text=_TEXT, label="positive"))
    assert confirmed.kind == "confirmation"
    (learned,) = store.training_corrections()
    assert (learned.text, learned.text_key) == (_LEFT["redacted"], text_key(_LEFT["redacted"]))
    assert sum(store.label_outcomes()["v1"]) == 1


@pytest.mark.parametrize("kept", ["full", "hash"])
def test_another_text_than_the_predicted_one_is_refused(store: Store, kept: TextKept) -> None:
    store.log_predictions(_policy(kept).kept([_record()]))
    request = CorrectionRequest(prediction_id="p0", text="something else", label="x")
    with pytest.raises(InvalidText):
        store.add_correction(request)
    refused, taken = store.add_corrections([BulkRow(request), BulkRow(CorrectionRequest(text="fine", label="x"))])
    assert isinstance(refused, InvalidText)
    assert not isinstance(taken, Exception)
    assert store.correction_count() == 1


def test_what_redaction_took_out_does_not_come_back_with_a_correction(store: Store) -> None:
    store.log_predictions(_policy("redacted").kept([_record()]))
    for text in (None, _TEXT):
        store.add_correction(CorrectionRequest(prediction_id="p0", text=text, label="x"))
    assert [word.text for word in store.training_corrections()] == [_LEFT["redacted"]]
