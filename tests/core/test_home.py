"""The state folder, and files that are replaced whole or not at all."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from time import sleep
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import HomeUnusable
from core.home import Home, sync_folder, write_atomically
from tests.core import moves


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# The folder


def test_preparing_creates_every_folder_and_nothing_else(tmp_path: Path) -> None:
    home = Home(tmp_path / "a" / "state")
    home.prepare()
    assert _names(home.root) == {
        "registry",
        "spool",
        "datasets",
        "snapshots",
        "runs",
        "cache",
        "checkpoints",
        "logs",
        "metrics",
    }
    (home.registry / "kept").write_text("x", encoding="utf-8")
    home.prepare()
    assert (home.registry / "kept").exists()


def test_all_state_lies_in_the_one_folder_under_names_of_its_own() -> None:
    home = Home(Path("/srv/hone"))
    paths = [value for name in dir(Home) if isinstance(value := getattr(home, name), Path) and name != "root"]
    assert len(paths) == len(set(paths)) == 15
    assert {path.parent for path in paths} == {home.root}


def test_naming_a_home_touches_nothing(tmp_path: Path) -> None:
    home = Home(tmp_path / "state")
    assert home.store.name == "feedback.db"
    assert not home.root.exists()


def _file_as_home(root: Path) -> None:
    root.write_text("in the way", encoding="utf-8")


def _file_as_folder(root: Path) -> None:
    root.mkdir()
    (root / "runs").write_text("in the way", encoding="utf-8")


def _link_to_nowhere(root: Path) -> None:
    root.symlink_to(root.parent / "nowhere" / "at all")


@pytest.mark.parametrize("spoil", [_file_as_home, _file_as_folder, _link_to_nowhere])
def test_something_in_the_way_is_told_with_a_way_out(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    root = tmp_path / "state"
    spoil(root)
    with pytest.raises(HomeUnusable) as caught:
        Home(root).prepare()
    assert caught.value.message.startswith(f"the state folder {root} cannot be written (")
    assert caught.value.message.endswith("set HONE_HOME to a folder you may write")
    assert caught.value.details == {"path": str(root)}


def test_a_parent_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(HomeUnusable, match="Not a directory"):
        Home(tmp_path / "file" / "state").prepare()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_told(tmp_path: Path) -> None:
    home = Home(tmp_path / "state")
    home.prepare()
    home.root.chmod(0o500)
    try:
        with pytest.raises(HomeUnusable, match="Permission denied"):
            home.prepare()
    finally:
        home.root.chmod(0o700)


# Replacing a file


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.lists(st.binary(max_size=5000), min_size=1, max_size=4))
def test_the_last_bytes_written_are_read_and_nothing_else_is_left(tmp_path: Path, versions: list[bytes]) -> None:
    path = tmp_path / "file.json"
    for data in versions:
        write_atomically(path, data)
        assert path.read_bytes() == data
        assert _names(tmp_path) == {"file.json"}


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_bytes_and_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "file.json"
    write_atomically(path, b"old")

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert _names(tmp_path) == {"file.json"}


def test_an_interrupted_write_leaves_the_old_bytes_and_no_other_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.json"
    write_atomically(path, b"old")

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert _names(tmp_path) == {"file.json"}


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "file.json").mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomically(tmp_path / "file.json", b"new")
    assert _names(tmp_path) == {"file.json"}
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "nowhere" / "file.json", b"new")


def test_the_bytes_are_on_the_disk_before_the_name_points_at_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)

        def note(*arguments: Any, step: str = name, call: Callable[..., Any] = real) -> Any:
            steps.append(step)
            return call(*arguments)

        monkeypatch.setattr(os, name, note)
    write_atomically(tmp_path / "file.json", b"new")
    assert steps == ["fsync", "replace", "fsync"]
    steps.clear()
    sync_folder(tmp_path)
    assert steps == ["fsync"]


@pytest.mark.integration
def test_a_killed_writer_leaves_one_whole_version(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_atomically(path, moves.pattern(0))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.core.moves"])
    for round_ in range(8):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=moves.write_for_ever, args=(path, theirs))
        process.start()
        theirs.close()
        ours.recv()
        sleep(round_ * 0.004)
        process.kill()
        process.join()
        data = path.read_bytes()
        assert data == moves.pattern(data[0])
        # What the killed process had begun beside it is nobody's file, and hidden.
        assert all(name.startswith(".file.json.") for name in _names(tmp_path) - {"file.json"})
