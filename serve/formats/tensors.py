"""The binary part of the Open Inference Protocol: JSON first, then the tensors' bytes, one after the other.

A string is four bytes of length, little-endian, and so many bytes of UTF-8; a number is IEEE 754 binary32, little-endian. See
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

from core.errors import InvalidText, MalformedBody

HEADER_LENGTH = b"inference-header-content-length"

_LENGTH = struct.Struct("<I")


def header_length(headers: Iterable[tuple[bytes, bytes]]) -> int | None:
    """Return how many bytes of JSON the request says it begins with, None where it is JSON alone.

    Raises:
        MalformedBody: it says so twice, or not with a number.
    """
    found = [value for name, value in headers if name == HEADER_LENGTH]
    if not found:
        return None
    if len(found) > 1 or not found[0].isdigit() or len(found[0]) > 18:
        raise MalformedBody("the Inference-Header-Content-Length header must be one whole number", field="header")
    return int(found[0])


def split(body: bytes, json_bytes: int | None) -> tuple[bytes, bytes]:
    """Return the JSON of ``body`` and the bytes behind it.

    Raises:
        MalformedBody: the body is shorter than its JSON is said to be.

    >>> split(b"{}tail", 2), split(b"{}", None)
    ((b'{}', b'tail'), (b'{}', b''))
    """
    if json_bytes is None:
        return body, b""
    if json_bytes > len(body):
        raise MalformedBody(
            f"the Inference-Header-Content-Length header says {json_bytes} bytes of JSON, and the body has {len(body)}",
            got=len(body),
            expected=json_bytes,
        )
    return body[:json_bytes], body[json_bytes:]


def read_strings(data: bytes, count: int) -> list[str]:
    """Return the ``count`` strings that ``data`` holds and nothing else.

    Raises:
        MalformedBody: it holds fewer or more bytes than they take.
        InvalidText: one of them is not UTF-8.

    >>> read_strings(b"\\x02\\x00\\x00\\x00hi\\x00\\x00\\x00\\x00", 2)
    ['hi', '']
    """
    # Each takes four bytes at least, so this bounds the loop by the size of the body.
    if count > len(data) // _LENGTH.size:
        raise MalformedBody(f"the binary data has {len(data)} bytes, which is too few for {count} strings", got=len(data))
    found: list[str] = []
    place = 0
    for number in range(count):
        end = place + _LENGTH.size
        if end > len(data):
            raise MalformedBody(f"the binary data ends before string {number} of {count}", position=place)
        (size,) = _LENGTH.unpack_from(data, place)
        place, end = end, end + size
        if end > len(data):
            raise MalformedBody(
                f"string {number} of {count} is said to have {size} bytes, {len(data) - place} are left", position=place
            )
        try:
            found.append(data[place:end].decode())
        except UnicodeDecodeError as error:
            raise InvalidText(f"string {number} is not UTF-8, at byte {error.start} of it", position=error.start) from None
        place = end
    if place != len(data):
        raise MalformedBody(f"{len(data) - place} bytes follow the {count} strings", position=place)
    return found


def write_strings(values: Sequence[str]) -> bytes:
    """Return ``values`` as :func:`read_strings` reads them."""
    encoded = [value.encode() for value in values]
    return b"".join(_LENGTH.pack(len(value)) + value for value in encoded)


def write_numbers(values: Sequence[float]) -> bytes:
    """Return ``values`` as binary32."""
    return struct.pack(f"<{len(values)}f", *values)
