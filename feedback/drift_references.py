"""What a version's traffic is compared with: its own held-out rows, or a window that an operator made the reference."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, insert, select, update

from core.bundle import Manifest
from core.drift.detector import MIN_ROWS
from core.drift.profile import Reference, common_words
from core.drift.reading import known_words
from core.drift.samples import Sample, measure_texts
from core.drift_bodies import DriftReference, ReferenceRequest
from core.errors import Conflict, NotFound
from core.ngrams import words_of
from core.schemas import PredictionRecord
from core.text import clean
from feedback.database import Database, clock
from feedback.drift_tables import drift_alarms, drift_references, drift_windows
from feedback.trail import add_entry

READABLE = ("full", "redacted")


class DriftReferences(Database):
    """The part of the store that knows which window is the reference."""

    def set_drift_reference(self, version: str, request: ReferenceRequest, actor: str) -> DriftReference:
        """Keep with what traffic of ``version`` is compared from now on, and note it in the audit trail.

        An alarm that is open was raised against the old reference: it counts as taken note of.

        Raises:
            NotFound: there is no such window.
            Conflict: the window is another version's, whose answers are no reference for this one, or is too small.
        """

        def work(connection: Connection) -> DriftReference:
            if request.window_id is not None:
                _check_window(connection, version, request.window_id)
            moment = clock(connection)
            values = {
                "model_version": version,
                "window_id": request.window_id,
                "decided_at": moment,
                "decided_by": request.by,
                "decided_why": request.why,
            }
            connection.execute(insert(drift_references), values)
            taken = {
                "state": "acknowledged",
                "decided_at": moment,
                "decided_by": request.by,
                "decided_why": "another reference",
            }
            connection.execute(update(drift_alarms).where(drift_alarms.c.state == "open").values(**taken))
            details = {"window_id": request.window_id, "by": request.by, "why": request.why}
            add_entry(connection, actor, "set drift reference", version, details)
            return DriftReference.model_validate(values)

        return self._write(work)

    def drift_reference(self, version: str, at: datetime | None = None) -> DriftReference | None:
        """Return what was decided for ``version``, or had been ``at`` a moment; None for its held-out rows."""
        query = select(drift_references).where(drift_references.c.model_version == version)
        if at is not None:
            query = query.where(drift_references.c.decided_at <= at)
        with self._reading() as connection:
            row = connection.execute(query.order_by(drift_references.c.sequence.desc()).limit(1)).one_or_none()
        if row is None or row.window_id is None:
            return None
        return DriftReference.model_validate({name: row._mapping[name] for name in DriftReference.model_fields})


def _check_window(connection: Connection, version: str, window_id: str) -> None:
    row = connection.execute(select(drift_windows).where(drift_windows.c.window_id == window_id)).one_or_none()
    if row is None:
        raise NotFound("no drift window has this window_id; GET /v1/drift lists them")
    if row.model_version != version:
        raise Conflict(
            f"this window is of {row.model_version} and {version} serves; a window of {version} can be its reference"
        )
    if row.rows < MIN_ROWS:
        raise Conflict(f"this window has {row.rows} predictions; a reference takes {MIN_ROWS}")


def readable(records: tuple[PredictionRecord, ...]) -> list[PredictionRecord]:
    """Return those whose text is kept and may be looked at."""
    return [record for record in records if record.text_kept in READABLE and record.text]


def reference_of(
    records: tuple[PredictionRecord, ...],
    folder: Path,
    manifest: Manifest,
    embeddings: NDArray[np.float32] | None = None,
) -> Reference | None:
    """Return a window's predictions as a reference; None where too few of them are left.

    ``embeddings`` are those of its readable texts, in their order.
    """
    if len(records) < MIN_ROWS:
        return None
    cleaned = [clean(record.text, manifest.text) for record in readable(records)]
    texts = measure_texts(cleaned, known_words(folder, manifest), embeddings) if len(cleaned) >= MIN_ROWS else None
    confidences = np.array([record.score for record in records], dtype=np.float32)
    words = common_words(map(words_of, cleaned), len(cleaned)) if cleaned else {}
    return Reference(Sample(tuple(record.label for record in records), confidences, texts), words)
