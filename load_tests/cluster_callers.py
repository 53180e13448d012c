"""People and programs who use a service while parts of it fail: each request is kept with when it began, ended and how."""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import dataclass, field
from typing import Literal
from uuid import uuid4

import httpx

UNANSWERED = 0
_PAUSE_S = 0.02
# What was not acknowledged is sent again with its key, as the client library does.
_AGAIN_S = 0.25
_LABELS = ("negative", "positive")


@dataclass(frozen=True)
class Asked:
    """One request; ``status`` 0: no answer came."""

    kind: Literal["predict", "correct"]
    began_s: float
    ended_s: float
    status: int
    code: str = ""
    version: str = ""


@dataclass
class Kept:
    """What all callers saw. ``acknowledged`` are the ids of corrections that were answered 2xx, by key."""

    asked: list[Asked] = field(default_factory=list)
    acknowledged: dict[str, str] = field(default_factory=dict)


class Callers:
    """``predicting`` threads that ask and ``correcting`` ones that correct, until :meth:`stop`."""

    def __init__(self, url: str, *, predicting: int, correcting: int) -> None:
        self._url = url
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._mark = uuid4().hex[:8]
        self.kept = Kept()
        self._threads = [threading.Thread(target=self._predict, name="predicting") for _ in range(predicting)]
        self._threads += [threading.Thread(target=self._correct, name="correcting") for _ in range(correcting)]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> Kept:
        """End, with what is being asked answered or given up, and return what was seen."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        return self.kept

    def _predict(self) -> None:
        with self._client() as http:
            while not self._stopped.is_set():
                self._ask(http, "predict", "/v1/predict", {"text": f"what a good product, number {next(self._numbers)}"})
                self._stopped.wait(_PAUSE_S)

    def _correct(self) -> None:
        with self._client() as http:
            while not self._stopped.is_set():
                number = next(self._numbers)
                key = f"{self._mark}-{number}"
                body = {
                    "text": f"a correction, number {number}",
                    "label": _LABELS[number % 2],
                    "annotator": f"annotator-{number % 5}",
                }
                while True:
                    answer = self._ask(http, "correct", "/v1/corrections", body, key)
                    if answer is not None and answer.status_code == httpx.codes.CREATED:
                        with self._lock:
                            self.kept.acknowledged[key] = answer.json()["correction_id"]
                        break
                    if self._stopped.wait(_AGAIN_S):
                        return
                self._stopped.wait(_PAUSE_S)

    def _ask(
        self, http: httpx.Client, kind: Literal["predict", "correct"], path: str, body: dict[str, str], key: str = ""
    ) -> httpx.Response | None:
        began_s = time.monotonic()
        answer, code, version = None, "", ""
        try:
            answer = http.post(path, json=body, headers={"idempotency-key": key} if key else {})
            told = answer.json()
            version = told.get("model_version", "") if answer.is_success else ""
            code = (
                "" if answer.is_success else " ".join(filter(None, (told.get("code"), told.get("details", {}).get("reason"))))
            )
        except httpx.TransportError as error:
            code = type(error).__name__
        except ValueError:
            # Not Hone's: what stands before it answered in its own words.
            code = "foreign"
        status = answer.status_code if answer is not None else UNANSWERED
        with self._lock:
            self.kept.asked.append(Asked(kind, began_s, time.monotonic(), status, code, version))
        return answer

    def _client(self) -> httpx.Client:
        return httpx.Client(base_url=self._url, trust_env=False, timeout=40)
