"""The process beside the replica: it loads, compares, and may do what it likes to itself."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.bundle import HEAD
from core.classifier import Classifier
from core.errors import BundleError
from serve.beside import SideProcess, SideProcessEnded
from tests.core.encoders import LABELS, write_encoder_bundle
from tests.serve.children import side_processes


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    folders = [tmp_path / "v1", tmp_path / "v2"]
    for seed, folder in enumerate(folders):
        write_encoder_bundle(folder, head_seed=seed)
    return folders


@pytest.fixture
def process(folders: list[Path], tmp_path: Path) -> Iterator[SideProcess]:
    with SideProcess(folders) as process:
        process.load(threads=1, cache=tmp_path / "cache", timeout_s=60.0)
        yield process


def test_it_says_of_each_text_what_each_version_says(process: SideProcess, folders: list[Path]) -> None:
    texts = ["good phone", "产品好", "very bad!", "\u2028 “ 😀"]
    rows = process.ask(texts)
    for place, folder in enumerate(folders):
        scores = Classifier.load(folder).predict(texts)
        for row, expected in zip(rows, scores, strict=True):
            spoken = row[place]
            assert spoken is not None
            assert spoken.label == LABELS[int(expected.argmax())]
            assert spoken.score == pytest.approx(float(expected.max()), abs=1e-4)
            assert spoken.seconds > 0
    (child,) = side_processes()
    assert child.nice() == 19


def test_one_that_was_ended_says_so(process: SideProcess) -> None:
    process.kill()
    with pytest.raises(SideProcessEnded, match="SIGKILL"):
        process.ask(["good"])


def test_one_that_does_not_answer_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = "import sys, time; sys.stdin.readline(); print('{}', flush=True); time.sleep(60)"
    monkeypatch.setattr("serve.beside._ASK_TIMEOUT_S", 0.5)
    with SideProcess([tmp_path], command=[sys.executable, "-c", program]) as process:
        process.load(threads=1, cache=tmp_path, timeout_s=60.0)
        with pytest.raises(SideProcessEnded, match=r"within 0\.5 s"):
            process.ask(["good"])
    assert not side_processes()


def test_a_bundle_it_cannot_load_is_refused_with_the_reason(folders: list[Path], tmp_path: Path) -> None:
    (folders[1] / HEAD).write_bytes(b"altered")
    with SideProcess(folders) as process, pytest.raises(BundleError, match=f"v2 holds an altered {HEAD}"):
        process.load(threads=1, cache=tmp_path / "cache", timeout_s=60.0)


def test_it_ends_when_its_replica_does(folders: list[Path], tmp_path: Path) -> None:
    process = SideProcess(folders)
    process.load(threads=1, cache=tmp_path / "cache", timeout_s=60.0)
    (child,) = side_processes()
    process._questions.close()
    assert child.wait(30) == 0
    process.close()
