"""Drift as people are shown it: the newest windows and alarms, and why a window is unlike the reference."""

from __future__ import annotations

from pathlib import Path

from core.bundle import read_manifest
from core.drift.profile import Reference, read_profile
from core.drift.why import Answer, examples_of, moved_classes, moved_slices, moved_words
from core.drift_bodies import DriftAnswer, DriftWhy, DriftWindow
from core.errors import Conflict
from core.registries import registry_of
from core.schemas import PredictionRecord
from core.settings import Settings
from core.text import clean
from feedback.drift_references import reference_of
from feedback.store import Store


def drift_of(store: Store, settings: Settings, limit: int) -> DriftAnswer:
    """Return the state of drift with up to ``limit`` windows and alarms.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    champion = registry_of(settings).aliases().champion
    windows, size = store.drift_windows(limit), settings.drift_window_rows
    if windows:
        why = windows[0].why
    elif not size:
        why = "HONE_DRIFT_WINDOW_ROWS is 0, so nothing is looked at"
    elif not settings.log_predictions:
        why = "HONE_LOG_PREDICTIONS is false, so there is nothing to look at"
    else:
        why = "the first window is not complete yet"
    return DriftAnswer(
        state=windows[0].state if windows else "unknown",
        why=why,
        window_rows=size,
        waiting_rows=store.waiting_rows(champion) if champion is not None else 0,
        reference=store.drift_reference(champion) if champion is not None else None,
        windows=windows,
        alarms=store.drift_alarms(limit),
    )


def why_of(store: Store, settings: Settings, window_id: str) -> DriftWhy:
    """Return what moved most in a window, from the predictions of it that are there still.

    Raises:
        NotFound: there is no such window, or its version is gone.
        Conflict: its version has no profile to compare with.
        StoreUnavailable: the store does not answer.
    """
    window, records = store.window_records(window_id)
    folder = registry_of(settings).path(window.model_version)
    reference = _reference(store, folder, window)
    if reference is None:
        raise Conflict(f"{window.model_version} keeps no profile of its held-out rows, so there is nothing to compare with")
    return explain(window, folder, reference, records)


def _reference(store: Store, folder: Path, window: DriftWindow) -> Reference | None:
    """Return what the window was compared with when it was looked at."""
    decided = store.drift_reference(window.model_version, window.created_at)
    if decided is not None and decided.window_id is not None:
        _, records = store.window_records(decided.window_id)
        found = reference_of(records, folder, read_manifest(folder))
        if found is not None:
            return found
    profile = read_profile(folder)
    return None if profile is None else profile.reference


def explain(window: DriftWindow, folder: Path, reference: Reference, records: tuple[PredictionRecord, ...]) -> DriftWhy:
    """Return what moved most between ``reference`` and the predictions of a window."""
    settings = read_manifest(folder).text
    answers = [
        Answer(record.prediction_id, clean(record.text, settings), record.label, record.score, record.metadata)
        for record in records
    ]
    return DriftWhy(
        window=window,
        classes=moved_classes(reference, answers),
        words=moved_words(reference, answers),
        slices=moved_slices(reference, answers),
        examples=examples_of(reference, answers),
    )
