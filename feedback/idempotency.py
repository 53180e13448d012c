"""One key, one body, one answer: what makes sending a correction again harmless."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from pydantic import BaseModel
from sqlalchemy import Connection, bindparam, select
from sqlalchemy.dialects import postgresql, sqlite

from core.errors import IdempotencyConflict
from core.schemas import CorrectionAnswer
from feedback.tables import idempotency

# Built once: SQLAlchemy takes longer to put these together than a database takes to run them.
_FIRST = select(idempotency.c.body_sha256, idempotency.c.answer).where(idempotency.c.key == bindparam("wanted"))
_CLAIMS = {
    name: insert(idempotency).on_conflict_do_nothing(index_elements=["key"]).returning(idempotency.c.key)
    for name, insert in (("sqlite", sqlite.insert), ("postgresql", postgresql.insert))
}


def digest(request: BaseModel, about: str = "") -> str:
    """Return the SHA-256 of what the request says ``about`` something; order and spacing of its JSON do not matter."""
    said = request.model_dump(mode="python")
    if said.get("subject", "") is None:
        # As before there were subjects, so that a key from then still meets its body.
        del said["subject"]
    body = json.dumps(said, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{about}{body}".encode()).hexdigest()


def kept_answers(connection: Connection, keys: Iterable[str]) -> dict[str, tuple[str, CorrectionAnswer]]:
    """Return by key the body's digest and the answer of those ``keys`` that came before."""
    query = select(idempotency.c.key, idempotency.c.body_sha256, idempotency.c.answer).where(idempotency.c.key.in_(list(keys)))
    return {key: (body, CorrectionAnswer.model_validate(answer)) for key, body, answer in connection.execute(query)}


def first_answer(connection: Connection, key: str, body_sha256: str) -> CorrectionAnswer | None:
    """Return what was answered when ``key`` came first, None where it never came.

    Raises:
        IdempotencyConflict: it came with another body.
    """
    row = connection.execute(_FIRST, {"wanted": key}).one_or_none()
    if row is None:
        return None
    if row.body_sha256 != body_sha256:
        raise conflict()
    return CorrectionAnswer.model_validate(row.answer)


def conflict() -> IdempotencyConflict:
    """Return the error of a key that came with two bodies."""
    return IdempotencyConflict(
        "this idempotency key came before with another body; use a new key for a new correction, "
        "and the same body when sending one again"
    )


def answers_under(connection: Connection, key_prefix: str) -> list[CorrectionAnswer]:
    """Return what was answered to every key that begins with ``key_prefix``."""
    # Some databases compare without regard to case here, so it is compared once more.
    query = select(idempotency.c.key, idempotency.c.answer).where(idempotency.c.key.startswith(key_prefix, autoescape=True))
    rows = connection.execute(query).all()
    return [CorrectionAnswer.model_validate(row.answer) for row in rows if row.key.startswith(key_prefix)]


def claim(connection: Connection, key: str, body_sha256: str, answer: CorrectionAnswer) -> bool:
    """Return whether this transaction is the first with ``key``; waits for another that is about to be."""
    values = entry(key, body_sha256, answer)
    return connection.execute(_CLAIMS[connection.dialect.name], values).first() is not None


def entry(key: str, body_sha256: str, answer: CorrectionAnswer) -> dict[str, object]:
    """Return the row that keeps an answer under its key."""
    return {"key": key, "body_sha256": body_sha256, "answer": answer.model_dump(mode="json"), "created_at": answer.created_at}
