"""Types of files, found by their content: a name is only a claim, and the upstream refuses a wrong file days later.

Whether a picture or a PDF is complete is not checked here: `opening` has it read in a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

MIB = 1024 * 1024
# The browser counts in MiB too; a limit in millions would refuse what it lets through.
MOST_BYTES = 50 * MIB
MOST_PDF_BYTES = 99 * MIB
HEAD = 64
PIECE = 256 * 1024


class FileRefused(Exception):
    """A file that is not taken in. Its text is a whole sentence for the person who sent it."""

    @property
    def reason(self) -> str:
        return str(self)


@dataclass(frozen=True)
class FileType:
    """`extension` is the usual one of the content, lower case and without its dot; `content_type` goes with it."""

    extension: str
    content_type: str


@dataclass(frozen=True)
class Kind:
    called: str
    type: FileType
    endings: frozenset[str]
    begins: Callable[[bytes], bool]


def begins_as_pdf(head: bytes) -> bool:
    return head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"%PDF-")


def begins_as_bmp(head: bytes) -> bool:
    """By two letters only, a text about a BMW would be a picture, so the header after them has to fit as well."""
    sizes = (12, 40, 52, 56, 64, 108, 124)
    return head.startswith(b"BM") and len(head) >= 26 and int.from_bytes(head[14:18], "little") in sizes


KINDS = (
    Kind("PDF", FileType("pdf", "application/pdf"), frozenset({"pdf"}), begins_as_pdf),
    Kind(
        "JPEG picture",
        FileType("jpg", "image/jpeg"),
        frozenset({"jpg", "jpeg"}),
        lambda head: head.startswith(b"\xff\xd8\xff"),
    ),
    Kind(
        "PNG picture",
        FileType("png", "image/png"),
        frozenset({"png"}),
        lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"),
    ),
    Kind(
        "GIF picture",
        FileType("gif", "image/gif"),
        frozenset({"gif"}),
        lambda head: head.startswith((b"GIF87a", b"GIF89a")),
    ),
    Kind(
        "TIFF picture",
        FileType("tif", "image/tiff"),
        frozenset({"tif", "tiff"}),
        lambda head: head.startswith((b"II*\x00", b"MM\x00*")),
    ),
    Kind("BMP picture", FileType("bmp", "image/bmp"), frozenset({"bmp"}), begins_as_bmp),
)
TEXT = FileType("txt", "text/plain")
ENDINGS = frozenset({"txt"}).union(*(kind.endings for kind in KINDS))

# What people send most often under another name. We name it, because "not a JPEG" does not help people who never
# renamed anything.
OFTEN_SENT = (
    (b"MZ", 0, "a Windows program"),
    (b"\x7fELF", 0, "a program"),
    (b"ftyphei", 4, "a HEIC picture of an iPhone"),
    (b"ftypmif1", 4, "a HEIC picture of an iPhone"),
    (b"WEBP", 8, "a WebP picture"),
    (b"PK\x03\x04", 0, "a Word document or a ZIP archive"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", 0, "an old Word or Excel document"),
    (b"{\\rtf", 0, "a rich text document"),
)


def recognise(stream: BinaryIO, name: str, size: int) -> FileType:
    """The type of a file of `size` bytes, read from its content; its name's ending has to agree.

    Raises FileRefused. Leaves the stream at its beginning. At most 50 MiB, or 99 MiB for a PDF.
    """
    ending = ending_of(name)
    check_size(ending, size)
    stream.seek(0)
    found = kind_of(stream.read(HEAD))
    check_agreement(stream, ending, found)
    if found is None:
        check_text(stream)
    stream.seek(0)
    return found.type if found is not None else TEXT


def ending_of(name: str) -> str:
    """Lower case, without its dot; raises FileRefused for one that is not on the list."""
    _, dot, ending = name.strip().rpartition(".")
    if not dot or ending.lower() not in ENDINGS:
        listed = ", ".join(sorted(each.upper() for each in ENDINGS))
        raise FileRefused(f"We cannot take this type of file. Please add one of these: {listed}.")
    return ending.lower()


def check_size(ending: str, size: int) -> None:
    largest = MOST_PDF_BYTES if ending == "pdf" else MOST_BYTES
    if size < 1:
        raise FileRefused("This file is empty.")
    if size > largest:
        kind = "a PDF" if ending == "pdf" else "this type of file"
        raise FileRefused(f"This file is too large. The most we can take of {kind} is {largest // MIB} MB.")


def kind_of(head: bytes) -> Kind | None:
    """The picture or PDF that begins like this; None may still be a text."""
    return next((kind for kind in KINDS if kind.begins(head)), None)


def check_agreement(stream: BinaryIO, ending: str, found: Kind | None) -> None:
    """Refuse a file that two programs would read in two ways: one may check it, and another open it."""
    if found is not None and ending not in found.endings:
        raise FileRefused(f"This file's name ends in .{ending}, but it is a {found.called}. Please correct its name.")
    if found is None and ending != "txt":
        stream.seek(0)
        raise FileRefused(f"This file's name ends in .{ending}, but it is {called(stream.read(HEAD))}.")


def called(head: bytes) -> str:
    known = (what for mark, at, what in OFTEN_SENT if head[at:].startswith(mark))
    return next(known, "something else, or damaged")


def check_text(stream: BinaryIO) -> None:
    """Plain ASCII, as the upstream wants it. A NUL is ASCII too, but only other encodings and programs hold any."""
    stream.seek(0)
    while piece := stream.read(PIECE):
        if not piece.isascii() or b"\x00" in piece:
            raise FileRefused(
                "This text file holds characters that we cannot take (it is not plain ASCII text). "
                "Please save it as a PDF and add that."
            )
