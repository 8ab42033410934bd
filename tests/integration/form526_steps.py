"""Steps for tests of Form 526: upload, submit, look at the records, and let the hours of a poll pass."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from typing import Any
from zlib import compress, crc32

from werkzeug.datastructures import FileStorage
from werkzeug.test import encode_multipart

from flaskapp import clock
from flaskapp.db import db
from jobs import housekeeping
from jobs.registry import spec_of
from outbox import grant as give_grant
from outbox.values import Grant
from sandbox.upstreams.cast import Veteran
from tests.integration.itf_steps import Signed, pass_time, sign_in
from tests.integration.steps import publish
from tests.product import ADA, Product

FILE_FIELD = "supporting_evidence_attachment[file_data]"
PASSWORD_FIELD = "supporting_evidence_attachment[password]"
UPLOAD_URL = "/v0/upload_supporting_evidence"
SUBMIT_URL = "/v0/disability_compensation_form/submit_all_claim"
STATUS_URL = "/v0/disability_compensation_form/submission_status"
SUBMIT = spec_of("jobs.form526.submit_form")
UPLOAD = spec_of("jobs.documents.upload_document")
# The operations as the fake upstreams name them, for faults and for the journal.
SUBMITS, LOOKS, UPLOADS = "POST /submissions", "GET /submissions", "POST /services/benefits-documents/v1/documents"


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc32(kind + content))


HEADER = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
PNG = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", HEADER) + chunk(b"IDAT", compress(b"\0\0")) + chunk(b"IEND")


@dataclass
class Filer:
    """Somebody who is signed in and files a Form 526."""

    product: Product
    signed: Signed

    def upload(
        self, name: str = "letter.txt", content: bytes = b"a doctor's letter", password: str | None = None
    ) -> Any:
        parts: dict[str, Any] = {FILE_FIELD: FileStorage(BytesIO(content), name)}
        if password is not None:
            parts[PASSWORD_FIELD] = password
        return self.send(parts)

    def send(self, parts: dict[str, Any], **headers: str) -> Any:
        """Post these parts as a browser does; the test client itself would leave a large body's file open."""
        boundary, body = encode_multipart(parts)
        return self.product.app.test_client().post(
            UPLOAD_URL,
            data=body,
            content_type=f"multipart/form-data; boundary={boundary}",
            headers={**self.signed.headers, **headers},
        )

    def attach(
        self, name: str = "letter.txt", content: bytes = b"a doctor's letter", code: str = "L015"
    ) -> dict[str, Any]:
        """Upload a file; returns what the form says of it."""
        response = self.upload(name, content)
        assert response.status_code == 200, response.text
        guid = response.get_json()["data"]["attributes"]["guid"]
        return {"name": name, "confirmationCode": guid, "attachmentId": code}

    def submit(self, *attachments: dict[str, Any], **form: Any) -> Any:
        body = {"form526": {"attachments": list(attachments), "veteran": {"note": "as the pages gather it"}, **form}}
        return self.product.app.test_client().post(SUBMIT_URL, json=body, headers=self.signed.headers)

    def file(self, *attachments: dict[str, Any], **form: Any) -> dict[str, Any]:
        """Submit a form; returns the attributes of the answer."""
        response = self.submit(*attachments, **form)
        assert response.status_code == 202, response.text
        found: dict[str, Any] = response.get_json()["data"]["attributes"]
        return found

    def status(self, filed: dict[str, Any]) -> dict[str, Any]:
        return self.read(f"{STATUS_URL}/{filed['jobId']}")["attributes"]

    def word(self, filed: dict[str, Any]) -> str:
        """The one word that the page polls for."""
        return str(self.status(filed)["status"])

    def documents(self, filed: dict[str, Any]) -> list[dict[str, Any]]:
        """Each document as its person sees it."""
        listed = self.read(f"/v0/disability_compensation_form/{filed['submissionId']}/documents")
        return [entry["attributes"] for entry in listed]

    def read(self, path: str) -> Any:
        # A token lives for half an hour, and a test may have let days pass since.
        headers = sign_in(self.product, self.signed.veteran).headers
        response = self.product.app.test_client().get(path, headers=headers)
        assert response.status_code == 200, response.text
        return response.get_json()["data"]


def filer(product: Product, veteran: Veteran = ADA) -> Filer:
    return Filer(product, sign_in(product, veteran))


def documents(product: Product) -> list[dict[str, Any]]:
    """Every document that we track, in the order of creation."""
    query = "SELECT * FROM form526_document_submissions ORDER BY created_at, id"
    return [dict(row._mapping) for row in product.rows(query)]


def evidence(product: Product) -> dict[str, Any]:
    """The only document that somebody attached."""
    (found,) = [row for row in documents(product) if row["kind"] == "evidence"]
    return found


def statuses(product: Product) -> list[str]:
    return [row["lighthouse_status"] for row in documents(product)]


def uploaded(product: Product) -> list[dict[str, Any]]:
    """Every upload that Lighthouse accepted."""
    found: list[dict[str, Any]] = product.control.call("GET", "documents", "uploads")
    return found


def submissions(product: Product) -> list[dict[str, Any]]:
    """Every submission that the 526 service accepted."""
    found: list[dict[str, Any]] = product.control.call("GET", "form526", "submissions")
    return found


def attempts(product: Product, subject_id: Any) -> list[tuple[str, str]]:
    """What each attempt at a form or a document did, and how it ended."""
    query = "SELECT purpose, status FROM outbox_attempts WHERE subject_id = :id AND upstream <> 'accounts' ORDER BY id"
    return [tuple(row) for row in product.rows(query, id=str(subject_id))]


def tried(product: Product, times: int, upstream: str = "form526") -> Callable[[], bool]:
    """Whether so many attempts at this upstream have ended."""
    query = "SELECT count(*) >= :times FROM outbox_attempts WHERE upstream = :upstream AND status <> 'try'"
    return lambda: bool(product.value(query, times=times, upstream=upstream))


def message_of(product: Product, subject_id: Any) -> dict[str, Any]:
    """The message outstanding for a form or a document."""
    (found,) = [row for row in product.messages() if row["subject_id"] == str(subject_id)]
    return found


def grant(product: Product, subject_id: Any) -> Grant:
    """Grant an attempt at a form or a document, as a worker does before it goes on.

    Its pointer stays where it is and is worthless now. The pointers of other work stay too: losing them would cost
    time.
    """
    publish(product)
    message = message_of(product, subject_id)
    worker_id, writes = product.app.extensions["process"].worker_id, spec_of(message["job"]).writes
    grant = give_grant(db.engine, message["id"], message["fence"], worker_id=worker_id, lease_seconds=60, writes=writes)
    assert grant is not None
    return grant


def questions(product: Product) -> list[list[int]]:
    """The request ids of every call to uploads/status, oldest first."""
    calls = product.control.received("documents", "uploads/status")
    return [[int(item) for item in entry["body"]["data"]["requestIds"]] for entry in calls]


def poll(product: Product, hours: float = 1.0) -> None:
    """Let an hour pass, ask for the status of every document that is due, and record the answers."""
    pass_time(product, hours=hours)
    offset = (clock.now() - datetime.now(UTC)).total_seconds()
    product.control.turn("documents", clock_offset_seconds=offset)
    housekeeping.poll_documents()
    product.work()
