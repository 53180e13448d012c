"""Metrics of many processes: sums that never fall, whoever dies whenever, and few files."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
from filelock import FileLock

from core import metric_files
from core.errors import Unavailable
from core.metric_files import read_families

_ROOT = Path(__file__).parents[2]
# Does what its lines of input say and answers each with a line, so that a test knows what has been counted.
_CHILD = """
import os, sys
from core.metrics import Metrics
metrics = Metrics()
for line in sys.stdin:
    word, amount = line.split()
    if word == "count":
        for _ in range(int(amount)):
            metrics.count("hone_requests_total", route="/v1/predict", status="200")
            metrics.observe("hone_engine_seconds", 0.003)
    elif word == "set":
        metrics.set("hone_run_progress_ratio", float(amount))
    elif word == "fork":
        child = os.fork()
        if child == 0:
            metrics.count("hone_requests_total", int(amount), route="/v1/predict", status="200")
            os._exit(0)
        os.waitpid(child, 0)
    print("done", flush=True)
"""
pytestmark = pytest.mark.integration
Child = subprocess.Popen[str]


def say(child: Child, word: str, amount: float) -> None:
    assert child.stdin is not None
    assert child.stdout is not None
    print(word, amount, file=child.stdin, flush=True)
    assert child.stdout.readline() == "done\n"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], Child]]:
    started: list[Child] = []

    def begin() -> Child:
        environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
        pipe = subprocess.PIPE
        child = subprocess.Popen([sys.executable, "-c", _CHILD], cwd=_ROOT, env=environment, stdin=pipe, stdout=pipe, text=True)
        started.append(child)
        return child

    yield begin
    for child in started:
        kill(child)
        for end in (child.stdin, child.stdout):
            if end is not None:
                end.close()


def kill(child: Child) -> None:
    child.send_signal(signal.SIGKILL)
    child.wait()


def value(folder: Path, name: str) -> float | None:
    """Return the sum of all samples called ``name``, or None where there is none."""
    found = [sample.value for family in read_families(folder) for sample in family.samples if sample.name == name]
    return sum(found) if found else None


def files(folder: Path) -> set[str]:
    return {re.sub(r"[0-9a-f]{32}", "ID", str(path.relative_to(folder))) for path in folder.rglob("*")} - {"metrics.lock"}


def test_a_killed_process_keeps_its_counts_and_loses_its_gauges(tmp_path: Path, start: Callable[[], Child]) -> None:
    one, other = start(), start()
    say(one, "count", 3)
    say(one, "set", 0.5)
    say(other, "count", 4)
    assert value(tmp_path, "hone_requests_total") == 7
    assert value(tmp_path, "hone_run_progress_ratio") == 0.5
    kill(one)
    assert value(tmp_path, "hone_requests_total") == 7
    assert value(tmp_path, "hone_engine_seconds_count") == 7
    assert value(tmp_path, "hone_engine_seconds_sum") == pytest.approx(0.021)
    assert value(tmp_path, "hone_run_progress_ratio") is None
    say(other, "count", 1)
    assert value(tmp_path, "hone_requests_total") == 8


def test_files_of_the_dead_become_one_however_many_there_were(tmp_path: Path, start: Callable[[], Child]) -> None:
    for number in range(1, 7):
        child = start()
        say(child, "count", 2)
        say(child, "set", 0.1)
        kill(child)
        assert value(tmp_path, "hone_requests_total") == 2 * number
    assert files(tmp_path) == {f"ended-6{part}" for part in ("", "/counter_ended.db", "/histogram_ended.db", "/taken_in.json")}


def test_a_child_that_is_forked_counts_under_a_name_of_its_own(tmp_path: Path, start: Callable[[], Child]) -> None:
    child = start()
    say(child, "count", 1)
    say(child, "fork", 10)
    say(child, "count", 1)
    assert value(tmp_path, "hone_requests_total") == 12


@contextmanager
def killed_at(monkeypatch: pytest.MonkeyPatch, target: object, name: str, after: int) -> Iterator[None]:
    """Have the ``after``-th call of ``name`` end everything, as a SIGKILL would there."""
    real = getattr(target, name)
    calls = 0

    def call(*arguments: object, **named: object) -> object:
        nonlocal calls
        calls += 1
        if calls > after:
            raise KeyboardInterrupt
        return real(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(target, name, call)
        with pytest.raises(KeyboardInterrupt):
            yield


@pytest.mark.parametrize(
    ("target", "name"), [(Path, "unlink"), (Path, "rename"), (metric_files, "_write_sums"), (Path, "write_text")]
)
@pytest.mark.parametrize("after", [0, 1])
def test_whoever_is_killed_while_taking_in_the_dead_neither_loses_nor_doubles_a_count(
    tmp_path: Path, start: Callable[[], Child], monkeypatch: pytest.MonkeyPatch, target: object, name: str, after: int
) -> None:
    for amount in (3, 4):
        child = start()
        say(child, "count", amount)
        kill(child)
    later = start()
    say(later, "count", 1)
    kill(later)
    if after and name in {"rename", "write_text"}:
        pytest.skip("is called once")
    with killed_at(monkeypatch, target, name, after):
        read_families(tmp_path)
    for _ in range(2):
        assert value(tmp_path, "hone_requests_total") == 8
        assert value(tmp_path, "hone_engine_seconds_count") == 8
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 1


def test_sums_never_fall_while_processes_come_count_and_are_killed(tmp_path: Path, start: Callable[[], Child]) -> None:
    sent, before = 0, 0.0
    living = [start(), start()]
    for turn in range(12):
        for child in living:
            say(child, "count", turn + 1)
            sent += turn + 1
            now = value(tmp_path, "hone_requests_total") or 0.0
            assert now == sent
            assert now >= before
            before = now
        if turn % 3 == 2:
            kill(living.pop(0))
            living.append(start())
    assert value(tmp_path, "hone_requests_total") == sent


@pytest.mark.parametrize("content", [b"", b"\x00" * 64, b"\xff" * 64])
def test_a_damaged_file_costs_only_what_is_in_it(tmp_path: Path, start: Callable[[], Child], content: bytes) -> None:
    child = start()
    say(child, "count", 2)
    (tmp_path / f"counter_{'0' * 32}.db").write_bytes(content)
    (tmp_path / f"{'0' * 32}.alive").touch()
    assert value(tmp_path, "hone_requests_total") == 2
    # Of a living process too: its file may be only just begun.
    with lock(tmp_path / f"{'1' * 32}.alive"):
        (tmp_path / f"counter_{'1' * 32}.db").write_bytes(content)
        assert value(tmp_path, "hone_requests_total") == 2


@contextmanager
def lock(path: Path) -> Iterator[IO[bytes]]:
    import fcntl

    with path.open("xb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def test_a_folder_that_stays_locked_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metric_files, "_LOCK_TIMEOUT_S", 0.05)
    with FileLock(tmp_path / "metrics.lock"), pytest.raises(Unavailable, match="locked"):
        read_families(tmp_path)
