"""Rows under the hash of a text: written once, found again, and never found when they are damaged."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train import segments as module
from train.segments import FloatMatrix, Keys, Segments, keys_of

_WIDTH = 6


def _rows(texts: list[str]) -> FloatMatrix:
    """Return rows that say which text they are of."""
    return np.array([[hash_ % 97 + column for column in range(_WIDTH)] for hash_ in keys_of(texts)[:, 0]], dtype=np.float32)


def _add(folder: Path, texts: list[str]) -> None:
    Segments(folder, "a", _WIDTH).add(keys_of(texts), _rows(texts))


def _found(folder: Path, texts: list[str], name: str = "a") -> list[bool]:
    out = np.full((len(texts), _WIDTH), np.nan, np.float32)
    found = Segments(folder, name, _WIDTH).fill(keys_of(texts), out)
    np.testing.assert_array_equal(out[found], _rows(texts).reshape(len(texts), _WIDTH)[found])
    assert np.isnan(out[~found]).all()
    return [bool(each) for each in found]


_TEXTS = st.lists(st.text(max_size=3), max_size=12, unique=True)


@settings(deadline=None, max_examples=40)
@given(st.lists(_TEXTS, max_size=14), _TEXTS)
def test_what_was_added_is_found_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[str]], asked: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    for part in parts:
        _add(folder, part)
    known = {text for part in parts for text in part}
    assert _found(folder, asked) == [text in known for text in asked]
    assert all(_found(folder, sorted(known)))
    assert _found(folder, asked, name="b") == [False] * len(asked)


def test_many_small_files_become_few(tmp_path: Path) -> None:
    texts = [str(number) for number in range(400)]
    _add(tmp_path, texts[:100])
    largest = next(tmp_path.glob("*.rows")).name
    for text in texts[100:]:
        _add(tmp_path, [text])
        assert len(list(tmp_path.glob("*.rows"))) <= 10
    assert all(_found(tmp_path, texts))
    # The large one is written again when as much has come to it, not with every text.
    assert largest not in {path.name for path in tmp_path.iterdir()}


def test_a_large_file_is_left_alone_by_small_ones(tmp_path: Path) -> None:
    texts = [str(number) for number in range(500)]
    _add(tmp_path, texts)
    largest = next(tmp_path.glob("*.rows"))
    for number in range(30):
        _add(tmp_path, [f"new {number}"])
    assert largest.exists()


@pytest.mark.parametrize("place", [0, 9, 20, 30, 60, 3 * 16 + 24 + 4, -1, -10])
def test_a_changed_bit_is_never_served(tmp_path: Path, place: int) -> None:
    texts = ["one", "two", "three"]
    _add(tmp_path, texts)
    (path,) = tmp_path.glob("*.rows")
    body = bytearray(path.read_bytes())
    body[place] ^= 16
    path.write_bytes(body)
    assert not all(_found(tmp_path, texts))
    _add(tmp_path, texts)
    assert all(_found(tmp_path, texts))


@pytest.mark.parametrize("cut", [0, 3, 30, 100])
def test_a_file_cut_short_is_the_same_as_none(tmp_path: Path, cut: int) -> None:
    _add(tmp_path, ["one", "two", "three"])
    (path,) = tmp_path.glob("*.rows")
    path.write_bytes(path.read_bytes()[:cut])
    assert not any(_found(tmp_path, ["one", "two", "three"]))


def test_what_is_damaged_is_removed_when_files_are_merged(tmp_path: Path) -> None:
    damaged = tmp_path / "a.1.rows"
    damaged.write_bytes(b"nothing")
    abandoned = tmp_path / "a.1.new"
    abandoned.touch()
    os.utime(abandoned, (0, 0))
    recent = tmp_path / "a.2.new"
    recent.touch()
    for number in range(12):
        _add(tmp_path, [str(number)])
    assert not damaged.exists()
    assert not abandoned.exists()
    assert recent.exists()


def test_a_damaged_row_is_not_merged(tmp_path: Path) -> None:
    _add(tmp_path, ["one", "two", "three"])
    (path,) = tmp_path.glob("*.rows")
    body = bytearray(path.read_bytes())
    body[-1] ^= 1
    path.write_bytes(body)
    for number in range(12):
        _add(tmp_path, [str(number)])
    assert sum(_found(tmp_path, ["one", "two", "three"])) == 2


def test_rows_of_another_width_are_not_found(tmp_path: Path) -> None:
    _add(tmp_path, ["one"])
    out = np.zeros((1, 4), np.float32)
    assert not Segments(tmp_path, "a", 4).fill(keys_of(["one"]), out).any()


def test_a_disk_that_takes_nothing_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    _add(tmp_path / "file", ["one"])
    assert _found(tmp_path / "file", ["one"]) == [False]


def _write_many(folder: Path, name: str) -> None:
    for number in range(40):
        _add(folder, [f"{name} {number}", f"both {number}"])


def test_several_writers_do_not_disturb_each_other(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_many, args=(tmp_path, name)) for name in ("left", "right")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    texts = [f"{name} {number}" for name in ("left", "right", "both") for number in range(40)]
    assert all(_found(tmp_path, texts))


_ENDLESS = """
import sys
from pathlib import Path
import numpy as np
from train.segments import Segments, keys_of
number = 0
while True:
    texts = [f"{number} {place}" for place in range(50)]
    rows = np.array([[key % 97 + column for column in range(6)] for key in keys_of(texts)[:, 0]], dtype=np.float32)
    Segments(Path(sys.argv[1]), "a", 6).add(keys_of(texts), rows)
    print(number, flush=True)
    number += 1
"""


@pytest.mark.integration
def test_a_writer_that_is_killed_leaves_whole_files(tmp_path: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-c", _ENDLESS, str(tmp_path)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    for _ in range(25):
        last = int(writer.stdout.readline())
    writer.kill()
    writer.wait()
    writer.stdout.close()
    kept = [f"{number} {place}" for number in range(last + 1) for place in range(50)]
    assert all(_found(tmp_path, kept))


def test_halves_of_keys_that_agree_are_told_apart() -> None:
    keys: Keys = np.array([[1, 1], [1, 2], [2, 0]], dtype=np.uint64)
    segment = module.Segment(Path(), keys, np.zeros(3, np.uint32), np.zeros((3, 2), np.float32))
    wanted: Keys = np.array([[1, 2], [1, 1], [2, 0], [2, 1], [3, 0]], dtype=np.uint64)
    assert segment.find(wanted).tolist() == [-1, 0, 2, -1, -1]
