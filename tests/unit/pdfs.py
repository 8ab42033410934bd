"""PDFs to open, and the sentences of those that are refused."""

from __future__ import annotations

import io
from typing import BinaryIO

import pytest
from pikepdf import Encryption, Pdf, Stream, StreamDecodeLevel

from flaskapp.form526.attachments import opening
from flaskapp.form526.attachments.types import FileRefused

WORD = "pässwörd 7"
LOCKED = Encryption(owner="owner", user=WORD)
FOR_READING = Encryption(owner="owner", user="")
NEEDS = "This PDF needs a password. Please enter it, or add a copy without a password."
WRONG = "That password does not open this PDF. Please enter it again, or add a copy without a password."
DAMAGED = "This PDF is damaged or not complete. Please open it, print it to a new PDF, and add that."
TOO_MUCH = "This PDF takes too much time or memory to open. Please print it to a new PDF, and add that."
NOT_SHOWN = (
    'This PDF is a form that only one program can show; others see "Please wait".'
    " Please open it, print it to a new PDF, and add that."
)
FOLDER = "This PDF is a folder of other files. Please open it, print each of them to a PDF, and add those."
LARGE_PAGE = "A page of this PDF is larger than 78 x 101 inches. Please print it to a smaller page, and add that."


def document(content: bytes = b"0 0 m 9 9 l S", filters: object = None) -> Pdf:
    pdf = Pdf.new()
    pdf.add_blank_page()
    drawn = Stream(pdf, b"")
    drawn.write(content, filter=filters)
    pdf.pages[0].Contents = drawn
    return pdf


def saved(pdf: Pdf, encryption: Encryption | bool = False) -> bytes:
    kept = io.BytesIO()
    # A locked PDF is never decoded, and asking for it is refused.
    level = None if encryption else StreamDecodeLevel.none
    pdf.save(kept, encryption=encryption, compress_streams=False, stream_decode_level=level)
    return kept.getvalue()


PLAIN = saved(document())
LOCKED_PDF = saved(document(), LOCKED)


def refusal(content: bytes | BinaryIO, password: str | None = None) -> str:
    with pytest.raises(FileRefused) as refused:
        opening.opened_pdf(io.BytesIO(content) if isinstance(content, bytes) else content, password)
    return refused.value.reason


def drawn_in(stream: BinaryIO) -> bytes:
    """What is drawn on the first page; raises when it needs a password."""
    with Pdf.open(stream) as pdf:
        assert not pdf.is_encrypted
        contents = pdf.pages[0].Contents
        assert isinstance(contents, Stream)
        return contents.read_bytes()


def content_of(stream: BinaryIO) -> bytes:
    stream.seek(0)
    return stream.read()
