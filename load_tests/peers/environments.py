"""A virtual environment for each peer, made when it is first asked for and kept while its requirements stay the same."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_STAMP = "requirements.json"
_INSTALL_S = 1_800.0


class NotInstallable(Exception):
    """A peer cannot be installed here; the message says why."""


@dataclass(frozen=True)
class PeerEnvironment:
    """The Python that runs a peer, and the versions of what was asked for."""

    python: Path
    versions: dict[str, str]


def ensure_environment(cache: Path, name: str, requirements: Sequence[str]) -> PeerEnvironment:
    """Return the environment of ``name`` in ``cache`` with ``requirements``; none of them means the one that runs this.

    Raises:
        NotInstallable: pip did not manage; what it left is removed.
    """
    if not requirements:
        return PeerEnvironment(Path(sys.executable), {})
    folder = cache / name
    stamp, python = folder / _STAMP, folder / "bin" / "python"
    wanted = {"python": sys.version, "requirements": sorted(requirements)}
    if not stamp.exists() or json.loads(stamp.read_text(encoding="utf-8"))["wanted"] != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
        try:
            _install(python, requirements)
        except NotInstallable:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        stamp.write_text(json.dumps({"wanted": wanted, "versions": _versions(python)}, indent=1), encoding="utf-8")
    return PeerEnvironment(python, json.loads(stamp.read_text(encoding="utf-8"))["versions"])


def _install(python: Path, requirements: Sequence[str]) -> None:
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements]
    print(f"installing {' '.join(requirements)} …", file=sys.stderr, flush=True)
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_INSTALL_S, env=_environment())
    except subprocess.TimeoutExpired as error:
        raise NotInstallable(f"pip was not done after {_INSTALL_S:g} s") from error
    if done.returncode:
        raise NotInstallable(reason_of(done.stderr))


def reason_of(said: str) -> str:
    """Return the sentence in which pip says what is wrong.

    >>> reason_of("WARNING: slow\\nERROR: No matching distribution found for x==9\\n")
    'No matching distribution found for x==9'
    """
    lines = [line for line in said.splitlines() if line.strip()]
    errors = [line.partition("ERROR: ")[2] for line in lines if "ERROR: " in line]
    return (errors or lines or ["pip said nothing"])[-1].strip()


def _versions(python: Path) -> dict[str, str]:
    command = [str(python), "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=_environment())
    return {row["name"].lower(): row["version"] for row in json.loads(done.stdout)}


def _environment() -> dict[str, str]:
    # What the present environment puts on the path of every Python does not belong into another one.
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
