"""Lines of a bulk request, one by one: read, checked, and reported on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from pydantic import ValidationError

from core.correction_bodies import BulkSummary, CorrectionRow, RowReport
from core.errors import BodyTooLarge, HoneError
from core.label_book import AllowedLabels
from core.schemas import CorrectionRequest
from core.settings import Settings
from feedback.bulk import BulkRow, Kept
from serve.complaints import malformed_body
from serve.correction_checks import check_correction
from serve.subject import with_subject

_FIELDS = list(CorrectionRow.model_fields)
_REQUEST_FIELDS = set(CorrectionRequest.model_fields)


@dataclass(frozen=True)
class Line:
    """A line that is not blank: its number, from 1 on, and its bytes, or None where it has too many."""

    number: int
    content: bytes | None


class LineReader:
    """Cuts a body that comes in pieces into lines; of a line with more than ``max_bytes`` nothing is kept."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._rest: list[bytes] = []
        self._size = 0
        self._number = 0

    def feed(self, piece: bytes) -> Iterator[Line]:
        """Yield the lines that ``piece`` completes."""
        *ends, rest = piece.split(b"\n")
        for end in ends:
            self._take(end)
            yield from self._end()
        self._take(rest)

    def finish(self) -> Iterator[Line]:
        """Yield the last line, where it has no end."""
        if self._size:
            yield from self._end()

    def _take(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > self._max_bytes:
            self._rest.clear()
        elif part:
            self._rest.append(part)

    def _end(self) -> Iterator[Line]:
        self._number += 1
        content = None if self._size > self._max_bytes else b"".join(self._rest).strip()
        self._rest.clear()
        self._size = 0
        if content is None or content:
            yield Line(self._number, content)


@dataclass(frozen=True)
class RowChecks:
    """What rows are checked against; ``key`` is the request's, under which a row without a key of its own has its number."""

    settings: Settings
    allowed: AllowedLabels
    propose: bool
    key: str | None

    def read(self, line: Line) -> BulkRow | HoneError:
        """Return the line as a row that may be kept, or why it may not."""
        try:
            return self._row(line)
        except HoneError as error:
            return error

    def _row(self, line: Line) -> BulkRow:
        if line.content is None:
            most = self.settings.max_body_bytes
            raise BodyTooLarge(f"the row has more than the {most} bytes allowed", allowed=most)
        try:
            said = CorrectionRow.model_validate_json(line.content)
        except ValidationError as error:
            raise malformed_body(error, _FIELDS) from None
        request = with_subject(CorrectionRequest.model_validate(said.model_dump(include=_REQUEST_FIELDS)))
        check_correction(request, self.settings)
        proposes = self.allowed.check(request.label, propose=self.propose)
        key = said.key or (None if self.key is None else f"{self.key}:{line.number}")
        return BulkRow(request, key, proposes)


@dataclass
class Tally:
    """Counts what became of rows."""

    counts: dict[str, int] = field(default_factory=lambda: {"kept": 0, "repeated": 0, "refused": 0})

    def report(self, number: int, outcome: Kept | HoneError) -> bytes:
        """Return the line that says what became of a row."""
        if isinstance(outcome, HoneError):
            made = RowReport.model_validate(
                {"row": number, "status": "refused", "code": outcome.code, "error": outcome.message, "details": outcome.details}
            )
        else:
            answer = outcome.answer
            made = RowReport(
                row=number,
                status="repeated" if outcome.repeated else "kept",
                correction_id=answer.correction_id,
                kind=answer.kind,
                proposed=answer.proposed,
            )
        self.counts[made.status] += 1
        return made.model_dump_json(exclude_none=True).encode() + b"\n"

    def summary(self) -> bytes:
        """Return the last line."""
        made = BulkSummary(rows=sum(self.counts.values()), **self.counts)
        return made.model_dump_json().encode() + b"\n"
