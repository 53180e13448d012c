"""The real service in this process, for one state folder, spoken to through ASGI as a client speaks to it over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx

from core.errors import HoneError, Unavailable
from core.settings import Settings
from deploy.simulate.people import Voice
from serve.app import build_app
from serve.lifecycle import running
from serve.parts import Parts, assemble

_PAGE_ITEMS = 100
_REQUEST_TEXTS = 200
_LOOK_EVERY_S = 0.02
_LOADED_WITHIN_S = 300.0
_ANSWERED_WITHIN_S = 600.0


@dataclass(frozen=True)
class Answer:
    """One answered text."""

    prediction_id: str
    label: str
    version: str
    source: str


@dataclass(frozen=True)
class Item:
    """One text that waits for review, and why it is asked."""

    item_id: str
    stratum: str
    text: str


class LiveService:
    """What people and callers of a running service do."""

    def __init__(self, parts: Parts, http: httpx.AsyncClient, named: Callable[[int], None]) -> None:
        self.parts, self._http, self._named = parts, http, named

    async def ask(self, texts: Sequence[str], first: int) -> list[Answer]:
        """Return the answers to ``texts``, in order; they are named as the ``first``, the next and so on of the simulation."""
        self._named(first)
        answers: list[Answer] = []
        for start in range(0, len(texts), _REQUEST_TEXTS):
            body = {"texts": list(texts[start : start + _REQUEST_TEXTS]), "top_k": 1}
            found = _fine(await self._http.post("/v1/predict", json=body))
            answers += [
                Answer(item["prediction_id"], item["label"], item["model_version"], item["source"])
                for item in found["predictions"]
            ]
        if self.parts.log is not None:
            await asyncio.to_thread(self.parts.log.flush, 60.0)
        return answers

    async def waiting(self) -> list[Item]:
        """Return all open items of the review queue, by text."""
        # A name of its own for each look, by which items are handed out, and passed on for others to answer.
        desk = f"desk-{uuid4().hex[:12]}"
        found: list[Item] = []
        while True:
            query: dict[str, str | int] = {"annotator": desk, "limit": _PAGE_ITEMS}
            page = _fine(await self._http.get("/v1/review", params=query))["items"]
            for item in page:
                found.append(Item(item["item_id"], item["stratum"], item["text"]))
                body = {"action": "skip", "annotator": desk}
                _fine(await self._http.post(f"/v1/review/{item['item_id']}", json=body))
            if not page:
                return sorted(found, key=lambda item: item.text)

    async def review(self, item: Item, voice: Voice) -> bool:
        """Have an annotator answer a review item; return whether the label could be taken."""
        body = {"label": voice.label, "annotator": voice.annotator}
        answer = await self._http.post(f"/v1/review/{item.item_id}", json=body)
        if _refused(answer, "unknown_label") or _refused(answer, "conflict"):
            return False
        _fine(answer)
        return True

    async def correct(self, key: str, voice: Voice, *, prediction_id: str) -> bool:
        """Have an annotator correct or confirm an answer, a new label being a proposal; return whether it was taken."""
        body = {"prediction_id": prediction_id, "label": voice.label, "annotator": voice.annotator}
        answer = await self._http.post(
            "/v1/corrections", params={"new_labels": "propose"}, json=body, headers={"idempotency-key": key}
        )
        if answer.status_code == 422:
            return False
        _fine(answer)
        return True

    async def serves_champion(self) -> str:
        """Return the champion once it answers.

        Raises:
            Unavailable: it does not within minutes.
        """
        for _ in range(int(_LOADED_WITHIN_S / _LOOK_EVERY_S)):
            champion = await asyncio.to_thread(lambda: self.parts.registry.aliases().champion)
            loaded = self.parts.slot.current
            if champion is not None and loaded is not None and loaded.version == champion:
                return champion
            await asyncio.sleep(_LOOK_EVERY_S)
        raise Unavailable("the service did not load the champion; hone models show champion says what is wrong with it")


@asynccontextmanager
async def live(settings: Settings, ids: Callable[[int], Callable[[int], list[str]]]) -> AsyncIterator[LiveService]:
    """Run the service on the state folder of ``settings`` inside the block.

    ``ids`` gives, for the number of the first prediction, what names it and those after it.
    """
    naming = [ids(0)]

    def named(first: int) -> None:
        naming[0] = ids(first)

    parts = assemble(settings, None, "simulate", new_ids=lambda count: naming[0](count))
    transport = httpx.ASGITransport(build_app(parts))
    async with (
        running(parts),
        httpx.AsyncClient(transport=transport, base_url="http://hone", timeout=_ANSWERED_WITHIN_S) as http,
    ):
        service = LiveService(parts, http, named)
        await service.serves_champion()
        yield service


def _refused(answer: httpx.Response, code: str) -> bool:
    return answer.status_code in (404, 409, 422) and answer.json().get("code") == code


def _fine(answer: httpx.Response) -> Any:
    body = answer.json()
    if not answer.is_success:
        kind = Unavailable if answer.status_code in (429, 503, 504) else HoneError
        raise kind(f"the service answered {answer.status_code} {body.get('code')}: {body.get('error')}")
    return body
