"""What the load generator itself costs, against a server that does nothing."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from load_tests.driving import Load, drive
from tests.ports import free_port


def generator_cost(duration_s: float) -> dict[str, Any]:
    """Return requests per second of 32 connections, and the generator's processor time per request, in microseconds."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    server = subprocess.Popen([sys.executable, "-m", "load_tests.noop_server", str(port)])
    try:
        _wait(url)
        with tempfile.TemporaryDirectory() as folder:
            bodies = Path(folder) / "bodies.jsonl"
            bodies.write_text('{"text": "Is anybody there?", "top_k": 1}\n', encoding="ascii")
            found = drive(url, Load(bodies, connections=32, duration_s=duration_s, warmup_s=0.5))
    finally:
        server.terminate()
        server.wait()
    return {"answered_per_s": round(found["answered_per_s"]), "cpu_us_per_request": found["generator_cpu_us"]}


def _wait(url: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            httpx.post(url, json={}, trust_env=False)
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit("the server that does nothing did not come up")
