"""Small pictures of every kind we take, made here, and the pieces that hostile ones are put together from."""

from __future__ import annotations

import io
import random

from PIL import Image


def picture(kind: str, **options: object) -> bytes:
    drawn = Image.frombytes("RGB", (24, 18), random.Random(526).randbytes(24 * 18 * 3))
    if kind in ("GIF", "PNG"):
        drawn = drawn.convert("P")
    kept = io.BytesIO()
    drawn.save(kept, kind, **options)
    return kept.getvalue()


def frames(kind: str) -> bytes:
    kept = io.BytesIO()
    pages = [Image.new("P", (20, 20), shade) for shade in (1, 50, 90)]
    pages[0].save(kept, kind, save_all=True, append_images=pages[1:])
    return kept.getvalue()


def big_endian_tiff() -> bytes:
    """One grey pixel in one strip, as written on machines that put the high byte first."""
    entries = [(256, 3, 1), (257, 3, 1), (273, 4, 8), (279, 4, 1)]
    directory = len(entries).to_bytes(2, "big")
    for tag, kind, value in entries:
        field = value.to_bytes(2, "big") + b"\0\0" if kind == 3 else value.to_bytes(4, "big")
        directory += tag.to_bytes(2, "big") + kind.to_bytes(2, "big") + (1).to_bytes(4, "big") + field
    return b"MM\0*" + (10).to_bytes(4, "big") + b"\x80\0" + directory + bytes(4)


PICTURES = {
    "plain.jpg": picture("JPEG"),
    "progressive.jpeg": picture("JPEG", progressive=True),
    "plain.png": picture("PNG"),
    "plain.gif": picture("GIF"),
    "moving.gif": frames("GIF"),
    "plain.bmp": picture("BMP"),
    "plain.tif": picture("TIFF"),
    "packed.tiff": picture("TIFF", compression="tiff_deflate"),
    # The writer fills up with zeros, which nobody would miss.
    "pages.tiff": frames("TIFF").rstrip(b"\0"),
    "big_endian.tif": big_endian_tiff(),
}
