"""The expert's server: what somebody who knows the field writes in an afternoon, when speed is all that is asked for.

::

    python -m load_tests.baselines.expert --bundle <folder> --port 8000 --threads 2

One process: uvicorn with uvloop and httptools, Starlette, orjson, ONNX Runtime on the bundle's own engine file with its
tokenizer. Whatever waits when the engine is free is its next batch, shortest text first. No log, keys, metrics, limits,
deadlines or swap.
It answers with the encoder's share of the head only and leaves the n-grams out, which is less work than the bundle asks for.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from load_tests.baselines.int8_model import Answer, Model

Waiting = tuple[list[str], asyncio.Future[list[Answer]]]


class Batches:
    """Hands everything that waits to the model, as soon as it is free."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._waiting: list[Waiting] = []
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1)

    async def answer(self, texts: list[str]) -> list[Answer]:
        """Return the answers to ``texts``."""
        future: asyncio.Future[list[Answer]] = asyncio.get_running_loop().create_future()
        self._waiting.append((texts, future))
        self._arrived.set()
        return await future

    async def run(self) -> None:
        """Work until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            taken, self._waiting = self._waiting, []
            if not taken:
                continue
            texts = [text for some, _ in taken for text in some]
            answers = iter(await loop.run_in_executor(self._thread, self._model.answer, texts))
            for some, future in taken:
                found = [next(answers) for _ in some]
                if not future.done():
                    future.set_result(found)


def build(model: Model) -> Starlette:
    """Return the application: ``POST /predict`` takes ``{"texts": […]}`` or ``{"text": …}``."""
    batches = Batches(model)

    async def predict(request: Request) -> Response:
        body: dict[str, Any] = orjson.loads(await request.body())
        if "text" in body:
            ((label, score),) = await batches.answer([body["text"]])
            answer: dict[str, Any] = {"label": label, "score": score}
        else:
            answer = {"predictions": [{"label": label, "score": score} for label, score in await batches.answer(body["texts"])]}
        return Response(orjson.dumps(answer), media_type="application/json")

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        work = asyncio.create_task(batches.run())
        yield
        work.cancel()

    return Starlette(routes=[Route("/predict", predict, methods=["POST"])], lifespan=lifespan)


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="Serve a bundle as an expert would in an afternoon.")
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    app = build(Model(options.bundle, options.threads))
    uvicorn.run(app, port=options.port, loop="uvloop", http="httptools", log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
