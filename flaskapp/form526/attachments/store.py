"""Chunks of a file's bytes, and file names obscured for people who are not meant to read them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import BinaryIO

from flaskapp.form526.attachments.types import ENDINGS

CHUNK = 1024 * 1024

_SHOWN_FIRST, _SHOWN_LAST, _LEAST_HIDDEN, _MOST_MASKS = 3, 2, 4, 20
MASK = "X"


def chunks_of(stream: BinaryIO, size: int = CHUNK) -> Iterator[bytes]:
    """The whole stream from its beginning, in chunks of `size` bytes; only the last one is shorter."""
    stream.seek(0)
    while chunk := stream.read(size):
        # A stream may return less than requested, but a chunk in the middle must not be short.
        while len(chunk) < size and (more := stream.read(size - len(chunk))):
            chunk += more
        yield chunk


def obscured(name: str) -> str:
    """`discharge_letter.pdf` → `disXXXXXXXXXXXer.pdf`: enough for its owner to recognise it.

    Names that are short, or have no letter (a date of birth, the number of a card), are masked completely.
    """
    stem, ending = split(name)
    hidden = len(stem) - _SHOWN_FIRST - _SHOWN_LAST
    if hidden < _LEAST_HIDDEN or not any(letter.isalpha() for letter in stem):
        return MASK * min(len(stem), _MOST_MASKS) + ending
    return stem[:_SHOWN_FIRST] + MASK * min(hidden, _MOST_MASKS) + stem[-_SHOWN_LAST:] + ending


def split(name: str) -> tuple[str, str]:
    """Stem and ending (`.pdf`), without folders; an ending we do not know belongs to the stem."""
    base = PurePosixPath(name.replace("\\", "/")).name.strip()
    stem, dot, ending = base.rpartition(".")
    return (stem, f".{ending.lower()}") if dot and ending.lower() in ENDINGS else (base, "")
