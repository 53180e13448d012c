"""What travels about privacy: erasing, exporting what is kept of a person, and the audit trail."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from core.schemas import ShortString, Wire


class ErasureRequest(Wire):
    """Body of ``POST /v1/erasures``: exactly one of ``subject`` and ``text``."""

    subject: ShortString | None = Field(None, description="The person, by the key that was sent with their texts.")
    text: str | None = Field(
        None, min_length=1, description="A text, whoever sent it; also from the data the first training was given."
    )
    retrain: bool = Field(False, description="Queue a run, so that a version follows that has not learned from it.")


class ErasureAnswer(Wire):
    """What was erased, and what had learned from it."""

    erasure_id: str
    created_at: datetime
    by: str
    counts: dict[str, int] = Field(
        description="Rows and lines that went: `predictions`, `corrections`, `idempotency_keys`, `review_items`, `spooled`, "
        "`snapshot_examples`, `dataset_examples`, `embedding_files`, `checkpoints`; `unreadable_files` are damaged and were "
        "left for a person to look at; `spool_files_in_use` are another process's, which drops its lines by itself."
    )
    versions: list[str] = Field(description="Versions that had learned from it, oldest first; they are not changed.")
    runs_stopped: list[str] = Field(description="Runs that were at work on it; none of them registers a version.")
    run_id: str | None = Field(description="The run that was queued to learn without it.")
    complete: bool = Field(description="Whether the files are rid of it too; else the learner goes on with it.")


class ErasuresAnswer(Wire):
    """Answer of ``GET /v1/erasures``, newest first."""

    erasures: list[ErasureAnswer]


class SubjectRequest(Wire):
    """Body of ``POST /v1/subjects/export``."""

    subject: ShortString = Field(description="The person, by the key that was sent with their texts.")


class TrailEntry(Wire):
    """One entry of the audit trail."""

    sequence: int
    at: datetime
    actor: str = Field(description="The API key's name and id, or `local` where requests take none.")
    action: str
    target: str
    details: dict[str, Any]
    previous: str = Field(description="Hash of the entry before.")
    hash: str = Field(description="SHA-256 over all of this entry.")


class TrailAnswer(Wire):
    """Answer of ``GET /v1/trail``, newest first."""

    entries: list[TrailEntry]
    next_before: int | None = Field(description="Pass as `before` for the next page; null on the last.")


class TrailProof(Wire):
    """That the trail is whole."""

    entries: int
    last_hash: str = Field(description="Note it elsewhere: given to a later check, it shows that nothing was cut off since.")
