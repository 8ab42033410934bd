"""A PDF reaches the upstream in a form that anyone can read, and no PDF can harm the process that takes it in."""

from __future__ import annotations

import hashlib
import io
import os
import resource
import tempfile
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any, BinaryIO

import pytest
from fpdf import FPDF
from fpdf.enums import EncryptionMethod
from pikepdf import Array, Encryption, Name, ObjectStreamMode, Pdf, Stream

from flaskapp.form526.attachments import confined_child, opening, pdf_child
from flaskapp.form526.attachments.store import chunks_of
from flaskapp.form526.attachments.types import MOST_PDF_BYTES, recognise
from tests.unit.pdfs import (
    DAMAGED,
    FOLDER,
    FOR_READING,
    LARGE_PAGE,
    LOCKED,
    LOCKED_PDF,
    NEEDS,
    NOT_SHOWN,
    PLAIN,
    TOO_MUCH,
    WORD,
    WRONG,
    document,
    drawn_in,
    refusal,
    saved,
)

pytestmark = pytest.mark.usefixtures("patience")

SPELLINGS = [
    ("utf-8", "Zoë™".encode()),
    ("compatible", "ZoëTM".encode()),
    ("pdfdoc", b"Zo\xeb\x92"),
    ("windows", b"Zo\xeb\x99"),
    ("macintosh", b"Zo\x91\xaa"),
]
# -- passwords ----------------------------------------------------------------


def test_a_pdf_without_a_lock_is_the_same_stream(temporary: Path) -> None:
    stream = io.BytesIO(PLAIN)
    assert opening.opened_pdf(stream, "not needed") is stream
    assert stream.read() == PLAIN


@pytest.mark.parametrize(
    ("password", "encryption"), [(WORD, LOCKED), ("owner", LOCKED), (None, FOR_READING), ("guess", FOR_READING)]
)
def test_a_locked_pdf_becomes_a_copy_that_anyone_can_read(
    password: str | None, encryption: Encryption, temporary: Path
) -> None:
    with opening.opened_pdf(io.BytesIO(saved(document(b"1 2 m"), encryption)), password) as copy:
        assert list(temporary.iterdir()) == []
        assert drawn_in(copy) == b"1 2 m"


def test_old_encryption_is_opened_too() -> None:
    old = saved(document(b"1 2 m"), Encryption(owner="owner", user="old", R=3, aes=False, metadata=False))
    with opening.opened_pdf(io.BytesIO(old), "old") as copy:
        assert drawn_in(copy) == b"1 2 m"


def written_by_fpdf(password: str, method: EncryptionMethod) -> bytes:
    made = FPDF()
    made.add_page()
    made.set_encryption(owner_password="owner", user_password=password, encryption_method=method)
    return bytes(made.output())


@pytest.mark.parametrize("method", [EncryptionMethod.RC4, EncryptionMethod.AES_128, EncryptionMethod.AES_256])
def test_a_password_with_accents_opens_whatever_program_has_locked_it(method: EncryptionMethod) -> None:
    """Old ones take it as bytes of one encoding or another, newer ones as normalised UTF-8."""
    for typed in ("contraseña ä", "contrasen\u0303a a\u0308"):
        with (
            opening.opened_pdf(io.BytesIO(written_by_fpdf("contraseña ä", method)), typed) as copy,
            Pdf.open(copy) as pdf,
        ):
            assert not pdf.is_encrypted


@pytest.mark.parametrize("spelled", [spelled for _, spelled in SPELLINGS], ids=[name for name, _ in SPELLINGS])
def test_a_password_is_tried_in_every_encoding_that_programs_use(spelled: bytes) -> None:
    assert spelled in list(pdf_child.spellings("Zoë™"))


def test_a_password_is_tried_once_in_each_spelling() -> None:
    assert list(pdf_child.spellings("plain")) == [b"plain"]
    assert list(pdf_child.spellings("")) == []


@pytest.mark.parametrize(
    ("password", "reason"), [(None, NEEDS), ("", NEEDS), ("guess", WRONG), ("x" * 200_000, WRONG), ("\udc80", WRONG)]
)
def test_a_wrong_password_is_answered_differently_from_a_missing_one(password: str | None, reason: str) -> None:
    assert refusal(LOCKED_PDF, password) == reason


def test_the_password_goes_only_through_a_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probe = tmp_path / "probe.py"
    probe.write_text(
        "import os, sys\n"
        "seen = ['read: ' + sys.stdin.read(), 'args: ' + repr(sys.argv), 'env: ' + repr(os.environ)]\n"
        "os.write(int(sys.argv[2]), '\\n'.join(seen).encode())\n"
        f"sys.exit({pdf_child.COPIED})\n"
    )
    monkeypatch.setattr(opening, "PDF_CHILD", probe)
    with opening.opened_pdf(io.BytesIO(PLAIN), "sesame-526") as copy:
        read, *elsewhere = copy.read().decode().splitlines()
    assert read == "read: sesame-526"
    assert "sesame-526" not in "".join(elsewhere)


# -- hostile ones -------------------------------------------------------------


def deflated_zeros(mebibytes: int) -> bytes:
    """A deflated stream of so many MiB of zeros, made from one block of 16 MiB over and over."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(1 << 24)) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x78\xda" + block * (mebibytes // 16) + b"\x03\x00" + bytes(4)


def packed_objects_bomb() -> bytes:
    """A PDF whose table of packed objects unpacks to 96 MiB: nothing for a picture, absurd for a table."""
    bomb = deflated_zeros(96)
    head = f"<</Type/ObjStm/N 1/First 4/Filter/FlateDecode/Length {len(bomb)}>>stream\n".encode()
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Resources 5 0 R>>",
        head + bomb + b"\nendstream",
    ]
    made, rows = b"%PDF-1.7\n", bytes(6)
    for number, body in enumerate(objects, start=1):
        rows += b"\1" + len(made).to_bytes(4, "big") + b"\0"
        made += b"%d 0 obj\n" % number + body + b"\nendobj\n"
    rows += b"\2" + (4).to_bytes(4, "big") + b"\0" + b"\1" + len(made).to_bytes(4, "big") + b"\0"
    table = b"6 0 obj\n<</Type/XRef/Size 7/W[1 4 1]/Root 1 0 R/Length %d>>stream\n" % len(rows)
    return made + table + rows + b"\nendstream endobj\nstartxref\n%d\n%%%%EOF" % len(made)


def zip_bomb() -> bytes:
    """Of 6 kB: eight streams that each unpack to 240 MiB."""
    pdf, packed = document(), zlib.compress(deflated_zeros(240), 9)
    pdf.Root.More = Array([])
    for _ in range(8):
        more = Stream(pdf, b"")
        more.write(packed, filter=Array([Name.FlateDecode, Name.FlateDecode]))
        pdf.Root.More.append(pdf.make_indirect(more))
    return saved(pdf)


def one_page_200_000_times() -> bytes:
    """Of 3 kB: the library makes a page of its own of each."""
    pdf, kept = document(), io.BytesIO()
    pdf.Root.Pages.Kids = Array([pdf.pages[0].obj] * 200_000)
    pdf.Root.Pages.Count = 200_000
    pdf.save(kept, object_stream_mode=ObjectStreamMode.generate)
    return kept.getvalue()


@pytest.mark.parametrize("bomb", [zip_bomb, one_page_200_000_times])
def test_a_bomb_of_a_few_kilobytes_is_refused_within_two_seconds_of_cpu(bomb: Callable[[], bytes]) -> None:
    content = bomb()
    assert len(content) < 7_000
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert refusal(content) == TOO_MUCH
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # The kernel looks at the clock a few times a second.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < confined_child.LEAST_CPU_SECONDS + 0.5


def test_a_larger_file_may_take_longer_and_unpack_to_more() -> None:
    seconds = [confined_child.cpu_seconds(size) for size in (5_000, 1 << 20, MOST_PDF_BYTES)]
    assert seconds == [2, 6, 10]
    clean_scans = document(deflated_zeros(240) + bytes(100_000), Name.FlateDecode)
    assert opening.opened_pdf(io.BytesIO(saved(clean_scans)), None).read(5) == b"%PDF-"


def test_every_layer_of_what_is_packed_several_times_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The innermost may unpack to nothing at all, after gigabytes."""
    monkeypatch.setattr(pdf_child, "LEAST_BYTES", 1 << 20)
    nothing = b"\x78\x01" + b"\0\0\0\xff\xff" * 300_000
    for layers, refused in ((1, False), (2, True), (3, True)):
        packed = nothing
        for _ in range(layers - 1):
            packed = zlib.compress(packed)
        with document(packed, [Name.FlateDecode] * layers) as pdf, suppress(pdf_child.TooMuch):
            pdf_child.check_content(pdf, 0)
            assert not refused
    with document(b"x", [Name.FlateDecode] * 9) as pdf, pytest.raises(pdf_child.TooMuch):
        pdf_child.check_content(pdf, 0)


def test_a_bomb_among_the_packed_objects_is_refused() -> None:
    assert refusal(packed_objects_bomb()) == TOO_MUCH


def test_many_streams_count_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf_child, "ALL_BYTES", 2500)
    with document(zlib.compress(bytes(1000)), Name.FlateDecode) as pdf:
        pdf.Root.More = pdf.make_indirect(Stream(pdf, bytes(5000)))
        pdf_child.check_content(pdf, 0)
        for name in ("/Second", "/Third"):
            more = Stream(pdf, b"")
            more.write(zlib.compress(bytes(1000)), filter=Name.FlateDecode)
            pdf.Root[name] = pdf.make_indirect(more)
        with pytest.raises(pdf_child.TooMuch):
            pdf_child.check_content(pdf, 0)


def test_a_pdf_nested_deeper_than_any_stack_is_refused() -> None:
    deep = PLAIN.replace(b"/Type /Catalog", b"/Type /Catalog /Deep " + b"[" * 100_000 + b"]" * 100_000)
    assert deep != PLAIN
    assert refusal(deep) == DAMAGED


def test_a_child_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "PDF_CHILD", tmp_path / "endless.py")
    (tmp_path / "endless.py").write_text("while True: __import__('time').sleep(60)")
    monkeypatch.setattr(opening, "READING_SECONDS", 0.1)
    assert refusal(PLAIN) == TOO_MUCH


def test_a_child_that_fails_by_itself_is_no_fault_of_the_pdf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "PDF_CHILD", tmp_path / "gone.py")
    (tmp_path / "gone.py").write_text("import nothing_of_this_name")
    with pytest.raises(RuntimeError, match="exit code 1"):
        opening.opened_pdf(io.BytesIO(PLAIN), None)


def test_the_child_and_its_reader_use_the_same_codes() -> None:
    assert (opening.AS_IS, opening.COPIED) == (pdf_child.AS_IS, pdf_child.COPIED)
    assert opening.TOO_MUCH == pdf_child.TOO_MUCH
    names = ("NEEDS_PASSWORD", "WRONG_PASSWORD", "DAMAGED", "TOO_MUCH", "NOT_SHOWN", "FOLDER", "LARGE_PAGE")
    sentences = (NEEDS, WRONG, DAMAGED, TOO_MUCH, NOT_SHOWN, FOLDER, LARGE_PAGE)
    told = {code: " ".join(reason) for code, reason in opening.PDF_REASONS.items()}
    assert dict(zip((getattr(pdf_child, name) for name in names), sentences, strict=True)) == told


# -- the largest --------------------------------------------------------------


@pytest.fixture(scope="module")
def largest() -> Iterator[tuple[BinaryIO, str]]:
    """A locked PDF of almost 99 MiB, filled by one photo, as an upload is stored in the web process; and its digest."""
    photo = Random(526).randbytes(1 << 20) * 98
    with tempfile.TemporaryFile() as stream:
        with document(photo, Name.DCTDecode) as pdf:
            pdf.save(stream, encryption=LOCKED, compress_streams=False)
        yield stream, hashlib.sha256(photo).hexdigest()


def test_a_99_mib_pdf_is_opened_and_read_in_8_mib_of_this_process(largest: tuple[BinaryIO, str]) -> None:
    """The kernel limits the child to 400 MiB, so that the two together stay under 512 MiB."""
    stream, digest = largest
    size = stream.seek(0, os.SEEK_END)
    assert 98 << 20 < size <= MOST_PDF_BYTES
    tracemalloc.start()
    recognise(stream, "largest.pdf", size)
    with opening.opened_pdf(stream, WORD) as copy:
        total = sum(len(chunk) for chunk in chunks_of(copy))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 8 << 20
        assert pdf_child.MEMORY_BYTES == 400 << 20
        with Pdf.open(copy) as pdf:
            contents = pdf.pages[0].Contents
            assert isinstance(contents, Stream)
            assert hashlib.sha256(memoryview(contents.get_raw_stream_buffer())).hexdigest() == digest
    assert 98 << 20 < total < size + 4096


def test_a_copy_that_memory_cut_short_is_refused_and_not_taken(
    largest: tuple[BinaryIO, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library only warns when a stream does not fit, and writes a PDF without its pictures."""
    child = tmp_path / "small_child.py"
    source = opening.PDF_CHILD.read_text()
    child.write_text(source.replace("MEMORY_BYTES = 400 * MIB", "MEMORY_BYTES = 120 * MIB"))
    assert child.read_text() != source
    monkeypatch.setattr(opening, "PDF_CHILD", child)
    assert refusal(largest[0], WORD) in (TOO_MUCH, DAMAGED)


@pytest.mark.parametrize("kind", [tempfile.SpooledTemporaryFile, tempfile.TemporaryFile])
def test_an_upload_that_is_not_on_the_disk_yet_is_passed_on_too(kind: Any) -> None:
    with kind() as stream:
        stream.write(PLAIN)
        assert opening.opened_pdf(stream, None).read() == PLAIN


def test_a_file_is_read_on_from_where_this_process_left_it(tmp_path: Path) -> None:
    """The child shares the position in the file, which a buffered stream assumes to know."""
    content = saved(document(Random(526).randbytes(30_000)))
    (tmp_path / "upload").write_bytes(content)
    with (tmp_path / "upload").open("rb") as stream:
        assert stream.read(64) == content[:64]
        assert b"".join(chunks_of(opening.opened_pdf(stream, None), 1000)) == content
