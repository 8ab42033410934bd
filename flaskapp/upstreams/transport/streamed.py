"""Request bodies too large for memory: made piece by piece while they are sent, with a length known beforehand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from urllib3.fields import RequestField
from urllib3.filepost import choose_boundary

Pieces = Callable[[], Iterable[bytes]]


class BodyBroken(Exception):
    """Our own side could not make the body, so no whole request went out and nothing was done upstream.

    The cause is what the source of the body raised, or a ValueError when the body has another length than announced.
    """


@dataclass(frozen=True)
class StreamedBody:
    """A body of `length` bytes. Each call of `pieces()` makes it from the beginning."""

    length: int
    pieces: Pieces

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[bytes]:
        # What the source raises must look neither like a lost connection nor like an answer.
        try:
            yield from exactly(self.length, self.pieces())
        except Exception as error:
            raise BodyBroken(type(error).__name__) from error


def exactly(length: int, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same pieces. Raises ValueError at their end if they are too short, and before the first byte too many."""
    left = length
    for piece in pieces:
        left -= len(piece)
        if left < 0:
            raise ValueError("longer than announced")
        yield piece
    if left:
        raise ValueError("shorter than announced")


@dataclass(frozen=True)
class FilePart:
    """A file to send: `chunks()` makes its `size` bytes, from the beginning at each call."""

    file_name: str
    content_type: str
    size: int
    chunks: Pieces


def form_with_file(parameters: dict[str, Any], file: FilePart) -> tuple[str, StreamedBody]:
    """Content type and body of `multipart/form-data` with the parts `parameters`, as JSON, and `file`.

    The file's size is checked separately: a file too long by exactly the closing line would pass for a whole body.
    """
    boundary = choose_boundary()
    head = b"".join(
        [
            _opening(boundary, "parameters", "application/json"),
            json.dumps(parameters).encode(),
            b"\r\n",
            _opening(boundary, "file", file.content_type, file.file_name),
        ]
    )
    tail = f"\r\n--{boundary}--\r\n".encode()

    def pieces() -> Iterator[bytes]:
        yield head
        yield from exactly(file.size, file.chunks())
        yield tail

    return f"multipart/form-data; boundary={boundary}", StreamedBody(len(head) + file.size + len(tail), pieces)


def _opening(boundary: str, name: str, content_type: str, file_name: str | None = None) -> bytes:
    part = RequestField(name, b"", file_name)
    part.make_multipart(content_type=content_type)
    return f"--{boundary}\r\n{part.render_headers()}".encode()
