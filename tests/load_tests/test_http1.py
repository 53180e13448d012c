"""Requests are rendered and answers read as the wire has them, however it cuts them into pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from load_tests.http1 import Reply, ReplyReader, render_request

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
REFUSED = b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\ncontent-length: 2\r\n\r\n{}"
LAST = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (PLAIN, Reply(200, retry_after=False, closes=False)),
        (CHUNKED, Reply(200, retry_after=False, closes=False)),
        (REFUSED, Reply(429, retry_after=True, closes=False)),
        (LAST, Reply(503, retry_after=False, closes=True)),
    ],
)
@given(data=st.data())
def test_an_answer_is_read_once_it_is_complete(answer: bytes, expected: Reply, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(1, len(answer) - 1), max_size=5)))
    pieces = [answer[start:end] for start, end in zip([0, *cuts], [*cuts, len(answer)], strict=True)]
    reader = ReplyReader()
    # Twice: what is left of one answer must not stick to the next.
    for _ in range(2):
        replies = [reader.feed(piece) for piece in pieces]
        assert replies == [None] * (len(pieces) - 1) + [expected]


def test_a_retry_after_without_a_number_does_not_count() -> None:
    assert ReplyReader().feed(REFUSED.replace(b"retry-after: 1", b"retry-after: soon")) == Reply(429, False, False)


def test_an_answer_of_unknown_length_is_refused() -> None:
    with pytest.raises(ValueError, match="Content-Length"):
        ReplyReader().feed(b"HTTP/1.1 200 OK\r\n\r\nhello")


def test_a_request_is_rendered_with_its_length_and_headers() -> None:
    request = render_request("http://127.0.0.1:81/v1/predict", b'{"text": "a"}', {"authorization": "Bearer k"})
    head, body = request.split(b"\r\n\r\n")
    assert head.splitlines() == [
        b"POST /v1/predict HTTP/1.1",
        b"host: 127.0.0.1:81",
        b"content-type: application/json",
        b"content-length: 13",
        b"authorization: Bearer k",
    ]
    assert body == b'{"text": "a"}'
