"""How an answer reaches the caller, or does not: the faults of one request, in the order in which they strike."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus

from flask import json
from werkzeug.wrappers import Response

from sandbox.upstreams.fake import Fake
from sandbox.upstreams.switches import KINDS, Fault

# Connections that were open when an upstream began to refuse new ones are reset, like those of one that is down.
BEFORE_READING = ("refuse", "down")
AFTER_READING = tuple(kind for kind in KINDS if kind not in BEFORE_READING)
# Answers in place of the true one; the first of these that strikes is sent.
INSTEAD = ("answer", "status", "throttle", "html", "empty")

_PAGE = """<!DOCTYPE html>
<html><head><title>{title}</title></head>
<body><h1>{title}</h1><p>The proxy server received an invalid response from an upstream server.</p></body></html>
"""


class Gone(Exception):
    """The connection was taken away from the caller."""


def reset(connection: socket.socket) -> None:
    """End a connection with a TCP reset, at once, whatever else still holds the socket object."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(connection.detach())


def _page(fault: Fault) -> Response:
    title = f"{fault.status} {HTTPStatus(fault.status).phrase}"
    return Response(_PAGE.format(title=title), fault.status, content_type="text/html")


def _refusal(fake: Fake, fault: Fault) -> Response:
    body = json.dumps(fake.error_body(fault.status, HTTPStatus(fault.status).phrase), sort_keys=False)
    headers = {"Retry-After": fault.retry_after} if fault.retry_after is not None else {}
    return Response(body, fault.status, headers, content_type="application/json")


def _exactly(fault: Fault) -> Response:
    """The given answer, without any header that Flask would add."""
    reply = Response(fault.content, fault.status)
    reply.headers.clear()
    reply.headers.extend(fault.headers)
    return reply


def _instead(fake: Fake, fault: Fault) -> Response:
    if fault.kind == "answer":
        return _exactly(fault)
    if fault.kind == "empty":
        return Response(status=fault.status)
    return _page(fault) if fault.kind == "html" else _refusal(fake, fault)


def prepared(
    fake: Fake, faults: Mapping[str, Fault], work: Callable[[], Response], stopping: threading.Event
) -> tuple[Response, bool]:
    """The answer after the faults that change or delay it, and whether the work was done."""
    instead = next((faults[kind] for kind in INSTEAD if kind in faults), None)
    if "hold" in faults:
        fake.faults.hold(faults["hold"], stopping)
    if "slow" in faults:
        stopping.wait(faults["slow"].seconds)
    worked = instead is None or instead.works
    reply = work() if worked else Response()
    if "late" in faults:
        stopping.wait(faults["late"].seconds)
    if instead is not None:
        reply = _instead(fake, instead)
    if "content_type" in faults:
        reply.headers["Content-Type"] = "text/html; charset=utf-8"
    return reply, worked


def _head(reply: Response, length: int, keep: bool) -> bytes:
    reply.headers["Content-Length"] = str(length)
    reply.headers["Connection"] = "keep-alive" if keep else "close"
    lines = [f"HTTP/1.1 {reply.status}", *(f"{name}: {value}" for name, value in reply.headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def send(
    connection: socket.socket, reply: Response, faults: Mapping[str, Fault], keep: bool, stopping: threading.Event
) -> None:
    """Write the answer through the transport faults; raises Gone when the connection must not be used again."""
    if "drop" in faults:
        reset(connection)
        raise Gone
    body = reply.get_data()
    head = _head(reply, len(body), keep and "half" not in faults)
    if "half" in faults:
        connection.sendall(head + body[: len(body) // 2])
        raise Gone
    if "drip" in faults:
        connection.sendall(head)
        _drip(connection, body, faults["drip"].seconds, stopping)
        return
    connection.sendall(head + body)


def _drip(connection: socket.socket, body: bytes, seconds: float, stopping: threading.Event) -> None:
    for place in range(len(body)):
        if stopping.wait(seconds):
            raise Gone
        connection.sendall(body[place : place + 1])
