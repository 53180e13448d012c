"""Nothing reports home: no library that Hone loads may leave an identifier, or a queue of events, in the user's home folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Telemetry of ONNX Runtime and others keeps still in CI by itself, so that a test there would prove nothing.
QUIETING = ("CI", "ORT_DISABLE_TELEMETRY", "DO_NOT_TRACK")


@pytest.mark.parametrize("module", ["core.encoder", "train.learner", "train.job", "serve.replica", "deploy.local"])
def test_loading_a_room_leaves_nothing_in_the_home_of_the_user(module: str, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in QUIETING} | {"HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", f"import {module}, onnxruntime"], env=environment, check=True)
    assert list(tmp_path.rglob("*")) == []
