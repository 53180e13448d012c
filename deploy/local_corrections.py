"""Corrections and labels when no service runs: the same checks and the same store, without HTTP."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any

from pydantic_core import to_json

from core.correction_bodies import RowReport
from core.label_bodies import LabelEvent, LabelEventRequest, LabelsAnswer, NewLabels
from core.registries import registry_of
from core.settings import Settings
from deploy.local import champion_of
from feedback.bulk import BulkRow
from feedback.exporting import WRITERS, ExportFormat
from feedback.labels import Backing
from feedback.store import Store
from serve.bulk_rows import Line, RowChecks, Tally
from serve.label_answers import label_summaries

_ROWS_AT_ONCE = 500


def add_corrections(settings: Settings, rows: Iterable[Mapping[str, Any]], new_labels: NewLabels) -> Iterator[RowReport]:
    """Yield what became of each row, in order.

    Raises:
        NoModel, StoreUnavailable: rows that were not reported on were not kept.
    """
    known = _known(settings)
    backing = Backing(settings.label_min_texts, settings.label_min_annotators)
    tally = Tally()
    numbered = enumerate(rows, 1)
    with _open(settings) as store:
        while part := list(islice(numbered, _ROWS_AT_ONCE)):
            allowed = store.label_book().allowed(known)
            checks = RowChecks(settings, allowed, new_labels == "propose", None)
            read = [checks.read(Line(number, to_json(row))) for number, row in part]
            kept = iter(store.add_corrections([row for row in read if isinstance(row, BulkRow)]))
            outcomes = [next(kept) if isinstance(row, BulkRow) else row for row in read]
            store.accept_backed_labels(backing)
            for (number, _), outcome in zip(part, outcomes, strict=True):
                yield RowReport.model_validate_json(tally.report(number, outcome))


def export_corrections(settings: Settings, written_as: ExportFormat) -> Iterator[bytes]:
    """Yield the pieces of a file with all corrections there are.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    writer = WRITERS[written_as]()
    with _open(settings) as store:
        last, sequence = store.last_sequence(), 0
        while sequence < last:
            rows, sequence = store.export_page(sequence, last, _ROWS_AT_ONCE)
            yield writer.write(rows)
    yield writer.finish()


def labels_of(settings: Settings) -> LabelsAnswer:
    """Return how every label stands.

    Raises:
        NoModel, StoreUnavailable: nothing can be said.
    """
    version = champion_of(settings)
    known = _known(settings)
    with _open(settings) as store:
        book = store.label_book()
        summaries = label_summaries(book, known, store.backing(book.proposed))
    return LabelsAnswer(
        model_version=version,
        labels=summaries,
        texts_needed=settings.label_min_texts,
        annotators_needed=settings.label_min_annotators,
    )


def decide_label(settings: Settings, request: LabelEventRequest) -> LabelEvent:
    """Return the decision as it was kept.

    Raises:
        InputError, UnknownLabel, Conflict: it cannot be taken as things stand.
        NoModel, StoreUnavailable: nothing was decided.
    """
    known = _known(settings)
    with _open(settings) as store:
        return store.decide_label(request, known)


def _known(settings: Settings) -> list[str]:
    return registry_of(settings).manifest(champion_of(settings)).labels


@contextmanager
def _open(settings: Settings) -> Iterator[Store]:
    store = Store.of(settings)
    try:
        yield store
    finally:
        store.close()
