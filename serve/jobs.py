"""One request's texts on their way through the tokenizer and the engine, and the work both threads do for them."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from core.classifier import Prepared, softmax
from core.errors import HoneError, TextTooLong, TooManyTokens
from core.windows import Reading
from serve.facts import MOST_STAGES, Stage
from serve.waiting import WaitingText

FloatMatrix = NDArray[np.float32]
FloatVector = NDArray[np.float32]

Seek = Callable[[FloatMatrix], Sequence[Any]]
"""Is shown the embeddings (k, h) of some texts, on an engine's thread, and returns what it finds for each."""

_logger = logging.getLogger("hone.serve")


class Engine(Protocol):
    """What answers: a :class:`core.classifier.Classifier`, or a test's fake.

    It works on ``lanes`` batches at a time, of ``batch_texts`` texts at most where that is known.
    """

    lanes: int
    batch_texts: int | None

    def prepare(self, texts: Sequence[str], reading: Reading = "right") -> list[Prepared]:
        """Return each text as the engine reads it, in order."""

    def score(self, prepared: Sequence[Prepared]) -> FloatMatrix:
        """Return probabilities (n, c) of one batch."""

    def logits(self, prepared: Sequence[Prepared]) -> FloatMatrix:
        """Return calibrated logits (n, c) of one batch."""

    def logits_and_embeddings(self, prepared: Sequence[Prepared]) -> tuple[FloatMatrix, FloatMatrix | None]:
        """Return the logits, and the embeddings (n, h) of the texts, None where there are none."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How a request's texts are read, and what is answered: probabilities, or the calibrated ``logits`` themselves.

    ``refuses_cuts`` fails a request one of whose texts the encoder cannot read whole.
    """

    reading: Reading = "right"
    refuses_cuts: bool = False
    logits: bool = False


PLAIN = Manner()


@dataclass(frozen=True, slots=True)
class Timing:
    """Where one request's time went; ``engine_s`` and ``tokenize_s`` are those of the batches and turns its texts shared."""

    tokenize_s: float
    queue_s: float
    engine_s: float
    tokens: int

    def __add__(self, other: Timing) -> Timing:
        return Timing(
            self.tokenize_s + other.tokenize_s,
            self.queue_s + other.queue_s,
            self.engine_s + other.engine_s,
            self.tokens + other.tokens,
        )


@dataclass(frozen=True)
class Scored:
    """Answer to one request: ``scores`` (n, c) in the order of its texts, and which of those were cut.

    A text that was read in several windows has more rows, behind those of the first windows; ``windows`` names for its place
    all of its rows and how many tokens each has read. ``found`` holds for its place what was sought
    and found for a text that was read whole.
    """

    scores: FloatMatrix
    truncated: list[bool]
    timing: Timing
    windows: Mapping[int, Sequence[tuple[int, int]]]
    found: Mapping[int, Any] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class Job:
    """One request. ``engine`` is captured once, so that all its texts are answered by one model.

    ``deadline`` is in seconds of ``time.monotonic()``; ``max_tokens`` bounds all texts together. ``stages`` takes
    what is done for it, None where nobody wants to know. What is added to it and ended in it happens on the event loop; the
    counts of its texts belong to the batcher's lock.
    """

    engine: Engine
    texts: Sequence[str]
    future: asyncio.Future[Scored]
    manner: Manner = PLAIN
    deadline: float = math.inf
    max_tokens: float = math.inf
    seek: Seek | None = None
    stages: list[Stage] | None = None
    found: dict[int, Any] = field(default_factory=dict)
    arrived: float = field(default_factory=perf_counter)
    tokenized: int = 0
    unstarted: int = 0
    waiting: list[WaitingText[Piece]] = field(default_factory=list)
    truncated: list[bool] = field(default_factory=list)
    windows: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    rows: int = 0
    tokenize_s: float = 0.0
    engine_s: float = 0.0
    tokens: int = 0
    _scores: FloatMatrix | None = None
    _answered: int = 0

    def __post_init__(self) -> None:
        self.unstarted = self.rows = len(self.texts)

    @property
    def gone(self) -> bool:
        """Whether nobody waits for it any more: answered, failed, or its caller left."""
        return self.future.done()

    def reads_like(self, other: Job) -> bool:
        """Whether the texts of both can be prepared together."""
        return self.engine is other.engine and self.manner.reading == other.manner.reading

    def line_up(self, place: int, prepared: Prepared) -> list[WaitingText[Piece]]:
        """Return what is to wait for the engine of the text at ``place``: itself, or the windows it is read in.

        Raises:
            TextTooLong: the text was cut, and the request refuses that.
            TooManyTokens: with it the request has more than it may.
        """
        if prepared.truncated and self.manner.refuses_cuts:
            raise _too_long(place, prepared)
        tokens = len(prepared.ids)
        if self.tokens + tokens + sum(len(window.ids) for window in prepared.rest) > self.max_tokens:
            raise TooManyTokens(
                f"the texts have more than the {self.max_tokens:.0f} tokens that one request may carry; send fewer at a time",
                allowed=self.max_tokens,
            )
        self.tokens += tokens
        self.truncated.append(prepared.truncated)
        texts = [WaitingText(self.engine, tokens, Piece(self, place, prepared))]
        if prepared.rest:
            self._add_windows(texts, place, prepared)
        self.waiting += texts
        return texts

    def _add_windows(self, texts: list[WaitingText[Piece]], place: int, prepared: Prepared) -> None:
        self.windows[place] = [(place, len(prepared.ids))]
        for row, window in enumerate(prepared.rest, self.rows):
            tokens = len(window.ids)
            self.tokens += tokens
            self.windows[place].append((row, tokens))
            texts.append(WaitingText(self.engine, tokens, Piece(self, row, window)))
        self.rows += len(prepared.rest)
        self.unstarted += len(prepared.rest)

    def answer(self, place: int, row: FloatVector) -> None:
        """Take one row (c,) of the engine's answer; the last one completes the request."""
        if self._scores is None:
            self._scores = np.empty((self.rows, len(row)), dtype=np.float32)
        elif place >= len(self._scores):
            more = np.empty((self.rows - len(self._scores), len(row)), dtype=np.float32)
            self._scores = np.concatenate([self._scores, more])
        self._scores[place] = row
        self._answered += 1
        # Texts that are not tokenized yet count as one row each, so this is not reached before them.
        if self._answered == self.rows and not self.gone:
            self.future.set_result(Scored(self._scores, self.truncated, self._timing(), self.windows, self.found))

    def _timing(self) -> Timing:
        spent = perf_counter() - self.arrived
        # Of many texts the last are tokenized while the first are scored: those seconds count in both, and none as waiting.
        queue_s = max(0.0, spent - self.tokenize_s - self.engine_s)
        return Timing(self.tokenize_s, queue_s, self.engine_s, self.tokens)

    def note(self, name: Literal["tokenization", "engine"], started_s: float, ended_s: float, texts: int) -> None:
        """Keep what was done for it, where somebody wants to know; times are those of ``perf_counter``."""
        if self.stages is not None and len(self.stages) < MOST_STAGES:
            self.stages.append(Stage(name, started_s, ended_s, texts))

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
    """Return the prepared texts of each chunk, or why there are none; the chunks have one engine and one way of reading.

    They are prepared together. Where that fails each is tried alone, so that one request's text never fails another's.
    """
    engine, reading = chunks[0].job.engine, chunks[0].job.manner.reading
    try:
        together = engine.prepare([text for chunk in chunks for text in chunk.texts], reading)
    except Exception as error:
        if len(chunks) == 1:
            return [error]
        return [prepare_chunks([chunk])[0] for chunk in chunks]
    ends = np.cumsum([len(chunk.texts) for chunk in chunks]).tolist()
    return [together[end - len(chunk.texts) : end] for chunk, end in zip(chunks, ends, strict=True)]


def score_pieces(pieces: Sequence[Piece]) -> list[FloatVector | Exception]:
    """Return the row (c,) that each piece's request asks for, or why there is none; the pieces have one engine.

    They are one batch. Where that fails each request's share is tried alone, as in :func:`prepare_chunks`.
    """
    try:
        scores = _rows(pieces)
    except Exception as error:
        jobs = list(dict.fromkeys(piece.job for piece in pieces))
        if len(jobs) == 1:
            return [error] * len(pieces)
        shares = {job: [piece for piece in pieces if piece.job is job] for job in jobs}
        rows = {piece: row for share in shares.values() for piece, row in zip(share, score_pieces(share), strict=True)}
        return [rows[piece] for piece in pieces]
    return list(scores)


def _rows(pieces: Sequence[Piece]) -> FloatMatrix:
    engine, prepared = pieces[0].job.engine, [piece.prepared for piece in pieces]
    if any(piece.job.seek is not None for piece in pieces):
        logits, embeddings = engine.logits_and_embeddings(prepared)
        if embeddings is not None:
            _seek(pieces, embeddings)
        return _as_asked(pieces, _finite(logits))
    if not any(piece.job.manner.logits for piece in pieces):
        return _finite(engine.score(prepared))
    return _as_asked(pieces, _finite(engine.logits(prepared)))


def _as_asked(pieces: Sequence[Piece], logits: FloatMatrix) -> FloatMatrix:
    asked = np.array([[piece.job.manner.logits] for piece in pieces])
    return np.where(asked, logits, softmax(logits))


def _seek(pieces: Sequence[Piece], embeddings: FloatMatrix) -> None:
    """Have each request's seeker look at its texts; those of one seeker together."""
    rows: dict[Seek, list[int]] = {}
    for row, piece in enumerate(pieces):
        job, prepared = piece.job, piece.prepared
        if job.seek is not None and not prepared.truncated and not prepared.rest and piece.place < len(job.texts):
            rows.setdefault(job.seek, []).append(row)
    for seek, own in rows.items():
        try:
            found = seek(embeddings[own])
        except Exception:
            # What is sought for beside the answer must not cost the answer, nor be held against the version.
            _logger.exception("what was sought beside an answer was not found")
            continue
        for row, finding in zip(own, found, strict=True):
            if finding is not None:
                pieces[row].job.found[pieces[row].place] = finding


def _too_long(place: int, prepared: Prepared) -> TextTooLong:
    return TextTooLong(
        f"texts[{place}] has more than the {len(prepared.ids)} tokens the encoder reads, special ones included; shorten it, or "
        "allow it to be cut or read in windows",
        position=place,
        allowed=len(prepared.ids),
    )


def _finite(scores: FloatMatrix) -> FloatMatrix:
    if not np.isfinite(scores).all():
        raise HoneError("the engine answered with values that are not finite numbers")
    return scores
