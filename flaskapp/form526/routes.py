"""Form 526 routes as the front end calls them (contract: frontend 4): files first, then the form, then its status.

All answers come only from our database.
"""

from __future__ import annotations

import time
import uuid
from contextlib import closing
from typing import Any, BinaryIO, cast

from flask import Blueprint, Response, current_app, request
from flask.sansio.blueprints import BlueprintSetupState
from marshmallow import ValidationError, fields
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser

from flaskapp.accounts.caller import unknown_person
from flaskapp.current import settings
from flaskapp.db import DbSession, durably, transaction
from flaskapp.db import reading as database_reading
from flaskapp.form526 import service
from flaskapp.form526.attachments import opening, types
from flaskapp.form526.attachments.intake import check_room, keep_file
from flaskapp.form526.attachments.turns import Busy, Turns
from flaskapp.form526.attachments.types import FileRefused
from flaskapp.form526.documents import of_submission
from flaskapp.form526.models import DocumentSubmission, Submission
from flaskapp.form526.states import (
    ACCEPTED,
    PENDING,
    REMOVED,
    SUBMISSION,
    words_of_submission,
)
from flaskapp.form526.states import DOCUMENT as DOCUMENT_STATES
from flaskapp.form526.words import words_of
from flaskapp.subjects import TooManyOpen
from flaskapp.web.errors import Problem
from flaskapp.web.idempotency import KEY_PARAMETER, remember
from flaskapp.web.inflection import answer
from flaskapp.web.json_body import Body, json_body
from flaskapp.web.openapi import Answer, describe
from flaskapp.web.shapes import (
    FLAG,
    TEXT,
    TIMESTAMP,
    UUID,
    WHOLE,
    Shape,
    data_of,
    listed,
    or_null,
    resource,
    said,
    thing,
    word,
)
from flaskapp.web.sign_in import CALLER, TOKEN_ANSWERS, caller, require_sign_in
from flaskapp.web.threads import shares_of
from flaskapp.web.waiting import PREFER, Shown, Watched, answer_when_changed

blueprint = Blueprint("form526", __name__, url_prefix="/v0")
require_sign_in(blueprint)


@blueprint.record
def share_threads(state: BlueprintSetupState) -> None:
    places = shares_of(state.app.extensions["config"].web_threads).files
    state.app.extensions.setdefault("turns", Turns(places))


TAG = "Form 526"
FILE_FIELD = "supporting_evidence_attachment[file_data]"
PASSWORD_FIELD = "supporting_evidence_attachment[password]"
FILE = {
    "schema": {
        "type": "object",
        "required": [FILE_FIELD],
        "properties": {
            FILE_FIELD: {"type": "string", "format": "binary", "description": "The file, under its own name."},
            PASSWORD_FIELD: {"type": "string", "description": "Of a locked PDF."},
        },
    }
}
# The largest file the front end lets through (99 MiB, a PDF) and what multipart puts around it.
MOST_UPLOAD_BYTES = types.MOST_PDF_BYTES + 1024 * 1024
RENAME = "Please give it a name of plain letters and digits, and add it again."
SEND_AGAIN = "Please add it again."
MOST_FORM_BYTES = 5 * 1024 * 1024
# The client polls while it reads `try` (contract: frontend 4.3), so that word stays for as long as we work on it.
WORD_OF_STATE = {PENDING: "try", ACCEPTED: "success"}
TOO_MANY_FORMS = (
    "Many of your forms are still being filed, and we cannot take another one until one of them is done. Please wait"
    " for that and send this one again. To keep today's date for something new, file an intent to file: that is always"
    " taken."
)
GIVEN_UP, REFUSED = "exhausted", "non_retryable_error"


def enveloped(title: str, kind: str, attributes: dict[str, Shape], id: Shape = TEXT) -> Shape:
    return data_of(title, resource(f"{title}Data", kind, thing(f"{title}Attributes", attributes), id))


UPLOADED = enveloped("UploadedFile", "supporting_evidence_attachment", {"guid": UUID}, UUID)
ACCEPTED_FORM = enveloped("AcceptedForm", "submit_disability_form", {"job_id": TEXT, "submission_id": UUID})
STATUS = enveloped(
    "FormStatus",
    "form526_job_statuses",
    {
        "job_id": TEXT,
        "status": word(*WORD_OF_STATE.values(), GIVEN_UP, REFUSED),
        "claim_id": or_null(WHOLE),
        "submission_id": UUID,
        "state": word(*SUBMISSION.states),
        "unconfirmed": FLAG,
        "message": said(TEXT, "The sentence to show."),
        "updated_at": TIMESTAMP,
    },
)
DOCUMENT = resource(
    "FormDocument",
    "form526_document",
    thing(
        "FormDocumentAttributes",
        {
            "kind": TEXT,
            "name": TEXT,
            "guid": or_null(UUID),
            "doc_type": or_null(TEXT),
            "status": or_null(TEXT),
            "message": said(TEXT, "The sentence to show."),
            "uploaded_at": or_null(TIMESTAMP),
            "last_checked_at": or_null(TIMESTAMP),
            "finished_at": or_null(TIMESTAMP),
        },
    ),
    UUID,
)


SUBMISSIONS = Watched(
    "form526_submission", "SELECT id::text, state FROM form526_submissions WHERE id = ANY(CAST(:ids AS uuid[]))"
)
DOCUMENTS = Watched(
    "form526_documents",
    """SELECT s.id::text,
              coalesce(string_agg(d.id || ':' || d.lighthouse_status, ',' ORDER BY d.id::text COLLATE "C"), '')
         FROM form526_submissions s LEFT JOIN form526_document_submissions d ON d.submission_id = s.id
        WHERE s.id = ANY(CAST(:ids AS uuid[])) GROUP BY s.id""",
)


class FormBody(Body):
    form526 = fields.Dict(keys=fields.String(), required=True)


@blueprint.post("/upload_supporting_evidence")
@describe(
    "Upload one file",
    tag=TAG,
    security=CALLER,
    content={"multipart/form-data": FILE},
    answers={
        200: Answer("`data.attributes.guid` names the file; a form refers to it within 60 days.", UPLOADED),
        **TOKEN_ANSWERS,
    },
    problems={
        413: "The file is larger than 99 MiB.",
        422: "The file is refused; `detail` is the sentence to show: type, size, damage, password, too many files that"
        " no form has claimed.",
        429: "Other files of the caller are being opened, or opening them took most of the last minute; `Retry-After`"
        " and `X-RateLimit-Reset` say when to come again.",
        503: "Our database is away, or too many files are being opened; nothing was kept.",
    },
)
def upload_evidence() -> Response:
    """`multipart/form-data` with the file in `supporting_evidence_attachment[file_data]` and, for a locked PDF, its
    password in `supporting_evidence_attachment[password]`; other parts are ignored."""
    request.max_content_length = MOST_UPLOAD_BYTES
    sent = sent_file()
    if sent is None or not sent.filename:
        raise Problem(422, detail=f"There is no file. Please send one as {FILE_FIELD}.")
    try:
        guid = take_in(sent, request.form.get(PASSWORD_FIELD))
    except FileRefused as refused:
        raise Problem(422, detail=str(refused)) from None
    except Busy as busy:
        raise busy_problem(busy) from None
    kind = {"id": str(guid), "type": "supporting_evidence_attachment"}
    return answer({"data": {**kind, "attributes": {"guid": str(guid)}}})


class StrictParser(FormDataParser):
    """Parser that says so when it cannot read a body; by itself it would go on as if nothing was sent."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "silent": False})


def sent_file() -> FileStorage | None:
    """The file of this request. Raises Problem for a body that cannot be read."""
    request.form_data_parser_class = StrictParser
    try:
        return request.files.get(FILE_FIELD)
    except RequestEntityTooLarge:
        raise Problem(413, detail=str(types.too_large(is_pdf=True))) from None
    except UnicodeDecodeError:
        raise Problem(422, detail=f"We cannot read the name of this file. {RENAME}") from None
    except ValueError:
        raise Problem(422, detail=f"This file did not arrive whole. {SEND_AGAIN}") from None


def take_in(sent: FileStorage, password: str | None) -> uuid.UUID:
    """Check the file, open it if it is locked, keep it. Its bytes wait in an anonymous temporary file meanwhile."""
    name, stream, account = cast(str, sent.filename), cast(BinaryIO, sent.stream), caller().account_id
    kind = types.recognise(stream, name, size_of(stream))
    turns: Turns = current_app.extensions["turns"]
    # Before any work is done for it; keeping it checks once more, and counts those that are sent side by side.
    with database_reading() as session:
        check_room(session, uuid.UUID(account), size_of(stream))
    with turns.place(account):
        if kind.extension == "pdf":
            with turns.reading(account):
                stream = opening.opened_pdf(stream, password or None, limit_pages=settings().upload_limits_pages)
        elif kind.extension in opening.PICTURES:
            with turns.reading(account):
                opening.check_picture(stream, kind.extension)
        with closing(stream), turns.keeping():
            return keep_file(uuid.UUID(account), name, kind, stream, size_of(stream))


def busy_problem(busy: Busy) -> Problem:
    """429 where the caller's own files are the reason: the page then names the time, by the last header. Else 503."""
    headers = {"Retry-After": str(busy.seconds)}
    if busy.is_own:
        headers["X-RateLimit-Reset"] = str(int(time.time()) + busy.seconds)
    return Problem(429 if busy.is_own else 503, detail=str(busy), headers=headers)


def size_of(stream: BinaryIO) -> int:
    size = stream.seek(0, 2)
    stream.seek(0)
    return size


@blueprint.post("/disability_compensation_form/submit_all_claim")
@describe(
    "Submit a form",
    tag=TAG,
    security=CALLER,
    body=FormBody,
    example={"form526": {"attachments": []}},
    answers={
        202: Answer(
            "`data.attributes.jobId` is what to poll with. The form will be filed, or a named human will have it.",
            ACCEPTED_FORM,
        ),
        **TOKEN_ANSWERS,
    },
    problems={
        403: "VA's records have no ICN for this account (`NO_ICN`): nothing was accepted; `detail` says whom to call.",
        422: "`form526` is missing or empty, the Idempotency-Key named another request, or too many forms of this"
        " account are still being filed (`TOO_MANY_OPEN`).",
        503: "Our database is away; nothing was accepted.",
    },
    parameters=[KEY_PARAMETER],
)
def submit_form() -> Response:
    request.max_content_length = MOST_FORM_BYTES
    form = json_body(FormBody())["form526"]
    if not form:
        raise ValidationError({"form526": ["holds no form."]})
    account_id, key = uuid.UUID(caller().account_id), request.headers.get("Idempotency-Key")
    try:
        accepted = durably(lambda session: accept_form(session, account_id, form, key))
    except TooManyOpen:
        raise Problem(422, detail=TOO_MANY_FORMS, code="TOO_MANY_OPEN") from None
    if accepted is None:
        raise unknown_person()
    submission_id, job_id = accepted
    attributes = {"job_id": job_id, "submission_id": submission_id}
    return answer({"data": {"id": "", "type": "submit_disability_form", "attributes": attributes}}, 202)


def accept_form(
    session: DbSession, account_id: uuid.UUID, form: dict[str, Any], key: str | None
) -> tuple[str, str] | None:
    """One transaction: the key, the submission, its files, and the message that files it. Idempotent. None for an
    account without an ICN."""
    remember(session, str(account_id), key, {"path": "submit_all_claim", "form": form})
    submission = service.request_submission(session, account_id, form)
    return (str(submission.id), submission.job_id) if submission is not None else None


@blueprint.get("/disability_compensation_form/submission_status/<job_id>")
@describe(
    "Where a submission stands",
    tag=TAG,
    security=CALLER,
    parameters=[PREFER],
    answers={
        200: Answer(
            "`data.attributes.status`: `try` while we work on it, `success`, `exhausted`, `non_retryable_error`; and"
            " `state` and `message`, the real state and the sentence to show.",
            STATUS,
        ),
        **TOKEN_ANSWERS,
    },
    problems={404: "You have no such submission.", 503: "Our database is away."},
)
def show_status(job_id: str) -> Response:
    account_id = uuid.UUID(caller().account_id)
    return answer_when_changed(SUBMISSIONS, lambda: shown_status(account_id, job_id))


def shown_status(account_id: uuid.UUID, job_id: str) -> Shown:
    with transaction() as session:
        row = service.find_by_job(session, account_id, job_id)
        if row is None:
            raise Problem(404, detail="You have no such submission.")
        data = {"id": "", "type": "form526_job_statuses", "attributes": described_status(row)}
        return Shown({"data": data}, str(row.id), row.state if row.state not in SUBMISSION.final else None)


def described_status(row: Submission) -> dict[str, Any]:
    word = WORD_OF_STATE.get(row.state) or (REFUSED if row.refused else GIVEN_UP)
    return {
        "job_id": row.job_id,
        "status": word,
        "claim_id": row.claim_id,
        "submission_id": str(row.id),
        "state": row.state,
        "unconfirmed": row.unconfirmed,
        "message": words_of_submission(row.state, row.unconfirmed),
        "updated_at": (row.finished_at or row.requested_at).isoformat(timespec="seconds"),
    }


@blueprint.get("/disability_compensation_form/<uuid:submission_id>/documents")
@describe(
    "What became of each document",
    tag=TAG,
    security=CALLER,
    parameters=[PREFER],
    answers={
        200: Answer(
            "`data` lists each document in the order in which the form names it, then those that we made: its `name`,"
            " its `status` (pending, done, failed), when it was last checked, and `message`, the sentence to show."
            " `guid` is that of the upload, and null for a file that we do not have and for a document that we made.",
            data_of("FormDocuments", listed(DOCUMENT)),
        ),
        **TOKEN_ANSWERS,
    },
    problems={404: "You have no such submission.", 503: "Our database is away."},
)
def show_documents(submission_id: uuid.UUID) -> Response:
    account_id = uuid.UUID(caller().account_id)
    return answer_when_changed(DOCUMENTS, lambda: shown_documents(account_id, submission_id))


def shown_documents(account_id: uuid.UUID, submission_id: uuid.UUID) -> Shown:
    """One that is done or failed may still be corrected, but nobody waits for that."""
    with transaction() as session:
        row = service.find_own(session, account_id, submission_id)
        if row is None:
            raise Problem(404, detail="You have no such submission.")
        documents = of_submission(session, row.id)
        described = [described_document(document) for document in documents]
        statuses = sorted(f"{document.id}:{document.lighthouse_status}" for document in documents)
        pending = [each for each in documents if each.lighthouse_status not in DOCUMENT_STATES.final]
        may_change = bool(pending) or row.state not in SUBMISSION.final
        return Shown({"data": described}, str(row.id), ",".join(statuses) if may_change else None)


def described_document(document: DocumentSubmission) -> dict[str, Any]:
    attributes = {
        "kind": document.kind,
        # Whole: obscured names are for e-mails only (contract: frontend 4.2).
        "name": document.name if document.name is not None else REMOVED,
        "guid": str(document.attachment_guid) if document.attachment_guid is not None else None,
        "doc_type": document.doc_type,
        "status": document.lighthouse_status,
        "message": words_of(document),
        "uploaded_at": written(document.uploaded_at),
        "last_checked_at": written(document.last_polled_at),
        "finished_at": written(document.finished_at),
    }
    return {"id": str(document.id), "type": "form526_document", "attributes": attributes}


def written(timestamp: Any) -> str | None:
    return timestamp.isoformat(timespec="seconds") if timestamp is not None else None
