"""The parts of the local stack, each without Ray: preflight, mending, the guard, the learner's keeper."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import BundleError, HomeLocked, HomeUnusable, LeaseHeld, PortInUse, StackError
from core.home import Home
from core.registry import Registry
from core.settings import Settings
from deploy.stack.cluster import FOLDER_PREFIX, ray_environment, short_folder
from deploy.stack.first import FirstVersion
from deploy.stack.guard import MARK, end_processes, start_guard
from deploy.stack.learner import Learner, settings_environment
from deploy.stack.preflight import TRACE, Trace, check_port, leave_trace, locked, mend, running_stack, teaching
from tests.bundles import register_ngram_bundle
from train.progress import Progress

# Longer than any test; nothing here waits for it.
SLEEPER = [sys.executable, "-c", "import time; time.sleep(120)"]


def until(is_so: Callable[[], bool], *, within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_free_port_is_free(settings: Settings) -> None:
    check_port("127.0.0.1", settings.port)
    check_port("127.0.0.1", settings.port)


def test_a_port_in_use_is_one_sentence(settings: Settings) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", settings.port))
        other.listen()
        with pytest.raises(PortInUse, match=f"port {settings.port} on 127.0.0.1 is in use"):
            check_port("127.0.0.1", settings.port)


def test_an_address_of_another_machine_is_one_sentence(settings: Settings) -> None:
    with pytest.raises(StackError, match=r"cannot listen on 192\.0\.2\.77"):
        check_port("192.0.2.77", settings.port)
    with pytest.raises(StackError, match="HONE_HOST"):
        check_port("no such host", settings.port)


def test_a_home_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeUnusable, match="set HONE_HOME"):
        Home(tmp_path / "file" / "home").prepare()


def test_a_home_is_locked_by_one_stack_at_a_time(settings: Settings) -> None:
    hold = f"""
from core.home import Home
from deploy.stack.preflight import locked
from pathlib import Path
with locked(Home(Path({str(settings.home.root)!r}))):
    print("locked", flush=True)
    input()
"""
    with subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        leave_trace(settings.home, Trace(mark="m", pid=other.pid, folder=Path("/nowhere")))
        assert running_stack(settings.home) == other.pid
        with pytest.raises(HomeLocked, match="another hone already runs"), locked(settings.home):
            pass
        other.communicate(b"\n")
    with locked(settings.home):
        pass
    assert running_stack(settings.home) is None


def test_a_whole_state_needs_no_mending(settings: Settings, registry: Registry) -> None:
    assert mend(settings.home, Registry(settings.home.registry)) == []
    assert registry.aliases().champion == "v1"


def test_what_a_crash_left_is_cleared_away(settings: Settings, registry: Registry) -> None:
    home = settings.home
    (registry.root / "versions" / "v9").mkdir()
    begun = home.runs / "r_1"
    (begun / "bundle").mkdir(parents=True)
    (begun / "run.log").write_text("kept")
    (home.runs / "teach-abc" / "bundle").mkdir(parents=True)
    (home.metrics / "counter_12.db").write_bytes(b"\0")
    said = mend(home, Registry(home.registry))
    assert len(said) == 3
    assert [entry.name for entry in begun.iterdir()] == ["run.log"]
    assert not (home.runs / "teach-abc").exists()
    assert list(home.metrics.iterdir()) == []
    assert registry.versions() == ["v1"]
    assert mend(home, Registry(home.registry)) == []


def test_what_a_training_at_work_writes_is_left_alone(settings: Settings) -> None:
    (settings.home.runs / "teach-abc" / "bundle").mkdir(parents=True)
    with teaching(settings.home):
        assert mend(settings.home, Registry(settings.home.registry)) == []
    assert (settings.home.runs / "teach-abc" / "bundle").is_dir()


def test_two_trainings_on_one_home_do_not_mix(settings: Settings) -> None:
    with teaching(settings.home), pytest.raises(LeaseHeld, match="another process is training"), teaching(settings.home):
        pass


def test_a_damaged_champion_gives_way_to_the_version_before(settings: Settings, registry: Registry) -> None:
    registry.promote(register_ngram_bundle(registry, seed=1), by="test", why="a fixture")
    (registry.path("v2") / "card.md").write_text("altered")
    (sentence,) = mend(settings.home, Registry(settings.home.registry))
    assert "v2 is damaged" in sentence
    assert registry.aliases().champion == "v1"


def test_a_damaged_champion_with_none_before_is_one_sentence(settings: Settings, registry: Registry) -> None:
    (registry.path("v1") / "card.md").write_text("altered")
    with pytest.raises(BundleError, match="no earlier version to go back to"):
        mend(settings.home, Registry(settings.home.registry))


def test_processes_of_an_earlier_stack_are_ended(settings: Settings) -> None:
    folder = short_folder()
    left = subprocess.Popen(SLEEPER, env={**os.environ, MARK: "an-earlier-one"})
    leave_trace(settings.home, Trace(mark="an-earlier-one", pid=1, folder=folder))
    assert mend(settings.home, Registry(settings.home.registry)) == ["ended 1 processes that an earlier stack had left"]
    assert left.wait(10) != 0
    assert not folder.exists()
    assert not (settings.home.root / TRACE).exists()


def test_a_trace_cannot_make_it_remove_other_folders(settings: Settings, tmp_path: Path) -> None:
    precious = tmp_path / f"{FOLDER_PREFIX}precious"
    precious.mkdir()
    leave_trace(settings.home, Trace(mark="m", pid=1, folder=precious))
    mend(settings.home, Registry(settings.home.registry))
    assert precious.is_dir()


def test_a_trace_that_cannot_be_read_is_passed_over(settings: Settings) -> None:
    (settings.home.root / TRACE).write_text("{")
    assert mend(settings.home, Registry(settings.home.registry)) == []


def test_the_guard_ends_what_carries_its_mark_or_has_its_files_open_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "ray"
    folder.mkdir()
    guard = start_guard("my-mark", folder, os.getpid(), os.environ)
    marked = subprocess.Popen(SLEEPER, env={**os.environ, MARK: "my-mark"})
    with (folder / "worker.log").open("w") as log:
        # As Ray's workers do: the mark is gone from the environment, the log is open.
        logging = subprocess.Popen(SLEEPER, stdout=log, start_new_session=True)
    other = subprocess.Popen(SLEEPER, env={**os.environ, MARK: "another-mark"})
    try:
        assert guard.poll() is None
        assert guard.stdin is not None
        guard.stdin.close()
        assert guard.wait(30) == 0
        assert marked.wait(5) != 0
        assert logging.wait(5) != 0
        assert other.poll() is None
        assert not folder.exists()
    finally:
        for process in (marked, logging, other, guard):
            process.kill()
            process.wait()


def test_what_does_not_end_politely_is_killed(tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(120)"
    environment = {**os.environ, MARK: "deaf"}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE) as deaf:
        assert deaf.stdout is not None
        deaf.stdout.readline()
        assert end_processes("deaf", tmp_path, grace_s=0.3) == 1
        assert deaf.wait(5) == -9


def test_each_start_has_its_own_secret() -> None:
    assert ray_environment()["RAY_AUTH_TOKEN"] != ray_environment()["RAY_AUTH_TOKEN"]
    assert ray_environment()["RAY_AUTH_MODE"] == "token"


def test_the_folder_leaves_room_for_the_names_of_sockets() -> None:
    folder = short_folder()
    folder.rmdir()
    longest = folder / "session_2026-11-23_17-18-17_907798_6879876" / "sockets" / "plasma_store"
    assert len(str(longest)) < 104


@given(
    port=st.integers(1, 65535), every=st.floats(0, 1e6), logged=st.booleans(), url=st.sampled_from(["", "sqlite:////x y/z.db"])
)
def test_a_child_reads_the_settings_of_its_parent(port: int, every: float, logged: bool, url: str) -> None:
    parent = Settings.model_validate(
        {"HONE_HOME": Path("/srv/a b"), "port": port, "learn_every_s": every, "log_predictions": logged, "store_url": url}
    )
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings_environment(parent).items():
            patch.setenv(name, value)
        assert Settings() == parent


def test_a_learner_that_dies_is_started_again_after_a_pause(settings: Settings, tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    code = f"import os; open({str(starts)!r}, 'a').write(os.environ['HONE_RAY_ADDRESS'] + '\\n'); raise SystemExit(3)"
    learner = Learner(settings, ray_address="here:1", metrics_dir=tmp_path, command=[sys.executable, "-c", code])
    learner.start()
    codes: list[int | None] = []

    def died_twice() -> bool:
        codes.append(learner.keep_alive())
        return codes.count(3) == 2

    until(died_twice)
    assert starts.read_text().splitlines() == ["here:1"] * 2


def test_a_learner_is_asked_to_stop_and_waited_for(settings: Settings, tmp_path: Path) -> None:
    learner = Learner(settings, ray_address="", metrics_dir=tmp_path, command=SLEEPER)
    learner.start()
    assert learner.keep_alive() is None
    learner.ask_to_stop()
    learner.wait()
    learner.wait()


@pytest.mark.integration
def test_what_the_first_training_raises_arrives_as_it_was(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    first = FirstVersion(settings.model_copy(update={"home_dir": tmp_path / "file" / "home"}))
    moments: list[Progress] = []
    try:
        with pytest.raises(HomeUnusable) as raised:
            first.finish(moments.append)
    finally:
        first.stop()
    assert "set HONE_HOME" in raised.value.message
    assert raised.value.details["path"]
    assert moments[0].ratio == 0.0


@pytest.mark.integration
def test_a_first_training_can_be_stopped_at_once(settings: Settings) -> None:
    first = FirstVersion(settings)
    workers = [child for child in psutil.Process().children() if "multiprocessing.spawn" in " ".join(child.cmdline())]
    assert workers
    first.stop()
    first.stop()
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert alive == []
    assert Registry(settings.home.registry).versions() == []
