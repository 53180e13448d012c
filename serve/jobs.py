"""One request's texts on their way through the tokenizer and the engine, and the work both threads do for them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from core.classifier import Prepared
from core.errors import HoneError
from serve.waiting import WaitingText

FloatMatrix = NDArray[np.float32]
FloatVector = NDArray[np.float32]


class Engine(Protocol):
    """What answers: a :class:`core.classifier.Classifier`, or a test's fake."""

    def prepare(self, texts: Sequence[str]) -> list[Prepared]:
        """Return each text as the engine reads it, in order."""

    def score(self, prepared: Sequence[Prepared]) -> FloatMatrix:
        """Return probabilities (n, c) of one batch."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Where one request's time went; ``engine_s`` and ``tokenize_s`` are those of the batches and turns its texts shared."""

    tokenize_s: float
    queue_s: float
    engine_s: float
    tokens: int


@dataclass(frozen=True)
class Scored:
    """Answer to one request: ``scores`` (n, c) in the order of its texts, and which of those were cut."""

    scores: FloatMatrix
    truncated: list[bool]
    timing: Timing


@dataclass(eq=False, slots=True)
class Job:
    """One request. ``engine`` is captured once, so that all its texts are answered by one model."""

    engine: Engine
    texts: Sequence[str]
    future: asyncio.Future[Scored]
    arrived: float = field(default_factory=perf_counter)
    tokenized: int = 0
    unstarted: int = 0
    waiting: list[WaitingText[Piece]] = field(default_factory=list)
    truncated: list[bool] = field(default_factory=list)
    tokenize_s: float = 0.0
    engine_s: float = 0.0
    tokens: int = 0
    _scores: FloatMatrix | None = None
    _answered: int = 0

    def __post_init__(self) -> None:
        self.unstarted = len(self.texts)

    @property
    def gone(self) -> bool:
        """Whether nobody waits for it any more: answered, failed, or its caller left."""
        return self.future.done()

    def answer(self, place: int, row: FloatVector) -> None:
        """Take the probabilities (c,) of one text; the last one completes the request."""
        if self._scores is None:
            self._scores = np.empty((len(self.texts), len(row)), dtype=np.float32)
        self._scores[place] = row
        self._answered += 1
        if self._answered == len(self.texts) and not self.gone:
            self.future.set_result(Scored(self._scores, self.truncated, self._timing()))

    def _timing(self) -> Timing:
        spent = perf_counter() - self.arrived
        # Of many texts the last are tokenized while the first are scored: those seconds count in both, and none as waiting.
        queue_s = max(0.0, spent - self.tokenize_s - self.engine_s)
        return Timing(self.tokenize_s, queue_s, self.engine_s, self.tokens)

    def fail(self, error: Exception) -> None:
        """End the request with ``error``, unless it has ended."""
        if not self.gone:
            self.future.set_exception(error)


@dataclass(frozen=True, eq=False, slots=True)
class Piece:
    """One text of a job, ready for the engine."""

    job: Job
    place: int
    prepared: Prepared


@dataclass(frozen=True, eq=False, slots=True)
class Chunk:
    """Some neighbouring texts of a job, for one turn of the tokenizer."""

    job: Job
    first: int
    texts: Sequence[str]


def prepare_chunks(chunks: Sequence[Chunk]) -> list[list[Prepared] | Exception]:
    """Return the prepared texts of each chunk, or why there are none; the chunks have one engine.

    They are prepared together. Where that fails each is tried alone, so that one request's text never fails another's.
    """
    engine = chunks[0].job.engine
    try:
        together = engine.prepare([text for chunk in chunks for text in chunk.texts])
    except Exception as error:
        if len(chunks) == 1:
            return [error]
        return [prepare_chunks([chunk])[0] for chunk in chunks]
    ends = np.cumsum([len(chunk.texts) for chunk in chunks]).tolist()
    return [together[end - len(chunk.texts) : end] for chunk, end in zip(chunks, ends, strict=True)]


def score_pieces(pieces: Sequence[Piece]) -> list[FloatVector | Exception]:
    """Return the probabilities (c,) of each piece, or why there are none; the pieces have one engine.

    They are one batch. Where that fails each request's share is tried alone, as in :func:`prepare_chunks`.
    """
    try:
        scores = _finite(pieces[0].job.engine.score([piece.prepared for piece in pieces]))
    except Exception as error:
        jobs = list(dict.fromkeys(piece.job for piece in pieces))
        if len(jobs) == 1:
            return [error] * len(pieces)
        shares = {job: [piece for piece in pieces if piece.job is job] for job in jobs}
        rows = {piece: row for share in shares.values() for piece, row in zip(share, score_pieces(share), strict=True)}
        return [rows[piece] for piece in pieces]
    return list(scores)


def _finite(scores: FloatMatrix) -> FloatMatrix:
    if not np.isfinite(scores).all():
        raise HoneError("the engine answered with values that are not finite numbers")
    return scores
