"""The record of rollouts: added to by many, read by anybody, whatever a crash left in it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from core.rollouts import RolloutRecord, Rollouts, RolloutState
from core.schemas import now


def _record(version: str, state: RolloutState = "serving", replica_id: str = "r1", reason: str | None = None) -> RolloutRecord:
    return RolloutRecord(at=now(), version=version, state=state, reason=reason, replica_id=replica_id)


def test_nothing_was_rolled_out_yet(tmp_path: Path) -> None:
    assert Rollouts(tmp_path).latest() == []


def test_the_latest_come_first_of_one_version_or_of_all(tmp_path: Path) -> None:
    rollouts = Rollouts(tmp_path)
    records = [_record("v1"), _record("v2", "failed", reason="it is damaged — 坏"), _record("v1", replica_id="r2")]
    for record in records:
        rollouts.add(record)
    assert Rollouts(tmp_path).latest() == records[::-1]
    assert rollouts.latest(version="v1") == [records[2], records[0]]
    assert rollouts.latest(limit=1) == [records[2]]


def test_a_line_that_a_crash_cut_short_costs_no_other(tmp_path: Path) -> None:
    rollouts = Rollouts(tmp_path)
    rollouts.add(_record("v1"))
    with (tmp_path / "rollouts.jsonl").open("ab") as file:
        file.write(b'{"at": "2026-')
    rollouts.add(_record("v2"))
    assert [record.version for record in rollouts.latest()] == ["v2", "v1"]


def test_replicas_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    def write(place: int) -> None:
        Rollouts(tmp_path).add(_record(f"v{place + 1}", replica_id=f"r{place}"))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(40)))
    assert {record.version for record in Rollouts(tmp_path).latest()} == {f"v{place + 1}" for place in range(40)}


def test_only_the_end_of_a_long_record_is_read(tmp_path: Path) -> None:
    rollouts = Rollouts(tmp_path)
    line = _record("v1").model_dump_json().encode() + b"\n"
    (tmp_path / "rollouts.jsonl").write_bytes(line * 5_000)
    rollouts.add(_record("v2"))
    found = rollouts.latest(limit=10_000)
    assert found[0].version == "v2"
    assert 1_000 < len(found) < 5_000
