"""Exact versions with the hashes of their files, for ``pip install --require-hashes``: what the images are made of.

``make lock`` (``python -m deploy.lock``) writes ``deploy/docker/requirements.lock`` from ``pyproject.toml`` and
``constraints.txt``; it asks the package index for the hashes, so it wants a network and the program ``uv``. torch is not in it:
each index has other files of one release (for CPUs, for each CUDA), with other hashes, and the images choose the index. What
torch needs is in it, but for what only its builds for GPUs bring along.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.licences import VENDORS

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "deploy" / "docker" / "requirements.lock"
EXTRAS = ("postgresql", "s3", "gpu")
# The oldest that Hone runs on, and the images' own.
PYTHON = "3.11"
_HEAD = """# Made by `make lock` from pyproject.toml and constraints.txt; do not edit. For Python 3.11 or newer.
# Without torch, whose files, and so their hashes, differ by index: see docs/docker.md.
"""


def read_lock(text: str) -> dict[str, tuple[str, list[str]]]:
    r"""Return the version and the SHA-256 of each package of a lock.

    >>> read_lock("a-b==1.0 ; python_version < '4' \\\n    --hash=sha256:12 \\\n    --hash=sha256:34\n")
    {'a-b': ('1.0', ['12', '34'])}
    """
    found: dict[str, tuple[str, list[str]]] = {}
    for entry in re.split(r"\n(?=\S)", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).strip()):
        pinned, *hashes = entry.split("--hash=sha256:")
        requirement = Requirement(pinned.strip().rstrip("\\").strip())
        (pin,) = requirement.specifier
        found[canonicalize_name(requirement.name)] = (pin.version, [value.strip().rstrip("\\").strip() for value in hashes])
    return found


def torch_needs() -> list[str]:
    """Return what the installed torch needs on any machine."""
    asked = [line for line in requires("torch") or () if Requirement(line).marker is None]
    return [line for line in asked if not line.startswith(VENDORS)]


def make_lock() -> str:
    """Return the lock.

    Raises:
        FileNotFoundError: there is no ``uv``.
        subprocess.CalledProcessError: it found no versions that go together, or no network; it has said so.
    """
    beside = Path(sys.executable).parent / "uv"
    program = str(beside) if beside.exists() else shutil.which("uv")
    if program is None:
        raise FileNotFoundError("uv is not installed; pip install uv")
    with tempfile.TemporaryDirectory() as folder:
        more, none = Path(folder) / "more.in", Path(folder) / "without.txt"
        more.write_text("\n".join(torch_needs()), encoding="utf-8")
        none.write_text("torch ; sys_platform == 'nowhere'\n", encoding="utf-8")
        command = [program, "pip", "compile", "--quiet", "--generate-hashes", "--no-header", "--no-annotate"]
        command += ["--no-emit-package", "torch"]
        command += ["--universal", "--python-version", PYTHON, "--constraints", str(ROOT / "constraints.txt")]
        command += ["--overrides", str(none), *(f"--extra={extra}" for extra in EXTRAS)]
        command += [str(ROOT / "pyproject.toml"), str(more)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 - our own arguments
    return _HEAD + done.stdout


if __name__ == "__main__":
    LOCK.write_text(make_lock(), encoding="utf-8")
