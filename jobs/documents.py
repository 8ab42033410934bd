"""Jobs for the documents of a 526: upload each to Lighthouse, then poll, a hundred at a time, whether they arrived."""

from __future__ import annotations

from flaskapp.config import Config
from flaskapp.db import DbSession
from flaskapp.form526 import polling, uploads
from flaskapp.form526.documents import UPLOAD_WORK
from flaskapp.form526.earlier import (
    Received,
    StillUnclear,
    count_arrived,
    judge_earlier,
    kept_of,
    received_from,
)
from flaskapp.form526.polling import Batch, NoneOfThem, Reply
from flaskapp.form526.states import PENDING
from flaskapp.form526.uploads import UploadWork
from flaskapp.upstreams.errors import Rejected
from flaskapp.upstreams.lighthouse.documents import NoneKnown, Statuses, Upload
from jobs.engine.retry import DOCUMENT_POLL, DOCUMENT_UPLOAD
from jobs.engine.runner import Job
from jobs.engine.spec import (
    LEASE_MARGIN_SECONDS,
    Call,
    EarlierWrites,
    Finding,
    JobSpec,
    NotFound,
    TooEarly,
    record_nothing,
)

# What an upload waits for when Lighthouse does not say how earlier ones ended.
UNCLEAR = "what became of an earlier upload"


def load_pending(session: DbSession, document_id: str) -> UploadWork | None:
    work = uploads.load_upload(session, document_id)
    return work if work.status == PENDING and work.request_id is None else None


def upload(call: Call, work: UploadWork) -> Received:
    """Ask what became of earlier uploads, and send it only if none arrived or will (contract: benefits 4.1, 4.3).

    Raises the six upstream errors.
    """
    earlier = ask_about_earlier(call, work.earlier_ids)
    try:
        there = judge_earlier(work.earlier_ids, earlier)
    except StillUnclear as unclear:
        raise TooEarly(UNCLEAR) from unclear
    if there is not None:
        return there
    identity = work.identity
    if identity is None or not (identity.participant_id or identity.file_number):
        raise Rejected(
            "lighthouse_documents", "neither participant id nor file number", code="NO_IDENTIFIER", from_upstream=False
        )
    described = Upload(
        claim_id=work.claim_id,
        doc_type=work.doc_type,
        file_name=work.name,
        content_type=work.content_type,
        size=work.size,
        participant_id=identity.participant_id,
        file_number=None if identity.participant_id else identity.file_number,
    )
    request_id = call.upstreams.lighthouse_documents.upload(described, work.chunks, call.before_write)
    return Received(request_id, beside=count_arrived(work.earlier_ids, earlier))


def ask_about_earlier(call: Call, request_ids: tuple[int, ...]) -> Statuses:
    """How earlier uploads stand. A refusal of this question says nothing about the document: it is asked again."""
    try:
        return call.upstreams.lighthouse_documents.statuses(request_ids)
    except NoneKnown:
        return Statuses(found={}, not_found=frozenset(request_ids), unreadable=frozenset())
    except Rejected as refusal:
        raise TooEarly(UNCLEAR) from refusal


def look_up_upload(call: Call, work: UploadWork, earlier: EarlierWrites) -> Finding:
    """Lighthouse cannot look up an upload whose request id was lost. A late answer to an earlier attempt is found
    before this; without one the document is sent again, and recorded as possibly there twice."""
    return NotFound()


def poll_uploads(call: Call, batch: Batch) -> Reply:
    """The status of each upload. When Lighthouse knows none of several, they are polled again in two halves; a single
    one is *not found*."""
    try:
        return call.upstreams.lighthouse_documents.statuses(batch.request_ids)
    except NoneKnown:
        if len(batch.request_ids) > 1:
            return NoneOfThem(batch.request_ids)
    return Statuses(found={}, not_found=frozenset(batch.request_ids), unreadable=frozenset())


def upload_lease(config: Config) -> float:
    """Time for a token, a status and an upload, and for all of them once more after a refused token."""
    calls = config.lighthouse_total_seconds + config.document_status_seconds + config.document_upload_seconds
    return 2 * calls + LEASE_MARGIN_SECONDS


def upload_ends_after(config: Config) -> float:
    """After so long an upload has ended, also one that began only when Lighthouse had been asked about earlier ones."""
    return config.document_status_seconds + config.document_upload_seconds


def poll_lease(config: Config) -> float:
    return 2 * (config.lighthouse_total_seconds + config.document_status_seconds) + LEASE_MARGIN_SECONDS


UPLOAD = JobSpec(
    work=UPLOAD_WORK,
    writes=True,
    schedule=DOCUMENT_UPLOAD,
    lease_seconds=upload_lease,
    call_seconds=lambda config: config.document_upload_seconds,
    load=load_pending,
    act=upload,
    look_up=look_up_upload,
    searchable=False,
    # Until then the first upload may still be on its way, and its answer may come late.
    confirm_after_seconds=upload_ends_after,
    check=uploads.check_uploaded,
    record=uploads.record_uploaded,
    reconsider=lambda session, document_id, accepted: uploads.reconsider_copies(session, document_id),
    give_up=uploads.record_upload_failed,
    ids=kept_of,
    from_ids=received_from,
)

POLL = JobSpec(
    work=polling.POLL_WORK,
    writes=False,
    schedule=DOCUMENT_POLL,
    lease_seconds=poll_lease,
    call_seconds=lambda config: config.document_status_seconds,
    load=polling.load_batch,
    act=poll_uploads,
    record=polling.record_reply,
    give_up=record_nothing,
    disposable=True,
)


upload_document = Job(UPLOAD)
poll_statuses = Job(POLL)
