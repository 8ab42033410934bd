"""Opener of PDFs: unlocks them, and refuses what is broken or built to do harm, without reading any in this process.

A child with limits on memory and time does the reading (`child.py`). The file reaches it as a descriptor and the
password through a pipe, so neither has a name that another process could see.
"""

from __future__ import annotations

import fcntl
import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from flaskapp.form526.attachments.types import FileRefused

CHILD = Path(__file__).with_name("child.py")
# Together less than the 30 s after which a router gives up on a request.
TURN_SECONDS = 10.0
READING_SECONDS = 15.0

AS_IS, COPIED = 40, 41
TOO_MUCH = 45
# The child's exit codes, as sentences for the person; the last one is also for a child that was stopped.
REASONS = {
    42: "This PDF needs a password.",
    43: "That password does not open this PDF.",
    44: "This PDF is damaged or not complete. Please open it, print it to a new PDF, and add that.",
    TOO_MUCH: "This PDF takes too much time or memory to open. Please print it to a new PDF, and add that.",
}
BUSY = "We are opening too many PDFs right now. Please add this one again in a minute."


def opened(stream: BinaryIO, password: str | None) -> BinaryIO:
    """A PDF that anyone can read, at its beginning: the same stream, or a copy without the lock.

    The copy is an anonymous temporary file, gone with the process; close it. Raises FileRefused, also for a PDF that
    is damaged, that unpacks to more than a document would, or that takes the child too long.
    """
    with ExitStack() as held:
        copy = held.enter_context(tempfile.TemporaryFile())
        with descriptor_of(stream) as source, turn():
            code = read_in_child(source, copy.fileno(), password or "")
        check_answer(code)
        result = stream
        if code == COPIED:
            held.pop_all()
            result = copy
        result.seek(0)
        return result


def check_answer(code: int) -> None:
    if code < 0:
        # A limit stopped it: of time, or of memory when the library could not report that.
        code = TOO_MUCH
    if code in REASONS:
        raise FileRefused(REASONS[code])
    if code not in (AS_IS, COPIED):
        raise RuntimeError(f"the PDF child failed with exit code {code}")


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


@contextmanager
def turn() -> Iterator[None]:
    """Let one child at a time run on this machine, whichever process wants it: each may take hundreds of MiB.

    Raises FileRefused after ten seconds of waiting.
    """
    deadline = time.monotonic() + TURN_SECONDS
    with CHILD.open("rb") as key:
        while not locked(key):
            if time.monotonic() > deadline:
                raise FileRefused(BUSY)
            time.sleep(0.05)
        yield


def locked(key: BinaryIO) -> bool:
    """Try to take the lock. It ends with the open file, and so with the process too, however that ends."""
    try:
        fcntl.flock(key, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def read_in_child(source: int, copy: int, password: str) -> int:
    """The child's exit code, negative when a signal ended it; it is gone when this returns."""
    with subprocess.Popen(
        [sys.executable, "-I", str(CHILD), str(source), str(copy)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(source, copy),
    ) as child:
        try:
            child.communicate(password.encode(errors="replace"), timeout=READING_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
        except BaseException:
            child.kill()
            raise
    return child.returncode
