"""The metrics of several machines as one: what is in each machine's folder is copied, and merged elsewhere.

Files that processes map into their memory are true only on the machine of these processes; a file system that several machines
share shows the others what they were some time ago. So each machine has a folder of its own, and reads it itself.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from prometheus_client.metrics_core import Metric as Family

from core.metric_files import files_of, merge_files

Copied = dict[str, bytes]
"""Files of one folder by name, each as far as it is used."""

# Of a file's first eight bytes, four say how much of it is used; it is made a megabyte long.
_HEAD_BYTES = 8


def copy_files(folder: Path) -> Copied:
    """Return what the processes that share ``folder`` have counted; to be called on their machine.

    Raises:
        Unavailable: another process keeps the folder locked.
    """
    with files_of(folder) as files:
        return {path.name: _used(path) for path in files}


def merge_copies(copies: Iterable[Copied]) -> list[Family]:
    """Return the metrics of several folders as if all their processes shared one."""
    with tempfile.TemporaryDirectory(prefix="hone-metrics-") as beside:
        files = []
        for number, copied in enumerate(copies):
            folder = Path(beside) / str(number)
            folder.mkdir()
            for name, data in copied.items():
                files.append(folder / name)
                files[-1].write_bytes(data)
        return merge_files(files)


def _used(path: Path) -> bytes:
    data = path.read_bytes()
    return data[: max(_HEAD_BYTES, int.from_bytes(data[:4], sys.byteorder))]
