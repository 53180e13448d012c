"""The short way in: who comes by it, who does not, and what becomes of a request whose caller leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from starlette.middleware import Middleware
from starlette.types import Message, Receive, Scope, Send

from serve.direct import DOOR, HOOK, DirectWay, direct_environment, in_force, ingress_in_use, middlewares


class Caller:
    """One side of an exchange: sends a body, hears the answer, and can leave."""

    def __init__(self, path: str = "/v1/predict", kind: str = "http") -> None:
        self.scope: Scope = {"type": kind, "path": path, "headers": []}
        self.heard: list[Message] = []
        self._left = asyncio.Event()
        self._sent = False

    def leave(self) -> None:
        self._left.set()

    async def receive(self) -> Message:
        if not self._sent:
            self._sent = True
            return {"type": "http.request", "body": b"{}", "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.heard.append(message)
        if message["type"] == "http.response.body":
            # As a server does: what it says after the answer is that the exchange is over.
            self.leave()


async def by_ray(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 299, "headers": []})


async def answering(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})
    # What a framework does after the answer must not be cut off.
    await asyncio.sleep(0.01)
    scope["finished"] = True


@pytest.fixture
def door() -> Iterator[None]:
    """Leave the door as it was."""
    yield
    DOOR.application = None
    assert DOOR.ongoing == 0


def test_the_environment_leads_this_way_and_no_other_does() -> None:
    assert in_force(direct_environment())
    for name in direct_environment():
        assert not in_force({**direct_environment(), name: "x"})
    assert direct_environment()["RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"] == HOOK == f"{middlewares.__module__}.middlewares"
    assert [ingress_in_use({"RAY_SERVE_ENABLE_HA_PROXY": value}) for value in ("1", "0")] == ["haproxy", "proxy"]


@pytest.mark.usefixtures("door")
async def test_only_requests_for_the_application_step_past_ray() -> None:
    (middleware,) = middlewares()
    assert repr(middleware) == repr(Middleware(DirectWay))
    way = DirectWay(by_ray)
    before = Caller()
    await way(before.scope, before.receive, before.send)
    assert before.heard[0]["status"] == 299, "no application in this process yet"
    DOOR.application = answering
    for caller, status in ((Caller(), 200), (Caller("/-/healthz"), 299), (Caller(kind="websocket"), 299)):
        await way(caller.scope, caller.receive, caller.send)
        assert caller.heard[0]["status"] == status
        assert ("hone.direct" in caller.scope) == (status == 200)


@pytest.mark.usefixtures("door")
async def test_an_answered_request_is_finished_in_peace() -> None:
    DOOR.application = answering
    caller = Caller()
    await DirectWay(by_ray)(caller.scope, caller.receive, caller.send)
    assert caller.scope["finished"]


@pytest.mark.usefixtures("door")
async def test_work_for_a_caller_who_left_is_stopped() -> None:
    begun, stopped = asyncio.Event(), asyncio.Event()

    async def working(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    DOOR.application = working
    caller = Caller()
    request = asyncio.create_task(DirectWay(by_ray)(caller.scope, caller.receive, caller.send))
    await begun.wait()
    assert DOOR.ongoing == 1
    caller.leave()
    await request
    assert stopped.is_set()
    assert caller.heard == []


@pytest.mark.usefixtures("door")
async def test_a_server_that_ends_its_requests_is_obeyed() -> None:
    async def working(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.Event().wait()

    DOOR.application = working
    caller = Caller()
    request = asyncio.create_task(DirectWay(by_ray)(caller.scope, caller.receive, caller.send))
    await asyncio.sleep(0)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
