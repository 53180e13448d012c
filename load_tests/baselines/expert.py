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
import json
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import orjson
import uvicorn
from numpy.typing import NDArray
from safetensors.numpy import load_file
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from tokenizers import Tokenizer

Answer = tuple[str, float]
Waiting = tuple[list[str], asyncio.Future[list[Answer]]]

# Half of what comes over HTTP at once. BANKING77's test texts, 32 at a time and sorted, int8 engine, 2 threads, on a machine
# with other work, texts per second of processor time, median of 4 rounds: 78 in one batch, 134 in batches of 16, 179 of 8. Wall
# clock on a quiet machine has not been measured.
_BATCH_TEXTS = 16


class Model:
    """Tokenizer, encoder and linear head of a bundle."""

    def __init__(self, bundle: Path, threads: int) -> None:
        manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
        encoder = manifest["encoder"]
        self._labels: list[str] = manifest["labels"]
        self._temperature = float(manifest["temperature"])
        head = load_file(bundle / "head.safetensors")
        self._weight, self._bias = head["encoder.weight"], head["bias"]
        self._tokenizer = Tokenizer.from_file(str(bundle / "encoder/tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(encoder["max_tokens"])
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = ort.InferenceSession(
            str(bundle / encoder["variants"][encoder["serving"]]), options, providers=["CPUExecutionProvider"]
        )

    def answer(self, texts: list[str]) -> list[Answer]:
        """Return the best label and its probability for each text."""
        ids = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(texts)]
        order = sorted(range(len(ids)), key=lambda place: len(ids[place]))
        answers: list[Answer] = [("", 0.0)] * len(ids)
        for start in range(0, len(order), _BATCH_TEXTS):
            places = order[start : start + _BATCH_TEXTS]
            scores = self._score([ids[place] for place in places])
            best = scores.argmax(axis=1).tolist()
            for row, place in enumerate(places):
                answers[place] = (self._labels[best[row]], float(scores[row, best[row]]))
        return answers

    def _score(self, ids: list[list[int]]) -> NDArray[np.float32]:
        longest = max(map(len, ids))
        tokens = np.zeros((len(ids), longest), dtype=np.int64)
        mask = np.zeros_like(tokens)
        for row, sequence in enumerate(ids):
            tokens[row, : len(sequence)] = sequence
            mask[row, : len(sequence)] = 1
        (embedding,) = self._session.run(["embedding"], {"input_ids": tokens, "attention_mask": mask})
        logits = (embedding @ self._weight + self._bias) / self._temperature
        scores = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(scores / scores.sum(axis=1, keepdims=True), dtype=np.float32)


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
