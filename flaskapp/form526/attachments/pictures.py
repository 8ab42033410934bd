"""Checks that a picture is complete. They walk its structure to the end and never decode it: bombs aim at decoders.

Each function gets a stream of `size` bytes that begins like its format. The work is bounded, whatever the bytes say.
Anything after the end mark is accepted: many phones append their own data.
"""

from __future__ import annotations

import re
import struct
from typing import BinaryIO

PIECE = 256 * 1024
# Honest files of 50 MiB stay far below these limits; a file that is made to keep us busy is stopped by them.
MOST_SEGMENTS = 10_000
MOST_PARTS = 100_000
MOST_BLOCKS = 500_000


def read_at(stream: BinaryIO, at: int, count: int) -> bytes:
    stream.seek(at)
    return stream.read(count)


# -- JPEG ---------------------------------------------------------------------

# In compressed data an FF is followed by 00, a restart number or more FFs; anything else begins the next segment.
_NEXT_SEGMENT = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SCAN, _END = 0xDA, 0xD9


def whole_jpeg(stream: BinaryIO, size: int) -> bool:
    """A frame with a width, a scan, and the end mark."""
    at, framed, scanned = 2, False, False
    for _ in range(MOST_SEGMENTS):
        head = read_at(stream, at, 9)
        if len(head) < 2 or head[0] != 0xFF:
            return False
        marker = head[1]
        if marker == _END:
            return framed and scanned
        if marker == 0xFF:
            at += 1
            continue
        framed = framed or (marker in _FRAMES and any(head[7:9]))
        scanned = scanned or marker == _SCAN
        length = int.from_bytes(head[2:4], "big")
        if length < 2:
            return False
        at += 2 + length
        if marker == _SCAN:
            at = after_scan(stream, at)
    return False


def after_scan(stream: BinaryIO, at: int) -> int:
    """Where the segment after the compressed data at `at` begins; beyond the end when none does."""
    stream.seek(at)
    carried = b""
    while piece := stream.read(PIECE):
        data = carried + piece
        if found := _NEXT_SEGMENT.search(data):
            return at + found.start()
        # A mark may lie across two pieces.
        carried = data[-1:]
        at += len(data) - 1
    return at + len(carried)


# -- PNG ----------------------------------------------------------------------


def whole_png(stream: BinaryIO, size: int) -> bool:
    """A header with a width and a height, image data, and the end chunk."""
    header = read_at(stream, 8, 16)
    if header[:8] != b"\x00\x00\x00\rIHDR" or not any(header[8:12]) or not any(header[12:16]):
        return False
    at, data = 8, False
    for _ in range(MOST_PARTS):
        head = read_at(stream, at, 8)
        if len(head) < 8:
            return False
        at += 12 + int.from_bytes(head[:4], "big")
        data = data or head[4:] == b"IDAT"
        if head[4:] == b"IEND":
            return data and at <= size
    return False


# -- GIF ----------------------------------------------------------------------


def whole_gif(stream: BinaryIO, size: int) -> bool:
    """At least one image, every block of it, and the trailer."""
    head = read_at(stream, 0, 13)
    if len(head) < 13:
        return False
    stream.seek(13 + colour_table(head[10]))
    images, left = 0, [MOST_BLOCKS]
    while kind := stream.read(1):
        if kind == b";":
            return images > 0
        if kind == b"," and len(descriptor := stream.read(9)) == 9:
            images += 1
            stream.seek(colour_table(descriptor[8]) + 1, 1)
        elif kind != b"!" or not stream.read(1):
            return False
        if not skip_blocks(stream, left):
            return False
    return False


def colour_table(flags: int) -> int:
    """Bytes of the table that the flags announce."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def skip_blocks(stream: BinaryIO, left: list[int]) -> bool:
    """Skip to after the empty block that ends a row of blocks; False when there is none or there are too many."""
    while left[0] > 0 and (length := stream.read(1)):
        left[0] -= 1
        if length == b"\x00":
            return True
        stream.seek(length[0], 1)
    return False


# -- BMP ----------------------------------------------------------------------


def whole_bmp(stream: BinaryIO, size: int) -> bool:
    """All rows of pixels are there. Compressed rows say their length themselves."""
    head = read_at(stream, 0, 38)
    pixels_at, header = struct.unpack_from("<II", head, 10)
    if header == 12:
        width, height, planes, bits = struct.unpack_from("<HHHH", head, 18)
        compression = length = 0
    elif len(head) == 38:
        width, height, planes, bits, compression, length = struct.unpack_from("<iiHHII", head, 18)
    else:
        return False
    if compression in (0, 3, 6):
        length = (abs(width) * bits + 31) // 32 * 4 * abs(height)
    return planes == 1 and width > 0 and height != 0 and length > 0 and 26 <= pixels_at <= size - length


# -- TIFF ---------------------------------------------------------------------

# Bytes of one value of each kind, and the kinds that hold the numbers we follow.
_WIDTHS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_NUMBERS = {1: "B", 3: "H", 4: "I"}
_PLACES = _STRIPS, _STRIP_COUNTS, _TILES, _TILE_COUNTS, _OLD_JPEG = 273, 279, 324, 325, 513


def whole_tiff(stream: BinaryIO, size: int) -> bool:
    """Every page's directory, and every strip or tile it names, lies inside the file."""
    try:
        return TiffWalk(stream, size).whole()
    except struct.error:
        return False


class TiffWalk:
    """One walk through a TIFF. Directories may point anywhere, even at each other, so our reads are counted."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self.stream = stream
        self.size = size
        self.order = "<" if read_at(stream, 0, 2) == b"II" else ">"
        # An entry's numbers may be read twice, no byte more often.
        self.bytes_left = 2 * size
        self.reads_left = MOST_PARTS

    def unpack(self, shape: str, at: int) -> tuple[int, ...]:
        shape = self.order + shape
        self.bytes_left -= struct.calcsize(shape)
        self.reads_left -= 1
        if self.bytes_left < 0 or self.reads_left < 0:
            raise struct.error("reads more than there is")
        return struct.unpack(shape, read_at(self.stream, at, struct.calcsize(shape)))

    def whole(self) -> bool:
        (at,) = self.unpack("I", 4)
        pages = 0
        while at:
            (entries,) = self.unpack("H", at)
            tags = dict(self.entry(at + 2 + 12 * index) for index in range(entries))
            if not self.page_is_whole(tags):
                return False
            (at,) = self.unpack("I", at + 2 + 12 * entries)
            pages += 1
        return pages > 0

    def entry(self, at: int) -> tuple[int, tuple[int, ...]]:
        """A tag and its numbers; no numbers for a tag that does not say where the picture lies."""
        tag, kind, count, where = self.unpack("HHII", at)
        length = _WIDTHS.get(kind, 0) * count
        # Up to four bytes are in the entry itself, more are where it points.
        if length > 4 and where + length > self.size:
            raise struct.error("points behind the end")
        if tag not in _PLACES or kind not in _NUMBERS:
            return tag, ()
        if count > MOST_PARTS:
            raise struct.error("names more than we follow")
        return tag, self.unpack(f"{count}{_NUMBERS[kind]}", where if length > 4 else at + 8)

    def page_is_whole(self, tags: dict[int, tuple[int, ...]]) -> bool:
        named = [each for each in (_STRIPS, _TILES, _OLD_JPEG) if tags.get(each)]
        starts = [start for each in named for start in tags[each]]
        lengths = [*tags.get(_STRIP_COUNTS, ()), *tags.get(_TILE_COUNTS, ())] if _OLD_JPEG not in named else []
        # Old writers leave the lengths out; then only the beginnings are checked.
        lengths += [1] * (len(starts) - len(lengths))
        ends = (start + length for start, length in zip(starts, lengths, strict=False))
        return bool(starts) and max(ends) <= self.size
