"""Program that reads one picture from a stranger. It runs in a child with limits, so that only that can come to harm.

`opening` has it started by `confined_child.py` and reads the exit code; nothing imports it. The picture's descriptor
and Pillow's name of its format come as arguments.
"""

from __future__ import annotations

import copy
import errno
import itertools
import os
import sys
import warnings
from typing import BinaryIO

from PIL import Image, ImageColor, MpoImagePlugin, TiffImagePlugin

WHOLE, DAMAGED, TOO_MUCH = 40, 44, 45

# Pillow reads these from files when a picture needs them, and then none can be opened any more.
Image.preinit()
LOADED = (copy, ImageColor, MpoImagePlugin, TiffImagePlugin)

MIB = 1024 * 1024
# Four bytes a pixel: a photo of 64 megapixels takes 256 MiB. A JPEG of 200 takes less, see `decode_pages`.
MEMORY_BYTES = 400 * MIB
WRITTEN_BYTES = 0
MOST_PIXELS = 256_000_000
# The library keeps all of a progressive JPEG, with up to six bytes a pixel, and calls it broken when memory runs out.
MOST_PROGRESSIVE_PIXELS = 50_000_000
# Pillow would only warn about a TIFF directory that is cut short, and go on without the rest of it.
CUT_SHORT = "Truncated File Read|Corrupt EXIF data"
PNG_END = b"\xaeB`\x82"
GIF_END = b";"


class TooMuch(Exception):
    """The picture takes more memory than this process may have."""


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
        if isinstance(error, OSError) and error.errno == errno.EMFILE:
            # Something was not loaded in time, which is our fault and not the picture's.
            raise
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
    # Pillow refuses a picture with more than twice as many.
    Image.MAX_IMAGE_PIXELS = MOST_PIXELS // 2
    descriptor, kind = int(sys.argv[1]), sys.argv[2]
    with open(descriptor, "rb", closefd=False) as source:
        return judge(source, kind)
