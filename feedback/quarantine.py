"""Corrections that are held back, with reasons, and what people decide about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, func, select, update

from core.errors import Conflict
from core.label_book import LabelBook
from core.quality_bodies import SuspicionAnswer, SuspicionDecision, SuspicionsAnswer, SuspicionState
from core.schemas import now
from feedback.consensus import ANONYMOUS, Vote
from feedback.correction_rows import answers_of, find_correction
from feedback.database import Database, insert_into
from feedback.labels import read_book
from feedback.lesson_changes import note_changed_corrections, note_screening
from feedback.quality_tables import review_items, suspicions
from feedback.suspicion import Evidence, Suspicions
from feedback.tables import corrections, predictions, withdrawals
from feedback.trust import Standing

_STATES: Mapping[Literal["release", "uphold"], SuspicionState] = {"release": "released", "uphold": "upheld"}
# A row of this state keeps what a model had said before it could learn from the correction; nothing is held against it.
_CLEAR = "clear"
VOTER = func.coalesce(corrections.c.annotator, ANONYMOUS)
"""Under which name a correction votes."""


class Quarantine(Database):
    """The part of the store that keeps suspicions."""

    def votes(self) -> list[Vote]:
        """Return the last word of each annotator on each text, oldest first, with the score of the prediction it is about.

        Withdrawn ones are none, and labels are those that the corrections' own stand for now.
        """
        with self._reading() as connection:
            return read_votes(connection, read_book(connection))

    def evidence(self) -> dict[int, Evidence]:
        """Return what models had said of corrected texts when they were first looked at, by sequence number."""
        query = select(suspicions).where(suspicions.c.model_version.is_not(None))
        with self._reading() as connection:
            return {
                row.sequence: Evidence(row.model_version, row.model_label, row.model_score) for row in connection.execute(query)
            }

    def standing(self) -> Standing:
        """Return what people decided."""
        query = select(suspicions.c.sequence, suspicions.c.state).where(suspicions.c.state.in_(_STATES.values()))
        with self._reading() as connection:
            found = [(row.sequence, row.state) for row in connection.execute(query)]
        return Standing(
            released=frozenset(sequence for sequence, state in found if state == "released"),
            upheld=frozenset(sequence for sequence, state in found if state == "upheld"),
        )

    def keep_suspicions(self, found: Suspicions, evidence: Mapping[int, Evidence], seen: Sequence[int]) -> None:
        """Keep what the rules say of the corrections ``seen`` now; what a person decided stands, and evidence is kept once."""
        moment = now()
        rows = [
            {
                "sequence": sequence,
                "state": "quarantined" if sequence in found else _CLEAR,
                "reasons": [reason.model_dump(mode="json") for reason in found.get(sequence, ())],
                "model_version": evidence[sequence].version if sequence in evidence else None,
                "model_label": evidence[sequence].label if sequence in evidence else None,
                "model_score": evidence[sequence].score if sequence in evidence else None,
                "created_at": moment,
            }
            for sequence in seen
            if sequence in found or sequence in evidence
        ]

        def work(connection: Connection) -> None:
            held_before = _held(connection)
            _clear(connection, [sequence for sequence in seen if sequence not in found])
            statement = insert_into(connection, suspicions)
            statement = statement.on_conflict_do_update(
                index_elements=["sequence"],
                set_={"state": statement.excluded.state, "reasons": statement.excluded.reasons},
                # Not not_in, whose list of parameters cannot be given together with several rows.
                where=and_(*(suspicions.c.state != state for state in _STATES.values())),
            )
            if rows:
                connection.execute(statement, rows)
            note_changed_corrections(connection, sorted(held_before ^ _held(connection)))
            note_screening(connection, max(seen, default=0))

        self._write(work)

    def quarantined(
        self, state: SuspicionState = "quarantined", limit: int = 100, before: str | None = None
    ) -> SuspicionsAnswer:
        """Return up to ``limit`` corrections in this state, newest first, older than the one named ``before``.

        Raises:
            NotFound: no correction is named ``before``.
        """
        with self._reading() as connection:
            query = _joined().where(suspicions.c.state == state).order_by(suspicions.c.sequence.desc()).limit(limit + 1)
            if before is not None:
                query = query.where(suspicions.c.sequence < find_correction(connection, before).sequence)
            rows = connection.execute(query).all()
            counted = select(func.count()).select_from(_joined().where(suspicions.c.state == state).subquery())
            total = connection.execute(counted).scalar_one()
            page = _answers(connection, rows[:limit])
        last = page[-1].correction.correction_id if len(rows) > limit else None
        return SuspicionsAnswer(suspicions=page, total=total, next_before=last)

    def decide_suspicion(self, correction_id: str, decision: SuspicionDecision) -> SuspicionAnswer:
        """Return the correction as it stands after the decision, which may be changed by another one.

        Raises:
            NotFound: none has this id.
            Conflict: it is not held back.
        """

        def work(connection: Connection) -> SuspicionAnswer:
            row = find_correction(connection, correction_id)
            held = suspicions.c.state.in_(("quarantined", *_STATES.values()))
            if not _decide(connection, [row.sequence], decision, held):
                raise Conflict("this correction is not held back; GET /v1/quarantine lists those that are")
            return _answers(connection, connection.execute(_joined().where(suspicions.c.sequence == row.sequence)).all())[0]

        return self._write(work)

    def decide_suspicions(self, annotator: str | None, decision: SuspicionDecision) -> int:
        """Decide on all that is quarantined of one annotator, None: of nobody's name; return how many corrections that is."""

        def work(connection: Connection) -> int:
            whose = corrections.c.annotator.is_(None) if annotator is None else corrections.c.annotator == annotator
            query = _joined().with_only_columns(suspicions.c.sequence).where(suspicions.c.state == "quarantined", whose)
            return _decide(connection, list(connection.execute(query).scalars()), decision, suspicions.c.state == "quarantined")

        return self._write(work)

    def quarantined_by_annotator(self) -> Counter[str]:
        """Return how many corrections are quarantined of each annotator."""
        query = _joined().with_only_columns(VOTER, func.count()).where(suspicions.c.state == "quarantined").group_by(VOTER)
        with self._reading() as connection:
            return Counter({str(who): int(count) for who, count in connection.execute(query)})


_PART = 500
# Of a prediction there is one item at most.
_ANSWERS_AUDIT = (
    review_items.c.prediction_id == corrections.c.prediction_id,
    review_items.c.stratum == "audit",
    review_items.c.state == "done",
    review_items.c.annotator == VOTER,
)


def _decide(connection: Connection, sequences: Sequence[int], decision: SuspicionDecision, where: Any) -> int:
    values = {
        "state": _STATES[decision.decision],
        "decided_by": decision.by,
        "decided_why": decision.why,
        "decided_at": now(),
    }
    decided = 0
    for start in range(0, len(sequences), _PART):
        part = suspicions.c.sequence.in_(sequences[start : start + _PART])
        decided += connection.execute(update(suspicions).where(part, where).values(values)).rowcount
    note_changed_corrections(connection, sequences)
    return decided


def read_votes(connection: Connection, book: LabelBook, *where: ColumnElement[bool]) -> list[Vote]:
    """Return the votes of :meth:`Quarantine.votes` that this transaction sees, of corrections that fulfil ``where``."""
    stands = [corrections.c.sequence.not_in(select(withdrawals.c.sequence)), *where]
    if book.silent:
        stands.append(corrections.c.label.not_in(sorted(book.silent)))
    newest = select(func.max(corrections.c.sequence)).where(*stands).group_by(corrections.c.text_key, VOTER)
    query = (
        select(
            corrections,
            func.coalesce(predictions.c.model_score, predictions.c.score).label("score"),
            review_items.c.sequence.is_not(None).label("drawn"),
        )
        .join(predictions, predictions.c.prediction_id == corrections.c.prediction_id, isouter=True)
        .join(review_items, and_(*_ANSWERS_AUDIT), isouter=True)
        .where(corrections.c.sequence.in_(newest))
        .order_by(corrections.c.sequence)
    )
    return [_vote(row, book) for row in connection.execute(query)]


def _held(connection: Connection) -> set[int]:
    return set(connection.execute(select(suspicions.c.sequence).where(suspicions.c.state == "quarantined")).scalars())


def _clear(connection: Connection, sequences: Sequence[int]) -> None:
    """What was quarantined and is not suspicious any more, now that others have spoken, is held back no longer."""
    for start in range(0, len(sequences), _PART):
        part = suspicions.c.sequence.in_(sequences[start : start + _PART])
        quarantined = suspicions.c.state == "quarantined"
        connection.execute(update(suspicions).where(part, quarantined).values(state=_CLEAR, reasons=[]))


def _joined() -> Select[tuple[Any, ...]]:
    """Return suspicions with their corrections; withdrawn ones and erased ones are left out."""
    stands = suspicions.c.sequence.not_in(select(withdrawals.c.sequence))
    columns = [column.label(f"suspicion_{column.name}") for column in suspicions.c]
    return select(corrections, *columns).join(suspicions, suspicions.c.sequence == corrections.c.sequence).where(stands)


def _answers(connection: Connection, rows: Sequence[Row[tuple[Any, ...]]]) -> list[SuspicionAnswer]:
    fields = [name for name in SuspicionAnswer.model_fields if name != "correction"]
    return [
        SuspicionAnswer.model_validate({"correction": answer, **{name: row._mapping[f"suspicion_{name}"] for name in fields}})
        for row, answer in zip(rows, answers_of(connection, rows), strict=True)
    ]


def _vote(row: Row[tuple[Any, ...]], book: LabelBook) -> Vote:
    label = str(book.now(row.label))
    return Vote(
        sequence=row.sequence,
        text=row.text,
        text_key=row.text_key,
        label=label,
        kind=row.kind,
        annotator=row.annotator or ANONYMOUS,
        created_at=row.created_at,
        model_version=row.model_version,
        predicted_label=row.predicted_label if row.model_label is None else row.model_label,
        score=row.score,
        correction_id=row.correction_id,
        overrules=row.model_label is not None and book.now(row.model_label) != label,
        drawn=bool(row.drawn),
    )
