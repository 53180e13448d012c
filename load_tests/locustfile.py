"""Traffic against a running service, by one of the scenarios of ``scenarios.toml``.

``python -m load_tests.scenarios NAME`` starts Locust with it; by hand ``HONE_LOAD_SCENARIO`` names it (else ``steady``)::

    locust -f load_tests/locustfile.py --headless --host http://127.0.0.1:8321

Texts come from the package's sample data, or from the ``text`` column of the CSV file that ``HONE_LOAD_DATA`` names;
``HONE_API_KEY`` is sent where it is set. The exit code is 1 when a limit was not kept. A correction always confirms what was
answered, so that a load test teaches nothing wrong. Traffic goes to the host that is named and to no other.
"""

from __future__ import annotations

import csv
import json
import os
import random
import time
from pathlib import Path
from typing import Any

import gevent
import requests
from locust import FastHttpUser, LoadTestShape, constant, constant_throughput, events, task
from locust.env import Environment

from load_tests.outcome import Outcome, write_report
from load_tests.scenario import judge, read_scenarios, samples_of

SAMPLE = Path(__file__).parent.parent / "train" / "data" / "reviews.csv"
METRICS = {"hone_process_resident_bytes": "memory_bytes", "hone_process_open_files": "open_files"}
ANNOTATOR = "load test"
_SCALE = float(os.environ.get("HONE_LOAD_TIME_SCALE", "1"))
NAME = os.environ.get("HONE_LOAD_SCENARIO", "steady")
SCENARIO = read_scenarios()[NAME].scaled(_SCALE)
HEADERS = {"authorization": f"Bearer {key}"} if (key := os.environ.get("HONE_API_KEY")) else {}
OUTCOME = Outcome()


def read_texts() -> list[str]:
    """Return the texts to send."""
    with Path(os.environ.get("HONE_LOAD_DATA", SAMPLE)).open(encoding="utf-8", newline="") as file:
        return [row["text"] for row in csv.DictReader(file)]


TEXTS = read_texts()


class Shape(LoadTestShape):
    """As many callers as the scenario has at each moment."""

    def tick(self) -> tuple[int, float] | None:
        """Return how many callers there are to be and how fast they come, or None at the end."""
        return SCENARIO.callers(self.get_run_time())  # type: ignore[no-untyped-call] # untyped there


class Caller(FastHttpUser):
    """One connection; what it does next is drawn by the scenario's weights."""

    wait_time = constant_throughput(SCENARIO.rate_per_caller) if SCENARIO.rate_per_caller else constant(0)
    default_headers = HEADERS

    @task
    def act(self) -> None:
        """Do one thing."""
        kinds = list(SCENARIO.tasks)
        (kind,) = random.choices(kinds, list(SCENARIO.tasks.values()))
        getattr(self, kind)()

    def one(self) -> None:
        """Ask about one text."""
        self._predict("one", {"text": random.choice(TEXTS), "top_k": 1})

    def many(self) -> None:
        """Ask about 32 texts at once."""
        self._predict("many", {"texts": random.choices(TEXTS, k=32), "top_k": 1})

    def confirm(self) -> None:
        """Ask, and confirm the answer."""
        answer = self._predict("one", {"text": random.choice(TEXTS)})
        if answer is not None:
            body = {"prediction_id": answer["prediction_id"], "label": answer["label"], "annotator": ANNOTATOR}
            self._send("POST", "/v1/corrections", "confirm", json=body)

    def bulk(self) -> None:
        """Ask about 20 texts, and confirm all answers in one request."""
        answer = self._predict("many", {"texts": random.choices(TEXTS, k=20), "top_k": 1})
        if answer is not None:
            told = [
                {"prediction_id": item["prediction_id"], "label": item["label"], "annotator": ANNOTATOR}
                for item in answer["predictions"]
            ]
            lines = "".join(json.dumps(row) + "\n" for row in told)
            headers = {"content-type": "application/x-ndjson"}
            self._send("POST", "/v1/corrections/bulk", "bulk", data=lines.encode(), headers=headers)

    def review(self) -> None:
        """Take what waits for review, and leave it to others."""
        answer = self._send("GET", f"/v1/review?annotator={ANNOTATOR.replace(' ', '+')}", "review")
        for item in answer["items"] if answer else ():
            body = {"action": "skip", "annotator": ANNOTATOR}
            self._send("POST", f"/v1/review/{item['item_id']}", "review answer", json=body)

    def _predict(self, name: str, body: dict[str, Any]) -> dict[str, Any] | None:
        answer = self._send("POST", "/v1/predict", name, json=body)
        if answer is not None:
            OUTCOME.saw_versions([answer["model_version"], *(item["model_version"] for item in answer.get("predictions", ()))])
        return answer

    def _send(self, method: str, path: str, name: str, **what: Any) -> dict[str, Any] | None:
        with self.client.request(method, path, name=name, catch_response=True, **what) as reply:
            if reply.status_code == 429:
                if SCENARIO.refusals:
                    # Counted apart: a refusal is quick, and would make answers look so.
                    reply.request_meta["name"] = "refused"
                    reply.success()
                else:
                    reply.failure("status 429")
                if SCENARIO.rate_per_caller is None:
                    # As clients do. Who asks again at once keeps a service refusing that has long had room again.
                    gevent.sleep(float(reply.headers.get("Retry-After", 1)))
                return None
            if not 200 <= reply.status_code < 300:
                reply.failure(f"status {reply.status_code}")
                return None
            answer: dict[str, Any] = reply.json()
            return answer


@events.test_start.add_listener  # type: ignore[untyped-decorator] # untyped there
def begin(environment: Environment, **_: object) -> None:
    """Start what goes on beside the callers: looking at the service's own metrics, swapping, asking for runs."""
    host = str(environment.host)
    OUTCOME.versions = {model["version"] for model in _ask("GET", f"{host}/v1/models")["models"]}
    gevent.spawn(_watch, host)
    if SCENARIO.rollback_every_s:
        gevent.spawn(
            _every, SCENARIO.rollback_every_s, lambda: _ask("POST", f"{host}/v1/rollback", json={"why": "a load test"})
        )
    if SCENARIO.learn_every_s:
        body = {"speed": "head", "note": "a load test"}
        gevent.spawn(_every, SCENARIO.learn_every_s, lambda: _ask("POST", f"{host}/v1/runs", json=body))


@events.quitting.add_listener  # type: ignore[untyped-decorator] # untyped there
def end(environment: Environment, **_: object) -> None:
    """Judge, write the report, and set the exit code."""
    verdicts = judge(SCENARIO, OUTCOME.figures(environment.stats))
    kept = all(verdict.kept for verdict in verdicts)
    folder = os.environ.get("HONE_LOAD_OUT")
    write_report(NAME, SCENARIO, OUTCOME, verdicts, Path(folder) if folder else None)
    environment.process_exit_code = 0 if kept else 1


def _watch(host: str) -> None:
    began = time.monotonic()
    while True:
        try:
            text = requests.get(f"{host}/metrics", headers=HEADERS, timeout=5).text
            OUTCOME.samples.append({"at_s": round(time.monotonic() - began, 3), **dict(samples_of(text, METRICS))})
        except requests.RequestException:
            OUTCOME.samples.append({"at_s": round(time.monotonic() - began, 3)})
        gevent.sleep(max(0.2, SCENARIO.duration_s / 300))


def _every(seconds: float, act: Any) -> None:
    while True:
        gevent.sleep(seconds)
        act()
        OUTCOME.acts += 1


def _ask(method: str, url: str, **what: Any) -> dict[str, Any]:
    reply = requests.request(method, url, headers=HEADERS, timeout=30, **what)
    if reply.status_code >= 400:
        # A scenario that cannot do what it is about has not kept anything.
        OUTCOME.trouble.append(f"{method} {url}: {reply.status_code}")
    found: dict[str, Any] = reply.json()
    return found
