"""A log that several processes write: whole lines, none lost, and never more than its bound."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from core.bounded_file import BoundedFile

_ROOT = Path(__file__).parents[2]
_WRITER = """
import sys
from pathlib import Path
from core.bounded_file import BoundedFile
file = BoundedFile(Path(sys.argv[1]), 20_000, kept=50)
for number in range(400):
    file.append(f"{sys.argv[2]} {number} {'x' * 50}\\n".encode())
"""


def _all_lines(path: Path) -> list[str]:
    return [line for file in sorted(path.parent.glob(f"{path.name}*")) for line in _lines(file)]


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if not path.name.endswith(".lock") else []


def test_a_full_file_is_put_aside_and_the_oldest_goes(tmp_path: Path) -> None:
    path = tmp_path / "log"
    file = BoundedFile(path, 100, kept=2)
    for number in range(40):
        file.append(f"{number:09d}\n".encode())
    file.close()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["log.1", "log.2", "log.lock"]
    assert _lines(tmp_path / "log.1")[-1] == "000000039"
    assert _lines(tmp_path / "log.2")[0] == "000000020"


def test_many_processes_lose_no_line_and_mix_none(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writers = [subprocess.Popen([sys.executable, "-c", _WRITER, str(path), name], cwd=_ROOT) for name in "abc"]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    expected = {f"{name} {number} {'x' * 50}" for name in "abc" for number in range(400)}
    assert sorted(_all_lines(path)) == sorted(expected)
    assert all(file.stat().st_size < 21_000 for file in tmp_path.iterdir())


def test_a_file_that_somebody_removed_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    file = BoundedFile(path, 1_000)
    file.append(b"one\n")
    path.unlink()
    file.append(b"two\n")
    assert path.read_bytes() == b"two\n"
    file.close()
