"""Chunks of a file's bytes, and file names obscured for e-mails, which others may read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import BinaryIO

from flaskapp.form526.attachments.types import ENDINGS

CHUNK = 1024 * 1024

# A longer name is cut in the middle: an e-mail has a hundred characters for it.
_SHOWN_FIRST, _SHOWN_LAST, _MOST_BETWEEN = 3, 2, 95
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
    """`discharge_letter 2.pdf` → `disXXXXXX_XXXXXX 2.pdf`: enough for its owner to recognise it in an e-mail.

    Short names are whole. In longer ones what is between the ends is masked, except blanks and punctuation (contract:
    benefits 5.4).
    """
    stem, ending = split(name)
    if len(stem) <= _SHOWN_FIRST + _SHOWN_LAST:
        return stem + ending
    between = stem[_SHOWN_FIRST:-_SHOWN_LAST][:_MOST_BETWEEN]
    return stem[:_SHOWN_FIRST] + "".join(masked(sign) for sign in between) + stem[-_SHOWN_LAST:] + ending


def masked(sign: str) -> str:
    """Outside ASCII every sign is masked: some scripts write parts of a letter as signs of their own."""
    return sign if sign.isascii() and not sign.isalnum() else MASK


def split(name: str) -> tuple[str, str]:
    """Stem and ending (`.pdf`), without folders; an ending we do not know belongs to the stem."""
    base = PurePosixPath(name.replace("\\", "/")).name.strip()
    stem, dot, ending = base.rpartition(".")
    return (stem, f".{ending}") if dot and ending.lower() in ENDINGS else (base, "")
