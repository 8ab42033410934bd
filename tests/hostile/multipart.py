"""Uploads written by hand, byte for byte, and what is checked when one was refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.integration.form526_steps import FILE_FIELD, UPLOAD_URL
from tests.integration.itf_steps import sign_in
from tests.product import Product

BOUNDARY = "b0undary"
KIND = f"multipart/form-data; boundary={BOUNDARY}"


def part(
    content: bytes, name: str = FILE_FIELD, filename: str | bytes | None = "letter.txt", more: bytes = b""
) -> bytes:
    """One part as it goes over the wire, with names exactly as given."""
    reported = b'form-data; name="' + name.encode() + b'"'
    if filename is not None:
        reported += b'; filename="' + (filename if isinstance(filename, bytes) else filename.encode()) + b'"'
    return (
        b"--"
        + BOUNDARY.encode()
        + b"\r\nContent-Disposition: "
        + reported
        + b"\r\n"
        + more
        + b"\r\n"
        + content
        + b"\r\n"
    )


END = b"--" + BOUNDARY.encode() + b"--\r\n"


def send(product: Product, headers: dict[str, str], body: bytes, kind: str, **environ: Any) -> Any:
    """Post exactly this. The type is given beside the body: for an empty body the test client would make its own
    multipart body."""
    given = {"CONTENT_TYPE": kind, **environ}
    client = product.app.test_client(use_cookies=False)
    return client.post(UPLOAD_URL, data=body, headers=headers, environ_overrides=given)


def send_file(
    product: Product, headers: dict[str, str], content: bytes, filename: str | bytes, more: bytes = b""
) -> Any:
    return send(product, headers, part(content, filename=filename, more=more) + END, KIND)


def kept(product: Product) -> tuple[int, int]:
    """Files, and pieces of them."""
    query = "SELECT (SELECT count(*) FROM form526_attachments), (SELECT count(*) FROM form526_attachment_chunks)"
    files, pieces = product.rows(query)[0]
    return int(files), int(pieces)


def open_files() -> list[str]:
    """Temporary files have no name, but a process that holds one open still has a link to where it was."""
    links = [Path(f"/proc/self/fd/{number}") for number in range(1024)]
    return [str(link.readlink()) for link in links if link.is_symlink() and str(link.readlink()).startswith("/")]


def signed_in(product: Product) -> dict[str, str]:
    """The headers of somebody who is signed in, after a first request has opened everything that it opens."""
    found = sign_in(product).headers
    assert send(product, found, b"", KIND).status_code == 422
    return found
