"""Client of Lighthouse Benefits Documents v1: uploads a document, and reads later how far it came.

A yes to an upload means "received" and nothing more; only its status says whether the document arrived. An upload takes
no idempotency key, and a second one makes a second document or is refused as a duplicate. So whatever is not plainly a
yes or a no is "unanswered".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from flaskapp.config import Config
from flaskapp.upstreams.errors import Duplicate, Rejected, Unanswered, Unavailable, Unexplained, UpstreamError
from flaskapp.upstreams.lighthouse.statuses import DocumentStatus, Statuses, read_statuses
from flaskapp.upstreams.tokens.cache import Tokens, with_token
from flaskapp.upstreams.transport.http import HTTP, Answer, Outgoing, failure
from flaskapp.upstreams.transport.ids import read_id
from flaskapp.upstreams.transport.refusals import code_in, listed, refused, said_in, says, speaks_of_the_request
from flaskapp.upstreams.transport.streamed import FilePart, StreamedBody, form_with_file

__all__ = ["DocumentStatus", "LighthouseDocumentsClient", "NoneKnown", "Statuses", "Upload", "sent_name"]

UPSTREAM = "lighthouse_documents"
SYSTEM_NAME = "VA.gov"
LONGEST_NAME = 256
# How a 400 may say that Lighthouse has the document: its text is not public (contract: benefits 4.1), so these are the
# whole of a text, about this one document. Any other may be about our quota, body and settings, or about a duplicate
# all the same, and nobody can tell.
_DOCUMENT, _OF_CLAIM = "(?:document|file|upload)", "(?: (?:on|to|for) (?:this|the) claim)?"
SAYS_DUPLICATE = re.compile(
    rf"(?:(?:this is|taken for) a )?duplicate {_DOCUMENT}{_OF_CLAIM}\.?"
    rf"|(?:(?:this|the|an identical|the same) )?{_DOCUMENT}"
    rf" (?:(?:is|was taken for) a duplicate(?: of another (?:one|{_DOCUMENT}))?"
    rf"|already exists|(?:has |was )?already (?:been )?(?:uploaded|submitted|received)){_OF_CLAIM}\.?"
)
# A status query for ids of which none is known (contract: benefits 4.4).
NONE_KNOWN = ("async status not found",)
_UNSAFE = str.maketrans({"/": "_", "\\": "_"})


class NoneKnown(Rejected):
    """The service knows none of the requested ids. Which of them it really does not know, only smaller polls show."""


@dataclass(frozen=True)
class Upload:
    """A document of `size` bytes for a claim. `doc_type` is an L-code, `content_type` the file's own.

    One of the two identifiers is needed, and only one is sent: the participant id if there is one. Raises ValueError
    without either.
    """

    claim_id: int
    doc_type: str
    file_name: str = field(repr=False)
    content_type: str
    size: int
    participant_id: str | None = field(repr=False)
    file_number: str | None = field(repr=False)

    def __post_init__(self) -> None:
        if not self.participant_id and not self.file_number:
            raise ValueError("a document needs a participant id or a file number")


class LighthouseDocumentsClient:
    def __init__(self, config: Config, http: HTTP, tokens: Tokens) -> None:
        self._config = config
        self._http = http
        self._tokens = tokens

    def upload(self, document: Upload, chunks: Callable[[], Iterable[bytes]], before_write: Callable[[], None]) -> int:
        """Send the document; returns the id by which its status is read.

        `chunks()` makes its bytes, from the beginning at each call: after a refused token there are two calls. They are
        sent as they are made, so memory holds one chunk at a time. `before_write` runs right before every request is
        written; what it raises passes through. Raises any of the six, and BodyBroken, with nothing uploaded, when
        `chunks` fails or makes other than `size` bytes. Duplicate says that Lighthouse has one, and not which.
        """

        file = FilePart(sent_name(document.file_name), document.content_type, document.size, chunks)

        def send(token: str) -> int:
            content_type, body = form_with_file(_parameters(document), file)
            headers = _headers(token) | {"Content-Type": content_type}
            request = self._request("upload", "/documents", headers, stream=body, unquoted=(file.file_name,))
            before_write()
            return _uploaded(self._http.call(request))

        return with_token(self._tokens, send)

    def statuses(self, request_ids: Sequence[int]) -> Statuses:
        """How far these uploads came; at most 100 ids at once, as the known client does.

        No single entry can make it raise, only the answer as a whole: NoneKnown when the service knows none of them,
        Rejected where the query is too large, Unauthorized, Throttled, and Unavailable for everything else.
        """
        if not request_ids:
            return Statuses({}, frozenset(), frozenset())
        requested = list(dict.fromkeys(request_ids))
        body = {"data": {"requestIds": requested}}

        def fetch_statuses(token: str) -> Statuses:
            request = self._request("statuses", "/uploads/status", _headers(token), body)
            return _statuses(self._http.call(request), requested)

        return with_token(self._tokens, fetch_statuses)

    def _request(
        self,
        operation: str,
        path: str,
        headers: dict[str, str],
        body: Any = None,
        stream: StreamedBody | None = None,
        unquoted: tuple[str, ...] = (),
    ) -> Outgoing:
        config = self._config
        return Outgoing(
            UPSTREAM,
            operation,
            "POST",
            f"{config.lighthouse_base_url}/services/benefits-documents/v1{path}",
            write=stream is not None,
            total_seconds=config.document_status_seconds if stream is None else config.document_upload_seconds,
            headers=headers,
            json=body,
            stream=stream,
            unquoted=unquoted,
        )


def sent_name(file_name: str) -> str:
    """The name as Lighthouse takes it: no dot but the last, at most 256 characters, and nothing that ends a header.

    A name of which nothing remains becomes "document".
    """
    name = "".join(mark for mark in file_name if mark.isprintable()).translate(_UNSAFE).strip()
    stem, dot, ending = name.rpartition(".")
    ending = dot + ending[: LONGEST_NAME // 4] if dot else ""
    stem = (stem if dot else name).replace(".", "").strip() or "document"
    return stem[: LONGEST_NAME - len(ending)] + ending


def _parameters(document: Upload) -> dict[str, Any]:
    known_by = "participantId" if document.participant_id else "fileNumber"
    data = {
        "systemName": SYSTEM_NAME,
        "docType": document.doc_type,
        "claimId": document.claim_id,
        "fileName": sent_name(document.file_name),
        known_by: document.participant_id or document.file_number,
    }
    return {"data": data}


def _headers(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", "Accept": "application/json"}


def _uploaded(answer: Answer) -> int:
    payload = answer.json()
    if answer.status != 200:
        named, code = _named(answer.status, payload), code_in(answer.status, payload)
        raise refused(UPSTREAM, answer, named, write=True, code=code)
    data = payload.get("data") if isinstance(payload, dict) else None
    data = data if isinstance(data, dict) else {}
    # An id counts even if `success` is missing, since its status will show; but not if `success` says no.
    request_id = read_id(data.get("requestId")) if data.get("success", True) is True else None
    if request_id is None:
        raise Unanswered(UPSTREAM, "the answer confirms no upload", http_status=answer.status)
    return request_id


def _named(status: int, payload: Any) -> type[UpstreamError] | None:
    """Of the refusals of an upload, only that of the gateway, which is about its size, has known words."""
    if status == 400 and speaks_of_the_request(payload):
        return Duplicate if _says_duplicate(payload) else Unexplained
    return listed(status, payload, {})


def _says_duplicate(payload: Any) -> bool:
    return any(SAYS_DUPLICATE.fullmatch(text) for text in said_in(payload))


def _statuses(answer: Answer, request_ids: Sequence[int]) -> Statuses:
    payload = answer.json()
    if answer.status == 404 and says(payload, NONE_KNOWN):
        raise failure(NoneKnown, UPSTREAM, answer, "404")
    if answer.status != 200:
        named, code = listed(answer.status, payload, {}), code_in(answer.status, payload)
        raise refused(UPSTREAM, answer, named, write=False, code=code)
    if payload is None:
        raise failure(Unavailable, UPSTREAM, answer, detail="the answer is no JSON")
    return read_statuses(payload, request_ids)
