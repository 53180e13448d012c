"""The loop on real data: wrong labels, corrections over HTTP under traffic, one run, a swap, and then a kill -9.

BANKING77 (77 intents) with the training labels of three intents wrong. The data is not part of the project: HONE_BENCH_DATA
names the folder that holds ``banking77/data.parquet``, by default ``../shared/data``.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest

from core.classifier import Classifier
from core.registry import Registry
from core.settings import Settings
from tests.e2e.stacks import Stack, running
from train.scoring import scores_of
from train.teach import TeachRequest, teach

DATA = Path(os.environ.get("HONE_BENCH_DATA", "../shared/data")) / "banking77" / "data.parquet"
WRONG = ("card_arrival", "exchange_rate", "top_up_failed")
CLIENTS = 8
PER_INTENT = 20

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(not DATA.exists(), reason="needs BANKING77; set HONE_BENCH_DATA to the folder of data sets"),
]


def spoil(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the data with the training labels of ``WRONG`` scattered, and 20 texts of each kept out of it as traffic."""
    random = np.random.default_rng(7)
    names = sorted(frame.label.unique())
    taught = frame[frame.split == "train"]
    traffic = pd.concat([taught[taught.label == name].sample(PER_INTENT, random_state=7) for name in WRONG])
    spoilt = frame.drop(traffic.index).copy()
    rows = spoilt.index[(spoilt.split == "train") & spoilt.label.isin(WRONG)]
    spoilt.loc[rows, "label"] = [random.choice([n for n in names if n != spoilt.label[row]]) for row in rows]
    return spoilt, traffic


class Traffic:
    """Clients that keep asking, one text or a few at a time, and remember every answer."""

    def __init__(self, url: str, texts: list[str]) -> None:
        self._url, self._texts = url, texts
        self._stop = threading.Event()
        self.failures: list[str] = []
        self.answers: list[tuple[str, str, str, float]] = []
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(CLIENTS)]

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, number: int) -> None:
        turn = itertools.count(number * 97)
        with httpx.Client(base_url=self._url, timeout=60) as http:
            while not self._stop.is_set():
                start = next(turn) * 3
                texts = [self._texts[(start + i) % len(self._texts)] for i in range(1 + start % 4)]
                try:
                    reply = http.post("/v1/predict", json={"texts": texts, "top_k": 1})
                except httpx.HTTPError as error:
                    self.failures.append(type(error).__name__)
                    continue
                if reply.status_code != httpx.codes.OK:
                    self.failures.append(f"{reply.status_code} {reply.text[:200]}")
                    continue
                body = reply.json()
                versions = {p["model_version"] for p in body["predictions"]} | {body["model_version"]}
                if len(versions) != 1:
                    self.failures.append(f"one answer from {versions}")
                for text, prediction in zip(texts, body["predictions"], strict=True):
                    self.answers.append((prediction["model_version"], text, prediction["label"], prediction["score"]))


def torn(answers: list[tuple[str, str, str, float]], registry: Registry) -> int:
    """Return how many answers are not what the version they name answers when it is asked alone."""
    wrong = 0
    for version in {answer[0] for answer in answers}:
        mine = {(text, label): score for named, text, label, score in answers if named == version}
        classifier = Classifier.load(registry.path(version))
        texts = sorted({text for text, _ in mine})
        scores = dict(zip(texts, classifier.predict(texts), strict=True))
        for (text, label), score in mine.items():
            if abs(float(scores[text][classifier.labels.index(label)]) - score) > 1e-4:
                wrong += 1
    return wrong


def correct_all(http: httpx.Client, traffic: pd.DataFrame) -> list[str]:
    ids = []
    for number, (text, label) in enumerate(zip(traffic.text, traffic.label, strict=True)):
        prediction = http.post("/v1/predict", json={"text": text}).raise_for_status().json()
        body = {"prediction_id": prediction["prediction_id"], "label": label, "annotator": "ann"}
        reply = http.post("/v1/corrections", json=body, headers={"idempotency-key": f"key-{number}"})
        ids.append(reply.raise_for_status().json()["correction_id"])
    return ids


def learn(http: httpx.Client) -> dict[str, object]:
    run = http.post("/v1/runs", json={"speed": "head"}).raise_for_status().json()
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        run = http.get(f"/v1/runs/{run['run_id']}").raise_for_status().json()
        if run["state"] not in ("queued", "running"):
            return dict(run)
        time.sleep(0.5)
    raise AssertionError(f"the run did not end: {run}")


def wait_for_version(http: httpx.Client, version: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if http.post("/v1/predict", json={"text": "where is my card"}).json()["model_version"] == version:
            return
        time.sleep(0.1)
    raise AssertionError(f"{version} was not swapped in")


def recalls(folder: Path, test: pd.DataFrame, cache: Path, names: list[str]) -> tuple[float, float]:
    """Return the recall of the spoilt intents and the accuracy on all others, on the published test split."""
    answers = np.array(names)[scores_of(folder, test.text.tolist(), cache).argmax(axis=1)]
    right = answers == test.label.to_numpy()
    spoilt = test.label.isin(WRONG).to_numpy()
    return float(right[spoilt].mean()), float(right[~spoilt].mean())


def test_corrections_teach_and_nothing_is_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = pd.read_parquet(DATA)
    spoilt, traffic = spoil(frame)
    spoilt.to_parquet(tmp_path / "spoilt.parquet")
    home = tmp_path / "home"
    settings = Settings.model_validate({"HONE_HOME": home, "learn_after_corrections": 0})
    taught = teach(settings, TeachRequest(data=tmp_path / "spoilt.parquet", speed="head", features="both"))
    assert (taught.version, taught.promoted) == ("v1", True)
    test = frame[frame.split == "test"]

    with running(home, learn_after_corrections="0") as stack, httpx.Client(base_url=stack.url, timeout=60) as http:
        with Traffic(stack.url, test.text.tolist()) as clients:
            ids = correct_all(http, traffic)
            run = learn(http)
            assert run["state"] == "succeeded", run
            assert run["promoted"] is True, http.get(f"/v1/models/{run['version']}").json()
            wait_for_version(http, "v2")
            time.sleep(1)
        after_kill = survive_kill(stack, http, traffic)

    registry = Registry(settings.home.registry)
    names = registry.manifest("v1").labels
    before = recalls(registry.path("v1"), test, settings.home.cache, names)
    after = recalls(registry.path("v2"), test, settings.home.cache, names)
    versions = Counter(answer[0] for answer in clients.answers)
    with capsys.disabled():
        print(  # noqa: T201 - the figures are what a person runs this for
            f"\nrecall of the three intents {before[0]:.1%} → {after[0]:.1%}, others {before[1]:.2%} → {after[1]:.2%}; "
            f"{sum(versions.values())} answers under traffic by {dict(versions)}, {len(clients.failures)} failed"
        )
    assert clients.failures == []
    assert set(versions) == {"v1", "v2"}
    assert torn(clients.answers, registry) == 0
    assert after[0] - before[0] >= 0.20
    assert after[1] - before[1] >= -0.005

    with running(home, learn_after_corrections="0") as stack, httpx.Client(base_url=stack.url, timeout=60) as http:
        assert http.post("/v1/predict", json={"text": "where is my card"}).json()["model_version"] == "v2"
        kept = {c["correction_id"] for c in http.get("/v1/corrections", params={"limit": 500}).json()["corrections"]}
        assert set(ids) | set(after_kill) <= kept


def survive_kill(stack: Stack, http: httpx.Client, traffic: pd.DataFrame) -> list[str]:
    """Send more corrections and kill the stack right after the last one was acknowledged; return what was acknowledged."""
    ids = []
    for text, label in zip(traffic.text[:10], traffic.label[:10], strict=True):
        reply = http.post("/v1/corrections", json={"text": f"{text} please", "label": label})
        ids.append(reply.raise_for_status().json()["correction_id"])
    stack.kill()
    return ids
