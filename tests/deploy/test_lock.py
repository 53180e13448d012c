"""The lock with hashes is what `pyproject.toml` and `constraints.txt` ask for, and what was installed here."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.licences import VENDORS, packages
from deploy.lock import EXTRAS, LOCK, ROOT, read_lock, torch_needs

TEXT = LOCK.read_text(encoding="utf-8")
LOCKED = read_lock(TEXT)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ASKED = PROJECT["dependencies"] + [line for extra in EXTRAS for line in PROJECT["optional-dependencies"][extra]]
PINNED: dict[str, str] = {
    canonicalize_name(line.partition("==")[0]): line.partition("==")[2].strip()
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
}
# Not for this project's machines, or for none that its suite runs on.
_ELSEWHERE = {"colorama", "httpx2-jsfetch", "onnxruntime"}


@pytest.mark.parametrize("line", [*ASKED, *torch_needs()])
def test_what_the_project_asks_for_is_locked_in_a_version_that_it_allows(line: str) -> None:
    asked = Requirement(line)
    if asked.name == "torch":
        assert asked.name not in LOCKED, "its hashes differ by index"
        return
    version, _ = LOCKED[canonicalize_name(asked.name)]
    assert asked.specifier.contains(version), f"{asked.name} {version}; run: make lock"


def test_versions_are_those_that_the_suite_passed_with() -> None:
    differing = {
        name: (version, PINNED.get(name))
        for name, (version, _) in LOCKED.items()
        if version != PINNED.get(name) and name not in _ELSEWHERE and name != "setuptools"
    }
    assert differing == {}, "run: make lock"


def test_nothing_that_is_needed_to_run_is_missing() -> None:
    needed = {package.name for package in packages() if not package.name.startswith(VENDORS)} - {"hone", "torch"}
    assert needed - set(LOCKED) == set(), "run: make lock"


def test_every_file_has_a_hash_and_no_index_is_named() -> None:
    for name, (_, hashes) in LOCKED.items():
        assert hashes, name
        assert all(re.fullmatch("[0-9a-f]{64}", value) for value in hashes), name
    assert "://" not in TEXT
    assert "--index" not in TEXT


def test_pip_takes_the_lock_and_refuses_another_file(tmp_path: Path) -> None:
    # Offline: a lock of one package whose file is at hand, with its hash and with another.
    built = tmp_path / "tiny-1.0-py3-none-any.whl"
    _write_wheel(built)
    digest = subprocess.run(
        [sys.executable, "-m", "pip", "hash", str(built)], capture_output=True, text=True, check=True
    ).stdout.rpartition("sha256:")[2]
    for hashed, code in ((digest.strip(), 0), ("0" * 64, 1)):
        lock = tmp_path / "lock"
        lock.write_text(f"tiny==1.0 \\\n    --hash=sha256:{hashed}\n")
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-deps", "--require-hashes", "--no-index"]
        command += ["--find-links", str(tmp_path), "-r", str(lock)]
        assert subprocess.run(command, capture_output=True, check=False).returncode == code


def _write_wheel(path: Path) -> None:
    import zipfile

    info = "tiny-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        packed.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        packed.writestr(f"{info}/RECORD", "")
