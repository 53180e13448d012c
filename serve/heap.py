"""How much memory is left for one more model, and how much one takes, before it is loaded."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from core.bundle import HEAD, NGRAMS, TOKENIZER, Manifest
from core.encoder import encoder_is_held
from core.errors import BundleError

# Measured with ONNX Runtime 1.2x on MiniLM: a session of a 69 MB file takes 100 MB, and 165 MB while it is made.
_ENGINE_FACTOR = 2.5
_HEAD_FACTOR = 2.0
# Python, numpy and ONNX Runtime before anything is loaded.
_RUNTIME_BYTES = 80_000_000
# malloc.h: what mallopt calls the size from which a block is mapped from the system and unmapped when freed.
_M_MMAP_THRESHOLD = -3
_LARGE_BLOCK_BYTES = 1_048_576
# Dictionaries of strings against the JSON they were read from.
_JSON_FACTOR = 8.0


def needed_bytes(folder: Path, manifest: Manifest) -> int:
    """Return about how many bytes loading the bundle takes at most, by the sizes of its files; nothing for a held encoder."""
    factors = {HEAD: _HEAD_FACTOR, NGRAMS: _JSON_FACTOR}
    if manifest.encoder is not None and not is_held(manifest):
        largest = max(manifest.encoder.variants.values(), key=lambda file: _size(folder / file), default="")
        factors |= {largest: _ENGINE_FACTOR, TOKENIZER: _JSON_FACTOR}
    return int(sum(_size(folder / name) * factor for name, factor in factors.items() if name in manifest.files))


def is_held(manifest: Manifest) -> bool:
    """Return whether a living classifier has the bundle's encoder in memory, in any variant."""
    digests = [manifest.files.get(file, "") for file in manifest.encoder.variants.values()] if manifest.encoder else []
    return any(map(encoder_is_held, digests))


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def check_fits(folder: Path, manifest: Manifest, *, reserve_bytes: int) -> None:
    """Return if the bundle can be loaded and ``reserve_bytes`` stay free.

    Raises:
        BundleError: when it cannot.
    """
    needed, available = needed_bytes(folder, manifest), available_bytes()
    if needed + reserve_bytes > available:
        raise BundleError(
            f"{folder.name} does not fit in memory: it takes about {needed / 1e6:.0f} MB, {available / 1e6:.0f} MB are left, "
            f"and {reserve_bytes / 1e6:.0f} MB must stay free (HONE_MEMORY_RESERVE_BYTES)"
        )


def side_bytes(bundles: Sequence[tuple[Path, Manifest]]) -> int:
    """Return about how many bytes a process of its own takes that loads ``bundles``; equal encoders count once."""
    engines: dict[str, int] = {}
    own = 0.0
    for folder, manifest in bundles:
        own += _size(folder / HEAD) * _HEAD_FACTOR + _size(folder / NGRAMS) * _JSON_FACTOR
        if manifest.encoder is not None:
            largest = max(map(_size, (folder / file for file in manifest.encoder.variants.values())), default=0)
            engines[manifest.encoder.weights_sha256] = largest
    return int(own + sum(engines.values()) * _ENGINE_FACTOR) + _RUNTIME_BYTES


def available_bytes(root: Path = Path("/")) -> int:
    """Return the bytes a process may still take: what the machine has left, or the control group if that is less."""
    return min([psutil.virtual_memory().available, *_left_in_groups(root)])


def map_large_blocks() -> None:
    """Have every large block of this process be returned to the system as soon as it is freed; only glibc knows how.

    By itself glibc raises the size from which it does so to that of the largest block freed so far, up to 32 MB. What models
    took that were loaded on threads would then stay with the process, once for each of glibc's arenas, of which there are
    eight per core; :func:`give_back` does not reach it.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES)


def give_back() -> None:
    """Return freed memory to the system, which the allocator would keep for later; only glibc knows how."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _left_in_groups(root: Path) -> list[int]:
    """Return what is left in every control group this process is in, of version 2 or 1."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    left = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        mount = root / "sys/fs/cgroup"
        names = ("memory.max", "memory.current", "inactive_file")
        if "memory" in controllers.split(","):
            mount, names = mount / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        elif controllers:
            continue
        # A container often sees its own group as the root; a group's limit binds those below it.
        group = Path(path.strip("/"))
        left += [found for folder in (group, *group.parents) if (found := _left(mount / folder, *names)) is not None]
    return left


def _left(folder: Path, limit_name: str, usage_name: str, cache_name: str) -> int | None:
    try:
        limit, usage = (folder / limit_name).read_text().strip(), int((folder / usage_name).read_text())
        if limit == "max":
            return None
        # Files the kernel has cached count as used, and make room as soon as it is wanted.
        fields = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return max(0, int(limit) - usage + int(fields.get(cache_name, 0)))
    except (OSError, ValueError):
        return None
