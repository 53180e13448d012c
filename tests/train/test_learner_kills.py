"""A learner that is killed at any step leaves an ended run, a champion, whole versions, and a next run that works.

The steps are not the code's own: Python's audit events tell of every file that is opened, renamed or removed, SQLAlchemy's of
every commit. A process that has everything loaded forks once for each of them, and each child is killed at its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.settings import Settings

_ROOT = Path(__file__).parents[2]
# Every how many steps a child is killed; all of them take minutes.
_EVERY = int(os.environ.get("HONE_TEST_KILL_EVERY", "9"))

_KILLED_EVERYWHERE = """
import json, logging, os, shutil, signal, sys
from pathlib import Path

from sqlalchemy import Engine, event

from core.bundle import verify
from core.metrics import Metrics
from core.registry import Registry
from core.schemas import CorrectionRequest
from core.settings import Settings
from feedback.store import Store
from train import learner as module
from train.job import StoreReport, fit_here

taught, scratch, every = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
logging.disable(logging.CRITICAL)
module._LEASE_S = 0.05
FILES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree"}


def settings_of(home):
    return Settings.model_validate({
        "HONE_HOME": home, "gate_min_rows": 20, "learn_after_corrections": 0, "learn_speed": "head",
        "suspect_model_score": 1.0, "drift_window_rows": 0,
    })


def learner(settings, store):
    def fit(job):
        report = StoreReport(store, job.run_id)
        return fit_here(job, report, report.cancelled)

    return module.Learner(settings, store, fit, Metrics())


def child(home, step):
    # Dies at the step-th event, and tells how many there were if it lives.
    seen = 0

    def note(name):
        nonlocal seen
        seen += 1
        if seen == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def heard(name, args):
        if name in FILES and args and str(args[0]).startswith(str(home)):
            if name != "open" or (isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)):
                note(name)

    settings = settings_of(home)
    store = Store(settings.sqlalchemy_url)
    at_work = learner(settings, store)
    sys.addaudithook(heard)
    event.listen(Engine, "commit", lambda _: note("commit"))
    assert at_work.look()
    store.close()
    return seen


def killed(step):
    home = scratch / f"at{step}"
    shutil.copytree(taught, home)
    store = Store(settings_of(home).sqlalchemy_url)
    store.create_run("head", note="the first")
    store.close()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, str(child(home, step)).encode())
        os._exit(0)
    os.close(writer)
    _, status = os.waitpid(pid, 0)
    told = os.read(reader, 100)
    os.close(reader)
    return home, status, told


def examine(home):
    # What the one who comes next finds, after it has done a run of its own; in a child too, so that this process stays bare.
    settings = settings_of(home)
    registry = Registry(settings.home.registry)
    champion = registry.aliases().champion
    verify(registry.path("champion"))
    store = Store(settings.sqlalchemy_url)
    heir = learner(settings, store)
    second = store.create_run("head", note="the second").run_id
    for _ in range(200):
        heir.look()
        if store.run(second).state in ("succeeded", "failed"):
            break
    runs = store.runs().runs[::-1]
    for version in registry.versions():
        verify(registry.path(version))
    made = {run.version for run in runs if run.version}
    found = {
        "champion_before": champion,
        "states": [run.state for run in runs],
        "errors": [run.error for run in runs],
        "unnamed": sorted(set(registry.versions()) - made - {"v1"}),
        "left": sorted(path.name for path in settings.home.runs.iterdir()),
        "aliases": registry.aliases().model_dump(),
        "versions": registry.versions(),
    }
    store.close()
    return found


def examined(home):
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, json.dumps(examine(home)).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as told:
        found = told.read()
    os.waitpid(pid, 0)
    return json.loads(found or "{}")


home, status, told = killed(0)
steps = int(told)
print(json.dumps({"steps": steps, "status": status, "found": examined(home)}), flush=True)
shutil.rmtree(home)
for step in range(1, steps + 1, every):
    home, status, told = killed(step)
    print(json.dumps({"step": step, "status": status, "told": told.decode(), "found": examined(home)}), flush=True)
    shutil.rmtree(home)
"""


@pytest.mark.integration
def test_a_learner_that_is_killed_at_any_step_leaves_everything_in_order(taught: Settings, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    command = [sys.executable, "-c", _KILLED_EVERYWHERE, str(taught.home.root), str(scratch), str(_EVERY)]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(
        command, cwd=_ROOT, env={**os.environ, **threads}, capture_output=True, text=True, timeout=540, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    whole, *kills = [json.loads(line) for line in done.stdout.splitlines()]
    assert whole["found"]["states"] == ["succeeded", "succeeded"]
    assert whole["steps"] > 20
    assert len(kills) == len(range(1, whole["steps"] + 1, _EVERY))
    for kill in kills:
        found = kill["found"]
        assert kill["status"] == 9, kill
        assert found["champion_before"] is not None, kill
        assert found["states"][0] in ("succeeded", "failed"), kill
        # The one that comes next works, whatever it finds.
        assert found["states"][-1] == "succeeded", kill
        # No version that no run owns to, and no files of a run that has ended.
        assert found["unnamed"] == [], kill
        assert found["left"] == [], kill
    assert {kill["found"]["states"][0] for kill in kills} >= {"failed"}
