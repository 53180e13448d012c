"""The feedback store: all its parts over one database."""

from __future__ import annotations

from core.discretion import Discretion
from core.settings import Settings
from feedback.bulk import Bulk
from feedback.corrections import Corrections
from feedback.drift_references import DriftReferences
from feedback.drift_windows import DriftWindows
from feedback.dumping import Dumps
from feedback.erasures import Erasures
from feedback.exporting import Exports
from feedback.labels import Labels
from feedback.leases import Leases
from feedback.lessons import Lessons
from feedback.outlooks import Outlooks
from feedback.predictions import Predictions
from feedback.quarantine import Quarantine
from feedback.replicas import Replicas
from feedback.review import Review
from feedback.review_items import ReviewItems
from feedback.revisions import Revisions
from feedback.runs import Runs
from feedback.subject_export import SubjectExports
from feedback.traffic import TrafficSlots
from feedback.trail import Trail


class Store(
    Predictions,
    Corrections,
    Bulk,
    Revisions,
    Exports,
    Labels,
    Quarantine,
    Lessons,
    ReviewItems,
    Review,
    DriftWindows,
    DriftReferences,
    Erasures,
    SubjectExports,
    Trail,
    Runs,
    Leases,
    Outlooks,
    Replicas,
    TrafficSlots,
    Dumps,
):
    """Everything people and learners said, in SQLite or PostgreSQL; threads and processes may share one database.

    ``Store(url)`` connects at the first use and again after an outage; :meth:`open` insists on an answer now. Every method
    raises ``StoreUnavailable`` while the database is away, having written nothing, unless the connection broke in the middle of
    the commit; what may be sent twice therefore has a key or an id of its own.
    """

    @classmethod
    def of(cls, settings: Settings) -> Store:
        """Return the store of these settings, not connected yet; it keeps of texts and people what they say."""
        return cls(settings.sqlalchemy_url, discretion=Discretion.of(settings))

    @classmethod
    def open(cls, url: str, *, busy_timeout_s: float = 5.0) -> Store:
        """Return a store that has answered, with its schema made or brought up to date.

        ``busy_timeout_s`` is how long a writer waits for others before it gives up.

        Raises:
            StoreUnavailable: the address is wrong, the database does not answer, or a newer release wrote it.
        """
        store = cls(url, busy_timeout_s=busy_timeout_s)
        store.prepare()
        return store
