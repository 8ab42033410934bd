"""A receiver of delivery callbacks, and a way to wait for what happens in the background."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from flask import Flask, Response, request
from werkzeug.serving import make_server


def eventually(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    """The first true value of `condition`; AssertionError when none comes in time."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError("it did not happen in time")


class Receiver:
    """Answers with the statuses in `answers`, then 200, and keeps what came: headers and JSON body."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.came: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.url = ""

    def receive(self) -> Response:
        self.came.append(({name.lower(): value for name, value in request.headers}, request.get_json()))
        return Response(status=self.answers.pop(0) if self.answers else 200)

    def statuses(self) -> list[str]:
        return [body["status"] for _, body in self.came]


@contextlib.contextmanager
def listening() -> Iterator[Receiver]:
    receiver = Receiver()
    app = Flask(__name__, static_folder=None)
    app.add_url_rule("/callbacks", view_func=receiver.receive, methods=["POST"])
    server = make_server("127.0.0.1", 0, app, threaded=True)
    server.log = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    receiver.url = f"http://127.0.0.1:{server.port}/callbacks"
    yield receiver
    server.shutdown()
    server.server_close()
    thread.join()
