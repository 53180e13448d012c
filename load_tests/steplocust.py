"""A load that rises and falls in steps, to see replicas follow it; nothing may fail.

::

    HONE_REPLICAS_MAX=2 HONE_SCALE_UP_DELAY_S=3 HONE_SCALE_DOWN_DELAY_S=10 hone up
    locust -f load_tests/steplocust.py --headless --host http://127.0.0.1:8321 --csv results/steps/steps

Once a second the number of replicas that serve is noted; ``HONE_STEPS_OUT`` (default ``results/steps``) gets it as CSV and as a
plot. The exit code is 1 when a request failed, or the number of replicas did not rise under load and fall again after it.
``HONE_STEPS`` names the steps as users:seconds, ``HONE_API_KEY`` a key of the role operate where requests take one.
"""

from __future__ import annotations

import csv
import os
import threading
import time
from pathlib import Path

import httpx
from locust import HttpUser, LoadTestShape, constant, events, task
from locust.env import Environment

from load_tests.steps import Reading, followed, parse_steps, plot_steps, users_at
from load_tests.traffic import read_texts

STEPS = parse_steps(os.environ.get("HONE_STEPS", "2:20,32:60,64:60,2:90"))
OUT = Path(os.environ.get("HONE_STEPS_OUT", "results/steps"))
KEY = os.environ.get("HONE_API_KEY", "")
HEADERS = {"authorization": f"Bearer {KEY}"} if KEY else {}
TEXTS = read_texts(Path(os.environ["HONE_LOAD_DATA"]) if "HONE_LOAD_DATA" in os.environ else None)

readings: list[Reading] = []


class Steps(LoadTestShape):
    """As many users as the step of the moment says."""

    def tick(self) -> tuple[int, float] | None:
        """Return users and how many start per second, or None at the end."""
        users = users_at(STEPS, self.get_run_time())  # type: ignore[no-untyped-call] # untyped there
        return None if users is None else (users, 100.0)


class Caller(HttpUser):
    """One connection that asks again as soon as it was answered; who is refused comes back when told."""

    wait_time = constant(0)

    def on_start(self) -> None:
        """Start somewhere in the texts."""
        self._next = id(self) % len(TEXTS)

    @task
    def single(self) -> None:
        """Ask about one text."""
        self._next = (self._next + 1) % len(TEXTS)
        body = {"text": TEXTS[self._next], "top_k": 1}
        with self.client.post("/v1/predict", json=body, headers=HEADERS, catch_response=True) as reply:
            if reply.status_code == httpx.codes.TOO_MANY_REQUESTS and "retry-after" in reply.headers:
                # Refusing what there is no room for is no failure; scaling takes its time.
                reply.success()
                time.sleep(float(reply.headers["retry-after"]))


@events.test_start.add_listener  # type: ignore[untyped-decorator] # untyped there
def watch_replicas(environment: Environment, **_: object) -> None:
    """Note once a second how many replicas serve."""
    began = time.monotonic()

    def watch() -> None:
        with httpx.Client(base_url=str(environment.host), headers=HEADERS, timeout=5, trust_env=False) as http:
            while True:
                try:
                    status = http.get("/v1/status").json()
                    serving = sum(replica["state"] == "serving" for replica in status["replicas"])
                except (httpx.HTTPError, KeyError, ValueError):
                    serving = -1
                elapsed_s = time.monotonic() - began
                readings.append(Reading(round(elapsed_s, 1), users_at(STEPS, elapsed_s) or 0, serving))
                time.sleep(1.0)

    # locust has replaced threads and sleeping by those of gevent.
    threading.Thread(target=watch, daemon=True).start()


@events.quitting.add_listener  # type: ignore[untyped-decorator] # untyped there
def conclude(environment: Environment, **_: object) -> None:
    """Write what was seen and set the exit code."""
    OUT.mkdir(parents=True, exist_ok=True)
    with (OUT / "replicas.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["elapsed_s", "users", "replicas"])
        writer.writerows((reading.elapsed_s, reading.users, reading.replicas) for reading in readings)
    plot_steps(readings, OUT / "steps.png")
    environment.process_exit_code = 1 if environment.stats.total.num_failures or not followed(readings) else 0
