"""A replica behind a real server, for clients that need a socket."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from serve.app import build_app
from serve.connections import bound_connections
from serve.parts import Parts


@contextmanager
def listening(parts: Parts) -> Iterator[str]:
    """Serve ``parts`` on a free port of the loopback address inside the block; gives the address to ask."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    # From here on a client waits rather than being refused.
    listener.listen()
    bound_connections(parts.settings)
    config = uvicorn.Config(build_app(parts), log_config=None, access_log=False, lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])), name="server")
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()
