"""Uploads made to break what reads them: a file is taken whole, or it is refused and leaves nothing anywhere."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from flaskapp.upstreams.lighthouse.documents import LONGEST_NAME
from tests.hostile.described import EXAMPLES
from tests.hostile.multipart import END, KIND, kept, open_files, part, send, send_file, signed_in
from tests.integration.form526_steps import PASSWORD_FIELD, PNG, chunk, filer, uploaded
from tests.product import Product

# Werkzeug's file of an upload that broke off closes with the last reference to it, about which Python warns. The tests
# here check that it is closed.
pytestmark = pytest.mark.filterwarnings("ignore:Unclosed file:ResourceWarning")

MIB = 1024 * 1024
WHOLE = part(b"a doctor's letter") + END
MANY_NAMES = b"".join(part(b"x", f"f{at}", None) for at in range(1001))
NESTED = b"Content-Type: multipart/mixed; boundary=inner\r\n"
INNER = b'--inner\r\nContent-Disposition: file; filename="letter.txt"\r\n\r\nwords\r\n--inner--\r\n'
REFUSED = {
    "no boundary": (422, WHOLE, "multipart/form-data"),
    "an empty boundary": (422, WHOLE, "multipart/form-data; boundary="),
    "another boundary": (422, WHOLE, "multipart/form-data; boundary=other"),
    "a boundary of 10,000 letters": (422, WHOLE, "multipart/form-data; boundary=" + "b" * 10_000),
    "a boundary with a line in it": (422, WHOLE, 'multipart/form-data; boundary="b\\r\\nx"'),
    "no end": (422, WHOLE[: -len(END)], KIND),
    "cut in a header": (422, WHOLE[:40], KIND),
    "nothing": (422, b"", KIND),
    "a file as a field": (422, part(b"words", filename=None) + END, KIND),
    "no file name": (422, part(b"words", filename="") + END, KIND),
    "a part without headers": (422, b"--b0undary\r\n\r\nx\r\n" + END, KIND),
    "a header without an end": (413, b"--b0undary\r\nX: " + b"x" * MIB, KIND),
    "a thousand fields and one": (413, MANY_NAMES + WHOLE, KIND),
    "a field of a megabyte": (
        413,
        part(b"x" * MIB, PASSWORD_FIELD, None) + WHOLE,
        KIND,
    ),
    "files in a file": (422, part(INNER, "files", None, NESTED) + END, KIND),
    "a form in its other spelling": (422, b"a=1", "application/x-www-form-urlencoded"),
    "JSON": (422, b"{}", "application/json"),
    "no type": (422, WHOLE, ""),
}


@pytest.fixture
def headers(product: Product) -> dict[str, str]:
    return signed_in(product)


# -- the envelope -------------------------------------------------------------


def test_a_broken_envelope_is_refused_and_leaves_neither_rows_nor_files(
    product: Product, headers: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert kept(product) == (0, 0)
    before = open_files()
    for what, (status, body, kind) in REFUSED.items():
        response = send(product, headers, body, kind)
        reported = response.get_json()["errors"][0]["status"]
        assert (response.status_code, reported) == (status, str(status)), (what, response.text)
    assert (kept(product), list(tmp_path.iterdir()), open_files()) == ((0, 0), [], before)


@st.composite
def mangled(draw: st.DrawFn) -> bytes:
    """A good upload with a few pieces cut out, doubled, swapped or overwritten."""
    body = WHOLE
    for _ in range(draw(st.integers(1, 4))):
        start, length = draw(st.integers(0, len(body))), draw(st.integers(0, 40))
        there = body[start : start + length]
        put = draw(st.sampled_from([b"", there * 2, there[::-1], END, b"\r\n", b"\r\n\r\n", b'"', b"\0"]) | st.binary())
        body = body[:start] + put + body[start + length :]
    return body


@settings(
    max_examples=EXAMPLES or 40,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    # Hypothesis explains a failure by running it traced, for minutes; its smallest form says enough.
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(body=mangled())
def test_every_mangled_upload_is_taken_whole_or_refused(product: Product, headers: dict[str, str], body: bytes) -> None:
    files, pieces = kept(product)
    response = send(product, headers, body, KIND)
    assert response.status_code in (200, 413, 422), response.text
    taken = int(response.status_code == 200)
    assert kept(product) == (files + taken, pieces + taken)
    query = "SELECT count(*) FROM form526_attachments WHERE chunks <> 1 OR content_type <> 'text/plain'"
    assert product.value(query) == 0


# -- the name -----------------------------------------------------------------

NAMES: dict[str, str | bytes] = {
    "folders": "../../../etc/cron.d/letter.txt",
    "a Windows folder": "C:\\Windows\\letter.txt",
    "NUL": b"letter.exe\0.txt",
    "written backwards": "\u202etxt.exe.txt",
    "10,000 letters": "x" * 10_000 + ".txt",
    "no letters": "\U0001f600\u0301" * 50 + ".txt",
    "a quote": 'a"; filename="b.exe',
    "SQL": "'); DROP TABLE accounts; --.txt",
    "a template": "{{7*7}}${7*7}<script>.txt",
    "only an ending": ".txt",
    "dots": "....txt",
    "a device": "CON.txt",
}
# These mean a second header or two names; nothing shows which.
REFUSED_NAMES = ("a\r\nX-Evil: 1.txt", b"\xff\xfe\xed\xa0\x80.txt", "letter.txt\0", "letter.txt/", "letter.txt.")


def test_a_file_may_have_any_name_and_is_passed_on_under_a_harmless_one(
    product: Product, headers: dict[str, str]
) -> None:
    named = []
    for what, name in NAMES.items():
        response = send_file(product, headers, b"words", name)
        assert response.status_code == (422 if what == "a quote" else 200), (what, response.text)
        if response.status_code == 200:
            said = name.decode("utf-8", "replace").replace("\0", "") if isinstance(name, bytes) else name
            code = response.get_json()["data"]["attributes"]["guid"]
            named.append({"name": said, "confirmationCode": code, "attachmentId": "L015"})
    for refused in REFUSED_NAMES:
        assert send_file(product, headers, b"words", refused).status_code == 422, refused
    filer(product).file(*named)
    product.work()
    names = [file["file_name"] for file in uploaded(product) if file["doc_type"] == "L015"]
    assert (len(names), product.cases()) == (len(named), [])
    for sent in names:
        assert sent.isprintable() and sent.endswith(".txt") and len(sent) <= LONGEST_NAME, sent
        assert sent.count(".") == 1 and not set(sent) & set('/\\"'), sent


# -- the content --------------------------------------------------------------


def huge_picture() -> bytes:
    """A PNG of a few kilobytes that claims to be four thousand million pixels, all black."""
    header = struct.pack(">IIBBBBB", 65_535, 65_535, 8, 6, 0, 0, 0)
    return PNG[:8] + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(4 * MIB), 9)) + chunk(b"IEND")


def test_a_file_that_can_be_read_in_two_ways_is_what_it_begins_as_or_refused(
    product: Product, headers: dict[str, str]
) -> None:
    archive = b"PK\x03\x04" + bytes(26)
    files: list[tuple[str, bytes, int]] = [
        ("scan.txt", PNG, 200),
        ("scan.pdf", PNG, 200),
        ("scan.png", archive + PNG, 422),
        ("scan.png", PNG[:-1], 422),
        ("scan.txt", archive, 422),
        ("scan.pdf", b"\0" * 1024 + b"%PDF-1.7", 422),
        ("scan.txt", b"%PDF-1.7\n" + b"words", 422),
        ("page.html", b"<script>", 422),
        ("page.svg", b"<svg onload='x'/>", 422),
        ("page.txt", b"<script>alert(1)</script>", 422),
        ("scan.png", PNG + archive, 200),
        ("scan.png", huge_picture(), 422),
    ]
    for name, content, status in files:
        response = send_file(product, headers, content, name, b"Content-Type: application/x-msdownload\r\n")
        assert response.status_code == status, (name, content[:20], response.text)
    kinds = product.rows("SELECT content_type FROM form526_attachments ORDER BY created_at")
    assert [row[0] for row in kinds] == ["image/png"] * 3
