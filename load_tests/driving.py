"""Running the load generator and reading what it saw."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Load:
    """What the generator shall do; ``rate`` None is a closed loop."""

    bodies: Path
    connections: int
    duration_s: float
    warmup_s: float = 1.0
    rate: float | None = None
    seed: int = 0
    csv: Path | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def drive(url: str, load: Load) -> dict[str, Any]:
    """Return the summary of a run of the generator, in a process of its own, against ``url``.

    Raises:
        SystemExit: the generator failed, for example because nothing listens there.
    """
    command = [sys.executable, "-m", "load_tests.generator", "--url", url, "--bodies", str(load.bodies)]
    command += ["--connections", str(load.connections), "--duration-s", str(load.duration_s), "--warmup-s", str(load.warmup_s)]
    command += ["--seed", str(load.seed)]
    if load.rate is not None:
        command += ["--rate", str(load.rate)]
    if load.csv is not None:
        command += ["--csv", str(load.csv)]
    for name, value in load.headers.items():
        command += ["--header", f"{name}: {value}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise SystemExit(f"the load generator ended with code {done.returncode}")
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary
