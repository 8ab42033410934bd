"""A PDF that some reader could not read, or that shows a clerk nothing, is mended or refused before it is passed on."""

from __future__ import annotations

import io
import re
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest
from pikepdf import Array, Dictionary, Name, Pdf, PdfError, Stream, String

from flaskapp.form526.attachments import opening
from flaskapp.form526.attachments.types import FileRefused
from tests.unit.pdfs import (
    DAMAGED,
    FOLDER,
    LARGE_PAGE,
    LOCKED_PDF,
    NOT_SHOWN,
    PLAIN,
    WORD,
    content_of,
    document,
    drawn_in,
    refusal,
    saved,
)

pytestmark = pytest.mark.usefixtures("patience")


# -- broken ones --------------------------------------------------------------


def test_a_pdf_without_pages_or_without_its_end_is_damaged() -> None:
    assert refusal(saved(Pdf.new())) == DAMAGED
    assert refusal(PLAIN[:-40]) == DAMAGED
    assert refusal(b"%PDF-1.7\n" + Random(526).randbytes(3000) + b"\nstartxref\n9\n%%EOF") == DAMAGED


def with_wrong_tables(pdf: bytes) -> dict[str, bytes]:
    """The same PDF with faults that every viewer repairs, and some reader further on does not."""
    (table,) = re.findall(rb"startxref\n(\d+)", pdf)
    at = int(table)
    return {
        "startxref elsewhere": pdf.replace(b"startxref\n", b"startxref\n1"),
        "offsets off": pdf[:at] + re.sub(rb"0000000(\d{3}) 00000 n", rb"0000001\1 00000 n", pdf[at:]),
        "a line added at the top": pdf.replace(b"\n", b"\n% scanned by a copier\n", 1),
        "lines made longer": pdf.replace(b"\n", b"\r\n"),
    }


def is_sound(content: bytes) -> bool:
    """Whether a reader that repairs nothing finds everything in it."""
    try:
        with Pdf.open(io.BytesIO(content), attempt_recovery=False) as pdf:
            return bool(list(pdf.objects)) and not pdf.get_warnings()
    except PdfError:
        return False


@pytest.mark.parametrize("fault", with_wrong_tables(PLAIN))
def test_a_wrong_table_is_mended_before_it_is_passed_on(fault: str, temporary: Path) -> None:
    wrong = with_wrong_tables(PLAIN)[fault]
    assert not is_sound(wrong)
    with opening.opened_pdf(io.BytesIO(wrong), None) as mended:
        content = mended.read()
    assert is_sound(content) and drawn_in(io.BytesIO(content)).strip() == b"0 0 m 9 9 l S"


@pytest.mark.parametrize("padding", [bytes(5_000), b"\r\n" * 4_000, bytes(700_000), b" "])
def test_blanks_after_the_end_are_passed_over(padding: bytes) -> None:
    padded = PLAIN + padding
    with opening.opened_pdf(io.BytesIO(padded), None) as opened:
        # Most readers look for the end in the last kilobyte.
        assert (opened.read() == padded) == (len(padding) < 1000)
        assert is_sound(opened.getvalue() if isinstance(opened, io.BytesIO) else content_of(opened))
    with opening.opened_pdf(io.BytesIO(LOCKED_PDF + padding), WORD) as copy:
        assert drawn_in(copy) == b"0 0 m 9 9 l S"


def test_what_stands_before_the_beginning_is_passed_over() -> None:
    with opening.opened_pdf(io.BytesIO(b"Received: by fax\r\n\r\n" + PLAIN), None) as opened:
        assert content_of(opened).startswith(b"%PDF-")
        assert drawn_in(opened) == b"0 0 m 9 9 l S"


def test_a_pdf_that_lost_a_page_is_damaged() -> None:
    """A repair would go on without it, and nobody would know."""
    two = document()
    two.add_blank_page()
    lost = re.sub(rb"\d 0 obj\n<< /Contents.*?endobj\n", b"", saved(two), count=1, flags=re.S)
    with Pdf.open(io.BytesIO(lost)) as pdf:
        assert len(pdf.pages) == 1
    assert refusal(lost) == DAMAGED


def test_a_locked_pdf_with_a_fault_is_refused_because_only_our_copy_would_remain() -> None:
    assert refusal(LOCKED_PDF.replace(b"startxref\n", b"startxref\n1"), WORD) == DAMAGED


# -- those that show nothing to a clerk ---------------------------------------


def with_form(template: bytes = b"<xdp/>", *, fields: int = 0, shown: Name | None = None, **more: Any) -> bytes:
    """A form made by a template, with so many fields; `shown` puts one of this type on its page."""
    pdf = document()
    made = [pdf.make_indirect(Dictionary(T=String(f"field {number}"), FT=Name.Tx)) for number in range(fields)]
    pdf.Root.AcroForm = Dictionary(XFA=Array([String("config"), Stream(pdf, template)]), Fields=Array(made))
    if shown is not None:
        drawn = pdf.make_indirect(Dictionary(Subtype=Name.Widget, FT=shown, T=String("x"), Rect=Array([0, 0, 9, 9])))
        pdf.pages[0].Annots = pdf.Root.AcroForm.Fields = Array([drawn])
    for name, value in more.items():
        pdf.Root[f"/{name}"] = value
    return saved(pdf)


ON_SCREEN = b"<acrobat7><dynamicRender>required</dynamicRender></acrobat7>"


def test_a_form_that_one_program_draws_and_a_folder_of_files_are_refused() -> None:
    assert refusal(with_form(NeedsRendering=True, fields=3)) == NOT_SHOWN
    assert refusal(with_form(ON_SCREEN)) == NOT_SHOWN
    assert refusal(with_form(ON_SCREEN, shown=Name.Sig)) == NOT_SHOWN
    folder = document()
    folder.Root.Collection = Dictionary(View=Name.D)
    assert refusal(saved(folder)) == FOLDER


@pytest.mark.parametrize("form", [with_form(fields=3), with_form(), with_form(ON_SCREEN, shown=Name.Tx)])
def test_a_form_with_pages_of_its_own_is_taken(form: bytes) -> None:
    assert opening.opened_pdf(io.BytesIO(form), None).read() == form


@pytest.mark.parametrize(
    ("width", "height", "more", "too_large"),
    [
        (78, 101, {}, False),
        (78.1, 101, {}, True),
        (78, 101.1, {}, True),
        (101, 78, {"Rotate": 90}, False),
        (101, 78, {}, True),
        (40, 51, {"UserUnit": 2}, True),
        (200, 200, {"CropBox": Array([0, 0, 612, 792])}, False),
        (8, 11, {"CropBox": Array([9000, 9000, -9000, -9000])}, False),
    ],
)
def test_a_page_is_measured_as_it_is_shown_and_only_where_a_limit_is_set(
    width: float, height: float, more: dict[str, Any], too_large: bool
) -> None:
    pdf = document()
    pdf.pages[0].MediaBox = Array([0, 0, Decimal(str(width * 72)), Decimal(str(height * 72))])
    for name, value in more.items():
        pdf.pages[0].obj[f"/{name}"] = value
    content = saved(pdf)
    assert opening.opened_pdf(io.BytesIO(content), None).read() == content
    if too_large:
        with pytest.raises(FileRefused) as refused:
            opening.opened_pdf(io.BytesIO(content), None, limit_pages=True)
        assert refused.value.reason == LARGE_PAGE
    else:
        assert opening.opened_pdf(io.BytesIO(content), None, limit_pages=True).read() == content
