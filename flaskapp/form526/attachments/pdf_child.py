"""Child process that reads one PDF from a stranger and ends. It has limits, so that only it can come to harm.

`opening` starts this file by its path and reads the exit code; nothing imports it. Descriptors come as arguments, the
password on standard input.
"""

from __future__ import annotations

import errno
import os
import resource
import sys
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import pikepdf

AS_IS, COPIED, NEEDS_PASSWORD, WRONG_PASSWORD, DAMAGED, TOO_MUCH = range(40, 46)

MIB = 1024 * 1024
# Measured: 99 MiB in one encrypted stream, the most that is decrypted at once, takes 325 MiB.
MEMORY_BYTES = 400 * MIB
CPU_SECONDS = 12
COPY_BYTES = 256 * MIB

# A stream that unpacks to more than this is no document. Refusing it also protects people who open it later.
STREAM_BYTES = 256 * MIB
ALL_BYTES = 2048 * MIB
# The tables of a document (cross-references, packed objects) are read whole by the library; real ones are far smaller.
# The library goes on without a larger one, so our check has to find it.
TABLE_BYTES = 64 * MIB
TABLES = ("/ObjStm", "/XRef")
MOST_FILTERS = 8
PIECE = 256 * 1024
TAIL = 4096


class TooMuch(Exception):
    """The PDF unpacks to more than any document would."""


def limit_this_process() -> None:
    for what, most in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_FSIZE, COPY_BYTES),
        # A core file would leave a person's document on the disk.
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))
    pikepdf.settings.set_qpdf_limits(flate_max_memory=TABLE_BYTES)


def judge(source: BinaryIO, copy: BinaryIO, password: str) -> int:
    """The exit code: what kind of PDF it is, and whether `copy` now holds it without its lock."""
    try:
        return opened(source, copy, password)
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


def opened(source: BinaryIO, copy: BinaryIO, password: str) -> int:
    if not ends_as_pdf(source):
        return DAMAGED
    try:
        pdf = unlocked(source, password)
    except pikepdf.PasswordError:
        return WRONG_PASSWORD if password else NEEDS_PASSWORD
    with pdf:
        check_content(pdf)
        if not pdf.is_encrypted:
            return AS_IS
        return COPIED if write_unlocked(pdf, copy) else DAMAGED


def ends_as_pdf(source: BinaryIO) -> bool:
    """Whether the file has its end. The library repairs one that was cut short by leaving out what is missing, and the
    person would never know."""
    source.seek(max(0, source.seek(0, os.SEEK_END) - TAIL))
    return b"startxref" in source.read()


def unlocked(source: BinaryIO, password: str) -> pikepdf.Pdf:
    """The opened PDF. Many locked PDFs open without a password and only forbid changes, so that is tried first."""
    try:
        return open_pdf(source, "")
    except pikepdf.PasswordError:
        if not password:
            raise
    return open_pdf(source, password)


def open_pdf(source: BinaryIO, password: str) -> pikepdf.Pdf:
    """Open it. Small faults are repaired as in every viewer, but not in a locked PDF: only our copy would remain."""
    pdf = pikepdf.Pdf.open(source, password=password, access_mode=pikepdf.AccessMode.stream)
    if not pdf.is_encrypted:
        return pdf
    pdf.close()
    return pikepdf.Pdf.open(source, password=password, access_mode=pikepdf.AccessMode.stream, attempt_recovery=False)


def check_content(pdf: pikepdf.Pdf) -> None:
    """Check that it has a page, and that no stream or table unpacks to more than in any document; raises TooMuch."""
    if len(pdf.pages) < 1:
        raise ValueError("no pages")
    left = ALL_BYTES
    for item in pdf.objects:
        if isinstance(item, pikepdf.Stream):
            most = TABLE_BYTES if item.get("/Type") in TABLES else STREAM_BYTES
            left -= unpacked_bytes(item, min(left, most))


def unpacked_bytes(stream: pikepdf.Stream, allowed: int) -> int:
    """How many bytes a deflated stream has; 0 for other kinds. Raises TooMuch above what is allowed."""
    filters: Any = stream.get("/Filter", [])
    names = [str(each) for each in ([filters] if isinstance(filters, pikepdf.Name) else filters)][:MOST_FILTERS]
    if not names or names[0] not in ("/FlateDecode", "/Fl"):
        return 0
    raw = memoryview(stream.get_raw_stream_buffer())
    pieces: Iterator[bytes | memoryview] = (raw[at : at + PIECE] for at in range(0, len(raw), PIECE))
    for name in names:
        if name not in ("/FlateDecode", "/Fl"):
            break
        pieces = inflated(pieces)
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > allowed:
            raise TooMuch
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
    """Write it without its lock, every stream as it is. False when some stream could not be read: the library only
    warns, and writes the rest."""
    # Reading the warnings clears them: these were about faults that a viewer repairs, not about this writing.
    pdf.get_warnings()
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
    limit_this_process()
    source, copy = (int(number) for number in sys.argv[1:])
    password = sys.stdin.buffer.read().decode()
    with open(source, "rb", closefd=False) as readable, open(copy, "w+b", closefd=False) as writable:
        return judge(readable, writable, password)


if __name__ == "__main__":
    sys.exit(main())
