"""Log lines are JSON, one object each, and quote no exception."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.telemetry import JsonLines, configure_logging

_SECRET = "我的病历 my diagnosis"


@pytest.fixture(autouse=True)
def restore() -> Iterator[None]:
    """Put the logger back as it was."""
    logger = logging.getLogger("hone")
    before = (logger.handlers[:], logger.level, logger.propagate)
    yield
    for handler in logger.handlers:
        handler.close()
    logger.handlers[:], logger.level, logger.propagate = before


def _format(message: str, *arguments: object, extra: dict[str, Any] | None = None, level: int = logging.INFO) -> dict[str, Any]:
    record = logging.getLogger("hone.test").makeRecord(
        "hone.test", level, __file__, 1, message, arguments, sys.exc_info() if sys.exc_info()[0] else None
    )
    # As ``extra`` does, but for names that a library may have put on every record before this test ran.
    vars(record).update(extra or {})
    line = JsonLines().format(record)
    assert "\n" not in line
    fields: dict[str, Any] = json.loads(line)
    return fields


def test_a_line_says_when_what_and_who() -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    fields = _format("swapped %s for %s", "v2", "v1", extra={"version": "v2", "load_s": 0.5, "labels": ["a"], "none": None})
    assert before <= datetime.fromisoformat(fields.pop("time")) <= datetime.now(UTC)
    assert fields == {
        "level": "INFO",
        "logger": "hone.test",
        "message": "swapped v2 for v1",
        "version": "v2",
        "load_s": 0.5,
        "labels": ["a"],
        "none": None,
    }


@given(st.text(), st.dictionaries(st.sampled_from(["a", "版本", "b_s"]), st.one_of(st.text(), st.integers(), st.none())))
def test_every_message_is_one_line(message: str, extra: dict[str, Any]) -> None:
    fields = _format("%s", message, extra=extra)
    assert fields["message"] == message
    assert {name: fields[name] for name in extra} == extra


def test_values_json_has_no_word_for_become_text() -> None:
    fields = _format("x", extra={"path": Path("/srv"), "at": datetime(2025, 6, 1, tzinfo=UTC), "kinds": {"nested": Path("a")}})
    assert fields["path"] == "/srv"
    assert fields["at"].startswith("2025-06-01")
    assert fields["kinds"] == {"nested": "a"}


def _raise(message: str) -> None:
    try:
        int(message)
    except ValueError as error:
        raise RuntimeError(f"while reading {message}") from error


def test_an_exception_is_named_and_placed_but_never_quoted() -> None:
    try:
        _raise(_SECRET)
    except RuntimeError as error:
        error.add_note(_SECRET)
        fields = _format("it broke", level=logging.ERROR, extra={"cause": error, "causes": [error.__cause__]})
    assert fields["exception"] == "RuntimeError"
    assert [frame.split(":")[0] for frame in fields["frames"]] == [Path(__file__).name] * 2
    assert all(frame.split(":")[1].isdigit() for frame in fields["frames"])
    assert fields["cause"] == "RuntimeError"
    assert fields["causes"] == ["ValueError"]
    assert _SECRET not in json.dumps(fields, ensure_ascii=False)


def test_the_frames_are_the_innermost_ones() -> None:
    def sink(depth: int) -> None:
        if not depth:
            raise LookupError
        sink(depth - 1)

    try:
        sink(30)
    except LookupError:
        fields = _format("deep")
    assert len(fields["frames"]) == 8


def test_without_an_exception_there_is_none() -> None:
    fields = _format("fine")
    assert "exception" not in fields
    assert "frames" not in fields


def test_loggers_of_hone_write_to_the_file_from_their_level_on(tmp_path: Path) -> None:
    configure_logging("WARNING", tmp_path / "hone.log")
    log = logging.getLogger("hone.serve.part")
    log.info("too little")
    log.warning("足够")
    try:
        _raise(_SECRET)
    except RuntimeError:
        log.exception("it broke", extra={"run_id": "r1"})
    text = (tmp_path / "hone.log").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    assert [(line["level"], line["message"]) for line in lines] == [("WARNING", "足够"), ("ERROR", "it broke")]
    assert lines[1]["run_id"] == "r1"
    assert _SECRET not in text


def test_configuring_again_replaces_and_does_not_repeat(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO", tmp_path / "hone.log")
    first = logging.getLogger("hone").handlers[0]
    configure_logging("DEBUG")
    first.close()
    logging.getLogger("hone.x").debug("once")
    captured = capsys.readouterr()
    assert json.loads(captured.err)["message"] == "once"
    assert captured.out == ""
    assert not (tmp_path / "hone.log").exists()


def test_other_loggers_are_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO")
    root = logging.getLogger().handlers[:]
    logging.getLogger("hone").info("ours")
    assert logging.getLogger().handlers == root
    assert logging.getLogger("hone").propagate is False
    assert capsys.readouterr().err.count("\n") == 1


def test_what_other_libraries_add_for_themselves_stays_out() -> None:
    assert "_ray_timestamp_ns" not in _format("ready", extra={"_ray_timestamp_ns": 1})
