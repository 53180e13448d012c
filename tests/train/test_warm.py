"""Heads in a process of their own: one after the other, stopped, failed, killed, and gone with the learner."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from core.bundle import read_manifest
from core.errors import HoneError, RunCancelled
from core.registry import Registry
from core.settings import Settings
from feedback.store import Store
from train import job as jobs
from train import worker
from train.execute import FitJob
from train.job import Outcome, carry_out
from train.request import FitRequest, Parent, Workplace
from train.warm import WarmFit

# Answers each job with what follows, in order.
_ANSWERING = """
import pickle, sys
from train.job import Outcome
for answer in {answers}:
    pickle.load(sys.stdin.buffer)
    pickle.dump(answer, sys.stdout.buffer)
    sys.stdout.buffer.flush()
sys.exit({code})
"""

_RESTLESS = """
import functools
from train import worker
worker.serve = functools.partial(worker.serve, idle_s={idle_s})
worker.main(["0"])
"""


def _job(settings: Settings, run_id: str) -> FitJob:
    registry = Registry(settings.home.registry)
    lineage = registry.manifest("v1").lineage
    staging = settings.home.runs / run_id
    staging.mkdir()
    parent, place = Parent("v1", registry.path("v1")), Workplace(settings.home.cache, staging)
    return FitJob(run_id, settings, FitRequest(features="both"), lineage.snapshot, lineage.dataset, place, parent)


@pytest.fixture
def store_of_taught(taught: Settings) -> Iterator[Store]:
    """Give the store of the folder in which the toy data was taught."""
    opened = Store(taught.sqlalchemy_url)
    try:
        yield opened
    finally:
        opened.close()


def _claimed(store: Store, settings: Settings) -> FitJob:
    store.create_run("head")
    run = store.claim_run("test")
    assert run is not None
    return _job(settings, run.run_id)


def _processes() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "train.worker" in child.cmdline()]


@pytest.mark.integration
def test_one_process_fits_one_head_after_the_other(taught: Settings, store_of_taught: Store) -> None:
    fit = WarmFit(5)
    try:
        fit.start()
        (process,) = _processes()
        for _ in range(2):
            job = _claimed(store_of_taught, taught)
            assert read_manifest(fit(job)).lineage.run == job.run_id
            assert _processes() == [process]
        assert process.nice() == max(5, psutil.Process().nice())
        with pytest.raises(HoneError, match="is missing"):
            fit(replace(_claimed(store_of_taught, taught), snapshot="f" * 64))
        assert _processes() == [process]
        libraries = Path(f"/proc/{process.pid}/maps").read_text(encoding="utf-8") if sys.platform == "linux" else ""
        assert "libtorch" not in libraries
    finally:
        fit.close()
    assert _processes() == []
    assert "fit ended" in (taught.home.logs / "train.log").read_text(encoding="utf-8")


@pytest.mark.integration
def test_a_worker_ends_with_its_learner() -> None:
    process = subprocess.Popen([sys.executable, "-m", "train.worker", "0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.communicate(timeout=60)
    assert process.returncode == 0


@pytest.mark.integration
def test_a_worker_without_work_ends_well_while_its_input_stays_open() -> None:
    program = _RESTLESS.format(idle_s=0.1)
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.communicate()


def _answering(*answers: Outcome, code: int = 0) -> list[str]:
    return [sys.executable, "-c", _ANSWERING.format(answers=list(answers), code=code)]


def test_what_the_fit_raised_is_raised(taught: Settings) -> None:
    job = _job(taught, "r_1")
    for outcome, kind, message in (
        (Outcome("cancelled", "stopped at: fit"), RunCancelled, "stopped at: fit"),
        (Outcome("error", "the file is missing"), HoneError, "the file is missing"),
        (Outcome("defect", "ValueError"), HoneError, "unexpected ValueError"),
    ):
        fit = WarmFit(0, _answering(outcome))
        with pytest.raises(kind, match=message):
            fit(job)
        fit.close()


def test_a_process_that_had_just_ended_for_want_of_work_is_replaced(taught: Settings, tmp_path: Path) -> None:
    mark = str(tmp_path / "mark")
    once = f"import pathlib, sys\nmark = pathlib.Path({mark!r})\nif not mark.exists():\n mark.touch()\n sys.exit(0)\n"
    fit = WarmFit(0, [sys.executable, "-c", once + _ANSWERING.format(answers=[Outcome("bundle", "there")], code=0)])
    assert fit(_job(taught, "r_1")) == Path("there")
    fit.close()


def test_a_process_that_died_fails_its_run_and_the_next_one_gets_another(taught: Settings) -> None:
    fit = WarmFit(0, _answering(code=9))
    job = _job(taught, "r_1")
    for _ in range(2):
        with pytest.raises(HoneError, match=r"died \(code 9\)"):
            fit(job)


def test_a_process_that_hangs_ends_when_the_learner_stops(taught: Settings) -> None:
    fit = WarmFit(0, [sys.executable, "-c", "import sys\nsys.stdin.buffer.read()"])
    fit.start()
    (process,) = [child for child in psutil.Process().children() if "sys.stdin.buffer.read()" in " ".join(child.cmdline())]
    fit.close()
    assert not process.is_running()
    fit.close()


def test_a_learner_that_is_told_to_stop_takes_its_fit_along(taught: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    fit = WarmFit(0, [sys.executable, "-c", "import sys\nsys.stdin.buffer.read()"])

    def stop(*_: object) -> None:
        raise SystemExit(0)

    fit.start()
    (process,) = [child for child in psutil.Process().children() if "sys.stdin.buffer.read()" in " ".join(child.cmdline())]
    monkeypatch.setattr(pickle, "load", stop)
    with pytest.raises(SystemExit):
        fit(_job(taught, "r_1"))
    assert not process.is_running()


def test_a_defect_is_named_without_what_it_says(
    taught: Settings, store_of_taught: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def defect(*_: object) -> Path:
        raise ValueError("a secret text")

    monkeypatch.setattr(jobs, "fit_here", defect)
    assert carry_out(_claimed(store_of_taught, taught)) == Outcome("defect", "ValueError")


def test_a_worker_without_work_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    never = threading.Event()

    class Silent(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, _buffer: object) -> int:
            never.wait()
            return 0

    outcomes = io.BytesIO()
    worker.serve(io.BufferedReader(Silent()), outcomes, idle_s=0.01)
    assert outcomes.getvalue() == b""
