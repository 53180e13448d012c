"""A disk that takes no more is told as such by the command line, whichever library met it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import SafetensorError

from core.disk import disk_refusal
from deploy.cli import main


def _on_the_full_device() -> None:
    Path("/dev/full").write_text("x", encoding="ascii")


def _in_rust() -> None:
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize("command", [_on_the_full_device, _in_rust])
def test_a_full_disk_is_no_internal_error(command: Callable[[], None], capsys: pytest.CaptureFixture[str]) -> None:
    if command is _on_the_full_device and not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 1
    told = capsys.readouterr().err
    assert "the disk is full; make room" in told
    assert "report it" not in told


def test_other_errors_are_not_the_disks() -> None:
    assert disk_refusal(ValueError("28")) is None
    assert disk_refusal(FileNotFoundError(2, "No such file")) is None
    assert disk_refusal(SafetensorError("I/O error: (os error 2)")) is None
