"""A caller of Benefits Documents that knows only the wire and writes its own multipart bodies (contract: benefits
4.1)."""

from __future__ import annotations

import json
from typing import Any

import requests

from sandbox.upstreams.serve import Upstreams
from tests.contract.lighthouse_wire import Caller

SCOPE = "documents.read documents.write"
BOUNDARY = "boundary-of-the-test"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"
DATA = {
    "systemName": "VA.gov",
    "docType": "L023",
    "claimId": 600123456,
    "participantId": "600000001",
    "fileName": "letter.pdf",
    "trackedItemIds": None,
}
PDF = b"%PDF-1.7\nnothing in it\r\n%%EOF"


def part(name: str, content: bytes, content_type: str | None, file_name: str | None = None) -> bytes:
    """One part with its opening boundary line."""
    disposition = f'form-data; name="{name}"' + (f'; filename="{file_name}"' if file_name is not None else "")
    media = f"Content-Type: {content_type}\r\n" if content_type else ""
    return f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n{media}\r\n".encode() + content + b"\r\n"


def parameters(data: Any, content_type: str | None = "application/json") -> bytes:
    return part("parameters", json.dumps({"data": data}).encode(), content_type)


def whole(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


RIGHT = parameters(DATA)
FILE = part("file", PDF, "application/pdf", "letter.pdf")


class DocumentsCaller(Caller):
    """Correct by default, with a live token for both scopes."""

    def __init__(self, http: requests.Session, upstreams: Upstreams) -> None:
        super().__init__(http, upstreams)
        self.tokens = upstreams.fakes.documents.tokens
        self.token_url = f"{upstreams['documents']}/oauth2/benefits-documents/system/v1/token"
        self.base = f"{upstreams['documents']}/services/benefits-documents/v1"
        self.take_token(SCOPE)

    def assertion(self, key: str | None = None, algorithm: str = "RS256", **changes: Any) -> str:
        return super().assertion(key, algorithm, **{"aud": self.known.documents_audience} | changes)

    def ask_token(self, assertion: str | None = None, **changes: str) -> requests.Response:
        return super().ask_token(assertion, **{"scope": SCOPE} | changes)

    def send(self, body: bytes, content_type: str = MULTIPART) -> requests.Response:
        return self.http.post(
            f"{self.base}/documents", data=body, headers=self.headers | {"Content-Type": content_type}
        )

    def upload(self, file: bytes = FILE, **changes: Any) -> requests.Response:
        """Changes replace keys of `data`; one that is `...` is left out."""
        data = {name: value for name, value in (DATA | changes).items() if value is not ...}
        return self.send(whole(parameters(data), file))

    def uploaded(self, **changes: Any) -> int:
        """The request id of an upload that was taken."""
        answer = self.upload(**changes)
        assert answer.status_code == 200, answer.text
        return int(answer.json()["data"]["requestId"])

    def ask(self, *request_ids: Any, **query: str) -> requests.Response:
        return self.ask_with({"data": {"requestIds": list(request_ids)}}, **query)

    def ask_with(self, body: Any, **query: str) -> requests.Response:
        return self.http.post(f"{self.base}/uploads/status", json=body, params=query, headers=self.headers)

    def ask_one(self, request_id: Any) -> requests.Response:
        return self.http.get(f"{self.base}/uploads/{request_id}/status", headers=self.headers)

    def status(self, request_id: int) -> dict[str, Any]:
        """The one status object of an upload."""
        (only,) = self.ask(request_id).json()["data"]["statuses"]
        return dict(only)


def steps(status: dict[str, Any]) -> dict[str, str]:
    return {step["name"]: step["status"] for step in status["steps"]}


def problem(answer: requests.Response) -> tuple[int, str, str]:
    """HTTP status, title and detail of an error in the API's own family, whose shape is checked on the way."""
    (only,) = answer.json()["errors"]
    assert set(only) == {"detail", "status", "title", "type", "instance", "diagnostics"}
    assert only["status"] == answer.status_code
    return answer.status_code, only["title"], only["detail"]
