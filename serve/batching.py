"""Micro-batching: one thread each for the tokenizer and the engine, and nobody waits for a batch that is not coming.

::

    event loop ─► fresh requests ─► tokenizer thread ─► waiting texts ─► engine thread ─► event loop
                  (in order)       (all that is new)    (by length)      (one batch, as soon as the engine is free)

The threads hand work to each other, not by way of the event loop: while that reads requests and writes answers, the engine has
its next batch already.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections import deque
from collections.abc import Callable, Sequence
from threading import Condition, Lock, Thread
from time import monotonic, perf_counter

from core.classifier import Prepared
from core.errors import DeadlineExceeded, TextTooLong, TooManyTokens, Unavailable
from core.metrics import Metrics
from serve.admission import Admission
from serve.deadline import DEADLINE
from serve.jobs import PLAIN, Chunk, Engine, FloatVector, Job, Manner, Piece, Scored, prepare_chunks, score_pieces
from serve.waiting import BatchBudget, WaitingTexts

# Keeps a turn of the tokenizer to milliseconds, so that the engine gets work early and short texts are not held up.
_TURN_CHARS = 20_000

_logger = logging.getLogger("hone.serve")


class Batcher:
    """Brings the texts of many requests to the engine in batches of ``budget``; made and used on one event loop.

    A request may have ``max_request_tokens`` tokens, after each of its texts was cut.
    """

    def __init__(
        self, budget: BatchBudget, admission: Admission, metrics: Metrics, *, max_request_tokens: float = math.inf
    ) -> None:
        self._budget = budget
        self._max_request_tokens = max_request_tokens
        self._admission = admission
        self._metrics = metrics
        self._loop: asyncio.AbstractEventLoop | None = None
        self._jobs: set[Job] = set()
        # Guards all that follows; held for microseconds.
        self._lock = Lock()
        self._has_fresh = Condition(self._lock)
        self._has_work = Condition(self._lock)
        self._fresh: deque[Job] = deque()
        self._line: WaitingTexts[Piece] = WaitingTexts()
        self._waiting = 0
        self._idle = False
        self._closing = False
        self._threads: list[Thread] = []

    @property
    def waiting_texts(self) -> int:
        """How many texts the engine has not started on."""
        return self._waiting

    @property
    def alive(self) -> bool:
        """Whether requests can still be answered; when not, only a new process helps."""
        return not self._closing and bool(self._threads) and all(thread.is_alive() for thread in self._threads)

    def start(self) -> None:
        """Begin to work."""
        self._loop = asyncio.get_running_loop()
        for name, work in (("hone-tokenizer", self._tokenize), ("hone-engine", self._run)):
            # Daemons: an engine that hangs must not keep the process from ending.
            thread = Thread(target=self._guard, args=(work,), name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    async def close(self) -> None:
        """Stop; requests that still wait fail with ``Unavailable``."""
        with self._lock:
            self._closing = True
            self._has_fresh.notify_all()
            self._has_work.notify_all()
        self._fail_all(Unavailable("the service is stopping; send the request again"))

    async def score(self, engine: Engine, texts: Sequence[str], manner: Manner = PLAIN) -> Scored:
        """Return what ``engine`` makes of ``texts``; a caller that is cancelled takes its texts out of the queue.

        A text that is to be read in windows asks for the room of one text, and takes that of its windows once it has it.

        Raises:
            Overloaded: at once, when there is no room for them in the queue.
            DeadlineExceeded: as soon as it is known that they cannot be in time.
            TextTooLong: when one of them would be cut and ``manner`` refuses that.
            TooManyTokens: when all of them together have more than a request may.
        """
        deadline = DEADLINE.get()
        future: asyncio.Future[Scored] = asyncio.get_running_loop().create_future()
        job = Job(engine, texts, future, manner, deadline=deadline, max_tokens=self._max_request_tokens)
        with self._lock:
            self._admission.check(len(texts), self._waiting, monotonic(), deadline)
            self._waiting += len(texts)
            self._fresh.append(job)
            # A free engine has nothing better to do than to read the text itself, which spares waking two threads in turn.
            (self._has_work if self._idle else self._has_fresh).notify()
        self._jobs.add(job)
        try:
            return await job.future
        finally:
            self._jobs.discard(job)
            if job.unstarted:
                self._withdraw(job)

    def _withdraw(self, job: Job) -> None:
        with self._lock:
            self._waiting -= job.unstarted
            job.unstarted = 0
            for text in job.waiting:
                self._line.remove(text)

    def _fail_all(self, error: Exception) -> None:
        for job in list(self._jobs):
            job.fail(error)

    def _post(self, call: Callable[..., None], *arguments: object) -> None:
        """Have the event loop make ``call``: futures belong to it."""
        assert self._loop is not None  # noqa: S101 - started
        # A loop that has ended has no callers left to answer.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call, *arguments)

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:
            _logger.critical("batching has stopped", exc_info=True)
            self._post(self._fail_all, Unavailable("batching has stopped; send the request again"))

    def _tokenize(self) -> None:
        while True:
            with self._lock:
                while not self._closing and not (chunks := self._next_chunks()):
                    self._has_fresh.wait()
                if self._closing:
                    return
            self._prepare(chunks)

    def _prepare(self, chunks: Sequence[Chunk]) -> None:
        started = perf_counter()
        results = prepare_chunks(chunks)
        elapsed = perf_counter() - started
        with self._lock:
            for chunk, result in zip(chunks, results, strict=True):
                chunk.job.tokenize_s += elapsed
                self._line_up(chunk, result)
            self._has_work.notify()
        self._metrics.observe("hone_tokenize_seconds", elapsed)

    def _next_chunks(self) -> list[Chunk]:
        """Return what the tokenizer takes in one turn: in order of arrival, for one engine and reading."""
        chunks: list[Chunk] = []
        texts = chars = 0
        while self._fresh and texts < 2 * self._budget.max_texts and chars < _TURN_CHARS:
            job = self._fresh[0]
            if chunks and not job.gone and not job.reads_like(chunks[0].job):
                break
            if job.gone or job.tokenized == len(job.texts):
                self._fresh.popleft()
                continue
            first = job.tokenized
            while job.tokenized < len(job.texts) and texts < 2 * self._budget.max_texts and chars < _TURN_CHARS:
                chars += len(job.texts[job.tokenized])
                texts += 1
                job.tokenized += 1
            chunks.append(Chunk(job, first, job.texts[first : job.tokenized]))
        return chunks

    def _line_up(self, chunk: Chunk, result: list[Prepared] | Exception) -> None:
        job = chunk.job
        # A job that nobody waits for any more has been withdrawn: what came into the line now would stay there.
        if job.gone or not job.unstarted:
            return
        if isinstance(result, Exception):
            self._post(job.fail, result)
            return
        for place, prepared in enumerate(result, chunk.first):
            try:
                texts = job.line_up(place, prepared)
            except (TextTooLong, TooManyTokens) as error:
                self._post(job.fail, error)
                return
            self._waiting += len(texts) - 1
            for text in texts:
                self._line.add(text)

    def _run(self) -> None:
        free_since: float | None = None
        while True:
            with self._lock:
                chunks: list[Chunk] = []
                pieces: list[Piece] = []
                while not self._closing and not (pieces := self._next_pieces()) and not (chunks := self._next_chunks()):
                    # What comes after a wait did not wait for this engine.
                    free_since = None
                    self._idle = True
                    self._has_work.wait()
                    self._idle = False
                if self._closing:
                    return
                if pieces and self._fresh:
                    self._has_fresh.notify()
            if not pieces:
                self._prepare(chunks)
                continue
            started = perf_counter()
            rows = score_pieces(pieces)
            ended = perf_counter()
            self._post(_deliver, pieces, rows, ended - started)
            with self._lock:
                self._admission.answered(len(pieces), ended - (free_since or started), monotonic())
            free_since = ended
            self._measure(pieces, started, ended - started)

    def _next_pieces(self) -> list[Piece]:
        """Return the next batch, without what nobody waits for and what could not be in time."""
        while taken := self._line.take(self._budget):
            self._waiting -= len(taken)
            ready = monotonic() + self._admission.wait_s(len(taken))
            pieces = []
            for text in taken:
                job = text.content.job
                job.unstarted -= 1
                if job.deadline < ready:
                    self._post(job.fail, DeadlineExceeded("the answer would not have been ready in time; nothing was computed"))
                elif not job.gone:
                    pieces.append(text.content)
            if pieces:
                return pieces
        return []

    def _measure(self, pieces: Sequence[Piece], started: float, elapsed: float) -> None:
        self._metrics.observe("hone_engine_seconds", elapsed)
        self._metrics.observe("hone_batch_texts", len(pieces))
        for piece in pieces:
            self._metrics.observe("hone_queue_seconds", started - piece.job.arrived)
        lengths = [len(piece.prepared.ids) for piece in pieces]
        self._metrics.count("hone_tokens_total", sum(lengths), kind="text")
        self._metrics.count("hone_tokens_total", max(lengths) * len(lengths) - sum(lengths), kind="padding")


def _deliver(pieces: Sequence[Piece], rows: Sequence[FloatVector | Exception], elapsed: float) -> None:
    for job in {piece.job for piece in pieces}:
        job.engine_s += elapsed
    for piece, row in zip(pieces, rows, strict=True):
        if isinstance(row, Exception):
            piece.job.fail(row)
        else:
            piece.job.answer(piece.place, row)
