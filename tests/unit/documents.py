"""Answers of Lighthouse's Benefits Documents API, made up (contract: benefits 4.3), and a client beside a server."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from email import message_from_bytes, policy
from email.message import Message
from typing import Any

from flaskapp.upstreams.lighthouse.documents import LighthouseDocumentsClient, Statuses, Upload
from flaskapp.upstreams.transport.http import HTTP
from tests.unit.loopback import Loopback, Received, Reply
from tests.unit.upstream_settings import Tokens, settings

BASE = "/services/benefits-documents/v1"
TAKEN = {"data": {"success": True, "requestId": 81234}}
NONE_KNOWN = {
    "errors": [
        {
            "detail": "Upload Request Async Status Not Found",
            "status": 404,
            "title": "Not Found",
            "type": "https://example/404",
            "instance": "0a1b2c3d-1111-4222-8333-444455556666",
            "diagnostics": "opaque",
        }
    ]
}
PIECES = [b"%PDF-1.7\r\n", b"", b"--\r\n\x00\xff", b"%%EOF"]
STARTED, ENDED = 1893456000123, 1893456600456
CE, BGS = "CLAIMS_EVIDENCE", "BENEFITS_GATEWAY_SERVICE"


def document(**changes: Any) -> Upload:
    given: dict[str, Any] = {
        "claim_id": 600123456,
        "doc_type": "L228",
        "file_name": "form-0781.pdf",
        "content_type": "application/pdf",
        "size": sum(map(len, PIECES)),
        "participant_id": "600045678",
        "file_number": None,
    }
    return Upload(**{**given, **changes})


def api_error(detail: str = "no", status: int = 400) -> dict[str, Any]:
    return {"errors": [{"detail": detail, "status": status, "title": "made up", "type": "x", "instance": "y"}]}


def entry(request_id: Any, status: str = "SUCCESS", ce: str = "SUCCESS", bgs: str = "SUCCESS", **more: Any) -> Any:
    """One document of an answer. A field given as "absent" is left out."""
    steps = [
        {"name": CE, "nextStepName": BGS, "description": "d1", "status": ce},
        {"name": BGS, "description": "d2", "status": bgs},
    ]
    time = {"startTime": STARTED, "endTime": ENDED}
    given = {"requestId": request_id, "time": time, "status": status, "steps": steps, **more}
    return {name: value for name, value in given.items() if value != "absent"}


def answered(*entries: Any, missing: Any = ()) -> dict[str, Any]:
    data: dict[str, Any] = {"statuses": list(entries)}
    if missing != "absent":
        data["requestIdsNotFound"] = list(missing) if isinstance(missing, tuple) else missing
    return {"data": data}


def parts_of(sent: Received) -> list[Message]:
    """The parts of a multipart request, read by a parser that is not ours."""
    head = f"Content-Type: {sent.headers['content-type']}\r\n\r\n".encode()
    parts = message_from_bytes(head + sent.body, policy=policy.HTTP).get_payload()
    assert isinstance(parts, list)
    return parts


class Bench:
    """A client, the server that it calls, and the counts of its writes and of the times the file was read."""

    def __init__(self, server: Loopback) -> None:
        self.server = server
        self.tokens = Tokens()
        self.writes = self.readings = 0
        config = settings(lighthouse_base_url=server.url, document_upload_seconds=30, document_status_seconds=30)
        self.client = LighthouseDocumentsClient(config, HTTP(10), self.tokens)

    def before_write(self) -> None:
        assert len(self.server.received) == self.writes
        self.writes += 1

    def chunks(self) -> Iterable[bytes]:
        self.readings += 1
        return iter(PIECES)

    def upload(self, *replies: Reply, chunks: Callable[[], Iterable[bytes]] | None = None, **changes: Any) -> int:
        self.server.replies[:] = replies
        return self.client.upload(document(**changes), chunks or self.chunks, self.before_write)

    def ask(self, *replies: Reply, ids: tuple[int, ...] = (9001, 9002)) -> Statuses:
        self.server.replies[:] = replies
        return self.client.statuses(ids)
