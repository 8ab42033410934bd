"""Request bodies too large to hold: made piece by piece while they are sent, and of a length known beforehand."""

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

    The cause is what the source of the body raised, or a ValueError when it is not as long as it was said to be.
    """


@dataclass(frozen=True)
class StreamedBody:
    """`pieces()` begins it anew at each call: bytes that are `length` in all."""

    length: int
    pieces: Pieces

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[bytes]:
        # Whatever the source raises must look neither like a lost connection nor like an answer.
        try:
            yield from exactly(self.length, self.pieces())
        except Exception as error:
            raise BodyBroken(type(error).__name__) from error


def exactly(length: int, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same pieces; ValueError at their end when they are too few, and instead of the first byte too many."""
    left = length
    for piece in pieces:
        left -= len(piece)
        if left < 0:
            raise ValueError("longer than it was said to be")
        yield piece
    if left:
        raise ValueError("shorter than it was said to be")


@dataclass(frozen=True)
class FilePart:
    """A file to send: `chunks()` makes its `size` bytes, from the beginning at each call."""

    file_name: str
    content_type: str
    size: int
    chunks: Pieces


def form_with_file(parameters: dict[str, Any], file: FilePart) -> tuple[str, StreamedBody]:
    """Content type and body of `multipart/form-data` with `parameters`, as JSON, and `file`, named like this.

    The file is held to its size by itself: one too long by just the closing line would else pass for a whole body.
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
