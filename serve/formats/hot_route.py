"""What the predicting routes of all formats share; written against ASGI itself, as the native one is."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from core.errors import UnknownRoute
from serve.parts import Parts
from serve.predicting import INLINE_SCORES, Predictions

# Header names and values of more than this many ids would be refused by proxies and clients.
_IDS_SHOWN = 50

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Reply:
    """A body of JSON, or with ``content_type`` of something else."""

    body: bytes
    headers: Iterable[tuple[bytes, bytes]] = ()
    content_type: bytes = b"application/json"


class HotRoute(ABC):
    """Answers ``POST`` on one path, under whose name it is measured."""

    def __init__(self, path: str, parts: Parts) -> None:
        self.path = path
        self.parts = parts

    @abstractmethod
    async def answer(self, scope: Scope, receive: Receive) -> Reply:
        """Return the reply to one request, or raise what is wrong with it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        scope["hone.route"] = self.path
        if scope["method"] != "POST":
            raise UnknownRoute("this path takes POST only", allowed=["POST"])
        reply = await self.answer(scope, receive)
        size = (b"content-length", b"%d" % len(reply.body))
        headers = [(b"content-type", reply.content_type), size, *reply.headers]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})


async def rendered(answer: Predictions, render: Callable[[Predictions], bytes]) -> bytes:
    """Return ``render(answer)``, made in a thread where it takes so long that others would wait for it."""
    if len(answer.predictions) * len(answer.predictions[0].scores) > INLINE_SCORES:
        return await asyncio.to_thread(render, answer)
    return render(answer)


def told_in_headers(answer: Predictions) -> Headers:
    """Return what these formats have no place for in their bodies: who answered, and the ids to name in corrections."""
    sources = [answer.source_of(prediction) for prediction in answer.predictions]
    # One word where all are alike, else one for each text, as far as the ids go.
    told = sources[:1] if len(set(sources)) == 1 else sources[:_IDS_SHOWN]
    headers = [(b"x-model-version", answer.version.encode()), (b"x-model-source", ",".join(told).encode())]
    if len(answer.predictions) <= _IDS_SHOWN:
        ids = ",".join(prediction.prediction_id for prediction in answer.predictions)
        headers.append((b"x-prediction-id", ids.encode()))
    return headers
