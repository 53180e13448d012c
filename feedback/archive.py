"""One file that holds many, and tells of every bit that is not as it was written.

A tar under gzip. Its last member, ``manifest.json``, names all others with their sizes and SHA-256, so what was cut short has
none. Members are written as they come and never twice read, and one that is larger than memory passes through in pieces.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from core.errors import BackupDamaged, Conflict
from core.home import sync_folder
from core.privacy_bodies import TrailProof

MANIFEST = "manifest.json"
_PIECE_BYTES = 1 << 20
_MANIFEST_MAX_BYTES = 100_000_000
# Deflate at its fastest: models hardly shrink, and texts shrink to a third at this level already.
_LEVEL = 1


class Member(BaseModel):
    """One file in an archive."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    size_bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class TableDump(BaseModel):
    """One table of the store: its columns in the order in which each row has them, and how many rows there are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: list[str]
    rows: int = Field(ge=0)


class BackupManifest(BaseModel):
    """What a backup holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = 1
    created_at: AwareDatetime
    release: str = Field(description="The release of Hone that wrote it.")
    store_schema: str = Field(description="The newest migration of the store it was taken from.")
    champion: str | None
    tables: dict[str, TableDump] = Field(description="In the order in which their rows come, parents before children.")
    sequences: dict[str, int] = Field(
        description="The highest number that each counting table ever gave, also to rows now gone."
    )
    trail: TrailProof = Field(description="The audit trail as of this backup; what is restored has to end in the same hash.")
    members: list[Member]


class Content:
    """What a member holds, as far as it was not read yet."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path = path
        self._file = file

    def read(self, size: int = -1) -> bytes:
        """Return the next ``size`` bytes, or all that are left.

        Raises:
            BackupDamaged: they cannot be read.
        """
        with _reading(self._path):
            return self._file.read(size)


class ArchiveWriter:
    """Takes members one after the other; made by :func:`new_archive`."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self.members: list[Member] = []

    def add_bytes(self, name: str, data: bytes) -> None:
        """Add a member that is in memory."""
        self._add(name, io.BytesIO(data), len(data))

    def add_file(self, name: str, path: Path) -> None:
        """Add a file as long as it is now; what is appended meanwhile is left out.

        Raises:
            FileNotFoundError: it is gone.
        """
        with path.open("rb") as file:
            self._add(name, file, os.fstat(file.fileno()).st_size)

    def finish(self, manifest: BackupManifest) -> None:
        """Add the manifest, without which the archive is none."""
        self._tar.addfile(_info(MANIFEST, len(data := manifest.model_dump_json(indent=1).encode())), io.BytesIO(data))

    def _add(self, name: str, file: IO[bytes], size_bytes: int) -> None:
        hashed = _Hashed(file)
        self._tar.addfile(_info(name, size_bytes), hashed)
        self.members.append(Member(name=name, size_bytes=size_bytes, sha256=hashed.hexdigest()))


@contextmanager
def new_archive(path: Path) -> Iterator[ArchiveWriter]:
    """Give a writer; when the block ends well the archive is at ``path``, on disk and readable by its owner alone.

    Raises:
        Conflict: there is such a file already; it is left as it is.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            with (
                gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=_LEVEL) as packed,
                tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
            ):
                yield ArchiveWriter(tar)
            file.flush()
            os.fsync(file.fileno())
        try:
            # Unlike renaming, this replaces nothing.
            os.link(temporary, path)
        except FileExistsError as error:
            raise Conflict(f"{path} is there already; name another file") from error
    finally:
        Path(temporary).unlink()
    sync_folder(path.parent)


def read_manifest(path: Path) -> BackupManifest:
    """Return the manifest after every member was found to be as it was written; nothing is unpacked.

    Raises:
        BackupDamaged: anything is missing, altered, cut short or of another format.
    """
    found: list[Member] = []
    manifest: BackupManifest | None = None
    for name, file, size_bytes in _members(path):
        if manifest is not None:
            raise BackupDamaged(f"{path.name} goes on after its end ({name})")
        if name == MANIFEST:
            manifest = _manifest(path, file.read(_MANIFEST_MAX_BYTES))
            continue
        found.append(Member(name=name, size_bytes=size_bytes, sha256=_digest(file)))
    if manifest is None:
        raise BackupDamaged(f"{path.name} was cut short: the list at its end is missing")
    if found != manifest.members:
        wrong = next((f"{a.name} is" for a, b in zip(found, manifest.members, strict=False) if a != b), "its members are")
        raise BackupDamaged(f"{path.name} is damaged: {wrong} not what was written")
    return manifest


def read_members(path: Path) -> Iterator[tuple[str, Content]]:
    """Yield the members' names and contents in order, the manifest left out; each must be read before the next is asked for.

    Raises:
        BackupDamaged: the file cannot be read, or names a place outside a folder.
    """
    for name, file, _ in _members(path):
        if name != MANIFEST:
            yield name, file


def _members(path: Path) -> Iterator[tuple[str, Content, int]]:
    # Tar stops at its own end; only who reads on sees gzip's checksum of all.
    with _reading(path), gzip.open(path) as whole:
        with tarfile.open(fileobj=whole, mode="r|") as tar:
            for entry in tar:
                file = tar.extractfile(entry) if entry.isreg() else None
                parts = PurePosixPath(entry.name).parts
                if file is None or entry.name.startswith("/") or ".." in parts or not parts:
                    raise BackupDamaged(f"{path.name} holds something that no backup has")
                yield entry.name, Content(path, file), entry.size
        while whole.read(_PIECE_BYTES):
            pass


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, OSError, EOFError, zlib.error, UnicodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise BackupDamaged(f"{path} cannot be read ({error.strerror})") from error
        raise BackupDamaged(f"{path.name} is no backup, or a damaged one ({type(error).__name__})") from error


def _manifest(path: Path, data: bytes) -> BackupManifest:
    try:
        manifest = BackupManifest.model_validate_json(data)
    except ValidationError as error:
        raise BackupDamaged(f"{path.name} holds a list that this release cannot read") from error
    if manifest.format != 1:
        raise BackupDamaged(f"{path.name} has the format {manifest.format}; this release, which is older, reads format 1")
    return manifest


def _info(name: str, size_bytes: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size_bytes, 0o600, int(time.time())
    return info


def _digest(file: Content) -> str:
    digest = hashlib.sha256()
    while piece := file.read(_PIECE_BYTES):
        digest.update(piece)
    return digest.hexdigest()


class _Hashed(io.RawIOBase):
    """Hashes what is read through it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._sum = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(size)
        self._sum.update(piece)
        return piece

    def hexdigest(self) -> str:
        return self._sum.hexdigest()
