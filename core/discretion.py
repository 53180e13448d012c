"""What is kept of what people send: their texts redacted where that is asked for, the person named by a pseudonym."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel

from core.errors import InputError
from core.redaction import Redactor
from core.schemas import CorrectionRequest
from core.settings import Settings
from core.subjects import Subjects

Body = TypeVar("Body", bound=BaseModel)


@dataclass(frozen=True)
class Discretion:
    """``redactor`` None keeps texts as they were sent; without ``subjects`` nobody can be named."""

    redactor: Redactor | None = None
    subjects: Subjects | None = None

    @classmethod
    def of(cls, settings: Settings) -> Discretion:
        """Return what these settings ask for."""
        redactor = settings.redactor if settings.log_text != "full" else None
        return cls(redactor, Subjects(settings.home.subjects))

    def pseudonym(self, subject: str | None) -> str | None:
        """Return what stands for the person in the store, None for None.

        Raises:
            InputError: nobody can be named here.
            SubjectsDamaged: the secret cannot be read.
        """
        if subject is None:
            return None
        if self.subjects is None:
            raise InputError("a subject was named, and this store was opened without the secret that hides who it is")
        return self.subjects.pseudonym(subject)

    def correction(self, request: CorrectionRequest) -> CorrectionRequest:
        """Return the request as the store keeps it."""
        changes: dict[str, Any] = {}
        if request.subject is not None:
            changes["subject"] = self.pseudonym(request.subject)
        if self.redactor is not None:
            changes["metadata"] = self.redactor.redact_json(request.metadata)
            if request.text is not None:
                changes["text"] = self.redactor.redact(request.text)
        return request.model_copy(update=changes) if changes else request

    def redacted_metadata(self, body: Body) -> Body:
        """Return ``body`` with its ``metadata`` as the store keeps it."""
        if self.redactor is None:
            return body
        return body.model_copy(update={"metadata": self.redactor.redact_json(getattr(body, "metadata", None))})


AS_SENT = Discretion()
