"""What can be asked of the predictor, and what it answers; every format is translated to and from these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core.explanation import Explanation
from core.memory import Recalled
from core.schemas import LongText, ScoreFunction, Source, Truncation
from serve.jobs import Timing


@dataclass(frozen=True)
class Options:
    """How to answer; the defaults are what the hot path is made for.

    ``top_k`` None scores all labels. ``function`` turns calibrated logits into the scores that are shown. ``truncation`` says
    which end of a text is read when the encoder cannot read all of it (``refuse`` raises
    :class:`~core.errors.TextTooLong`); with ``long_text="chunk"`` it is read in windows instead. ``min_score`` is the
    probability below which the answer abstains, whatever ``function`` is.
    """

    top_k: int | None = None
    function: ScoreFunction = "softmax"
    truncation: Truncation = "right"
    long_text: LongText = "truncate"
    min_score: float | None = None
    explain: bool = False


PLAIN_OPTIONS = Options()


@dataclass(frozen=True)
class Query:
    """What to answer; ``metadata`` is kept with each prediction, ``version`` is insisted on unless it is None."""

    texts: Sequence[str]
    options: Options = PLAIN_OPTIONS
    metadata: dict[str, Any] | None = None
    version: str | None = None
    # A pseudonym of the person the texts are about.
    subject: str | None = None


@dataclass(frozen=True, slots=True)
class Prediction:
    """One answered text; ``scores`` are labels with what ``function`` makes of them, best first, at least one.

    ``abstained`` answers keep their best guess. ``windows`` is in how many parts the text was read.
    """

    prediction_id: str
    scores: list[tuple[str, float]]
    truncated: bool
    abstained: bool = False
    windows: int = 1
    explanation: Explanation | None = None
    recalled: Recalled | None = None


@dataclass(frozen=True)
class Predictions:
    """One answered request; all of it comes from ``version``, whose ``labels`` are in the order of its head's rows.

    ``source`` is the version's; a prediction that says what was ``recalled`` has the memory's label instead.
    """

    version: str
    source: Source
    predictions: list[Prediction]
    timing: Timing
    labels: Sequence[str]

    def source_of(self, prediction: Prediction) -> Source:
        """Return which speed of learning gave this answer."""
        return self.source if prediction.recalled is None else "memory"
