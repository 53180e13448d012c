"""Micro-batching: threads for the tokenizer and for the engine, and nobody waits for a batch that is not coming.

::

    event loop ─► fresh requests ─► tokenizer thread ─► waiting texts ─► engine threads ─► event loop
                  (in order)       (all that is new)    (by length)      (a batch each, as soon as one is free)

The threads hand work to each other, not by way of the event loop: while that reads requests and writes answers, the engine has
its next batch already. How many of the engine's threads work at a time, each on a batch of its own, is the engine's to say
(its ``lanes``, see :mod:`core.engines`).
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
from typing import cast

from core.classifier import Prepared
from core.errors import DeadlineExceeded, TextTooLong, TooManyTokens, Unavailable
from core.metrics import Metrics
from core.priority import give_way
from serve.admission import Admission
from serve.deadline import DEADLINE
from serve.facts import FACTS
from serve.jobs import PLAIN, Chunk, Engine, FloatVector, Job, Manner, Piece, Scored, Seek, prepare_chunks, score_pieces
from serve.waiting import BatchBudget, WaitingTexts

# Keeps a turn of the tokenizer to milliseconds, so that the engine gets work early and short texts are not held up.
_TURN_CHARS = 20_000

_ENGINE_NICENESS = 5

# A call of the engine costs about as much as 35 tokens besides its own (serve.waiting), so on a processor more than this saves
# 3% at most, and whoever comes next has to wait for it. A GPU takes what it is given.
_CALL_TOKENS = 1_024
# Lanes share what waits, but not fewer texts than this: calls are not free.
_LEAST_SHARE = 8
# A lane that goes from batch to batch beside others takes what it would have if twice as many shared all that waits or is in
# the engine. Who takes all leaves the next that is done with nothing to do until callers have their answers and ask again.
_AHEAD = 2

_logger = logging.getLogger("hone.serve")


class Batcher:
    """Brings the texts of many requests to the engine in batches of ``budget``; made and used on one event loop.

    A request may have ``max_request_tokens`` tokens, after each of its texts was cut. No engine gets more than ``lanes``
    batches at a time.
    """

    def __init__(
        self,
        budget: BatchBudget,
        admission: Admission,
        metrics: Metrics,
        *,
        lanes: int = 1,
        max_request_tokens: float = math.inf,
    ) -> None:
        self._budget = budget
        self._max_request_tokens = max_request_tokens
        self._admission = admission
        self._turns = metrics.meter([("hone_tokenize_seconds", {})])
        self._batches = metrics.meter(
            [
                ("hone_engine_seconds", {}),
                ("hone_batch_texts", {}),
                ("hone_tokens_total", {"kind": "text"}),
                ("hone_tokens_total", {"kind": "padding"}),
            ]
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._jobs: set[Job] = set()
        # Guards all that follows; held for microseconds.
        self._lock = Lock()
        self._has_fresh = Condition(self._lock)
        self._has_work = Condition(self._lock)
        self._fresh: deque[Job] = deque()
        self._line: WaitingTexts[Piece] = WaitingTexts()
        self._waiting = 0
        self._lanes = lanes
        # Engine threads that wait for work, batches and texts that are in the engine, and when the last of those ended.
        self._idle = 0
        self._running = 0
        self._running_texts = 0
        self._ended = -math.inf
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
        engines = [(f"hone-engine-{number}", self._run) for number in range(self._lanes)]
        for name, work in (("hone-tokenizer", self._tokenize), *engines):
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

    async def score(self, engine: Engine, texts: Sequence[str], manner: Manner = PLAIN, seek: Seek | None = None) -> Scored:
        """Return what ``engine`` makes of ``texts``; a caller that is cancelled takes its texts out of the queue.

        ``seek`` is shown the embeddings of those that are read whole, where there are any.

        A text that is to be read in windows asks for the room of one text, and takes that of its windows once it has it.

        Raises:
            Overloaded: at once, when there is no room for them in the queue.
            DeadlineExceeded: as soon as it is known that they cannot be in time.
            TextTooLong: when one of them would be cut and ``manner`` refuses that.
            TooManyTokens: when all of them together have more than a request may.
        """
        deadline = DEADLINE.get()
        future: asyncio.Future[Scored] = asyncio.get_running_loop().create_future()
        facts = FACTS.get()
        stages = facts.arrive() if facts is not None else None
        job = Job(
            engine, texts, future, manner, deadline=deadline, max_tokens=self._max_request_tokens, seek=seek, stages=stages
        )
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

    def turned_away(self) -> None:
        """Take note of a request for answers that was refused before it came here."""
        with self._lock:
            self._admission.turned_away(monotonic())

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
        ended = perf_counter()
        elapsed = ended - started
        with self._lock:
            for chunk, result in zip(chunks, results, strict=True):
                chunk.job.tokenize_s += elapsed
                if chunk.job.stages is not None:
                    chunk.job.note("tokenization", started, ended, sum(len(part.texts) for part in chunks))
                self._line_up(chunk, result)
            self._has_work.notify()
        self._turns.add((), (elapsed,))

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
                self._line.add(text, beside=len(job.texts) - 1)

    def _run(self) -> None:
        # What is not read cannot be refused in time: with a lane on every core and twice the requests that can be answered, the
        # event loop would otherwise fall behind by seconds.
        give_way(_ENGINE_NICENESS)
        free_since: float | None = None
        while True:
            with self._lock:
                chunks: list[Chunk] = []
                pieces: list[Piece] = []
                while not self._closing:
                    if (pieces := self._next_pieces(free_since)) or (chunks := self._next_chunks()):
                        break
                    # What comes after a wait did not wait for this engine.
                    free_since = None
                    self._idle += 1
                    self._has_work.wait()
                    self._idle -= 1
                if self._closing:
                    return
                if pieces:
                    self._running += 1
                    self._running_texts += len(pieces)
                    self._call_others()
            if not pieces:
                self._prepare(chunks)
                continue
            started = perf_counter()
            rows = score_pieces(pieces)
            ended = perf_counter()
            self._post(_deliver, pieces, rows, started, ended)
            with self._lock:
                self._running -= 1
                self._running_texts -= len(pieces)
                # The pace is that of all lanes together: what counts is the time since any of them was last done.
                since = max(self._ended, started if free_since is None else free_since)
                requests = sum(1 / piece.job.rows for piece in pieces)
                self._admission.answered(len(pieces), ended - since, monotonic(), requests)
                self._ended = ended
            free_since = ended
            self._measure(pieces, ended - started)

    def _call_others(self) -> None:
        """Wake who can go on beside the batch that is about to be scored."""
        if self._fresh:
            self._has_fresh.notify()
        if self._idle and len(self._line):
            self._has_work.notify()

    def _next_pieces(self, free_since: float | None) -> list[Piece]:
        """Return the next batch, without what nobody waits for or could not be in time; none while all lanes are taken.

        ``free_since`` is when the lane was last done, None where it had to wait for work.
        """
        while (engine := cast("Engine | None", self._line.next_model())) is not None and self._running < engine.lanes:
            taken = self._line.take(self._share(engine, saturated=free_since is not None))
            self._waiting -= len(taken)
            # Its own lane is as much slower than all of them as there are others at work.
            ready = monotonic() + self._admission.wait_s(len(taken)) * (self._running + 1)
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

    def _share(self, engine: Engine, *, saturated: bool) -> BatchBudget:
        """Return what a lane of ``engine`` takes now, leaving some to others that are free, or will be soon."""
        texts, tokens = self._budget.max_texts, self._budget.max_tokens
        if engine.batch_texts is not None:
            texts, tokens = min(texts, engine.batch_texts), min(tokens, _CALL_TOKENS)
        if saturated and self._running:
            fair = math.ceil((len(self._line) + self._running_texts) / (_AHEAD * engine.lanes))
        else:
            fair = math.ceil(len(self._line) / (engine.lanes - self._running))
        return BatchBudget(min(texts, max(fair, _LEAST_SHARE)), tokens)

    def _measure(self, pieces: Sequence[Piece], elapsed: float) -> None:
        lengths = [len(piece.prepared.ids) for piece in pieces]
        tokens = sum(lengths)
        self._batches.add((), (elapsed, len(pieces), tokens, max(lengths) * len(lengths) - tokens))


def _deliver(pieces: Sequence[Piece], rows: Sequence[FloatVector | Exception], started: float, ended: float) -> None:
    for job in {piece.job for piece in pieces}:
        job.engine_s += ended - started
        if job.stages is not None:
            job.note("engine", started, ended, len(pieces))
    for piece, row in zip(pieces, rows, strict=True):
        if isinstance(row, Exception):
            piece.job.fail(row)
        else:
            piece.job.answer(piece.place, row)
