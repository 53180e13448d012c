"""Windows of the prediction log, what was found in them, and the alarms that came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Row, and_, func, insert, select, tuple_, update

from core.drift.errors import Outcome
from core.drift_bodies import AccuracyGuess, AcknowledgeRequest, AlarmState, DriftAlarm, DriftFinding, DriftState, DriftWindow
from core.errors import Conflict, NotFound
from core.schemas import PredictionRecord, now
from feedback.database import Database, clock
from feedback.drift_tables import drift_alarms, drift_windows
from feedback.predictions import find_predictions
from feedback.quality_tables import review_items
from feedback.tables import predictions

# Predictions may come to the store late, from the spool or another replica.
LATE = timedelta(minutes=2)
# Of more than these that have gathered, the newest make the window; what is older would be no news.
MOST_SEEN = 20_000
# A memory answers with what a person said; how sure the model is shows elsewhere.
_BY_MODEL = predictions.c.source != "memory"


@dataclass(frozen=True)
class Window:
    """The predictions of a window in order of time: those looked at, spread evenly among all ``seen``."""

    records: tuple[PredictionRecord, ...]
    seen: int
    last: tuple[datetime, str]


@dataclass(frozen=True)
class Found:
    """What the follower found in a window."""

    version: str
    window: Window
    texts: int
    state: DriftState
    why: str
    findings: tuple[DriftFinding, ...]
    estimate: dict[str, float] | None
    known: Mapping[str, float]


class DriftWindows(Database):
    """The part of the store that knows of drift."""

    def next_window(self, version: str, size: int) -> Window | None:
        """Return the predictions since the version's last window, ``size`` of them looked at; None while there are fewer."""
        with self._reading() as connection:
            found = _since(connection, version)
            if len(found) < size:
                return None
            last = (found[-1].created_at, found[-1].prediction_id)
            return Window(
                _records(connection, [found[place].prediction_id for place in _spread(len(found), size)]), len(found), last
            )

    def waiting_rows(self, version: str) -> int:
        """Return how many predictions of the version wait for its next window, at most :data:`MOST_SEEN`."""
        with self._reading() as connection:
            return len(_since(connection, version))

    def window_records(self, window_id: str) -> tuple[DriftWindow, tuple[PredictionRecord, ...]]:
        """Return a window with those of its predictions that are there still; what was erased since is not.

        Raises:
            NotFound: there is no such window.
        """
        with self._reading() as connection:
            row = _find_window(connection, window_id)
            span = and_(predictions.c.created_at >= row.started_at, predictions.c.created_at <= row.ended_at)
            query = (
                select(predictions.c.prediction_id)
                .where(predictions.c.model_version == row.model_version, span, _BY_MODEL)
                .order_by(predictions.c.created_at, predictions.c.prediction_id)
                .limit(MOST_SEEN)
            )
            ids = list(connection.execute(query).scalars())
            return _window(row), _records(connection, [ids[place] for place in _spread(len(ids), row.rows)])

    def known_drift(self) -> dict[str, float]:
        """Return by detector the sizes of drift that was taken note of, or learned from, and has not gone since."""
        with self._reading() as connection:
            newest = _newest(connection)
            known: dict[str, float] = dict(newest.known) if newest is not None else {}
            decided = select(drift_alarms.c.detectors).where(drift_alarms.c.state != "open")
            if newest is not None:
                decided = decided.where(drift_alarms.c.decided_at >= newest.created_at)
            for detectors in connection.execute(decided.order_by(drift_alarms.c.sequence)).scalars():
                known |= detectors
            return known

    def add_drift_window(self, found: Found) -> DriftAlarm | None:
        """Keep what was found and return the alarm it raises; None where there is no new drift, or an alarm is open already.

        What is still open takes in what the window adds to it.
        """
        records = found.window.records
        drifting = {item.detector: item.size or 0.0 for item in found.findings if item.verdict == "drift"}

        def work(connection: Connection) -> DriftAlarm | None:
            window_id = f"w_{uuid4().hex}"
            row = {
                "window_id": window_id,
                "model_version": found.version,
                "created_at": clock(connection),
                "started_at": records[0].created_at,
                "ended_at": found.window.last[0],
                "last_prediction_id": found.window.last[1],
                "rows": len(records),
                "seen": found.window.seen,
                "texts": found.texts,
                "state": found.state,
                "why": found.why,
                "findings": [item.model_dump() for item in found.findings],
                "estimate": found.estimate,
                "known": dict(found.known),
            }
            connection.execute(insert(drift_windows), row)
            return _raise_alarm(connection, window_id, found.version, drifting) if drifting else None

        return self._write(work)

    def drift_windows(self, limit: int = 50, version: str | None = None) -> list[DriftWindow]:
        """Return up to ``limit`` windows, newest first."""
        query = select(drift_windows).order_by(drift_windows.c.sequence.desc()).limit(limit)
        if version is not None:
            query = query.where(drift_windows.c.model_version == version)
        with self._reading() as connection:
            return [_window(row) for row in connection.execute(query)]

    def newest_estimates(self) -> dict[str, AccuracyGuess]:
        """Return by version the accuracy that was guessed for its newest window, newest version first."""
        newest = select(func.max(drift_windows.c.sequence)).group_by(drift_windows.c.model_version)
        query = (
            select(drift_windows.c.model_version, drift_windows.c.estimate)
            .where(drift_windows.c.sequence.in_(newest))
            .order_by(drift_windows.c.sequence.desc())
        )
        with self._reading() as connection:
            return {
                version: AccuracyGuess.model_validate(guess)
                for version, guess in connection.execute(query)
                if guess is not None
            }

    def drift_alarms(self, limit: int = 50) -> list[DriftAlarm]:
        """Return up to ``limit`` alarms, newest first."""
        with self._reading() as connection:
            rows = connection.execute(select(drift_alarms).order_by(drift_alarms.c.sequence.desc()).limit(limit))
            return [_alarm(row) for row in rows]

    def open_drift_alarm(self) -> DriftAlarm | None:
        """Return the alarm that nobody has taken note of and no run has learned because of; None where there is none."""
        query = select(drift_alarms).where(drift_alarms.c.state == "open").order_by(drift_alarms.c.sequence.desc()).limit(1)
        with self._reading() as connection:
            row = connection.execute(query).one_or_none()
            return None if row is None else _alarm(row)

    def acknowledge_drift_alarm(self, alarm_id: str, request: AcknowledgeRequest) -> DriftAlarm:
        """Keep that a person has taken note; the same drift raises no other alarm unless it grows.

        Raises:
            NotFound: there is no such alarm.
            Conflict: it is not open any more.
        """
        return self._decide_alarm(alarm_id, "acknowledged", request.by, request.why, None)

    def handle_drift_alarm(self, alarm_id: str, run_id: str, *, began: bool = True) -> DriftAlarm:
        """Keep that a run learns from what there is: because of the alarm (it ``began`` the run), or for another reason.

        Raises:
            NotFound: there is no such alarm.
            Conflict: it is not open any more.
        """
        why = "a run was started because of it" if began else "a run that started for another reason learns from all there is"
        return self._decide_alarm(alarm_id, "handled" if began else "answered", "learner", why, run_id)

    def audited_outcomes(self, version: str, limit: int) -> list[Outcome]:
        """Return the version's last ``limit`` audited answers in the order they were given, however late they were judged."""
        query = (
            select(review_items.c.score, (review_items.c.label == review_items.c.predicted_label).label("right"))
            .join(predictions, predictions.c.prediction_id == review_items.c.prediction_id)
            .where(review_items.c.stratum == "audit", review_items.c.state == "done", _BY_MODEL)
            .where(review_items.c.model_version == version, review_items.c.score.is_not(None))
            .order_by(predictions.c.created_at.desc(), predictions.c.prediction_id.desc())
            .limit(limit)
        )
        with self._reading() as connection:
            return [Outcome(float(row.score), bool(row.right)) for row in connection.execute(query)][::-1]

    def _decide_alarm(self, alarm_id: str, state: AlarmState, by: str, why: str, run_id: str | None) -> DriftAlarm:
        def work(connection: Connection) -> DriftAlarm:
            found = select(drift_alarms).where(drift_alarms.c.alarm_id == alarm_id)
            row = connection.execute(found).one_or_none()
            if row is None:
                raise NotFound("no drift alarm has this alarm_id; GET /v1/drift lists them")
            if row.state != "open":
                raise Conflict(f"this drift alarm is {row.state} already")
            values = {"state": state, "decided_at": clock(connection), "decided_by": by, "decided_why": why, "run_id": run_id}
            connection.execute(update(drift_alarms).where(drift_alarms.c.alarm_id == alarm_id).values(**values))
            return _alarm(connection.execute(found).one())

        return self._write(work)


def _since(connection: Connection, version: str) -> Sequence[Any]:
    """Return time and id of the version's predictions that no window has had, in order; of very many the newest."""
    newest = _newest(connection, version)
    moment = (predictions.c.created_at, predictions.c.prediction_id)
    query = (
        select(*moment)
        .where(predictions.c.model_version == version, _BY_MODEL, predictions.c.created_at <= now() - LATE)
        .order_by(predictions.c.created_at.desc(), predictions.c.prediction_id.desc())
        .limit(MOST_SEEN)
    )
    if newest is not None:
        query = query.where(tuple_(*moment) > (newest.ended_at, newest.last_prediction_id))
    return connection.execute(query).all()[::-1]


def _spread(count: int, most: int) -> list[int]:
    """Return at most ``most`` places of ``count``, evenly spread, in order."""
    return [round(place * (count - 1) / max(1, most - 1)) for place in range(most)] if count > most else list(range(count))


def _newest(connection: Connection, version: str | None = None) -> Row[tuple[Any, ...]] | None:
    query = select(drift_windows).order_by(drift_windows.c.sequence.desc()).limit(1)
    if version is not None:
        query = query.where(drift_windows.c.model_version == version)
    return connection.execute(query).one_or_none()


def _records(connection: Connection, ids: list[str]) -> tuple[PredictionRecord, ...]:
    found = find_predictions(connection, ids)
    return tuple(found[prediction_id] for prediction_id in ids if prediction_id in found)


def _raise_alarm(connection: Connection, window_id: str, version: str, drifting: dict[str, float]) -> DriftAlarm | None:
    is_open = select(drift_alarms).where(drift_alarms.c.state == "open").order_by(drift_alarms.c.sequence.desc()).limit(1)
    row = connection.execute(is_open).one_or_none()
    if row is not None:
        sizes = {name: max(size, row.detectors.get(name, 0.0)) for name, size in drifting.items()}
        wider = update(drift_alarms).where(drift_alarms.c.sequence == row.sequence).values(detectors={**row.detectors, **sizes})
        connection.execute(wider)
        return None
    values = {
        "alarm_id": f"d_{uuid4().hex}",
        "created_at": clock(connection),
        "window_id": window_id,
        "model_version": version,
        "detectors": drifting,
        "state": "open",
    }
    connection.execute(insert(drift_alarms), values)
    return _alarm(connection.execute(is_open).one())


def _find_window(connection: Connection, window_id: str) -> Row[tuple[Any, ...]]:
    row = connection.execute(select(drift_windows).where(drift_windows.c.window_id == window_id)).one_or_none()
    if row is None:
        raise NotFound("no drift window has this window_id; GET /v1/drift lists them")
    return row


def _window(row: Row[tuple[Any, ...]]) -> DriftWindow:
    return DriftWindow.model_validate({name: row._mapping[name] for name in DriftWindow.model_fields})


def _alarm(row: Row[tuple[Any, ...]]) -> DriftAlarm:
    return DriftAlarm.model_validate({name: row._mapping[name] for name in DriftAlarm.model_fields})
