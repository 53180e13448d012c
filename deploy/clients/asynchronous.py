"""The client for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from time import monotonic
from types import TracebackType
from typing import Any, Literal, Self, Unpack

import httpx

from core.errors import InputError
from core.finetuning import Preset
from core.label_bodies import NewLabels
from core.schemas import LIVE_STATES, CorrectionAnswer, CorrectionsAnswer, PredictionAnswer, RunAnswer, RunSpeed
from deploy.clients import calls
from deploy.clients.answers import conclude
from deploy.clients.asynchronous_corrections import AsynchronousCorrections
from deploy.clients.calls import Answer, Call, CorrectionFields, PredictOptions
from deploy.clients.connection import DEFAULT_URL, LOOK_EVERY_S, LOOK_TIMEOUT_S, Connection
from deploy.clients.retrying import retry_after_s, worth_repeating
from serve.answers import AliasesAnswer, ApprovalAnswer, ModelAnswer, ModelSummary, StatusAnswer
from serve.gate_report import GateReport
from serve.model_card import ModelCard


class AsyncClient(AsynchronousCorrections):
    """Speaks to one Hone service; of one event loop. Close it, or use it in an ``async with`` block.

    ``connection`` is a URL, or all there is to say about the way there. Every method raises the error the service answered
    with, one of :mod:`core.errors`, or ``Unavailable`` when no answer came. What was refused with 429 or 503, or did not get
    through, is sent again as :class:`~deploy.clients.retrying.Retries` says, unless it could then be done twice.
    """

    def __init__(self, connection: Connection | str = DEFAULT_URL, *, api_key: str = "") -> None:
        if isinstance(connection, str):
            connection = Connection(connection, api_key)
        self.connection = connection
        self._http = httpx.AsyncClient(**connection.http_options())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Give its connections back."""
        await self._http.aclose()

    async def alive(self) -> bool:
        """Return whether a Hone service listens, ready or not; asks once."""
        return await self._look("/healthz")

    async def ready(self) -> bool:
        """Return whether it has a model to answer with; asks once."""
        return await self._look("/readyz")

    async def predict(self, text: str, **options: Unpack[PredictOptions]) -> PredictionAnswer:
        """Return the answer to one text."""
        return await self._run(calls.predict_one(text, options))

    async def predict_many(
        self, texts: Iterable[str], *, at_once: int = 4, **options: Unpack[PredictOptions]
    ) -> list[PredictionAnswer]:
        """Return the answers to any number of texts, in order; they go out in requests of bounded size, ``at_once`` at a time.

        A swap may fall between two requests: each answer says which version it is of. When one fails, the others are given up.
        """
        limits = self.connection
        parts = calls.in_requests(list(texts), max_texts=limits.request_max_texts, max_bytes=limits.request_max_bytes)
        free = asyncio.Semaphore(at_once)

        async def answer(part: list[str]) -> list[PredictionAnswer]:
            async with free:
                return await self._predict_part(part, options)

        tasks = [asyncio.ensure_future(answer(part)) for part in parts]
        try:
            return [prediction for answers in await asyncio.gather(*tasks) for prediction in answers]
        finally:
            for task in tasks:
                task.cancel()

    async def correct(
        self, label: str, *, key: str | None = None, new_labels: NewLabels = "refuse", **said: Unpack[CorrectionFields]
    ) -> CorrectionAnswer:
        """Say that ``label`` is right for a ``prediction_id`` or a ``text``; it is on disk when this returns.

        Sent again with the same ``key`` it counts once. Without one a key is made for this call, so that its own retries do. A
        label outside the set is refused, or with ``new_labels="propose"`` becomes a proposal.
        """
        return await self._run(calls.correct(label, said, key, new_labels))

    async def corrections(self, limit: int = 100, before: str | None = None) -> CorrectionsAnswer:
        """Return one page of corrections, newest first; ``next_before`` of a page is ``before`` of the next."""
        return await self._run(calls.corrections(limit, before))

    async def models(self) -> list[ModelSummary]:
        """Return the newest versions, newest first."""
        return (await self._run(calls.models())).models

    async def model(self, version: str = "champion") -> ModelAnswer:
        """Return one version, by its name or an alias."""
        return await self._run(calls.model(version))

    async def card(self, version: str = "champion") -> ModelCard:
        """Return a version's card: use, data, results, slices, limits, cost, approval."""
        return await self._run(calls.card(version))

    async def gate(self, version: str = "challenger") -> GateReport:
        """Return what the gate decided on a version, with all that belongs to it."""
        return await self._run(calls.gate(version))

    async def promote(self, version: str, *, by: str = "python", why: str = "by hand", override: bool = False) -> AliasesAnswer:
        """Make a version the champion; ``override`` also where the gate refused it."""
        return await self._run(calls.promote(version, {"by": by, "why": why, "override": override}))

    async def sign(
        self, version: str, *, approve: bool, reason: str, by: str = "python", seen: str | None = None, stale: bool = False
    ) -> ApprovalAnswer:
        """Sign for a version that waits for approval: promote it, or refuse it. With an API key, the key's name signs.

        ``seen`` is the ``decision_hash`` that was looked at; ``stale`` also where it was compared with another champion.
        """
        said = {"approve": approve, "reason": reason, "by": by, "seen": seen, "stale": stale}
        return await self._run(calls.sign(version, said))

    async def roll_back(self, *, by: str = "python", why: str = "by hand") -> AliasesAnswer:
        """Make the previous champion the champion again."""
        return await self._run(calls.roll_back({"by": by, "why": why}))

    async def challenge(
        self, version: str, *, by: str = "python", why: str = "by hand", override: bool = False
    ) -> AliasesAnswer:
        """Make a version the challenger; ``override`` also where the gate refused it."""
        return await self._run(calls.challenge(version, {"by": by, "why": why, "override": override}))

    async def withdraw(self, *, by: str = "python", why: str = "by hand") -> AliasesAnswer:
        """Have no challenger any more."""
        return await self._run(calls.withdraw({"by": by, "why": why}))

    async def start_run(
        self,
        speed: RunSpeed = "auto",
        note: str | None = None,
        *,
        preset: Preset | None = None,
        finetune: Mapping[str, Any] | None = None,
    ) -> RunAnswer:
        """Queue a run and return it; ``preset`` and ``finetune`` say how it trains the encoder, where it does."""
        said = {"speed": speed, "note": note or None, "preset": preset, "finetune": dict(finetune) if finetune else None}
        return await self._run(calls.start_run(said))

    async def continue_run(self, run_id: str, manner: Literal["resume", "repeat"], note: str | None = None) -> RunAnswer:
        """Go on with a full run where it was stopped, or do a run again from its record; return the new run, queued."""
        return await self._run(calls.continue_run(run_id, manner, note))

    async def run(self, run_id: str) -> RunAnswer:
        """Return one run as it stands."""
        return await self._run(calls.run(run_id))

    async def runs(self, limit: int = 100) -> list[RunAnswer]:
        """Return runs, newest first."""
        return (await self._run(calls.runs(limit))).runs

    async def stop_run(self, run_id: str) -> RunAnswer:
        """Ask a run to stop and return it."""
        return await self._run(calls.stop_run(run_id))

    async def watch_run(self, run_id: str, timeout_s: float = 3600.0) -> RunAnswer:
        """Return a run once it has ended, or after ``timeout_s`` as it then stands."""
        deadline = monotonic() + timeout_s
        while (run := await self.run(run_id)).state in LIVE_STATES and monotonic() < deadline:  # noqa: ASYNC110 - it ends elsewhere
            await asyncio.sleep(LOOK_EVERY_S)
        return run

    async def status(self) -> StatusAnswer:
        """Return what serves, how every replica fares, and what people and the learner did last."""
        return await self._run(calls.status())

    async def _predict_part(self, part: list[str], options: PredictOptions) -> list[PredictionAnswer]:
        try:
            return (await self._run(calls.predict_part(part, options))).predictions
        except InputError as error:
            smaller = calls.smaller_parts(part, error)
            if not smaller:
                raise
        return [answer for some in smaller for answer in await self._predict_part(some, options)]

    async def _look(self, path: str) -> bool:
        try:
            return (await self._http.get(path, timeout=LOOK_TIMEOUT_S)).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    async def _run(self, call: Call[Answer]) -> Answer:
        retries = self.connection.retries
        attempt = 0
        while True:
            attempt += 1
            outcome = await self._attempt(call)
            pause_s = retries.pause_s(attempt, retry_after_s(outcome)) if worth_repeating(outcome, call.safety) else None
            if pause_s is None:
                return conclude(outcome, call.gives, self.connection.url)
            await asyncio.sleep(pause_s)

    async def _attempt(self, call: Call[Answer]) -> httpx.Response | httpx.HTTPError:
        try:
            return await self._http.request(call.method, call.path, **call.http_options())
        except httpx.HTTPError as error:
            return error
