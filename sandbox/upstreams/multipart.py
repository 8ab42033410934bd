"""A reader of multipart bodies: once, front to back, keeping of every part only what is worth showing.

Werkzeug's form parser drops the content type of a part without a file name, forgives bare line feeds and keeps files.
The contract sets content types (contract: benefits 4.1), and a client's own framing deserves a strict reader.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

CHUNK_BYTES = 1 << 20
KEPT_BYTES = 1 << 16


class BadMultipart(ValueError):
    """A body that is not what its content type says. The text says why."""


@dataclass(frozen=True)
class Part:
    """One part. `first_bytes` is at most 64 KiB of `size`; `file_name` is None where none was sent."""

    name: str
    file_name: str | None
    content_type: str
    size: int
    sha256: str
    first_bytes: bytes


class _Growing:
    """A part that is still being read."""

    def __init__(self, head: Field | File) -> None:
        self._head, self._size, self._first = head, 0, bytearray()
        self._digest = hashlib.sha256()

    def add(self, data: bytes) -> None:
        self._size += len(data)
        self._digest.update(data)
        self._first += data[: max(0, KEPT_BYTES - len(self._first))]

    def whole(self) -> Part:
        head = self._head
        file_name = head.filename if isinstance(head, File) else None
        media = head.headers.get("Content-Type", "")
        return Part(head.name, file_name, media, self._size, self._digest.hexdigest(), bytes(self._first))


def parts_of(body: IO[bytes], content_type: str) -> list[Part]:
    """The parts of a `multipart/form-data` body in their order; raises BadMultipart."""
    media, options = parse_options_header(content_type)
    if media != "multipart/form-data" or not options.get("boundary"):
        raise BadMultipart("The content type must be multipart/form-data with a boundary.")
    boundary = options["boundary"].encode()
    try:
        return list(_parts(_strict(body, boundary), MultipartDecoder(boundary)))
    except (ValueError, AttributeError) as error:
        raise BadMultipart(str(error)) from None


def summary(body: bytes, content_type: str) -> Any:
    """A body for the journal: each part without its bytes, or what is wrong when it has no parts."""
    try:
        parts = parts_of(io.BytesIO(body), content_type)
    except BadMultipart as error:
        return {"bytes": len(body), "unreadable": str(error)}
    return [_shown(part) for part in parts]


def _shown(part: Part) -> dict[str, Any]:
    shown = {"name": part.name, "file_name": part.file_name, "content_type": part.content_type, "size": part.size}
    text = {} if part.file_name else {"text": part.first_bytes.decode("utf-8", "replace")}
    return {**shown, "sha256": part.sha256, **text}


def _strict(body: IO[bytes], boundary: bytes) -> Iterator[bytes | None]:
    """The body in chunks, then None; raises BadMultipart unless it begins and ends with whole boundary lines."""
    opening, closing, tail = b"--" + boundary + b"\r\n", b"\r\n--" + boundary + b"--", b""
    chunk = body.read(CHUNK_BYTES)
    if not chunk.startswith(opening):
        raise BadMultipart("The body does not begin with its boundary.")
    while chunk:
        tail = (tail + chunk)[-len(closing) - 2 :]
        yield chunk
        chunk = body.read(CHUNK_BYTES)
    if not tail.removesuffix(b"\r\n").endswith(closing):
        raise BadMultipart("The body does not end with its boundary.")
    yield None


def _parts(chunks: Iterator[bytes | None], decoder: MultipartDecoder) -> Iterator[Part]:
    growing: _Growing | None = None
    for chunk in chunks:
        decoder.receive_data(chunk)
        event = decoder.next_event()
        while not isinstance(event, NeedData | Epilogue):
            if isinstance(event, Field | File):
                growing = _Growing(event)
            elif isinstance(event, Data) and growing:
                growing.add(event.data)
                if not event.more_data:
                    yield growing.whole()
            event = decoder.next_event()
