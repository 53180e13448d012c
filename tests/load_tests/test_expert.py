"""The expert's server gives the answers of the bundle it serves, so what it is measured doing is the same work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from core.classifier import Classifier
from load_tests.baselines.expert import build
from load_tests.baselines.int8_model import Model
from tests.core.encoders import write_encoder_bundle

# Words no tokenizer knows, so that n-grams, which it leaves out, have no say; their number moves the embedding.
TEXTS = [" ".join(["zebra"] * count) for count in (5, 1, 4, 2, 3)] * 8


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_encoder_bundle(tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.fixture
async def http(bundle: Path) -> AsyncIterator[httpx.AsyncClient]:
    app = build(Model(bundle, threads=1))
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://expert") as client:
        yield client


async def test_answers_are_those_of_the_bundle_in_order(bundle: Path, http: httpx.AsyncClient) -> None:
    classifier = Classifier.load(bundle, threads=1)
    expected = classifier.predict(TEXTS)
    answers = (await http.post("/predict", json={"texts": TEXTS, "top_k": 1})).json()["predictions"]
    assert [answer["label"] for answer in answers] == [classifier.labels.names[place] for place in expected.argmax(axis=1)]
    assert [answer["score"] for answer in answers] == pytest.approx(expected.max(axis=1).tolist(), abs=1e-5)
    assert len({round(answer["score"], 4) for answer in answers}) == 5, "texts of different length score differently here"


async def test_each_of_many_callers_gets_its_own_answer(http: httpx.AsyncClient) -> None:
    alone = {text: (await http.post("/predict", json={"text": text})).json()["score"] for text in set(TEXTS)}
    together = await asyncio.gather(*(http.post("/predict", json={"text": text}) for text in TEXTS))
    assert [reply.json()["score"] for reply in together] == pytest.approx([alone[text] for text in TEXTS], abs=1e-6)
