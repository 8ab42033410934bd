"""Child process that reads one picture from a stranger and ends. It has limits, so that only it can come to harm.

`opening` starts this file by its path and reads the exit code; nothing imports it. The picture's descriptor and
Pillow's name of its format come as arguments.
"""

from __future__ import annotations

import itertools
import os
import resource
import sys
import warnings
from typing import BinaryIO

from PIL import Image

WHOLE, DAMAGED, TOO_MUCH = 40, 44, 45

MIB = 1024 * 1024
# Four bytes a pixel: a photo of 64 megapixels takes 256 MiB. A JPEG of 200 takes less, see `decode_pages`.
MEMORY_BYTES = 400 * MIB
CPU_SECONDS = 12
MOST_PIXELS = 256_000_000
# The library keeps all of a progressive JPEG, with up to six bytes a pixel, and calls it broken when memory runs out.
MOST_PROGRESSIVE_PIXELS = 50_000_000
# Pillow would only warn about a TIFF directory that is cut short, and go on without the rest of it.
CUT_SHORT = "Truncated File Read|Corrupt EXIF data"
PNG_END = b"\xaeB`\x82"
GIF_END = b";"


class TooMuch(Exception):
    """The picture takes more memory than this process may have."""


def limit_this_process() -> None:
    for what, most in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_FSIZE, 0),
        # A core file would leave a person's picture on the disk.
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))
    # Pillow refuses a picture with more than twice as many.
    Image.MAX_IMAGE_PIXELS = MOST_PIXELS // 2


def judge(source: BinaryIO, kind: str) -> int:
    """The exit code: whether all of the picture can be read, down to its end mark."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if kind == "TIFF":
                warnings.filterwarnings("error", CUT_SHORT)
            return WHOLE if is_whole(source, kind) else DAMAGED
    except (MemoryError, TooMuch, Image.DecompressionBombError):
        return TOO_MUCH
    except Exception as error:
        # A hostile file causes errors that no library documents. Only its text says that a codec ran out of memory.
        return TOO_MUCH if "out of memory" in str(error) else DAMAGED


def is_whole(source: BinaryIO, kind: str) -> bool:
    """False when only the end mark is missing, which Pillow accepts; raises when anything else is missing."""
    if kind == "PNG":
        with Image.open(source, formats=[kind]) as image:
            # It reads up to the name of the last chunk, checksums included; only that chunk's own checksum is left.
            image.verify()
        if source.read(4) != PNG_END:
            return False
    decode_pages(source, kind)
    if kind == "GIF":
        source.seek(-1, os.SEEK_CUR)
        return source.read(1) == GIF_END
    return True


def decode_pages(source: BinaryIO, kind: str) -> None:
    """Decode every page. Leaves the source after the last one; in a GIF, after the mark that ends it."""
    source.seek(0)
    with Image.open(source, formats=[kind]) as image:
        if image.info.get("progressive") and image.width * image.height > MOST_PROGRESSIVE_PIXELS:
            raise TooMuch
        # A JPEG shrinks to an eighth while it is decoded, which takes little memory and reads every byte all the same.
        image.draft("L", (1, 1))
        image.load()
        # Only these two have pages: in a JPEG or a PNG, what follows the picture was added by a phone or a browser.
        for page in itertools.count(1) if kind in ("GIF", "TIFF") else ():
            try:
                image.seek(page)
            except EOFError:
                return
            image.load()


def main() -> int:
    limit_this_process()
    descriptor, kind = int(sys.argv[1]), sys.argv[2]
    with open(descriptor, "rb", closefd=False) as source:
        return judge(source, kind)


if __name__ == "__main__":
    sys.exit(main())
