"""What a disk refused, as a sentence for whoever runs Hone: a full disk is no defect, and is mended elsewhere."""

from __future__ import annotations

import errno
import re

_ELSEWHERE = "or name a folder on another disk in HONE_HOME or TMPDIR, and try again"
_REFUSALS = {
    errno.ENOSPC: f"the disk is full; make room, {_ELSEWHERE}",
    errno.EDQUOT: f"the disk's quota is used up; make room, {_ELSEWHERE}",
    errno.EROFS: f"the disk takes no writing; let it, {_ELSEWHERE}",
}
# Libraries written in Rust have errors of their own, which end so.
_RUST = re.compile(r"\(os error (\d+)\)")


def disk_refusal(error: BaseException) -> str | None:
    """Return what to do where ``error`` says that a disk could not be written to, None where it says something else.

    >>> disk_refusal(OSError(errno.ENOSPC, "No space left on device"))[:16]
    'the disk is full'
    >>> disk_refusal(OSError(errno.ENOENT, "No such file")) is None
    True
    """
    if isinstance(error, OSError):
        number = error.errno
    else:
        found = _RUST.search(str(error))
        number = int(found[1]) if found else None
    return _REFUSALS.get(number) if number is not None else None
