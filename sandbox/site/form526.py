"""Form 526 after its first step: the condition, the documents, the form as it will be sent, and what became of it."""

from __future__ import annotations

import uuid as uuids
from tempfile import SpooledTemporaryFile
from typing import IO, Any

from flask import Blueprint, abort, render_template, request
from flask.typing import ResponseReturnValue

from sandbox.site.current import back, keep, missing, note_of, onward, person, visitor, words
from sandbox.site.product import Trouble
from sandbox.site.progress import Progress, progress_of

pages = Blueprint("form526", __name__, url_prefix="/form-526")

FORM = "form526"
FILE_FIELD = "supporting_evidence_attachment[file_data]"
PASSWORD_FIELD = "supporting_evidence_attachment[password]"
# Kinds of documents that the form offers, by Lighthouse's codes (contract: benefits 4.2).
KINDS = ("L015", "L023", "L034", "L048", "L049")
IN_MEMORY_BYTES = 1024 * 1024
FORM_PATH = "/v0/disability_compensation_form"


# -- the condition -------------------------------------------------------------------


@pages.get("/condition")
def condition() -> str:
    person()
    return render_template("form_condition.html", draft=visitor().draft(FORM), note=note_of(FORM))


@pages.post("/condition")
def answer_condition() -> ResponseReturnValue:
    person()
    errors = missing(keep(FORM, "condition", "remarks"), "condition")
    if errors:
        return back(FORM, "form526.condition", errors)
    return onward("form526.documents")


# -- documents -------------------------------------------------------------------------


@pages.get("/documents")
def documents() -> str:
    person()
    draft = visitor().draft(FORM)
    return render_template("form_documents.html", draft=draft, note=note_of(FORM), kinds=KINDS, files=files_of(draft))


@pages.post("/documents")
def upload() -> ResponseReturnValue:
    """Send one file. What could not be sent is kept, and a PDF that was refused as well: it may lack its password."""
    person()
    draft = keep(FORM, "kind")
    sent = request.files.get("file")
    if sent is not None and sent.filename:
        forget_refused(draft)
        draft["refused"] = {"name": sent.filename, "stream": kept_copy(sent.stream)}
    errors = missing(draft, "kind") | ({} if draft.get("refused") else missing({}, "file"))
    if errors:
        return back(FORM, "form526.documents", errors)
    name, stream = draft["refused"]["name"], draft["refused"]["stream"]
    try:
        guid = take(name, stream, request.form.get("password", ""))
    except Trouble as trouble:
        if trouble.kind == "refused":
            trouble.code = "FILE"
            if not name.lower().endswith(".pdf"):
                forget_refused(draft)
        return back(FORM, "form526.documents", trouble=trouble, field="file")
    files_of(draft).append({"name": name, "confirmationCode": guid, "attachmentId": draft["kind"]})
    forget_refused(draft)
    draft["kind"] = ""
    return onward("form526.documents")


def take(name: str, stream: IO[bytes], password: str) -> str:
    """The code of the file that the product took; raises Trouble with the sentence to show."""
    body = {PASSWORD_FIELD: password} if password else {}
    files = {FILE_FIELD: (name, stream)}
    reply = visitor().product.call("POST", "/v0/upload_supporting_evidence", data=body, files=files)
    guid: str = reply.body["data"]["attributes"]["guid"]
    return guid


def kept_copy(stream: IO[bytes]) -> IO[bytes]:
    kept: IO[bytes] = SpooledTemporaryFile(IN_MEMORY_BYTES)  # noqa: SIM115 - until the person is done with it
    while part := stream.read(IN_MEMORY_BYTES):
        kept.write(part)
    return kept


def forget_refused(draft: dict[str, Any]) -> None:
    if refused := draft.pop("refused", None):
        refused["stream"].close()


def files_of(draft: dict[str, Any]) -> list[dict[str, str]]:
    files: list[dict[str, str]] = draft.setdefault("files", [])
    return files


@pages.post("/documents/remove")
def remove() -> ResponseReturnValue:
    """Take a file out of the form, or forget the one that was refused."""
    person()
    draft, guid = visitor().draft(FORM), request.form.get("guid")
    if guid:
        draft["files"] = [each for each in files_of(draft) if each["confirmationCode"] != guid]
    else:
        forget_refused(draft)
    return onward("form526.documents")


# -- the form ------------------------------------------------------------------------------


@pages.get("/review")
def review() -> ResponseReturnValue:
    person()
    draft = visitor().draft(FORM)
    if not draft.get("condition"):
        return onward("form526.condition")
    return render_template("form_review.html", draft=draft, note=note_of(FORM), files=files_of(draft))


@pages.post("/review")
def submit() -> ResponseReturnValue:
    """Send the form. Until it was taken the same key goes with it, so that sending it again is safe."""
    person()
    draft = visitor().draft(FORM)
    if not draft.get("condition"):
        return onward("form526.condition")
    form: dict[str, Any] = {
        "newPrimaryDisabilities": [{"condition": draft["condition"], "cause": "NEW"}],
        "overflowText": draft.get("remarks", ""),
        "attachments": files_of(draft),
    }
    headers = {"Idempotency-Key": draft.setdefault("key", str(uuids.uuid4()))}
    try:
        reply = visitor().product.call("POST", f"{FORM_PATH}/submit_all_claim", json={"form526": form}, headers=headers)
    except Trouble as trouble:
        return back(FORM, "form526.review", trouble=trouble)
    attributes = reply.body["data"]["attributes"]
    kept = {"condition": draft["condition"], "submission": attributes["submissionId"]}
    visitor().shelf.forms[attributes["jobId"]] = kept
    forget_refused(visitor().drafts.pop(FORM))
    return onward("form526.sent", job_id=attributes["jobId"])


# -- what became of it -----------------------------------------------------------------------


class Sent:
    """A form that was taken, and each of its documents."""

    def __init__(self, job_id: str) -> None:
        """Raises Trouble."""
        product, say = visitor().product, words()
        self.job_id = job_id
        self.condition: str = visitor().shelf.forms[job_id]["condition"]
        found = product.get(f"{FORM_PATH}/submission_status/{job_id}").body["data"]["attributes"]
        self.claim_id = found["claimId"]
        self.progress = progress_of(say, "form", found["message"], found["state"])
        listed = product.get(f"{FORM_PATH}/{found['submissionId']}/documents").body["data"]
        self.documents: list[tuple[str, Progress]] = [
            (each["attributes"]["name"], progress_of(say, "document", each["attributes"]["message"], None))
            for each in listed
        ]

    @property
    def under_way(self) -> bool:
        return self.progress.under_way or any(progress.under_way for _, progress in self.documents)


@pages.get("/sent/<job_id>")
def sent(job_id: str) -> str:
    person()
    if job_id not in visitor().shelf.forms:
        abort(404)
    return render_template("form_sent.html", sent=Sent(job_id), here=request.path)
