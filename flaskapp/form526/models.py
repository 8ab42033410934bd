"""Models of Form 526: uploaded files in encrypted chunks, submissions, and what became of each document."""

from __future__ import annotations

import json
import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from flaskapp.crypto import EncryptedJSON, SealedBytes, digest_of
from flaskapp.db import Markable, db, synthetic_index
from flaskapp.form526.states import BENEFITS_GATEWAY, DOCUMENT, FAILED, KINDS, MISSING, NO_WORD, PENDING, SUBMISSION
from outbox import NOW, Timestamp, one_of


class Attachment(db.Model):  # type: ignore[name-defined]
    """An uploaded file, unlocked if it was locked. A form names it later by its id, which is the client's `guid`."""

    __tablename__ = "form526_attachments"
    __table_args__ = (
        CheckConstraint("size > 0 AND chunks > 0", name="holds_something"),
        CheckConstraint("name IS NOT NULL OR purged_at IS NOT NULL", name="named_or_purged"),
        Index("ix_form526_attachments_unclaimed", "created_at", postgresql_where=text("submission_id IS NULL")),
        Index("ix_form526_attachments_submission", "submission_id"),
        Index(
            "ix_form526_attachments_account",
            "account_id",
            postgresql_where=text("submission_id IS NULL AND purged_at IS NULL"),
        ),
        Index("ix_form526_attachments_owner", "account_id"),
        Index("ix_form526_attachments_purged_at", "purged_at", postgresql_where=text("purged_at IS NOT NULL")),
    )

    guid: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True, default=uuid.uuid4)
    account_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("accounts.id"))
    # File names may contain names of people.
    name: Mapped[str | None] = mapped_column(EncryptedJSON)
    content_type: Mapped[str] = mapped_column(Text)
    size: Mapped[int] = mapped_column(BigInteger)
    chunks: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    submission_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("form526_submissions.id"))
    # When the bytes were deleted: no longer needed, or claimed by no form.
    purged_at: Mapped[datetime | None] = mapped_column(Timestamp)


class AttachmentChunk(db.Model):  # type: ignore[name-defined]
    """One MiB of a file, encrypted by itself, so that no process ever needs the whole file."""

    __tablename__ = "form526_attachment_chunks"

    guid: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("form526_attachments.guid", ondelete="CASCADE"), primary_key=True
    )
    place: Mapped[int] = mapped_column(Integer, primary_key=True)
    sealed: Mapped[bytes] = mapped_column(SealedBytes)


def form_parts(form: dict[str, Any]) -> tuple[str, ...]:
    """What a form's digest is of: two texts of the same form are the same."""
    return (json.dumps(form, sort_keys=True, ensure_ascii=False),)


class Submission(Markable, db.Model):  # type: ignore[name-defined]
    """One form of one person. The same form posted again is the same submission."""

    __tablename__ = "form526_submissions"
    __table_args__ = (
        CheckConstraint(one_of("state", SUBMISSION.states), name="state"),
        CheckConstraint("(state = 'pending') = (finished_at IS NULL)", name="final_is_finished"),
        CheckConstraint("state <> 'accepted' OR claim_id IS NOT NULL", name="accepted_has_claim"),
        CheckConstraint("form IS NOT NULL OR emptied_at IS NOT NULL", name="kept_or_emptied"),
        UniqueConstraint("account_id", "form_digest"),
        UniqueConstraint("job_id"),
        UniqueConstraint("claim_id"),
        Index("ix_form526_submissions_itf", "itf_id", postgresql_where=text("itf_id IS NOT NULL")),
        synthetic_index("form526_submissions"),
        Index("ix_form526_submissions_finished_at", "finished_at"),
        Index("ix_form526_submissions_open", "account_id", postgresql_where=text("state = 'pending'")),
        Index("ix_form526_submissions_not_emptied", "finished_at", postgresql_where=text("emptied_at IS NULL")),
    )

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True, default=uuid.uuid4)
    account_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("accounts.id"))
    # What the client polls with.
    job_id: Mapped[str] = mapped_column(Text)
    form: Mapped[dict[str, Any] | None] = mapped_column(EncryptedJSON)
    form_digest: Mapped[str] = mapped_column(Text, info=digest_of("form", form_parts))
    state: Mapped[str] = mapped_column(Text, default=PENDING)
    # Failed because it was refused; its client shows that differently from given up.
    refused: Mapped[bool] = mapped_column(server_default=text("false"))
    unconfirmed: Mapped[bool] = mapped_column(server_default=text("false"))
    claim_id: Mapped[int | None] = mapped_column(BigInteger)
    # The person's valid ITF when they posted, in whatever state it was; nothing ever waits for it.
    itf_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("intents_to_file.id"))
    requested_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    finished_at: Mapped[datetime | None] = mapped_column(Timestamp)
    notification: Mapped[str | None] = mapped_column(Text)
    cycle: Mapped[int] = mapped_column(Integer, server_default=text("1"))
    asked_again: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    emptied_at: Mapped[datetime | None] = mapped_column(Timestamp)


class DocumentSubmission(Markable, db.Model):  # type: ignore[name-defined]
    """One document of an accepted submission, followed until Lighthouse says it arrived, or that it cannot."""

    __tablename__ = "form526_document_submissions"
    __table_args__ = (
        CheckConstraint(one_of("lighthouse_status", DOCUMENT.states), name="lighthouse_status"),
        CheckConstraint(one_of("kind", KINDS), name="kind"),
        CheckConstraint("kind = 'evidence' OR attachment_guid IS NULL", name="only_evidence_is_attached"),
        CheckConstraint("(lighthouse_status = 'pending') = (finished_at IS NULL)", name="final_is_finished"),
        CheckConstraint(
            "lighthouse_status <> 'done' OR lighthouse_request_id IS NOT NULL OR delivered_by IS NOT NULL",
            name="done_was_delivered",
        ),
        CheckConstraint("lighthouse_status <> 'failed' OR failed_step IS NOT NULL", name="failed_at_a_step"),
        CheckConstraint(
            "poll_due_at IS NULL OR (lighthouse_status <> 'done' AND lighthouse_request_id IS NOT NULL)",
            name="only_uploaded_is_polled",
        ),
        CheckConstraint("name IS NOT NULL OR emptied_at IS NOT NULL", name="kept_or_emptied"),
        UniqueConstraint("lighthouse_request_id"),
        UniqueConstraint("submission_id", "attachment_guid"),
        Index("ix_form526_documents_submission", "submission_id"),
        synthetic_index("form526_document_submissions", one_a_day=False),
        Index("ix_form526_document_submissions_finished_at", "finished_at"),
        Index(
            "ix_form526_document_submissions_not_emptied",
            "finished_at",
            postgresql_where=text("emptied_at IS NULL"),
        ),
        Index("ix_form526_documents_attachment", "attachment_guid"),
        Index("ix_form526_documents_due", "poll_due_at", postgresql_where=text("poll_due_at IS NOT NULL")),
        Index("ix_form526_documents_batch", "poll_batch", postgresql_where=text("poll_batch IS NOT NULL")),
        Index("ix_form526_documents_pending", "created_at", postgresql_where=text("lighthouse_status = 'pending'")),
    )

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True, default=uuid.uuid4)
    submission_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("form526_submissions.id"))
    attachment_guid: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("form526_attachments.guid"))
    kind: Mapped[str] = mapped_column(Text)
    doc_type: Mapped[str] = mapped_column(Text)
    name: Mapped[str | None] = mapped_column(EncryptedJSON)
    lighthouse_request_id: Mapped[int | None] = mapped_column(BigInteger)
    lighthouse_status: Mapped[str] = mapped_column(Text, default=PENDING)
    # An earlier upload of it may have arrived as well: its reply was lost, and Lighthouse cannot be queried for it.
    possibly_twice: Mapped[bool] = mapped_column(server_default=text("false"))
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    uploaded_at: Mapped[datetime | None] = mapped_column(Timestamp)
    last_polled_at: Mapped[datetime | None] = mapped_column(Timestamp)
    poll_due_at: Mapped[datetime | None] = mapped_column(Timestamp)
    poll_batch: Mapped[uuid.UUID | None] = mapped_column(Uuid)
    not_found_count: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    failed_step: Mapped[str | None] = mapped_column(Text)
    upstream_error: Mapped[str | None] = mapped_column(Text)
    started_at: Mapped[datetime | None] = mapped_column(Timestamp)
    ended_at: Mapped[datetime | None] = mapped_column(Timestamp)
    finished_at: Mapped[datetime | None] = mapped_column(Timestamp)
    delivered_by: Mapped[str | None] = mapped_column(Text)
    notification: Mapped[str | None] = mapped_column(Text)
    cycle: Mapped[int] = mapped_column(Integer, server_default=text("1"))
    emptied_at: Mapped[datetime | None] = mapped_column(Timestamp)

    @property
    def unconfirmed(self) -> bool:
        """Failed as far as we know, but an upload that we cannot look up may have arrived all the same."""
        if self.lighthouse_status != FAILED or self.failed_step in (MISSING, BENEFITS_GATEWAY):
            return False
        return self.failed_step == NO_WORD or bool(self.possibly_twice)
