"""Callers that dawdle or overflow, against a real server: they are ended, and nobody else notices."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx
import pytest

from core.schemas import ErrorAnswer
from core.settings import Settings
from serve.parts import Parts, assemble
from tests.bundles import register_ngram_bundle
from tests.serve.servers import listening

_READ_TIMEOUT_S = 0.5
_HEAD = b"POST /v1/predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
_BODY = b'{"text": "so positive"}'
_REQUEST = _HEAD + b"content-length: %d\r\n\r\n" % len(_BODY) + _BODY


@pytest.fixture
def parts(settings: Settings) -> Parts:
    made = assemble(
        settings.model_copy(update={"read_timeout_s": _READ_TIMEOUT_S, "max_header_bytes": 2_048}), None, "replica-1"
    )
    made.registry.promote(register_ngram_bundle(made.registry), by="test", why="a fixture")
    return made


@pytest.fixture
def address(parts: Parts) -> Iterator[tuple[str, int]]:
    """Give the address of a replica that waits half a second for a head, and for a body."""
    with listening(parts) as url:
        port = int(url.rpartition(":")[2])
        _ask_until_ready(url)
        yield "127.0.0.1", port


def _ask_until_ready(url: str) -> None:
    with httpx.Client(transport=httpx.HTTPTransport(retries=10), trust_env=False) as http:
        while http.get(f"{url}/readyz").status_code != 200:
            pass


@contextmanager
def _connected(address: tuple[str, int]) -> Iterator[socket.socket]:
    # Far longer than what is tested takes; it keeps a failing test from hanging.
    with socket.create_connection(address, timeout=20) as connection:
        yield connection


def _rest(connection: socket.socket) -> bytes:
    """Return what comes until the server ends the connection."""
    parts = []
    try:
        while part := connection.recv(65_536):
            parts.append(part)
    except ConnectionError:
        # Ended while something of ours was still under way to it.
        pass
    return b"".join(parts)


def _answers(address: tuple[str, int]) -> bool:
    url = f"http://{address[0]}:{address[1]}/v1/predict"
    return httpx.post(url, content=_BODY, headers={"content-type": "application/json"}, trust_env=False).status_code == 200


@pytest.mark.parametrize("begun", [b"", b"P", _HEAD, _HEAD + b"content-length: 5\r\n", b"\r\n", b"\r\n\r\n\r\n"])
def test_a_head_that_does_not_come_ends_the_connection(address: tuple[str, int], begun: bytes) -> None:
    with _connected(address) as connection:
        connection.sendall(begun)
        assert _rest(connection) == b""
    assert _answers(address)


def test_a_second_head_that_does_not_come_ends_the_connection(address: tuple[str, int]) -> None:
    with _connected(address) as connection:
        connection.sendall(_REQUEST + _HEAD)
        told = _rest(connection)
    assert told.startswith(b"HTTP/1.1 200")
    assert told.count(b"HTTP/1.1") == 1


def test_a_head_that_trickles_is_given_no_more_time(address: tuple[str, int]) -> None:
    with _connected(address) as connection:
        connection.settimeout(_READ_TIMEOUT_S / 10)
        connection.sendall(b"GET /")
        sent = 0
        with suppress(ConnectionError):
            while sent < 1_000:
                connection.sendall(b"a")
                sent += 1
                with suppress(TimeoutError):
                    assert connection.recv(1) == b""
                    break
    assert sent < 1_000


@pytest.mark.parametrize("noise", [b"hello\r\n\r\n", b"\x16\x03\x01\x00\xa5\x01\x00", b"GET / HTTP/9.9\r\n\r\n"])
def test_what_is_not_http_is_told_so(address: tuple[str, int], noise: bytes) -> None:
    with _connected(address) as connection:
        connection.sendall(noise)
        told = _rest(connection)
    assert told.startswith(b"HTTP/1.1 400")
    assert ErrorAnswer.model_validate_json(told.partition(b"\r\n\r\n")[2]).code == "malformed_body"


@pytest.mark.parametrize(
    "head", [_HEAD + b"content-length: 100\r\n\r\n", _HEAD + b"transfer-encoding: chunked\r\n\r\n"], ids=["length", "chunked"]
)
def test_a_body_that_does_not_come_is_answered_and_ended(address: tuple[str, int], head: bytes) -> None:
    with _connected(address) as connection:
        connection.sendall(head)
        told = _rest(connection)
    assert told.startswith(b"HTTP/1.1 408")
    assert b"connection: close" in told
    assert b'"code":"body_too_slow"' in told
    assert _answers(address)


def test_a_hundred_dawdlers_hold_up_nobody(address: tuple[str, int], parts: Parts) -> None:
    connections = [socket.create_connection(address, timeout=20) for _ in range(100)]
    try:
        for place, connection in enumerate(connections):
            connection.sendall(_HEAD if place % 2 else _HEAD + b"content-length: 100\r\n\r\n{")
        assert all(_answers(address) for _ in range(20))
        answers = [_rest(connection) for connection in connections]
    finally:
        for connection in connections:
            connection.close()
    assert [answer[:12] for answer in answers] == [b"HTTP/1.1 408", b""] * 50
    assert parts.metrics.registry.get_sample_value("hone_refused_total", {"code": "body_too_slow"}) == 50


@pytest.mark.parametrize(
    "head",
    [
        _HEAD + b"x-long: " + b"x" * 3_000 + b"\r\n\r\n",
        _HEAD + b"".join(b"x-%d: y\r\n" % number for number in range(300)) + b"\r\n",
        b"GET /" + b"a" * 3_000 + b" HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET /" + b"a" * 300_000,
        _HEAD + b"x-long: " + b"x" * 300_000,
    ],
    ids=["a header", "many headers", "a path", "a path without an end", "a header without an end"],
)
def test_a_head_that_is_too_large_is_refused(address: tuple[str, int], head: bytes) -> None:
    with _connected(address) as connection:
        with suppress(ConnectionError):
            connection.sendall(head)
        told = _rest(connection)
    # Where more was under way than was read, the system may drop the answer with the connection.
    assert told.startswith(b"HTTP/1.1 431") or (told == b"" and len(head) > 100_000)
    assert _answers(address)


def test_a_large_body_does_not_count_to_the_head_behind_it(address: tuple[str, int]) -> None:
    padded = _BODY[:-1] + b" " * 10_000 + b"}"
    request = _HEAD + b"content-length: %d\r\n\r\n" % len(padded) + padded
    with _connected(address) as connection:
        connection.sendall(request + _REQUEST[:40])
        connection.sendall(_REQUEST[40:].replace(b"content-type:", b"connection: close\r\ncontent-type:"))
        told = _rest(connection)
    assert told.count(b"HTTP/1.1 200") == 2


def test_what_is_refused_unread_ends_the_connection(address: tuple[str, int]) -> None:
    with _connected(address) as connection:
        connection.sendall(_HEAD.replace(b"application/json", b"text/plain") + b"content-length: 1000\r\n\r\n{")
        told = _rest(connection)
    assert told.startswith(b"HTTP/1.1 415")
    assert b"connection: close" in told


def test_many_requests_of_one_connection_are_answered(address: tuple[str, int]) -> None:
    with _connected(address) as connection:
        connection.sendall(
            _REQUEST * 20 + _REQUEST.replace(b"host: localhost\r\n", b"host: localhost\r\nconnection: close\r\n")
        )
        told = _rest(connection)
    assert told.count(b"HTTP/1.1 200") == 21
