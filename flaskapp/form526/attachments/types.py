"""Types of files, found by their content: a name is only a claim, and the upstream refuses a wrong file days later.

Whether a picture or a PDF is complete is not checked here: `opening` has it read in a process of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

MIB = 1024 * 1024
# The browser counts in MiB too; a limit in millions would refuse what it lets through.
MOST_BYTES = 50 * MIB
MOST_PDF_BYTES = 99 * MIB
# Readers look for the beginning of a PDF in so many bytes.
HEAD = 1024
PIECE = 256 * 1024
LONGEST_ENDING = 5


class FileRefused(Exception):
    """A file that is not taken in. Its text is for the person who sent it: what is wrong, and then what to do."""

    def __init__(self, wrong: str, to_do: str) -> None:
        super().__init__(f"{wrong} {to_do}")
        self.to_do = to_do

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
    return head.removeprefix(b"\xef\xbb\xbf").lstrip(b"\0 \t\r\n\f\v").startswith(b"%PDF-")


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
# Larger TIFFs have a number of their own, and most readers take them for broken.
BIGTIFF = (b"II+\x00", b"MM\x00+")

PRINT = "Please open it, print it to a PDF, and add that."
SAVE_AS_JPEG = "Please save it as a JPEG picture and add that."
NO_VIDEO = "Please add pictures of it, or a PDF that describes it."
SEND_THE_DOCUMENT = "Please add the document itself, as a PDF or a picture."
AS_PDF = "Please save it as a PDF and add that."
UNPACK = "Please unpack it and add its files one by one."
# Names that such documents have inside: each is a ZIP archive, too.
OFFICE = re.compile(rb"PK\x03\x04.{26}.*(\[Content_Types\]\.xml|_rels/|word/|xl/|ppt/|mimetype)", re.S)
# What people send most often under another name: where its mark stands, what we call it, and what its sender can do.
# "Not a JPEG" would not help people who never renamed anything.
OFTEN_SENT = (
    (b"MZ", 0, "a Windows program", SEND_THE_DOCUMENT),
    (b"\x7fELF", 0, "a program", SEND_THE_DOCUMENT),
    *(
        (b"ftyp" + brand, 4, "a HEIC picture of an iPhone", SAVE_AS_JPEG)
        for brand in (b"hei", b"hev", b"mif1", b"msf1")
    ),
    (b"ftypavi", 4, "an AVIF picture", SAVE_AS_JPEG),
    (b"ftyp", 4, "a video", NO_VIDEO),
    (b"WEBP", 8, "a WebP picture", SAVE_AS_JPEG),
    *(
        (mark, 0, "a BigTIFF picture", "Please save it as an ordinary TIFF or as a PDF, and add that.")
        for mark in BIGTIFF
    ),
    (b"PK\x03\x04", 0, "a ZIP archive", UNPACK),
    (b"Rar!", 0, "an archive", UNPACK),
    (b"7z\xbc\xaf\x27\x1c", 0, "an archive", UNPACK),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", 0, "an old Word or Excel document", AS_PDF),
    (b"{\\rtf", 0, "a rich text document", AS_PDF),
    (b"%!PS", 0, "a PostScript file", PRINT),
)
# How a text begins that programs show as something else; only its reader would see the marks. `<name@place>` is none.
MARKUP = re.compile(rb"<([!?]|/?[a-z][a-z0-9:-]*[\s/>])", re.I)
MAIL = re.compile(rb"^MIME-Version:", re.I | re.M)
BLANK_LINE = re.compile(rb"\r?\n[ \t]*\r?\n")
MARKS_OF_TEXTS = (b"{\\rtf", b"%!PS")


def recognise(stream: BinaryIO, name: str, size: int) -> FileType:
    """The type of a file of `size` bytes, read from its content. A picture or a PDF may have any name, a text may not.

    Raises FileRefused. Leaves the stream at its beginning. At most 50 MiB, or 99 MiB for a PDF.
    """
    stream.seek(0)
    head = stream.read(HEAD)
    found = kind_of(head, ending_of(name))
    check_size(found, size)
    if found is None:
        check_text(stream, name, head)
    stream.seek(0)
    return found.type if found is not None else TEXT


def ending_of(name: str) -> str:
    """Lower case, without its dot; empty for a name without one."""
    _, dot, ending = name.strip().rpartition(".")
    return ending.lower() if dot else ""


def with_ending(name: str, content_type: str) -> str:
    """The name under which the file is passed on: its ending fits the content, because the upstream judges by it."""
    kind = next((each for each in KINDS if each.type.content_type == content_type), None)
    ending = ending_of(name)
    if kind is None or ending in kind.endings:
        return name
    is_ending = ending.isalnum() and len(ending) <= LONGEST_ENDING
    stem = name.strip()[: -len(ending) - 1] if is_ending else name.strip()
    return f"{stem}.{kind.type.extension}"


def check_size(found: Kind | None, size: int) -> None:
    is_pdf = found is not None and found.type.extension == "pdf"
    if size < 1:
        raise FileRefused("This file is empty.", "Please save it again and add the new file.")
    if size > (MOST_PDF_BYTES if is_pdf else MOST_BYTES):
        raise too_large(is_pdf)


def too_large(is_pdf: bool) -> FileRefused:
    kind, most = ("a PDF", MOST_PDF_BYTES) if is_pdf else ("this type of file", MOST_BYTES)
    return FileRefused(
        f"This file is too large. The most we can take of {kind} is {most // MIB} MB.",
        "Please split it into several files, or save it with fewer pixels, and add those.",
    )


def kind_of(head: bytes, ending: str) -> Kind | None:
    """The picture or PDF that begins like this; None may still be a text.

    Readers of PDFs pass over what stands before the beginning; we only where the name says that it is one.
    """
    found = next((kind for kind in KINDS if kind.begins(head)), None)
    if found is None and ending == "pdf" and b"%PDF-" in head:
        return KINDS[0]
    return found


def check_text(stream: BinaryIO, name: str, head: bytes) -> None:
    """Plain ASCII under its own ending, as the upstream wants it. A NUL is ASCII too, but only other encodings and
    programs hold any. Raises FileRefused."""
    ending = ending_of(name)
    what, to_do = called(head)
    if ending != "txt":
        if ending not in ENDINGS and what is None:
            listed = ", ".join(sorted(each.upper() for each in ENDINGS))
            raise FileRefused(
                "We cannot take this type of file.", f"Please save it as one of these and add that: {listed}."
            )
        named = f"This file's name ends in .{ending}, but it is" if ending in ENDINGS else "This file is"
        raise FileRefused(f"{named} {what or 'something else, or damaged'}.", to_do)
    begin = begin_of(head)
    if begin.startswith(MARKS_OF_TEXTS) or MARKUP.match(begin) or is_mail(begin):
        raise FileRefused(f"This file's name ends in .txt, but it is {what}.", to_do)
    stream.seek(0)
    while piece := stream.read(PIECE):
        if not piece.isascii() or b"\x00" in piece:
            raise FileRefused(
                "This text file holds characters that we cannot take (it is not plain ASCII text).", AS_PDF
            )


def begin_of(head: bytes) -> bytes:
    """Without what programs pass over at the beginning: a byte order mark, blanks, and the sign that ends a print."""
    return head.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n\f\v\x04")


def is_mail(begin: bytes) -> bool:
    """Whether it has the headers of an e-mail, which browsers also write before a saved page."""
    return MAIL.search(BLANK_LINE.split(begin, 1)[0]) is not None


def called(head: bytes) -> tuple[str | None, str]:
    """What a file with this beginning is called, None where we do not know, and what its sender can do."""
    begin = begin_of(head)
    if MARKUP.match(begin):
        return "a web page", PRINT
    if is_mail(begin):
        return "a saved web page or e-mail", PRINT
    if OFFICE.match(head):
        return "a Word or Excel document", AS_PDF
    known = ((what, to_do) for mark, at, what, to_do in OFTEN_SENT if (head[at:] if at else begin).startswith(mark))
    return next(known, (None, PRINT))
