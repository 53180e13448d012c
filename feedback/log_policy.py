"""What the prediction log keeps: which predictions, and how much of their texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from core.schemas import PredictionRecord, TextKept
from core.text import text_key

_DIGITS = 12


@dataclass(frozen=True)
class LogPolicy:
    """A share ``sample_ratio`` of predictions is kept, chosen by id, and of each text what ``text`` says.

    ``full`` keeps the text, ``redacted`` what ``redact`` leaves of it, ``hash`` its key alone, by which equal texts are told
    without being known, and ``none`` neither.
    """

    sample_ratio: float = 1.0
    text: TextKept = "full"
    redact: Callable[[str], str] | None = None

    def __post_init__(self) -> None:
        if self.text == "redacted" and self.redact is None:
            raise ValueError("texts are to be redacted, and nothing says how")

    def sampled(self, records: Sequence[PredictionRecord]) -> Sequence[PredictionRecord]:
        """Return those that are kept; whoever asks about one id gets one answer."""
        if self.sample_ratio >= 1.0:
            return records
        bound = self.sample_ratio * 16**_DIGITS
        return [record for record in records if _place(record.prediction_id) < bound]

    def kept(self, records: Sequence[PredictionRecord]) -> Sequence[PredictionRecord]:
        """Return the records as they are kept. It takes its time, so not on the way to an answer."""
        if self.text == "full" and self.sample_ratio >= 1.0:
            return records
        return [record.model_copy(update=self._changes(record)) for record in records]

    def _changes(self, record: PredictionRecord) -> dict[str, object]:
        changes: dict[str, object] = {"sample_ratio": self.sample_ratio, "text_kept": self.text}
        if self.text == "redacted" and self.redact is not None:
            text = self.redact(record.text)
            # The key of what was taken out would tell it to whoever guesses.
            changes |= {"text": text, "text_key": text_key(text) if text != record.text else record.text_key}
        elif self.text == "hash":
            # The text of a later correction is redacted too, and has to meet this key.
            changes |= {"text": "", "text_key": text_key(self.redact(record.text)) if self.redact else record.text_key}
        elif self.text == "none":
            changes |= {"text": "", "text_key": ""}
        return changes


KEEP_ALL = LogPolicy()


def _place(prediction_id: str) -> int:
    # An id ends in random digits; one that does not is nobody's but a test's, and is kept.
    try:
        return int(prediction_id[-_DIGITS:], 16)
    except ValueError:
        return 0
