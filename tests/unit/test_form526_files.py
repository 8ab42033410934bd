"""The type of a file comes from its whole content; its name may only agree."""

from __future__ import annotations

import io
import zipfile
from contextlib import suppress
from typing import BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaskapp.form526.attachments import opening, turns
from flaskapp.form526.attachments.store import chunks_of, obscured
from flaskapp.form526.attachments.types import (
    MOST_BYTES,
    MOST_PDF_BYTES,
    FileRefused,
    FileType,
    recognise,
    too_large,
    with_ending,
)
from tests.unit.pictures import PICTURES

EXE = b"MZ\x90\x00\x03\x00\x00\x00\x04\x00\x00\x00\xff\xff\x00\x00" + bytes(200)
# The first half of the well-known test virus text: enough to look like it, and harmless.
VIRUS_LIKE = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$"


TYPES = {"jpg": "image/jpeg", "png": "image/png", "gif": "image/gif", "bmp": "image/bmp", "tif": "image/tiff"}


def judged(content: bytes, name: str) -> FileType:
    return recognise(io.BytesIO(content), name, len(content))


def refusal(content: bytes, name: str, size: int | None = None) -> str:
    with pytest.raises(FileRefused) as refused:
        recognise(io.BytesIO(content), name, len(content) if size is None else size)
    assert refused.value.to_do.startswith("Please ")
    return refused.value.reason


def zipped(*names: str) -> bytes:
    kept = io.BytesIO()
    with zipfile.ZipFile(kept, "w") as archive:
        for name in names:
            archive.writestr(name, "x" * 40)
    return kept.getvalue()


def test_every_refusal_ends_in_what_to_do() -> None:
    """A refusal is made of what is wrong and of what to do, so neither can be left out."""
    refusals = [FileRefused(*each) for each in (*opening.PDF_REASONS.values(), *opening.PICTURE_REASONS.values())]
    refusals += [FileRefused(*each) for each in (turns.FULL, turns.OTHERS_OPEN, turns.SHARE_USED)]
    refusals += [too_large(is_pdf=True)]
    assert all(each.to_do.startswith("Please ") and each.reason.endswith(each.to_do) for each in refusals)
    with pytest.raises(TypeError):
        FileRefused("This file is empty.")  # type: ignore[call-arg]


# -- what is taken ------------------------------------------------------------


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_known_by_its_content(name: str) -> None:
    found = judged(PICTURES[name], name)
    assert TYPES[found.extension] == found.content_type
    assert found.extension[:2] == name.rpartition(".")[2][:2]


@pytest.mark.parametrize("ending", ["jpg", "JPG", "jpeg", "Jpeg"])
def test_both_endings_of_a_format_mean_the_same(ending: str) -> None:
    assert judged(PICTURES["plain.jpg"], f"scan.{ending}") == FileType("jpg", "image/jpeg")


@pytest.mark.parametrize(
    "content",
    [
        b"Dear VA,\r\nmy knee hurts.\r\n\x1a",
        VIRUS_LIKE,
        b"BMW repair, 2 pages",
        b"MZ is my initials",
        b"\x1b[1mbold",
        b"<ada@example.com> wrote:\n> my knee",
        b"<3 days of pain",
        b"{see page 2}",
        b"From: Ada\nTo: VA\n\nMIME-Version: 1.0 is what my mail says",
    ],
)
def test_any_ascii_is_just_text(content: bytes) -> None:
    assert judged(content, "letter.txt") == FileType("txt", "text/plain")


def test_a_pdf_is_known_and_left_at_its_beginning() -> None:
    stream = io.BytesIO(b"%PDF-1.7\nrest")
    assert recognise(stream, "letter.PDF", 13) == FileType("pdf", "application/pdf")
    assert stream.read(5) == b"%PDF-"


def test_the_name_may_be_as_long_as_it_likes() -> None:
    assert judged(b"text", "long " * 100_000 + ".txt").extension == "txt"


# -- what is not --------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "name", "words"),
    [
        *(
            (EXE, f"holiday.{ending}", f"ends in .{ending}, but it is a Windows program. Please add")
            for ending in TYPES
        ),
        (EXE, "setup.exe", "This file is a Windows program. Please add the document itself"),
        (b"\x7fELF\2", "setup", "This file is a program."),
        (EXE, "letter.txt", "not plain ASCII text). Please save it as a PDF"),
        (
            b"text",
            "photo.jpg.exe",
            "We cannot take this type of file. Please save it as one of these and add that: BMP,",
        ),
        (b"text", "no ending", "We cannot take this type of file."),
        (b"text", ".", "We cannot take this type of file."),
        (b"text", "letter.pdf", "but it is something else, or damaged. Please open it, print it to a PDF"),
        (b"\0\0\0\x18ftypheic", "photo.jpg", "a HEIC picture of an iPhone. Please save it as a JPEG picture"),
        (b"\0\0\0\x18ftypmif1heic", "photo.heic", "This file is a HEIC picture of an iPhone. Please"),
        (b"\0\0\0\x1cftypavif", "photo.jpg", "an AVIF picture. Please save it as a JPEG picture"),
        (b"RIFF\x24\0\0\0WEBPVP8 ", "photo.png", "a WebP picture. Please save it as a JPEG picture"),
        (b"\0\0\0\x20ftypqt  ", "knee.jpg", "a video. Please add pictures"),
        (b"II+\0\x08\0\0\0", "scan.tif", "a BigTIFF picture. Please save it as an ordinary TIFF"),
        (b"MM\0+\0\x08\0\0", "scan.tiff", "a BigTIFF picture. Please save it as an ordinary TIFF"),
        (
            zipped("[Content_Types].xml"),
            "letter.docx",
            "This file is a Word or Excel document. Please save it as a PDF",
        ),
        (zipped("_rels/.rels", "word/document.xml"), "letter.pdf", "a Word or Excel document. Please save it as a PDF"),
        (zipped("mimetype", "content.xml"), "letter.pdf", "a Word or Excel document. Please save it as a PDF"),
        (zipped("scan.jpg"), "scans.zip", "This file is a ZIP archive. Please unpack it"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "letter.doc", "an old Word or Excel document. Please save it as a PDF"),
        (b"{\\rtf1\\ansi", "letter.rtf", "This file is a rich text document. Please save it as a PDF"),
        (b"{\\rtf1\\ansi", "letter.txt", "ends in .txt, but it is a rich text document. Please save it as a PDF"),
        (b"%!PS-Adobe-3.0", "letter.pdf", "a PostScript file. Please open it, print it to a PDF"),
        *(
            (page, "letter.txt", "ends in .txt, but it is a web page. Please open it, print it to a PDF")
            for page in (
                b"<!DOCTYPE html><p>hello",
                b"\r\n <HTML>",
                b"<head>",
                b"<?xml version='1.0'?>",
                b"<!-- saved -->",
                b"\xef\xbb\xbf\n<a href='x'>",
                b"<b>",
                b"<br/>hello",
                b"<span>y</span>",
                b"<center>",
                b"</p>",
                b"<iframe src=x>",
                b"<o:p>",
            )
        ),
        (b"\n{\\rtf1 hello}", "letter.txt", "ends in .txt, but it is a rich text document. Please save it as a PDF"),
        (b"\xef\xbb\xbf{\\rtf1 hello}", "letter.txt", "it is a rich text document. Please save it as a PDF"),
        (b"%!PS-Adobe-3.0", "letter.txt", "it is a PostScript file. Please open it, print it to a PDF"),
        (b"\x04\r\n%!PS-Adobe-3.0", "letter.txt", "it is a PostScript file. Please open it, print it to a PDF"),
        *(
            (headers + b"\r\n\r\n<html>", "letter.txt", "it is a saved web page or e-mail. Please open it, print it")
            for headers in (
                b"MIME-Version: 1.0\r\nContent-Type: multipart/related",
                b"\nFrom: <Saved by Blink>\r\nSubject: My\r\n claim\r\nMime-version: 1.0",
            )
        ),
        ("Grüße".encode(), "letter.txt", "not plain ASCII"),
        ("letter".encode("utf-16-le"), "letter.txt", "not plain ASCII"),
        (b"a" * 600_000 + b"\xe9", "letter.txt", "not plain ASCII"),
    ],
)
def test_what_we_do_not_take_is_named_and_its_sender_told_what_to_do(content: bytes, name: str, words: str) -> None:
    assert words in refusal(content, name)


@pytest.mark.parametrize(
    ("content", "name", "passed_on"),
    [
        (PICTURES["plain.png"], "photo.jpg", "photo.png"),
        (PICTURES["plain.jpg"], "my.photo.PNG", "my.photo.jpg"),
        (PICTURES["plain.jpg"], "photo.heic", "photo.jpg"),
        (PICTURES["plain.jpg"], "photo.jpeg", "photo.jpeg"),
        (PICTURES["plain.bmp"], "photo.txt", "photo.bmp"),
        (PICTURES["plain.gif"], "scan of Dr. Smith", "scan of Dr. Smith.gif"),
        (PICTURES["plain.tif"], "scan", "scan.tif"),
        (b"%PDF-1.7", "letter.txt", "letter.pdf"),
        (b"\xef\xbb\xbf \n%PDF-1.7", "letter.jpg", "letter.pdf"),
        (b"\0\0%PDF-1.7", "letter.PDF", "letter.PDF"),
        (b"Received: by fax\r\n\r\n%PDF-1.7", "letter.pdf", "letter.pdf"),
        (b"GIF89a%PDF-1.7", "both.pdf", "both.gif"),
        (b"about %PDF-1.7", "letter.txt", "letter.txt"),
    ],
)
def test_a_name_that_disagrees_with_the_content_is_corrected_when_it_is_passed_on(
    content: bytes, name: str, passed_on: str
) -> None:
    assert with_ending(name, judged(content, name).content_type) == passed_on


@pytest.mark.parametrize(
    ("content", "name", "size", "words"),
    [
        (b"", "a.txt", 0, "This file is empty. Please"),
        (b"", "a.pdf", 0, "This file is empty. Please"),
        (b"text", "a.txt", MOST_BYTES + 1, "50 MB. Please split it"),
        (b"%PDF-1.7", "a.pdf", MOST_PDF_BYTES + 1, "99 MB. Please split it"),
        (PICTURES["plain.jpg"], "a.pdf", MOST_BYTES + 1, "50 MB. Please split it"),
    ],
)
def test_a_size_outside_the_limits_is_refused(content: bytes, name: str, size: int, words: str) -> None:
    assert words in refusal(content, name, size)


def test_the_limits_are_counted_as_the_browser_counts() -> None:
    assert (MOST_BYTES, MOST_PDF_BYTES) == (52_428_800, 103_809_024)
    assert recognise(io.BytesIO(b"text"), "a.txt", MOST_BYTES)
    assert recognise(io.BytesIO(b"%PDF-1.7"), "a.pdf", MOST_PDF_BYTES)


# -- hostile ones -------------------------------------------------------------

SIGNATURES = [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"GIF89a", b"II*\0", b"MM\0*", b"BM", b""]


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(SIGNATURES), st.binary(max_size=200), st.sampled_from(["jpg", "png", "gif", "tif", "bmp"]))
def test_no_bytes_cause_an_error_of_ours(signature: bytes, rest: bytes, ending: str) -> None:
    with suppress(FileRefused):
        judged(signature + rest, f"x.{ending}")


# -- chunks and names ---------------------------------------------------------


class Dripping(io.BytesIO):
    """Reads fewer bytes than requested, as sockets and pipes do."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size or 0, 7))


@pytest.mark.parametrize("kind", [io.BytesIO, Dripping])
def test_all_chunks_but_the_last_are_full_and_together_they_are_the_file(kind: type[BinaryIO]) -> None:
    content = bytes(range(256)) * 3
    stream = kind(content)  # type: ignore[call-arg]
    stream.seek(99)
    chunks = list(chunks_of(stream, 100))
    assert b"".join(chunks) == content
    assert [len(chunk) for chunk in chunks] == [100] * 7 + [68]
    assert list(chunks_of(io.BytesIO(b""))) == []


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("discharge_letter 2.pdf", "disXXXXXX_XXXXXX 2.pdf"),
        ("Jane Doe.PDF", "JanX Xoe.PDF"),
        ("123-45-6789.pdf", "123-XX-XX89.pdf"),
        ("a.txt", "a.txt"),
        ("DD214.pdf", "DD214.pdf"),
        ("DD-214.pdf", "DD-X14.pdf"),
        ("Zoë_Ångström.pdf", "Zoë_XXXXXXöm.pdf"),
        ("C:\\Users\\jane\\letter of 2020.docx", "letXXX XX XXXX.XXcx"),
        ("/home/jane/x.jpg", "x.jpg"),
        ("y" * 5_000 + ".jpg", "yyy" + "X" * 95 + "yy.jpg"),
        ("", ""),
    ],
)
def test_an_obscured_name_is_known_by_its_owner_only(name: str, shown: str) -> None:
    assert obscured(name) == shown
