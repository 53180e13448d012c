"""One key, one body, one answer: what makes sending a correction again harmless."""

from __future__ import annotations

import hashlib
import json

from sqlalchemy import Connection, bindparam, select
from sqlalchemy.dialects import postgresql, sqlite

from core.errors import IdempotencyConflict
from core.schemas import CorrectionAnswer, CorrectionRequest
from feedback.tables import idempotency

# Built once: SQLAlchemy takes longer to put these together than a database takes to run them.
_FIRST = select(idempotency.c.body_sha256, idempotency.c.answer).where(idempotency.c.key == bindparam("wanted"))
_CLAIMS = {
    name: insert(idempotency).on_conflict_do_nothing(index_elements=["key"]).returning(idempotency.c.key)
    for name, insert in (("sqlite", sqlite.insert), ("postgresql", postgresql.insert))
}


def digest(request: CorrectionRequest) -> str:
    """Return the SHA-256 of what the request says; the order of keys and the spacing of its JSON do not matter."""
    body = json.dumps(request.model_dump(mode="python"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(body.encode()).hexdigest()


def first_answer(connection: Connection, key: str, body_sha256: str) -> CorrectionAnswer | None:
    """Return what was answered when ``key`` came first, None where it never came.

    Raises:
        IdempotencyConflict: it came with another body.
    """
    row = connection.execute(_FIRST, {"wanted": key}).one_or_none()
    if row is None:
        return None
    if row.body_sha256 != body_sha256:
        raise IdempotencyConflict(
            "this idempotency key came before with another body; use a new key for a new correction, "
            "and the same body when sending one again"
        )
    return CorrectionAnswer.model_validate(row.answer)


def answers_under(connection: Connection, key_prefix: str) -> list[CorrectionAnswer]:
    """Return what was answered to every key that begins with ``key_prefix``."""
    # Some databases compare without regard to case here, so it is compared once more.
    query = select(idempotency.c.key, idempotency.c.answer).where(idempotency.c.key.startswith(key_prefix, autoescape=True))
    rows = connection.execute(query).all()
    return [CorrectionAnswer.model_validate(row.answer) for row in rows if row.key.startswith(key_prefix)]


def claim(connection: Connection, key: str, body_sha256: str, answer: CorrectionAnswer) -> bool:
    """Return whether this transaction is the first with ``key``; waits for another that is about to be."""
    body = answer.model_dump(mode="json")
    values = {"key": key, "body_sha256": body_sha256, "answer": body, "created_at": answer.created_at}
    return connection.execute(_CLAIMS[connection.dialect.name], values).first() is not None
