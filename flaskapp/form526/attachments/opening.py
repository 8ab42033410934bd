"""Opener of PDFs and pictures: refuses what is broken or built to do harm, without reading any in this process.

A child without network, user and most of its time and memory (`confined_child.py`) does the reading (`pdf_child.py`,
`picture_child.py`). The file reaches it as a descriptor and a password through a pipe, so neither has a name that
another process could see. Whoever calls this holds a turn (`turns.py`).
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from flaskapp.form526.attachments.types import FileRefused

ENTRY = Path(__file__).with_name("confined_child.py")
PDF_CHILD = Path(__file__).with_name("pdf_child.py")
PICTURE_CHILD = Path(__file__).with_name("picture_child.py")
# The child has a limit on its own time; this one is for a machine that gives it none.
READING_SECONDS = 13.0

# Exit codes of the children. TOO_MUCH is also for a child that was stopped.
AS_IS, COPIED = 40, 41
DAMAGED, TOO_MUCH = 44, 45
PRINT_NEW = "Please open it, print it to a new PDF, and add that."
PDF_REASONS = {
    42: ("This PDF needs a password.", "Please enter it, or add a copy without a password."),
    43: ("That password does not open this PDF.", "Please enter it again, or add a copy without a password."),
    DAMAGED: ("This PDF is damaged or not complete.", PRINT_NEW),
    TOO_MUCH: ("This PDF takes too much time or memory to open.", "Please print it to a new PDF, and add that."),
    46: ('This PDF is a form that only one program can show; others see "Please wait".', PRINT_NEW),
    47: ("This PDF is a folder of other files.", "Please open it, print each of them to a PDF, and add those."),
    48: ("A page of this PDF is larger than 78 x 101 inches.", "Please print it to a smaller page, and add that."),
}
PICTURE_REASONS = {
    DAMAGED: ("This {} picture is damaged or not complete.", "Please save it again and add the new file."),
    TOO_MUCH: ("This {} picture is too large to open.", "Please save it with fewer pixels or pages, and add that."),
}
# Pillow's names of the pictures that we take, by their usual extension.
PICTURES = {"bmp": "BMP", "gif": "GIF", "jpg": "JPEG", "png": "PNG", "tif": "TIFF"}


def opened_pdf(stream: BinaryIO, password: str | None, *, limit_pages: bool = False) -> BinaryIO:
    """A PDF that anyone can read, at its beginning: the same stream, or a copy without its lock or with mended tables.

    The copy is an anonymous temporary file, gone with the process; close it. `limit_pages` refuses pages over 78 x 101
    inches. Raises FileRefused, also for a PDF that is damaged, shows nothing to most readers, unpacks to more than a
    document would, or takes the child too long.
    """
    with ExitStack() as held:
        copy = held.enter_context(tempfile.TemporaryFile())
        with descriptor_of(stream) as source:
            words = ("limit-pages",) if limit_pages else ()
            code = read_in_child(PDF_CHILD, (source, copy.fileno()), *words, password=password or "")
        check_answer(code, PDF_REASONS)
        result = stream
        if code == COPIED:
            held.pop_all()
            result = copy
        result.seek(0)
        return result


def check_picture(stream: BinaryIO, extension: str) -> None:
    """Decode the whole picture and forget it; leaves the stream at its beginning. Raises FileRefused."""
    name = PICTURES[extension]
    with descriptor_of(stream) as source:
        code = read_in_child(PICTURE_CHILD, (source,), name)
    check_answer(code, {each: (wrong.format(name), to_do) for each, (wrong, to_do) in PICTURE_REASONS.items()})
    stream.seek(0)


def check_answer(code: int, reasons: Mapping[int, tuple[str, str]]) -> None:
    if code < 0:
        # A limit stopped it: of time, or of memory when the library could not report that.
        code = TOO_MUCH
    if code in reasons:
        raise FileRefused(*reasons[code])
    if code not in (AS_IS, COPIED):
        raise RuntimeError(f"the reading child failed with exit code {code}")


@contextmanager
def descriptor_of(stream: BinaryIO) -> Iterator[int]:
    """A descriptor of the whole file. The child shares its position, so the position is restored afterwards: a buffered
    stream relies on it."""
    try:
        stream.flush()
        descriptor = stream.fileno()
    except (io.UnsupportedOperation, AttributeError):
        with tempfile.TemporaryFile() as spilled:
            stream.seek(0)
            shutil.copyfileobj(stream, spilled)
            spilled.flush()
            yield spilled.fileno()
        return
    position = os.lseek(descriptor, 0, os.SEEK_CUR)
    yield descriptor
    os.lseek(descriptor, position, os.SEEK_SET)


def read_in_child(program: Path, descriptors: tuple[int, ...], *words: str, password: str = "") -> int:
    """The child's exit code, negative when a signal ended it; it is gone when this returns."""
    with subprocess.Popen(
        [sys.executable, "-I", str(ENTRY), str(program), *map(str, descriptors), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=descriptors,
        # No secret of this process is in the hands of a library that decodes what strangers send.
        env={},
    ) as child:
        try:
            child.communicate(password.encode(errors="replace"), timeout=READING_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
        except BaseException:
            child.kill()
            raise
    return child.returncode
