"""Program that reads one PDF from a stranger. It runs in a child with limits, so that only that can come to harm.

`opening` has it started by `confined_child.py` and reads the exit code; nothing imports it. Descriptors come as
arguments, the password on standard input.
"""

from __future__ import annotations

import codecs
import collections
import errno
import io
import itertools
import os
import re
import sys
import unicodedata
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, cast

import pikepdf

AS_IS, COPIED, NEEDS_PASSWORD, WRONG_PASSWORD, DAMAGED, TOO_MUCH, NOT_SHOWN, FOLDER, LARGE_PAGE = range(40, 49)
MOST_LEVELS = 50

MIB = 1024 * 1024
# Measured: 99 MiB in one encrypted stream, the most that is decrypted at once, takes 325 MiB.
MEMORY_BYTES = 400 * MIB
WRITTEN_BYTES = 256 * MIB

# A PDF that unpacks to more than this is no document. Refusing it also protects people who open it later. Measured: ten
# pages of clean text, scanned at 600 dots an inch and kept as deflated pixels, unpack to 150 times their size.
STREAM_BYTES = 256 * MIB
ALL_BYTES = 2048 * MIB
LEAST_BYTES, TIMES_ITS_SIZE = 256 * MIB, 200
# The tables of a document (cross-references, packed objects) are read whole by the library; real ones are far smaller.
# The library goes on without a larger one, so our check has to find it.
TABLE_BYTES = 16 * MIB
TABLES = ("/ObjStm", "/XRef")
DEFLATED = frozenset({"/FlateDecode", "/Fl"})
MOST_FILTERS = 8
PIECE = 256 * 1024
TAIL = 4096
BLANK = b"\0 \t\r\n\f\v"
READERS_LOOK = 1000
# The library's words for a page that is not there.
PAGE_LOST = "Pages tree includes non-dictionary object"
# How an XFA template says that its pages are made only while it is shown.
MADE_WHEN_SHOWN = re.compile(rb"<dynamicRender>\s*required")
SETTINGS_BYTES = 16 * MIB
# Until 2008 a password was bytes in the encoding of whatever program asked for it; since then it is normalised UTF-8.
OLD_ENCODINGS = ("pdfdoc", "cp1252", "mac_roman", "cp850")
POINTS_PER_INCH = 72
WIDEST_INCHES, TALLEST_INCHES = 78, 101


def open_everything() -> None:
    """Have the libraries open now what they would open while they read, when no file can be opened any more."""
    for encoding in OLD_ENCODINGS:
        codecs.lookup(encoding)
    # The source of random numbers, which is kept: the library wants some before it opens a lock, and to make one.
    with pikepdf.new() as pdf:
        pdf.Root.Lang = "en"
        pdf.save(io.BytesIO(), encryption=pikepdf.Encryption(R=4))


open_everything()


class TooMuch(Exception):
    """The PDF unpacks to more than any document would."""


class Refused(Exception):
    """The PDF can be read, and is refused for what it is; `code` is the exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Beginning(io.RawIOBase):
    """A file up to `end`."""

    def __init__(self, file: BinaryIO, end: int) -> None:
        self.file, self.end = file, end

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self.file.seek(self.end + offset) if whence == os.SEEK_END else self.file.seek(offset, whence)

    def readinto(self, buffer: Any) -> int:
        piece = self.file.read(max(0, min(len(buffer), self.end - self.file.tell())))
        buffer[: len(piece)] = piece
        return len(piece)


def unpadded(file: BinaryIO) -> BinaryIO:
    """The file without the blanks and NULs that follow its end: copiers and mail programs fill it up with them."""
    end = end_of(file)
    whole = end == file.seek(0, os.SEEK_END)
    file.seek(0)
    return file if whole else cast(BinaryIO, io.BufferedReader(Beginning(file, end)))


def end_of(file: BinaryIO) -> int:
    """Where the last byte that is no blank ends."""
    end = file.seek(0, os.SEEK_END)
    while end:
        begin = max(0, end - PIECE)
        file.seek(begin)
        content = file.read(end - begin).rstrip(BLANK)
        if content:
            return begin + len(content)
        end = begin
    return 0


def judge(source: BinaryIO, copy: BinaryIO, password: str, *, limit_pages: bool) -> int:
    """The exit code: what kind of PDF it is, and whether `copy` now holds it without its lock, or mended."""
    try:
        return opened(source, copy, password, limit_pages)
    except Refused as refused:
        return refused.code
    except (MemoryError, TooMuch):
        return TOO_MUCH
    except OSError as error:
        # Any error but our limit on the copy is the machine's fault, not the PDF's.
        if error.errno != errno.EFBIG:
            raise
        return TOO_MUCH
    except Exception:
        # A hostile file causes errors that no library documents.
        return DAMAGED


def opened(source: BinaryIO, copy: BinaryIO, password: str, limit_pages: bool) -> int:
    whole = unpadded(source)
    if not ends_as_pdf(whole):
        return DAMAGED
    try:
        pdf = unlocked(whole, password)
    except pikepdf.PasswordError:
        return WRONG_PASSWORD if password else NEEDS_PASSWORD
    except pikepdf.PdfError:
        pdf = None
    if pdf is not None:
        with pdf:
            check_content(pdf, end_of(whole), limit_pages)
            if pdf.is_encrypted:
                return COPIED if write_unlocked(pdf, copy) else DAMAGED
            if not pdf.get_warnings() and is_found_where_readers_look(source, whole):
                return AS_IS
    return mended(whole, copy, limit_pages)


def mended(whole: BinaryIO, copy: BinaryIO, limit_pages: bool) -> int:
    """Repair wrong tables as every viewer does, and pass on the repaired one: not every reader can. A locked PDF with
    such a fault is left to its sender, because without the lock nobody could compare it."""
    with pikepdf.Pdf.open(whole, access_mode=pikepdf.AccessMode.stream) as pdf:
        if pdf.is_encrypted:
            return DAMAGED
        check_content(pdf, end_of(whole), limit_pages)
        return COPIED if write_unlocked(pdf, copy) else DAMAGED


def is_found_where_readers_look(source: BinaryIO, whole: BinaryIO) -> bool:
    """Whether it begins with its header, and few blanks follow its end: most readers look for that in so many bytes
    only, and repair the file where they find nothing."""
    source.seek(0)
    begins = source.read(5) == b"%PDF-"
    return begins and source.seek(0, os.SEEK_END) - whole.seek(0, os.SEEK_END) < READERS_LOOK


def ends_as_pdf(whole: BinaryIO) -> bool:
    """Whether the file has its end. The library repairs one that was cut short by leaving out what is missing, and the
    person would never know."""
    whole.seek(max(0, whole.seek(0, os.SEEK_END) - TAIL))
    return b"startxref" in whole.read()


def unlocked(whole: BinaryIO, password: str) -> pikepdf.Pdf:
    """The opened PDF, with nothing repaired. Many locked PDFs open without a password and only forbid changes, so that
    is tried first."""
    refused = pikepdf.PasswordError()
    for spelled in (b"", *spellings(password)):
        try:
            return pikepdf.Pdf.open(
                whole, password=spelled, access_mode=pikepdf.AccessMode.stream, attempt_recovery=False
            )
        except pikepdf.PasswordError as error:
            refused = error
    raise refused


def spellings(password: str) -> Iterator[bytes]:
    """The password in the bytes that programs make of it, each once."""
    seen = {b""}
    composed = unicodedata.normalize("NFC", password)
    for text, encoding in (
        (composed, "utf-8"),
        (unicodedata.normalize("NFKC", password), "utf-8"),
        *((composed, each) for each in OLD_ENCODINGS),
    ):
        try:
            spelled = text.encode(encoding)
        except UnicodeEncodeError:
            continue
        if spelled not in seen:
            seen.add(spelled)
            yield spelled


def check_content(pdf: pikepdf.Pdf, size: int, limit_pages: bool = False) -> None:
    """Check that it has a page that anybody can see, and that no stream or table unpacks to more than in any document
    of this size.

    Raises Refused and TooMuch.
    """
    if len(pdf.pages) < 1:
        raise ValueError("no pages")
    if "/Collection" in pdf.Root:
        raise Refused(FOLDER)
    if is_drawn_by_one_program(pdf):
        raise Refused(NOT_SHOWN)
    if limit_pages and any(map(is_too_large, pdf.pages)):
        raise Refused(LARGE_PAGE)
    left = min(LEAST_BYTES + TIMES_ITS_SIZE * size, ALL_BYTES)
    for item in pdf.objects:
        if isinstance(item, pikepdf.Stream):
            most = TABLE_BYTES if item.get("/Type") in TABLES else STREAM_BYTES
            left -= unpacked_bytes(item, min(left, most))


def is_drawn_by_one_program(pdf: pikepdf.Pdf) -> bool:
    """Whether its pages are made from an XFA template when it is shown. Most programs show the one page "Please wait"
    in their place. One with fields on pages of its own is an ordinary form beside its template, and one whose template
    was left behind when it was printed has nothing but pages."""
    form = pdf.Root.get("/AcroForm")
    template = form.get("/XFA") if isinstance(form, pikepdf.Dictionary) else None
    if template is None or any(has_fields(page) for page in pdf.pages):
        return False
    return bool(pdf.Root.get("/NeedsRendering", False)) or any(map(MADE_WHEN_SHOWN.search, settings_in(template)))


def has_fields(page: pikepdf.Page) -> bool:
    """Whether something on it is to be filled in; a signature alone shows nothing of a form."""
    notes = page.obj.get("/Annots")
    listed = (
        [each for each in notes if isinstance(each, pikepdf.Dictionary)] if isinstance(notes, pikepdf.Array) else []
    )
    return any(each.get("/Subtype") == "/Widget" and inherited(each, "/FT", None) != "/Sig" for each in listed)


def settings_in(template: Any) -> Iterator[bytes]:
    """The parts of an XFA template that are small enough to hold its settings."""
    parts = [template] if isinstance(template, pikepdf.Stream) else template
    for part in parts if isinstance(parts, list | pikepdf.Array) else ():
        if isinstance(part, pikepdf.Stream):
            try:
                unpacked_bytes(part, SETTINGS_BYTES)
            except TooMuch:
                continue
            yield part.read_bytes()


def is_too_large(page: pikepdf.Page) -> bool:
    """Whether what is shown of it, as it is shown, is over 78 inches wide or 101 high."""
    media, crop = corners(page.mediabox), corners(page.cropbox)
    per_inch = POINTS_PER_INCH / float(page.obj.get("/UserUnit", 1))
    width = (min(media[2], crop[2]) - max(media[0], crop[0])) / per_inch
    height = (min(media[3], crop[3]) - max(media[1], crop[1])) / per_inch
    if int(inherited(page.obj, "/Rotate", 0)) % 180:
        width, height = height, width
    return width > WIDEST_INCHES or height > TALLEST_INCHES


def corners(box: Any) -> tuple[float, float, float, float]:
    """Left, bottom, right and top; a box may name any two of its corners."""
    one, two, three, four = (float(each) for each in box)
    return min(one, three), min(two, four), max(one, three), max(two, four)


def inherited(item: Any, name: str, default: Any) -> Any:
    """What the page or field says, or the nearest of the nodes above it."""
    for _ in range(MOST_LEVELS):
        if item is None or name in item:
            break
        item = item.get("/Parent")
    return default if item is None else item.get(name, default)


def unpacked_bytes(stream: pikepdf.Stream, allowed: int) -> int:
    """How many bytes a deflated stream unpacks to; 0 for other kinds. Raises TooMuch above what is allowed.

    Of one that is packed several times over every layer counts: all have to be unpacked, and the last may be empty.
    """
    filters: Any = stream.get("/Filter", [])
    names = [str(each) for each in ([filters] if isinstance(filters, pikepdf.Name) else filters)]
    layers = list(itertools.takewhile(DEFLATED.__contains__, names))
    if not layers:
        return 0
    if len(layers) > MOST_FILTERS:
        raise TooMuch
    raw = memoryview(stream.get_raw_stream_buffer())
    pieces: Iterator[bytes | memoryview] = (raw[at : at + PIECE] for at in range(0, len(raw), PIECE))
    total = 0

    def counted(layer: Iterator[bytes]) -> Iterator[bytes]:
        nonlocal total
        for piece in layer:
            total += len(piece)
            if total > allowed:
                raise TooMuch
            yield piece

    for _ in layers:
        pieces = counted(inflated(pieces))
    collections.deque(pieces, maxlen=0)
    return total


def inflated(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    """The content, piece by piece; it ends where the data makes no sense any more, as in a viewer."""
    inflater = zlib.decompressobj()
    for piece in pieces:
        rest: bytes | memoryview = piece
        while rest and not inflater.eof:
            try:
                yield inflater.decompress(rest, PIECE)
            except zlib.error:
                return
            rest = inflater.unconsumed_tail


def write_unlocked(pdf: pikepdf.Pdf, copy: BinaryIO) -> bool:
    """Write it without its lock, every stream as it is. False when a page is lost or some stream could not be read:
    the library only warns, and writes the rest."""
    # Reading the warnings clears them: the others were about faults that a viewer repairs, not about this writing.
    if any(PAGE_LOST in warning for warning in pdf.get_warnings()):
        return False
    pikepdf.settings.set_flate_compression_level(1)
    pdf.save(
        copy,
        encryption=False,
        stream_decode_level=pikepdf.StreamDecodeLevel.none,
        object_stream_mode=pikepdf.ObjectStreamMode.preserve,
    )
    copy.flush()
    return not pdf.get_warnings()


def main() -> int:
    pikepdf.settings.set_qpdf_limits(flate_max_memory=TABLE_BYTES)
    source, copy, *words = sys.argv[1:]
    password = sys.stdin.buffer.read().decode()
    with open(int(source), "rb", closefd=False) as readable, open(int(copy), "w+b", closefd=False) as writable:
        return judge(readable, writable, password, limit_pages="limit-pages" in words)
