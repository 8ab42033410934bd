"""The server of the pages: a thread for each request, on a loopback port, until the block ends."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

from flask import Flask
from werkzeug.serving import WSGIRequestHandler, make_server


class Quiet(WSGIRequestHandler):
    """Keeps no access log: links that open a person's check-in stand in it."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        return None


@contextmanager
def serving(app: Flask, port: int, address: str = "127.0.0.1") -> Iterator[str]:
    """The URL at which it listens; port 0 takes a free one. OSError when the port is taken."""
    with closing(socket.create_server((address, port), backlog=128)) as listening:
        place, number = listening.getsockname()
        server = make_server(place, number, app, True, request_handler=Quiet, fd=listening.fileno())
        thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
        thread.start()
        try:
            yield f"http://{place}:{number}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
