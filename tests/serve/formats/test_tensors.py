"""The binary part of the Open Inference Protocol, against the reference implementation and against arbitrary bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor

from core.errors import InputError, MalformedBody
from serve.formats.tensors import HEADER_LENGTH, header_length, read_strings, split, write_numbers, write_strings

TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), max_size=8)


@given(TEXTS)
def test_what_is_written_is_read(texts: list[str]) -> None:
    assert read_strings(write_strings(texts), len(texts)) == texts


@given(TEXTS.filter(bool))
def test_strings_are_read_as_tritonclient_writes_them_and_written_as_it_reads_them(texts: list[str]) -> None:
    written = serialize_byte_tensor(np.array([text.encode() for text in texts], dtype=object)).item()
    assert read_strings(written, len(texts)) == texts
    assert [item.decode() for item in deserialize_bytes_tensor(write_strings(texts))] == texts


@given(st.lists(st.floats(width=32, allow_nan=False), max_size=8))
def test_numbers_are_written_as_numpy_reads_them(values: list[float]) -> None:
    assert np.frombuffer(write_numbers(values), dtype="<f4").tolist() == values


@given(st.binary(max_size=60), st.integers(0, 2**40))
def test_any_bytes_are_read_whole_or_refused(data: bytes, count: int) -> None:
    try:
        found = read_strings(data, count)
    except InputError:
        return
    assert len(found) == count
    assert write_strings(found) == data


@given(TEXTS, st.binary(min_size=1, max_size=5), st.integers(0, 40))
def test_bytes_too_many_or_too_few_are_refused(texts: list[str], more: bytes, cut: int) -> None:
    data = write_strings(texts)
    with pytest.raises(InputError):
        read_strings(data + more, len(texts))
    if cut < len(data):
        with pytest.raises(InputError):
            read_strings(data[:cut], len(texts))


def test_strings_that_claim_more_than_there_is_are_refused_before_anything_is_kept() -> None:
    with pytest.raises(MalformedBody, match="4294967295 bytes"):
        read_strings(b"\xff\xff\xff\xff" + b"a" * 20, 1)
    with pytest.raises(MalformedBody, match="too few"):
        read_strings(b"\0" * 8, 10**9)


@pytest.mark.parametrize("value", [b"", b"-1", b"1.5", b"0x10", b"1" * 19, b"\xb2", b"1 "])
def test_a_length_is_a_whole_number(value: bytes) -> None:
    with pytest.raises(MalformedBody, match="whole number"):
        header_length([(HEADER_LENGTH, value)])


def test_a_length_is_said_once_and_not_beyond_the_body() -> None:
    assert header_length([(HEADER_LENGTH, b"012"), (b"other", b"x")]) == 12
    assert header_length([]) is None
    with pytest.raises(MalformedBody):
        header_length([(HEADER_LENGTH, b"1"), (HEADER_LENGTH, b"1")])
    with pytest.raises(MalformedBody, match="the body has 2"):
        split(b"{}", 3)
