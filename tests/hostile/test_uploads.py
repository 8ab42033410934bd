"""Uploads made to break what reads them: a file is taken whole, or it is refused and leaves nothing anywhere."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from flaskapp.form526.file_types import MOST_BYTES
from flaskapp.form526.files import LONGEST_NAME
from flaskapp.form526.routes import MOST_UPLOAD_BYTES
from tests.hostile.described import EXAMPLES
from tests.house import House
from tests.integration.form526_steps import FILE_FIELD, PASSWORD_FIELD, PNG, UPLOAD_URL, chunk, filer, uploaded
from tests.integration.itf_steps import sign_in

# What Werkzeug was writing when an upload broke off closes with the last reference to it, which Python remarks upon;
# that it is closed is what is looked at here.
pytestmark = pytest.mark.filterwarnings("ignore:Unclosed file:ResourceWarning")

MIB = 1024 * 1024
BOUNDARY = "b0undary"


def part(
    content: bytes, name: str = FILE_FIELD, filename: str | bytes | None = "letter.txt", more: bytes = b""
) -> bytes:
    """One part as it goes over the wire, names as they are given."""
    told = b'form-data; name="' + name.encode() + b'"'
    if filename is not None:
        told += b'; filename="' + (filename if isinstance(filename, bytes) else filename.encode()) + b'"'
    return (
        b"--" + BOUNDARY.encode() + b"\r\nContent-Disposition: " + told + b"\r\n" + more + b"\r\n" + content + b"\r\n"
    )


END = b"--" + BOUNDARY.encode() + b"--\r\n"
WHOLE = part(b"a doctor's letter") + END
MANY_NAMES = b"".join(part(b"x", f"f{at}", None) for at in range(1001))
NESTED = b"Content-Type: multipart/mixed; boundary=inner\r\n"
INNER = b'--inner\r\nContent-Disposition: file; filename="letter.txt"\r\n\r\nwords\r\n--inner--\r\n'
Refused = dict[str, tuple[int, bytes, str]]
REFUSED: Refused = {
    "no boundary": (422, WHOLE, "multipart/form-data"),
    "an empty boundary": (422, WHOLE, "multipart/form-data; boundary="),
    "another boundary": (422, WHOLE, "multipart/form-data; boundary=other"),
    "a boundary of 10,000 letters": (422, WHOLE, "multipart/form-data; boundary=" + "b" * 10_000),
    "a boundary with a line in it": (422, WHOLE, 'multipart/form-data; boundary="b\\r\\nx"'),
    "no end": (422, WHOLE[: -len(END)], f"multipart/form-data; boundary={BOUNDARY}"),
    "cut in a header": (422, WHOLE[:40], f"multipart/form-data; boundary={BOUNDARY}"),
    "nothing": (422, b"", f"multipart/form-data; boundary={BOUNDARY}"),
    "a file as a field": (422, part(b"words", filename=None) + END, f"multipart/form-data; boundary={BOUNDARY}"),
    "no file name": (422, part(b"words", filename="") + END, f"multipart/form-data; boundary={BOUNDARY}"),
    "a part without headers": (422, b"--b0undary\r\n\r\nx\r\n" + END, f"multipart/form-data; boundary={BOUNDARY}"),
    "a header without an end": (413, b"--b0undary\r\nX: " + b"x" * MIB, f"multipart/form-data; boundary={BOUNDARY}"),
    "a thousand fields and one": (413, MANY_NAMES + WHOLE, f"multipart/form-data; boundary={BOUNDARY}"),
    "a field of a megabyte": (
        413,
        part(b"x" * MIB, PASSWORD_FIELD, None) + WHOLE,
        f"multipart/form-data; boundary={BOUNDARY}",
    ),
    "files in a file": (422, part(INNER, "files", None, NESTED) + END, f"multipart/form-data; boundary={BOUNDARY}"),
    "a form in its other spelling": (422, b"a=1", "application/x-www-form-urlencoded"),
    "JSON": (422, b"{}", "application/json"),
    "no type": (422, WHOLE, ""),
}


def send(house: House, headers: dict[str, str], body: Any, kind: str, **parts: Any) -> Any:
    client = house.app.test_client(use_cookies=False)
    return client.post(UPLOAD_URL, data=body, content_type=kind, headers=headers, **parts)


def send_file(house: House, headers: dict[str, str], content: bytes, filename: str | bytes, more: bytes = b"") -> Any:
    return send(house, headers, part(content, filename=filename, more=more) + END, KIND)


KIND = f"multipart/form-data; boundary={BOUNDARY}"


def kept(house: House) -> tuple[int, int]:
    """Files, and pieces of them."""
    query = "SELECT (SELECT count(*) FROM form526_attachments), (SELECT count(*) FROM form526_attachment_chunks)"
    files, pieces = house.rows(query)[0]
    return int(files), int(pieces)


def open_files() -> list[str]:
    """Temporary files have no name, but whoever holds one open still has a link to where it was."""
    links = [Path(f"/proc/self/fd/{number}") for number in range(1024)]
    return [str(link.readlink()) for link in links if link.is_symlink() and str(link.readlink()).startswith("/")]


@pytest.fixture
def headers(house: House) -> dict[str, str]:
    """Somebody signed in, once what a first request opens is open."""
    found = sign_in(house).headers
    assert send(house, found, b"", KIND).status_code == 422
    return found


# -- the envelope -------------------------------------------------------------


def test_a_broken_envelope_is_refused_and_leaves_neither_rows_nor_files(
    house: House, headers: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert kept(house) == (0, 0)
    before = open_files()
    for what, (status, body, kind) in REFUSED.items():
        response = send(house, headers, body, kind)
        told = response.get_json()["errors"][0]["status"]
        assert (response.status_code, told) == (status, str(status)), (what, response.text)
    assert (kept(house), list(tmp_path.iterdir()), open_files()) == ((0, 0), [], before)


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
    max_examples=EXAMPLES or 60,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    # Explaining a failure runs it traced, for minutes; its smallest form says enough.
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(body=mangled())
def test_whatever_is_mangled_is_taken_whole_or_refused(house: House, headers: dict[str, str], body: bytes) -> None:
    files, pieces = kept(house)
    response = send(house, headers, body, KIND)
    assert response.status_code in (200, 413, 422), response.text
    taken = int(response.status_code == 200)
    assert kept(house) == (files + taken, pieces + taken)
    query = "SELECT count(*) FROM form526_attachments WHERE chunks <> 1 OR content_type <> 'text/plain'"
    assert house.value(query) == 0


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
# Whoever writes these means a second header, or means two names: there is no telling which.
REFUSED_NAMES = ("a\r\nX-Evil: 1.txt", b"\xff\xfe\xed\xa0\x80.txt", "letter.txt\0", "letter.txt/", "letter.txt.")


def test_a_file_may_be_called_anything_and_is_handed_on_under_a_harmless_name(
    house: House, headers: dict[str, str]
) -> None:
    named = []
    for what, name in NAMES.items():
        response = send_file(house, headers, b"words", name)
        assert response.status_code == (422 if what == "a quote" else 200), (what, response.text)
        if response.status_code == 200:
            said = name.decode("utf-8", "replace").replace("\0", "") if isinstance(name, bytes) else name
            code = response.get_json()["data"]["attributes"]["guid"]
            named.append({"name": said, "confirmationCode": code, "attachmentId": "L015"})
    for refused in REFUSED_NAMES:
        assert send_file(house, headers, b"words", refused).status_code == 422, refused
    filer(house).file(*named)
    house.work()
    names = [file["file_name"] for file in uploaded(house) if file["doc_type"] == "L015"]
    assert (len(names), house.cases()) == (len(named), [])
    for sent in names:
        assert sent.isprintable() and sent.endswith(".txt") and len(sent) <= LONGEST_NAME, sent
        assert sent.count(".") == 1 and not set(sent) & set('/\\"'), sent


# -- the content --------------------------------------------------------------


def huge_picture() -> bytes:
    """A PNG of a few kilobytes that says it is four thousand million pixels, all black."""
    header = struct.pack(">IIBBBBB", 65_535, 65_535, 8, 6, 0, 0, 0)
    return PNG[:8] + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(4 * MIB), 9)) + chunk(b"IEND")


def test_what_two_programs_would_read_in_two_ways_is_what_its_name_says_or_refused(
    house: House, headers: dict[str, str]
) -> None:
    archive = b"PK\x03\x04" + bytes(26)
    files: list[tuple[str, bytes, int]] = [
        ("scan.txt", PNG, 422),
        ("scan.pdf", PNG, 422),
        ("scan.png", archive + PNG, 422),
        ("scan.png", PNG[:-1], 422),
        ("scan.txt", archive, 422),
        ("scan.pdf", b"\0" * 1024 + b"%PDF-1.7", 422),
        ("scan.txt", b"%PDF-1.7\n" + b"words", 422),
        ("page.html", b"<script>", 422),
        ("page.svg", b"<svg onload='x'/>", 422),
        ("page.txt", b"<script>alert(1)</script>", 200),
        ("scan.png", PNG + archive, 200),
        ("scan.png", huge_picture(), 200),
    ]
    for name, content, status in files:
        response = send_file(house, headers, content, name, b"Content-Type: application/x-msdownload\r\n")
        assert response.status_code == status, (name, content[:20], response.text)
    kinds = house.rows("SELECT content_type FROM form526_attachments ORDER BY created_at")
    assert [row[0] for row in kinds] == ["text/plain", "image/png", "image/png"]


# -- the size -----------------------------------------------------------------


class Flood(io.RawIOBase):
    """A file that never ends; notes how much of it was read, and the most memory this process held meanwhile."""

    def __init__(self, begins: bytes) -> None:
        self.begins = begins
        self.given = self.most = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self.begins[: len(buffer)] or bytes(len(buffer))
        self.begins = self.begins[len(piece) :]
        buffer[: len(piece)] = piece
        self.given += len(piece)
        self.most = max(self.most, psutil.Process().memory_info().rss)
        return len(piece)


@contextmanager
def little_memory(flood: Flood) -> Iterator[None]:
    before = psutil.Process().memory_info().rss
    yield
    assert flood.most - before < 24 * MIB, (flood.most - before) / MIB


FLOODS: dict[str, tuple[dict[str, Any], int, Callable[[int], bool]]] = {
    "announced, and too much": ({"CONTENT_LENGTH": str(MOST_UPLOAD_BYTES + 1)}, 413, lambda read: read == 0),
    "not announced": ({"wsgi.input_terminated": True}, 413, lambda read: read <= MOST_UPLOAD_BYTES + MIB),
    "announced, and no text": ({"CONTENT_LENGTH": str(MOST_BYTES)}, 422, lambda read: read <= MOST_BYTES),
}


@pytest.mark.parametrize("what", FLOODS)
def test_a_flood_ends_at_the_limit_and_in_little_memory(
    house: House, headers: dict[str, str], what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    environ, status, is_enough = FLOODS[what]
    assert kept(house) == (0, 0)
    flood, before = Flood(part(b"")[:-2]), open_files()
    with little_memory(flood):
        # The type goes beside the body: the test client would write a multipart body of its own to fit it.
        given = {**environ, "CONTENT_TYPE": KIND, "wsgi.input": flood}
        response = send(house, headers, b"", "", environ_overrides=given)
    assert (response.status_code, is_enough(flood.given)) == (status, True), (flood.given, response.text)
    response.close()
    assert (kept(house), list(tmp_path.iterdir()), open_files()) == ((0, 0), [], before)
