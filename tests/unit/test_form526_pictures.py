"""A picture is taken when all of it can be read; no picture can hurt the process that takes it in."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from random import Random
from zlib import compress, crc32

import pytest
from PIL import Image

from flaskapp.form526.attachments import opening, picture_child
from flaskapp.form526.attachments.types import FileRefused, recognise
from tests.unit.pictures import PICTURES

DAMAGED = "This {} picture is damaged or not complete. Please save it again and add the new file."
TOO_MUCH = "This {} picture is too large to open. Please save it with fewer pixels or pages, and add that."


pytestmark = pytest.mark.usefixtures("patience")


def kind_of(name: str) -> str:
    return opening.PICTURES[recognise(io.BytesIO(PICTURES[name]), name, len(PICTURES[name])).extension]


def check(content: bytes, kind: str) -> None:
    extension = next(each for each, name in opening.PICTURES.items() if name == kind)
    opening.check_picture(io.BytesIO(content), extension)


def refusal(content: bytes, kind: str) -> str:
    with pytest.raises(FileRefused) as refused:
        check(content, kind)
    return refused.value.reason.replace(kind, "{}")


def judged_here(content: bytes, kind: str) -> int:
    """What the child would say, without the start of a process: for small harmless files only."""
    return picture_child.judge(io.BytesIO(content), kind)


# -- whole, or not ------------------------------------------------------------


@pytest.mark.parametrize("name", PICTURES)
def test_a_whole_picture_is_taken_with_whatever_a_phone_appends(name: str) -> None:
    stream = io.BytesIO(PICTURES[name] + b"SEFT" * 20)
    opening.check_picture(stream, recognise(stream, name, len(stream.getvalue())).extension)
    assert stream.tell() == 0
    assert judged_here(PICTURES[name], kind_of(name)) == picture_child.WHOLE


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_cut_short_anywhere_is_refused(name: str) -> None:
    whole, kind = PICTURES[name], kind_of(name)
    assert refusal(whole[:-1], kind) == DAMAGED
    for length in {*range(len(whole) // 3, len(whole), 11), *range(len(whole) - 64, len(whole))}:
        assert judged_here(whole[:length], kind) == picture_child.DAMAGED, length


def test_damage_in_the_middle_of_packed_pixels_is_found() -> None:
    whole = bytearray(PICTURES["plain.png"])
    whole[len(whole) // 2] ^= 0x55
    assert refusal(bytes(whole), "PNG") == DAMAGED


JPEG_HEAD = b"\xff\xd8\xff\xc0" + PICTURES["plain.jpg"].partition(b"\xff\xc0")[2][:17]
PNG = PICTURES["plain.png"]
GIF_HEAD = b"GIF89a" + bytes(7) + b"," + bytes(9) + b"\2"
TIFF_HEAD = b"II*\0\x08\0\0\0"
STRIP = b"\x11\1\4\0\1\0\0\0\x08\0\0\0"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        pytest.param(b"\xff\xd8\xff\xd9", "JPEG", id="no frame"),
        pytest.param(JPEG_HEAD + b"\xff\xd9", "JPEG", id="no scan"),
        pytest.param(PNG[:33] + b"\0\0\0\0IEND\xaeB`\x82", "PNG", id="no data"),
        pytest.param(b"GIF89a" + bytes(7) + b";", "GIF", id="no image"),
        pytest.param(TIFF_HEAD + bytes(6), "TIFF", id="no strip"),
        pytest.param(TIFF_HEAD[:4] + bytes(4), "TIFF", id="no page"),
        pytest.param(PICTURES["plain.bmp"][:18] + bytes(8) + PICTURES["plain.bmp"][26:], "BMP", id="no width"),
        pytest.param(PNG, "JPEG", id="another format"),
    ],
)
def test_a_picture_with_nothing_in_it_is_refused(content: bytes, kind: str) -> None:
    assert judged_here(content, kind) == picture_child.DAMAGED


# -- large ones ---------------------------------------------------------------


def test_a_large_photo_is_read_in_a_fraction_of_the_memory_it_unpacks_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """24 megapixels are 92 MiB; the child gets 100 for everything."""
    photo = io.BytesIO()
    Image.radial_gradient("L").resize((6000, 4000)).convert("RGB").save(photo, "JPEG")
    child = tmp_path / "small_child.py"
    source = opening.PICTURE_CHILD.read_text()
    child.write_text(source.replace("MEMORY_BYTES = 400 * MIB", "MEMORY_BYTES = 100 * MIB"))
    assert child.read_text() != source
    monkeypatch.setattr(opening, "PICTURE_CHILD", child)
    check(photo.getvalue(), "JPEG")
    assert refusal(photo.getvalue()[:-100], "JPEG") == DAMAGED


def test_every_page_of_a_scan_is_read() -> None:
    scan, pages = io.BytesIO(), [Image.effect_noise((400, 300), 50).convert("1") for _ in range(40)]
    pages[0].save(scan, "TIFF", save_all=True, append_images=pages[1:], compression="group4")
    check(scan.getvalue(), "TIFF")
    # The last few bytes are filling.
    for missing in (64, 1000, len(scan.getvalue()) // 2):
        assert refusal(scan.getvalue()[:-missing], "TIFF") == DAMAGED


# -- hostile ones -------------------------------------------------------------


def huge_png(width: int, height: int) -> bytes:
    """A few kilobytes that say they are this many pixels of four bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return PNG[:8] + chunk(b"IHDR", header) + chunk(b"IDAT", compress(bytes(1 << 20), 9)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        pytest.param(huge_png(65_535, 65_535), "PNG", id="4,000 million pixels"),
        pytest.param(huge_png(12_000, 12_000), "PNG", id="576 MB"),
        pytest.param(b"GIF89a" + b"\xff" * 4 + bytes(3) + b"," + bytes(4) + b"\xff" * 4 + b"\0\2\0;", "GIF", id="GIF"),
    ],
)
def test_a_bomb_is_refused_before_it_unpacks(content: bytes, kind: str) -> None:
    assert refusal(content, kind) == TOO_MUCH


def test_a_progressive_jpeg_that_memory_would_not_hold_is_not_called_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_child, "MOST_PROGRESSIVE_PIXELS", 24 * 18 - 1)
    assert judged_here(PICTURES["progressive.jpeg"], "JPEG") == picture_child.TOO_MUCH
    assert judged_here(PICTURES["plain.jpg"], "JPEG") == picture_child.WHOLE


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        pytest.param(JPEG_HEAD + b"\xff\xda\0\2" * 10_000 + b"\xff\xd9", "JPEG", id="scans"),
        pytest.param(PNG[:33] + b"\0\0\0\0tEXt\0\0\0\0" * 100_000 + PNG[33:], "PNG", id="chunks"),
        pytest.param(GIF_HEAD + b"\1x" * 500_000 + b"\0;", "GIF", id="blocks"),
        pytest.param(TIFF_HEAD + b"\xff\xff" + STRIP * 300_000, "TIFF", id="entries"),
        pytest.param(TIFF_HEAD + b"\1\0" + STRIP + b"\x08\0\0\0" + bytes(4_000_000), "TIFF", id="circle"),
        *(
            pytest.param(head + Random(526).randbytes(500), kind, id=f"random {kind}")
            for head, kind in ((JPEG_HEAD, "JPEG"), (PNG[:33], "PNG"), (GIF_HEAD, "GIF"), (TIFF_HEAD, "TIFF"))
        ),
    ],
)
def test_a_picture_made_to_keep_us_busy_is_refused(content: bytes, kind: str) -> None:
    assert refusal(content, kind) in (DAMAGED, TOO_MUCH)


def test_a_library_that_opens_a_file_too_late_is_our_fault_and_not_the_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = tmp_path / "late_child.py"
    child.write_text(opening.PICTURE_CHILD.read_text() + "decode_pages = lambda *_: open('/etc/hostname')\n")
    monkeypatch.setattr(opening, "PICTURE_CHILD", child)
    with pytest.raises(RuntimeError, match="exit code 1"):
        check(PNG, "PNG")


# -- the child ----------------------------------------------------------------


def test_a_child_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "PICTURE_CHILD", tmp_path / "endless.py")
    (tmp_path / "endless.py").write_text("while True: __import__('time').sleep(60)")
    monkeypatch.setattr(opening, "READING_SECONDS", 0.1)
    assert refusal(PNG, "PNG") == TOO_MUCH


def test_a_child_that_fails_by_itself_is_no_fault_of_the_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "PICTURE_CHILD", tmp_path / "gone.py")
    (tmp_path / "gone.py").write_text("import nothing_of_this_name")
    with pytest.raises(RuntimeError, match="exit code 1"):
        check(PNG, "PNG")


def test_the_child_and_its_reader_mean_the_same_by_a_code() -> None:
    assert opening.AS_IS == picture_child.WHOLE
    assert set(opening.PICTURE_REASONS) == {picture_child.DAMAGED, picture_child.TOO_MUCH}
    assert (opening.DAMAGED, opening.TOO_MUCH) == (picture_child.DAMAGED, picture_child.TOO_MUCH)


def test_a_file_is_read_on_where_this_process_left_it(tmp_path: Path) -> None:
    (tmp_path / "upload").write_bytes(PNG)
    with (tmp_path / "upload").open("rb") as stream:
        assert stream.read(64) == PNG[:64]
        opening.check_picture(stream, "png")
        assert stream.read() == PNG
