"""Uploads without end, or as large as allowed: they stop at the limit, use little memory, and leave nothing behind."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from flaskapp.form526.attachments.types import MOST_BYTES
from flaskapp.form526.routes import MOST_UPLOAD_BYTES
from tests.hostile.multipart import END, KIND, kept, open_files, part, send, signed_in
from tests.product import Product

# As in test_uploads.py: the file of an upload that broke off closes with the last reference to it.
pytestmark = pytest.mark.filterwarnings("ignore:Unclosed file:ResourceWarning")

MIB = 1024 * 1024


class Flood(io.RawIOBase):
    """An upload of zeros, `size` bytes in all, its end included; or one that never ends. Counts how much was read."""

    def __init__(self, size: int | None) -> None:
        self.rest = part(b"")[:-2]
        self.zeros = None if size is None else size - len(self.rest) - len(CLOSING)
        self.given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self.rest and self.zeros == 0:
            self.rest, self.zeros = CLOSING, -1
        most = len(buffer) if self.zeros is None else min(len(buffer), max(0, self.zeros))
        piece = self.rest[: len(buffer)] or bytes(most)
        if self.rest:
            self.rest = self.rest[len(piece) :]
        elif self.zeros is not None:
            self.zeros -= len(piece)
        buffer[: len(piece)] = piece
        self.given += len(piece)
        return len(piece)


CLOSING = b"\r\n" + END


@contextmanager
def little_memory() -> Iterator[None]:
    """The most that this process holds meanwhile is little more than before. Linux counts it, from now on when it is
    reset."""
    Path("/proc/self/clear_refs").write_text("5")
    before = psutil.Process().memory_info().rss
    yield
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    grown = int(line.split()[1]) * 1024 - before
    assert grown < 24 * MIB, grown / MIB


# What its headers say, what is answered, and how much of it may be read.
FLOODS: dict[str, tuple[dict[str, Any], int, str, Callable[[int], bool]]] = {
    "announced, and too much": (
        {"CONTENT_LENGTH": str(MOST_UPLOAD_BYTES + 1)},
        413,
        "This file is too large.",
        lambda read: read == 0,
    ),
    "not announced": (
        {"wsgi.input_terminated": True},
        413,
        "This file is too large.",
        lambda read: read <= MOST_UPLOAD_BYTES + MIB,
    ),
    "announced, and no text": (
        {"CONTENT_LENGTH": str(MOST_BYTES)},
        422,
        "not plain ASCII",
        lambda read: read == MOST_BYTES,
    ),
}


@pytest.mark.parametrize("what", FLOODS)
def test_a_flood_ends_at_the_limit_and_in_little_memory(
    product: Product, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    headers = signed_in(product)
    environ, status, words, is_enough = FLOODS[what]
    assert kept(product) == (0, 0)
    flood, before = Flood(MOST_BYTES if status == 422 else None), open_files()
    with little_memory():
        response = send(product, headers, b"", KIND, **environ, **{"wsgi.input": flood})
    assert (response.status_code, is_enough(flood.given)) == (status, True), (flood.given, response.text)
    assert words in response.text
    response.close()
    assert (kept(product), list(tmp_path.iterdir()), open_files()) == ((0, 0), [], before)
