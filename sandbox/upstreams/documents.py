"""The fake Benefits Documents v1 of Lighthouse: takes files, and moves each on step by step (contract: benefits 4.1).

A 200 says only that a file was received. Where it stands must be queried by request id (contract: benefits 4.3).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from flask import Blueprint, Response, request

from sandbox.upstreams.cast import Cast
from sandbox.upstreams.document_requests import Refused, UploadRequest, api, problem, read_upload, requested_ids
from sandbox.upstreams.documents_admin import documents_admin
from sandbox.upstreams.fake import answer, json_body
from sandbox.upstreams.lighthouse_errors import OF_UPLOADS, error_json
from sandbox.upstreams.lighthouse_gateway import GatewayKnobs, LighthouseAPI
from sandbox.upstreams.multipart import BadMultipart, parts_of
from sandbox.upstreams.settings import DOCUMENTS_TOKEN_PATH, FakeSettings
from sandbox.upstreams.upload_plans import PLANS, status_json
from sandbox.upstreams.uploads import Upload, Uploads

READ, WRITE = "documents.read", "documents.write"
NOT_FOUND_REPORTED = ("always", "when_any", "never")
SHOWN_BYTES = 16


@dataclass(frozen=True, kw_only=True)
class DocumentsKnobs(GatewayKnobs):
    """`step_seconds` is how long each step of later uploads takes. `plan` is the plan that they follow; `plans` names
    other plans by docType, or by a part of the file name. `largest_bytes` is the most that a request may hold.

    `success` is the word that an upload is answered with; with False the file is not kept. `not_found_reported` is when
    an answer has requestIdsNotFound: `always`, `when_any` is missing, or `never`. `unrequested` is how many statuses
    that nobody queried come with every answer. With `refuse_duplicates` a file that is there already, with the same
    name, size and claim, is refused; the real text is not public (contract: benefits 4.1).
    """

    step_seconds: float = 20.0
    plan: str = "ok"
    plans: dict[str, str] = field(default_factory=dict)
    largest_bytes: int = 150 * 1024 * 1024
    success: bool = True
    not_found_reported: str = "always"
    unrequested: int = 0
    refuse_duplicates: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not {self.plan, *self.plans.values()} <= set(PLANS):
            raise ValueError(f"a plan must be one of {', '.join(PLANS)}")
        if self.not_found_reported not in NOT_FOUND_REPORTED:
            raise ValueError(f"not_found_reported must be one of {', '.join(NOT_FOUND_REPORTED)}")


class Documents(LighthouseAPI):
    name = "documents"
    base = "/services/benefits-documents/v1"
    token_path = DOCUMENTS_TOKEN_PATH
    scopes = (READ, WRITE)

    def __init__(self, settings: FakeSettings, cast: Cast) -> None:
        self.uploads = Uploads()
        super().__init__(settings, cast)

    def first_knobs(self) -> DocumentsKnobs:
        return DocumentsKnobs()

    def audience(self) -> str:
        return self.settings.documents_audience

    def routes(self) -> None:
        super().routes()
        self.app.add_url_rule(f"{self.base}/documents", view_func=self.upload, methods=["POST"])
        self.app.add_url_rule(f"{self.base}/uploads/status", view_func=self.statuses, methods=["POST"])
        self.app.add_url_rule(f"{self.base}/uploads/<int:request_id>/status", view_func=self.status)
        self.app.register_error_handler(Refused, lambda refusal: problem(400, str(refusal)))
        self.app.register_error_handler(BadMultipart, lambda refusal: problem(400, str(refusal)))

    def admin_routes(self, admin: Blueprint) -> None:
        documents_admin(admin, self.uploads, self.now, lambda: float(self.knobs.step_seconds))

    def reset(self) -> None:
        super().reset()
        self.uploads.reset()

    def error_body(self, status: int, text: str) -> dict[str, Any]:
        return error_json(status, OF_UPLOADS.get(status, text), self.knobs.error_family, api)

    def upload(self) -> Response:
        if (request.content_length or 0) > self.knobs.largest_bytes:
            return answer(self.error_body(413, ""), 413)
        refusal = self.unauthorized(WRITE)
        if refusal:
            return refusal
        wanted = read_upload(parts_of(request.stream, request.content_type or ""))
        if self.knobs.refuse_duplicates and self._has(wanted):
            return problem(400, "The document was taken for a duplicate of another one on this claim.")
        upload = self._kept(wanted)
        reported_id = str(upload.id) if PLANS[upload.plan].texts else upload.id
        return answer({"data": {"success": self.knobs.success, "requestId": reported_id}})

    def statuses(self) -> Response:
        refusal = self.unauthorized(READ)
        if refusal:
            return refusal
        requested = requested_ids(json_body())
        found = self.uploads.found(requested)
        if not found:
            return _unknown()
        missing = sorted(set(requested) - {upload.id for upload in found})
        data: dict[str, Any] = {
            "statuses": [self._status_json(upload) for upload in found] + self._unrequested(requested)
        }
        if self.knobs.not_found_reported == "always" or (missing and self.knobs.not_found_reported == "when_any"):
            data["requestIdsNotFound"] = missing
        return answer({"data": data})

    def status(self, request_id: int) -> Response:
        refusal = self.unauthorized(READ)
        if refusal:
            return refusal
        found = self.uploads.found([request_id])
        return answer({"data": self._status_json(found[0])}) if found else _unknown()

    def _has(self, wanted: UploadRequest) -> bool:
        same = (wanted.claim_id, wanted.file_name, wanted.file.size)
        return any((each.claim_id, each.file_name, each.size) == same for each in self.uploads.listed())

    def _kept(self, wanted: UploadRequest) -> Upload:
        file = wanted.file
        upload = self.uploads.add(
            started_at=self.now(),
            step_seconds=self.knobs.step_seconds,
            plan=self._plan(wanted),
            claim_id=wanted.claim_id,
            doc_type=wanted.doc_type,
            file_name=wanted.file_name,
            content_type=file.content_type,
            participant_id=wanted.participant_id,
            file_number=wanted.file_number,
            size=file.size,
            sha256=file.sha256,
            first_bytes=file.first_bytes[:SHOWN_BYTES].decode("latin-1"),
        )
        if not self.knobs.success:
            self.uploads.remove(upload.id)
        return upload

    def _plan(self, wanted: UploadRequest) -> str:
        """The plan set in the knobs for this file, else one that its name gives as `plan-<name>`, else the veteran's
        habit."""
        for text, plan in self.knobs.plans.items():
            if text == wanted.doc_type or text in wanted.file_name:
                return plan
        named = wanted.file_name.lower().replace("-", "_")
        for plan in sorted(PLANS, key=len, reverse=True):
            if f"plan_{plan}" in named:
                return plan
        veteran = self.cast.by_benefit_id(wanted.participant_id or wanted.file_number or "")
        return veteran.documents if veteran and veteran.documents != "ok" else self.knobs.plan

    def _status_json(self, upload: Upload) -> dict[str, Any]:
        internal = request.args.get("includeInternalOnlyStepStatuses") == "true"
        return status_json(upload.id, upload.standing(self.now()), internal)

    def _unrequested(self, requested: list[int]) -> list[dict[str, Any]]:
        others = (
            [upload for upload in self.uploads.listed() if upload.id not in requested] if self.knobs.unrequested else []
        )
        return [self._status_json(upload) for upload in others[: self.knobs.unrequested]]


def _unknown() -> Response:
    return problem(404, OF_UPLOADS[404])
