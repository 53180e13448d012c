"""Micro-batching: one owner each for the tokenizer and the engine, and nobody waits for a batch that is not coming.

::

    request ─► tokenizer thread ─► waiting texts ─► engine thread ─► request
               (all that is new)   (by length)      (one batch, as soon as the engine is free)
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

from core.classifier import Prepared
from core.errors import Overloaded, Unavailable
from core.metrics import Metrics
from serve.jobs import PLAIN, Chunk, Engine, FloatVector, Job, Manner, Piece, Scored, prepare_chunks, score_pieces
from serve.waiting import BatchBudget, WaitingTexts

# Keeps a turn of the tokenizer to milliseconds, so that the engine gets work early and short texts are not held up.
_TURN_CHARS = 20_000

_logger = logging.getLogger("hone.serve")


class Batcher:
    """Brings the texts of many requests to the engine in batches of ``budget``; made and used on one event loop.

    At most ``queue_max_texts`` texts wait at a time; a request that alone brings more is taken when nothing else waits.
    """

    def __init__(self, budget: BatchBudget, queue_max_texts: int, metrics: Metrics) -> None:
        self._budget = budget
        self._queue_max_texts = queue_max_texts
        self._metrics = metrics
        self._jobs: set[Job] = set()
        self._fresh: deque[Job] = deque()
        self._line: WaitingTexts[Piece] = WaitingTexts()
        self._waiting = 0
        self._has_fresh = asyncio.Event()
        self._has_waiting = asyncio.Event()
        self._tokenizer = ThreadPoolExecutor(1, "hone-tokenizer")
        self._engine = ThreadPoolExecutor(1, "hone-engine")
        self._owners: list[asyncio.Task[None]] = []

    @property
    def waiting_texts(self) -> int:
        """How many texts the engine has not started on."""
        return self._waiting

    @property
    def alive(self) -> bool:
        """Whether requests can still be answered; when not, only a new process helps."""
        return bool(self._owners) and not any(owner.done() for owner in self._owners)

    def start(self) -> None:
        """Begin to work."""
        for work in (self._tokenize(), self._run()):
            owner = asyncio.create_task(work)
            owner.add_done_callback(_note_end)
            self._owners.append(owner)

    async def close(self) -> None:
        """Stop; requests that still wait fail with ``Unavailable``."""
        for owner in self._owners:
            owner.cancel()
        await asyncio.gather(*self._owners, return_exceptions=True)
        for job in list(self._jobs):
            job.fail(Unavailable("the service is stopping; send the request again"))
        for executor in (self._tokenizer, self._engine):
            executor.shutdown(wait=False, cancel_futures=True)

    async def score(self, engine: Engine, texts: Sequence[str], manner: Manner = PLAIN) -> Scored:
        """Return what ``engine`` makes of ``texts``; a caller that is cancelled takes its texts out of the queue.

        A text that is to be read in windows asks for the room of one text, and takes that of its windows once it has it.

        Raises:
            Overloaded: at once, when the queue has no room for them.
            TextTooLong: when one of them would be cut and ``manner`` refuses that.
        """
        if self._waiting and self._waiting + len(texts) > self._queue_max_texts:
            raise Overloaded(
                f"{self._waiting} texts wait already and {self._queue_max_texts} may; send the request again later",
                waiting_texts=self._waiting,
                queue_max_texts=self._queue_max_texts,
            )
        job = Job(engine, texts, asyncio.get_running_loop().create_future(), manner)
        self._jobs.add(job)
        self._waiting += len(texts)
        self._fresh.append(job)
        self._has_fresh.set()
        try:
            return await job.future
        finally:
            self._withdraw(job)

    def _withdraw(self, job: Job) -> None:
        self._jobs.discard(job)
        if job.unstarted:
            self._waiting -= job.unstarted
            job.unstarted = 0
            for text in job.waiting:
                self._line.remove(text)

    async def _tokenize(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._has_fresh.wait()
            chunks = self._next_chunks()
            if not chunks:
                self._has_fresh.clear()
                continue
            started = perf_counter()
            results = await loop.run_in_executor(self._tokenizer, prepare_chunks, chunks)
            elapsed = perf_counter() - started
            self._metrics.observe("hone_tokenize_seconds", elapsed)
            for chunk, result in zip(chunks, results, strict=True):
                chunk.job.tokenize_s += elapsed
                self._line_up(chunk, result)
            self._has_waiting.set()

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
        if isinstance(result, Exception):
            job.fail(result)
        if job.gone or isinstance(result, Exception):
            return
        for place, prepared in enumerate(result, chunk.first):
            texts = job.line_up(place, prepared)
            if not texts:
                return
            self._waiting += len(texts) - 1
            for text in texts:
                self._line.add(text)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._has_waiting.wait()
            batch = self._line.take(self._budget)
            if not batch:
                self._has_waiting.clear()
                continue
            # A caller that left in this very moment is still in the line.
            pieces = [text.content for text in batch if not text.content.job.gone]
            if pieces:
                self._start(pieces)
                started = perf_counter()
                rows = await loop.run_in_executor(self._engine, score_pieces, pieces)
                elapsed = perf_counter() - started
                for job in {piece.job for piece in pieces}:
                    job.engine_s += elapsed
                _deliver(pieces, rows)
                self._measure(pieces, started, elapsed)

    def _start(self, pieces: Sequence[Piece]) -> None:
        for piece in pieces:
            piece.job.unstarted -= 1
        self._waiting -= len(pieces)

    def _measure(self, pieces: Sequence[Piece], started: float, elapsed: float) -> None:
        self._metrics.observe("hone_engine_seconds", elapsed)
        self._metrics.observe("hone_batch_texts", len(pieces))
        for piece in pieces:
            self._metrics.observe("hone_queue_seconds", started - piece.job.arrived)
        lengths = [len(piece.prepared.ids) for piece in pieces]
        self._metrics.count("hone_tokens_total", sum(lengths), kind="text")
        self._metrics.count("hone_tokens_total", max(lengths) * len(lengths) - sum(lengths), kind="padding")


def _deliver(pieces: Sequence[Piece], rows: Sequence[FloatVector | Exception]) -> None:
    for piece, row in zip(pieces, rows, strict=True):
        if isinstance(row, Exception):
            piece.job.fail(row)
        else:
            piece.job.answer(piece.place, row)


def _note_end(owner: asyncio.Task[None]) -> None:
    if not owner.cancelled():
        _logger.critical("batching has stopped", exc_info=owner.exception())
