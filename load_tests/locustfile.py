"""Steady traffic against a running service: single texts, small batches and corrections.

::

    locust -f load_tests/locustfile.py --headless -u 32 -r 32 -t 60s --host http://127.0.0.1:8321

Texts come from the package's sample data, or from the ``text`` column of the CSV file that HONE_LOAD_DATA names. The exit code
is 1 when any request failed. A correction always confirms what was answered, so that a load test teaches nothing wrong.
"""

from __future__ import annotations

import csv
import os
import random
from pathlib import Path
from typing import Any

from locust import HttpUser, constant, events, task
from locust.env import Environment

SAMPLE = Path(__file__).parent.parent / "train" / "data" / "reviews.csv"


def read_texts() -> list[str]:
    """Return the texts to send."""
    with Path(os.environ.get("HONE_LOAD_DATA", SAMPLE)).open(encoding="utf-8", newline="") as file:
        return [row["text"] for row in csv.DictReader(file)]


TEXTS = read_texts()


class Caller(HttpUser):
    """One connection that asks again as soon as it was answered."""

    wait_time = constant(0)

    @task(20)
    def single(self) -> None:
        """Ask about one text."""
        self.client.post("/v1/predict", json={"text": random.choice(TEXTS), "top_k": 1}, name="/v1/predict one")

    @task(2)
    def batch(self) -> None:
        """Ask about 32 texts at once."""
        self.client.post("/v1/predict", json={"texts": random.sample(TEXTS, 32), "top_k": 1}, name="/v1/predict 32")

    @task(1)
    def confirm(self) -> None:
        """Ask, and confirm the answer."""
        reply = self.client.post("/v1/predict", json={"text": random.choice(TEXTS)}, name="/v1/predict one")
        answer: dict[str, Any] = reply.json()
        body = {"prediction_id": answer.get("prediction_id"), "label": answer.get("label"), "annotator": "load test"}
        self.client.post("/v1/corrections", json=body, name="/v1/corrections")


@events.quitting.add_listener  # type: ignore[untyped-decorator] # untyped there
def fail_when_a_request_failed(environment: Environment, **_: object) -> None:
    """Set the exit code."""
    environment.process_exit_code = 1 if environment.stats.total.num_failures else 0
