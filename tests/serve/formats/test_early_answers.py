"""An answer that is ready before the body has arrived reaches the caller all the same."""

from __future__ import annotations

import socket
import time

from tests.serve.formats.conftest import Listen

ROUTES = ("/v1/predict", "/hf", "/predict", "/v2/models/hone/infer", "/label-studio/predict")


def test_a_refusal_is_not_lost_to_a_reset(listen: Listen) -> None:
    """A client sends head and body apart; closing between the two resets the connection, and the reason is not seen."""
    with listen(auth="on") as replica:
        host, _, port = replica.url.removeprefix("http://").partition(":")
        for path in ROUTES * 3:
            head = f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: 5000\r\n\r\n"
            with socket.create_connection((host, int(port)), timeout=10) as connection:
                connection.sendall(head.encode())
                time.sleep(0.03)
                connection.sendall(b"a" * 2_500)
                time.sleep(0.03)
                connection.sendall(b"a" * 2_500)
                assert b"401 Unauthorized" in connection.recv(65_536)
