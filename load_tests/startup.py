"""How long a newcomer waits: first start, Ctrl-C, second start.

::

    python -m load_tests.startup

Starts ``hone up`` on a new state folder and a free port, so it disturbs nothing, and prints one JSON object. The figures to
keep below are 90 s for the first answer (the default classifier is taught on the way), 20 s for that of the second start, and
10 s for Ctrl-C.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from tests.ports import free_port

LIMITS_S = {"first_answer_s": 90.0, "second_answer_s": 20.0, "stop_s": 10.0}
_FOUNDING = {
    "这是一个非常好的产品，我非常喜欢它。": "positive",
    "这是一个非常差的产品，我不喜欢。": "negative",
}


def main() -> int:
    """Measure, print, and return 1 when a limit is passed or a founding sentence is answered wrongly."""
    with tempfile.TemporaryDirectory(prefix="hone-startup-") as folder:
        home = Path(folder) / "home"
        first_s, first_stop_s, answers = _once(home)
        second_s, second_stop_s, _ = _once(home)
    figures = {"first_answer_s": first_s, "second_answer_s": second_s, "stop_s": max(first_stop_s, second_stop_s)}
    kept = all(figures[name] <= limit for name, limit in LIMITS_S.items())
    right = all(answers[text][0] == label for text, label in _FOUNDING.items())
    report = {name: round(value, 1) for name, value in figures.items()}
    print(
        json.dumps(
            {**report, "limits_s": LIMITS_S, "kept": kept, "founding": answers, "cores": os.cpu_count()}, ensure_ascii=False
        )
    )
    return 0 if kept and right else 1


def _once(home: Path) -> tuple[float, float, dict[str, tuple[str, float]]]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = os.environ | {"HONE_HOME": str(home), "HONE_PORT": str(port)}
    began = time.monotonic()
    command = [sys.executable, "-c", "from deploy.cli import main; main()", "up"]
    stack = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        with httpx.Client(base_url=url, timeout=30, trust_env=False) as http:
            _wait(stack, http)
            answers = {text: _ask(http, text) for text in _FOUNDING}
            answered_s = time.monotonic() - began
        began = time.monotonic()
        stack.send_signal(signal.SIGINT)
        stack.wait(timeout=60)
        return answered_s, time.monotonic() - began, answers
    finally:
        if stack.poll() is None:
            stack.kill()


def _wait(stack: subprocess.Popen[bytes], http: httpx.Client) -> None:
    while True:
        if stack.poll() is not None:
            raise SystemExit(f"hone up ended with exit code {stack.returncode} before it answered")
        try:
            if http.get("/readyz").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)


def _ask(http: httpx.Client, text: str) -> tuple[str, float]:
    answer = http.post("/v1/predict", json={"text": text}).raise_for_status().json()
    return answer["label"], round(answer["score"], 3)


if __name__ == "__main__":
    sys.exit(main())
