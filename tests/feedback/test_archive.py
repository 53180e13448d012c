"""An archive tells of every bit that is not as it was written."""

from __future__ import annotations

import gzip
import io
import stat
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from core.errors import BackupDamaged, Conflict
from core.privacy_bodies import TrailProof
from core.schemas import now
from feedback.archive import BackupManifest, new_archive, read_manifest, read_members

_CONTENTS = {"files/a.json": b'{"a": 1}', "store/t/000000.jsonl": b"[1]\n" * 5_000, "files/empty": b""}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a small archive."""
    path = tmp_path_factory.mktemp("archive") / "a.tar.gz"
    _write(path)
    return path


def _write(path: Path) -> None:
    with new_archive(path) as writer:
        for name, data in _CONTENTS.items():
            writer.add_bytes(name, data)
        proof = TrailProof(entries=0, last_hash="0" * 64)
        writer.finish(
            BackupManifest(
                created_at=now(),
                release="1",
                store_schema="0001",
                champion=None,
                tables={},
                sequences={},
                trail=proof,
                members=writer.members,
            )
        )


def test_what_was_written_is_read(archive: Path) -> None:
    assert {name: file.read() for name, file in read_members(archive)} == _CONTENTS
    assert [member.name for member in read_manifest(archive).members] == list(_CONTENTS)


def test_nobody_else_may_read_it_and_nothing_is_left_beside_it(archive: Path) -> None:
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    assert list(archive.parent.iterdir()) == [archive]


def test_a_file_that_is_there_is_not_replaced(archive: Path) -> None:
    before = archive.read_bytes()
    with pytest.raises(Conflict, match="name another file"):
        _write(archive)
    assert archive.read_bytes() == before
    assert list(archive.parent.iterdir()) == [archive]


def test_an_archive_whose_making_failed_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), new_archive(tmp_path / "a.tar.gz") as writer:
        writer.add_file("files/a", tmp_path / "gone")
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=some.data())
def test_no_altered_byte_goes_unnoticed(archive: Path, tmp_path: Path, data: some.DataObject) -> None:
    whole = archive.read_bytes()
    place = data.draw(some.integers(0, len(whole) - 1))
    damaged = tmp_path / "damaged.tar.gz"
    damaged.write_bytes(whole[:place] + bytes([whole[place] ^ data.draw(some.integers(1, 255))]) + whole[place + 1 :])
    try:
        read_manifest(damaged)
    except BackupDamaged:
        return
    # A few bits mean nothing, such as the time in gzip's head: what is read is what was written all the same.
    assert {name: file.read() for name, file in read_members(damaged)} == _CONTENTS


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=some.data())
def test_an_archive_that_was_cut_short_is_found(archive: Path, tmp_path: Path, data: some.DataObject) -> None:
    whole = archive.read_bytes()
    damaged = tmp_path / "damaged.tar.gz"
    damaged.write_bytes(whole[: data.draw(some.integers(0, len(whole) - 1))])
    with pytest.raises(BackupDamaged):
        read_manifest(damaged)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BackupDamaged, match=r"none\.tar\.gz cannot be read"):
        read_manifest(tmp_path / "none.tar.gz")


def _repack(archive: Path, path: Path, changes: dict[str, bytes | tarfile.TarInfo | None]) -> Path:
    """Write ``archive`` anew at ``path``, with members replaced, removed (None) or added."""
    out = io.BytesIO()
    with tarfile.open(archive) as old, tarfile.open(fileobj=out, mode="w") as new:
        for entry in old:
            change = changes.pop(entry.name, b"")
            if change is None:
                continue
            file = old.extractfile(entry)
            assert file is not None
            kept = change if isinstance(change, bytes) and change else file.read()
            entry.size = len(kept)
            new.addfile(entry, io.BytesIO(kept))
        for name, change in changes.items():
            info = change if isinstance(change, tarfile.TarInfo) else tarfile.TarInfo(name)
            new.addfile(info, io.BytesIO(b""))
    path.write_bytes(gzip.compress(out.getvalue()))
    return path


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"files/a.json": b'{"a": 2}'}, r"files/a\.json is not what was written"),
        ({"files/a.json": None}, "not what was written"),
        ({"manifest.json": None}, "cut short"),
        ({"manifest.json": b"{}"}, "cannot read"),
        ({"more": b"x"}, "goes on after its end"),
    ],
)
def test_members_that_were_changed_by_somebody_who_knows_how_are_found(
    archive: Path, tmp_path: Path, changes: dict[str, bytes | tarfile.TarInfo | None], said: str
) -> None:
    with pytest.raises(BackupDamaged, match=said):
        read_manifest(_repack(archive, tmp_path / "changed.tar.gz", dict(changes)))


@pytest.mark.parametrize("name", ["/etc/passwd", "files/../../x", ".."])
def test_no_member_names_a_place_outside(archive: Path, tmp_path: Path, name: str) -> None:
    changed = _repack(archive, tmp_path / "changed.tar.gz", {name: b"x"})
    with pytest.raises(BackupDamaged, match="no backup has"):
        list(read_members(changed))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_no_member_is_anything_but_a_file(archive: Path, tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("files/link")
    info.type, info.linkname = kind, "/etc/passwd"
    with pytest.raises(BackupDamaged, match="no backup has"):
        read_manifest(_repack(archive, tmp_path / "changed.tar.gz", {"files/link": info}))
