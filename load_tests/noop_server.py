"""The cheapest server there can be, to measure the load generator itself against.

::

    python -m load_tests.noop_server 8000
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

from load_tests.generator import run_on_fastest_loop

_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


class _Answerer(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, _data: bytes) -> None:
        # The generator sends one small request at a time, which comes in one piece.
        self._transport.write(_ANSWER)


async def serve(port: int) -> None:
    """Answer everything at once, until cancelled."""
    server = await asyncio.get_running_loop().create_server(_Answerer, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    run_on_fastest_loop(serve(int(sys.argv[1])))
