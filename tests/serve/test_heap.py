"""Memory: what is left by machine and control group, and what a bundle would take."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from core.classifier import Classifier
from core.errors import BundleError
from serve.heap import available_bytes, check_fits, needed_bytes, side_bytes
from tests.core.encoders import write_encoder_bundle

MB = 1_000_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Give the file system of a machine without control groups."""
    (tmp_path / "proc/self").mkdir(parents=True)
    return tmp_path


def _group(folder: Path, names: tuple[str, str, str], limit: str, used: int, cached: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 1\n{names[2]} {cached}\n")


TWO = ("memory.max", "memory.current", "inactive_file")
ONE = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def test_without_control_groups_it_is_what_the_machine_has(root: Path) -> None:
    total = psutil.virtual_memory().total
    assert 0 < available_bytes(root) <= total
    (root / "proc/self/cgroup").write_text("0::/\n")
    assert 0 < available_bytes(root) <= total


def test_a_group_s_limit_counts_and_cached_files_make_room(root: Path) -> None:
    (root / "proc/self/cgroup").write_text("0::/pod/container\n")
    _group(root / "sys/fs/cgroup/pod/container", TWO, "max", 5 * MB, 0)
    assert available_bytes(root) > 100 * MB
    _group(root / "sys/fs/cgroup/pod/container", TWO, str(10 * MB), 7 * MB, 2 * MB)
    assert available_bytes(root) == 5 * MB


def test_the_tightest_group_above_counts_too(root: Path) -> None:
    (root / "proc/self/cgroup").write_text("0::/pod/container\n")
    _group(root / "sys/fs/cgroup/pod/container", TWO, str(10 * MB), 5 * MB, 0)
    _group(root / "sys/fs/cgroup/pod", TWO, str(20 * MB), 18 * MB, 0)
    assert available_bytes(root) == 2 * MB


def test_a_container_that_sees_its_own_group_as_the_root(root: Path) -> None:
    (root / "proc/self/cgroup").write_text("12:cpu:/docker/abc\n4:memory:/docker/abc\n1:name=systemd:/docker/abc\n")
    _group(root / "sys/fs/cgroup/memory", ONE, str(30 * MB), 10 * MB, 1 * MB)
    assert available_bytes(root) == 21 * MB


def test_a_group_over_its_limit_has_nothing_left(root: Path) -> None:
    (root / "proc/self/cgroup").write_text("0::/\n")
    _group(root / "sys/fs/cgroup", TWO, str(10 * MB), 12 * MB, 1 * MB)
    assert available_bytes(root) == 0


def test_an_encoder_that_is_in_memory_takes_nothing_more(tmp_path: Path) -> None:
    manifest = write_encoder_bundle(tmp_path / "v1")
    alone = needed_bytes(tmp_path / "v1", manifest)
    classifier = Classifier.load(tmp_path / "v1", threads=1)
    beside = needed_bytes(tmp_path / "v1", manifest)
    assert 0 < beside < alone
    del classifier
    assert needed_bytes(tmp_path / "v1", manifest) == alone


def test_what_does_not_fit_is_refused_with_all_three_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = write_encoder_bundle(tmp_path / "v1")
    monkeypatch.setattr("serve.heap.available_bytes", lambda: 300 * MB)
    check_fits(tmp_path / "v1", manifest, reserve_bytes=200 * MB)
    with pytest.raises(BundleError, match="300 MB are left, and 300 MB must stay free"):
        check_fits(tmp_path / "v1", manifest, reserve_bytes=300 * MB)


def test_two_heads_over_one_encoder_count_it_once(tmp_path: Path) -> None:
    bundles = [(tmp_path / name, write_encoder_bundle(tmp_path / name, head_seed=seed)) for seed, name in enumerate("ab")]
    assert side_bytes(bundles[:1]) < side_bytes(bundles) < 2 * side_bytes(bundles[:1])
