"""Storage of uploaded files: checked, opened if locked, and kept in chunks that are each encrypted by themselves.

The bytes of a file are never in memory as a whole, neither on the way in nor on the way out.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import BinaryIO

from sqlalchemy import insert, select, text

from flaskapp.accounts.service import count_alone, ensure_account
from flaskapp.crypto import vault
from flaskapp.current import settings
from flaskapp.db import DbSession, db, transaction
from flaskapp.form526.attachments.store import chunks_of
from flaskapp.form526.attachments.types import MIB, FileRefused, FileType
from flaskapp.form526.models import Attachment, AttachmentChunk
from outbox import commit_durably

# Bytes are deleted when nobody needs them: no form ever named the file; or the last form that did (perhaps a changed
# one) has failed and has no open case any more; or it was accepted, and all documents of the file have been final for
# long enough.
UNNEEDED = """
    a.purged_at IS NULL
    AND CASE WHEN a.submission_id IS NULL
             THEN a.created_at < outbox_now() - make_interval(days => :unclaimed_days)
             ELSE NOT EXISTS (
                     SELECT 1 FROM form526_submissions s
                      WHERE s.id = a.submission_id
                        AND (s.finished_at IS NULL
                             OR s.finished_at > outbox_now() - make_interval(days => :kept_days)
                             OR EXISTS (SELECT 1 FROM cases c
                                         WHERE c.subject_type = 'form526_submission'
                                           AND c.subject_id = s.id::text AND c.closed_at IS NULL)))
              AND NOT EXISTS (
                     SELECT 1 FROM form526_document_submissions d
                      WHERE d.attachment_guid = a.guid
                        AND (d.finished_at IS NULL
                             OR d.finished_at > outbox_now() - make_interval(days => :kept_days)
                             OR EXISTS (SELECT 1 FROM cases c
                                         WHERE c.subject_type = 'form526_document' AND c.subject_id = d.id::text
                                           AND c.closed_at IS NULL)))
        END"""
# A file may be claimed, and its form or a document of it reopened, at any time. So a batch is chosen and locked, then
# what decides about it, and only then is it judged by a statement that sees what was committed before the locks.
# Whoever holds one of these rows needs the file; nothing here waits for them.
CHOOSE = text(f"SELECT a.guid FROM form526_attachments a WHERE {UNNEEDED} LIMIT 100 FOR UPDATE OF a SKIP LOCKED")
LOCK_FORMS = text("""
    SELECT s.id FROM form526_submissions s
     WHERE s.id IN (SELECT a.submission_id FROM form526_attachments a WHERE a.guid = ANY(:guids))
       FOR UPDATE OF s SKIP LOCKED
""")
LOCK_DOCUMENTS = text("""
    SELECT d.id FROM form526_document_submissions d WHERE d.attachment_guid = ANY(:guids) FOR UPDATE SKIP LOCKED
""")
PURGE = text(f"""
    WITH gone AS (
        SELECT a.guid FROM form526_attachments a
         WHERE a.guid = ANY(:guids) AND {UNNEEDED}
           AND (a.submission_id IS NULL OR a.submission_id = ANY(:forms))
           AND NOT EXISTS (SELECT 1 FROM form526_document_submissions d
                            WHERE d.attachment_guid = a.guid AND d.id <> ALL(:documents))
    ), emptied AS (DELETE FROM form526_attachment_chunks c USING gone WHERE c.guid = gone.guid)
    UPDATE form526_attachments a SET purged_at = outbox_now() FROM gone WHERE a.guid = gone.guid RETURNING a.guid
""")


UNCLAIMED = text("""
    SELECT count(*) AS files, coalesce(sum(size), 0) AS bytes FROM form526_attachments
     WHERE account_id = :account AND submission_id IS NULL AND purged_at IS NULL
""")
SEND_THE_FORM = "Please send the form that they belong to, and then add this one."


def check_room(session: DbSession, account_id: uuid.UUID, size: int = 0) -> None:
    """Raises FileRefused when this account's files that no form has claimed, with a new one of so many bytes, are more
    than one account may have here. Without a size, those that are here already are counted."""
    held, limits = session.execute(UNCLAIMED, {"account": account_id}).one(), settings()
    if held.files + bool(size) > limits.attachment_most_files_per_account:
        raise FileRefused(
            f"You have {limits.attachment_most_files_per_account} files here that no form names yet, and we cannot keep"
            " more.",
            SEND_THE_FORM,
        )
    if held.bytes + size > limits.attachment_most_bytes_per_account:
        raise FileRefused(
            f"Your files here that no form names yet, and this one, have more than the"
            f" {limits.attachment_most_bytes_per_account // MIB} MB that we can keep.",
            SEND_THE_FORM,
        )


# The record of a file that is gone: first its name goes, and then the row, unless a document was made of it.
FORGET = text("""
    WITH gone AS (
        SELECT a.guid, EXISTS (SELECT 1 FROM form526_document_submissions d WHERE d.attachment_guid = a.guid) AS named
          FROM form526_attachments a
         WHERE a.purged_at < outbox_now() - make_interval(days => :days)
           AND (a.name IS NOT NULL
                OR NOT EXISTS (SELECT 1 FROM form526_document_submissions d WHERE d.attachment_guid = a.guid))
         ORDER BY a.purged_at LIMIT :batch FOR UPDATE SKIP LOCKED
    ), removed AS (DELETE FROM form526_attachments a USING gone WHERE a.guid = gone.guid AND NOT gone.named)
    , emptied AS (UPDATE form526_attachments a SET name = NULL FROM gone WHERE a.guid = gone.guid AND gone.named)
    SELECT count(*) FROM gone
""")


def keep_file(account_id: uuid.UUID, name: str, kind: FileType, stream: BinaryIO, size: int) -> uuid.UUID:
    """Keep a file in one transaction and return its guid; half a file is never kept. Raises FileRefused when others of
    this account have meanwhile taken the room."""
    guid = uuid.uuid4()
    with transaction() as session:
        ensure_account(session, account_id)
        attachment = Attachment(
            guid=guid, account_id=account_id, name=name, content_type=kind.content_type, size=size, chunks=1
        )
        session.add(attachment)
        session.flush()
        for place, chunk in enumerate(chunks_of(stream)):
            values = {"guid": guid, "place": place, "sealed": vault().seal(chunk)}
            session.execute(insert(AttachmentChunk).values(values))
            attachment.chunks = place + 1
        session.flush()
        count_alone(session, account_id, "form526_attachments")
        check_room(session, account_id)
        commit_durably(session)
    return guid


def stored_chunks(guid: uuid.UUID, count: int) -> Iterator[bytes]:
    """The bytes of a file, chunk by chunk; between two chunks no connection is held."""
    for place in range(count):
        with transaction() as session:
            statement = select(AttachmentChunk.sealed).filter_by(guid=guid, place=place)
            sealed = session.execute(statement).scalar_one()
        db.session.remove()
        yield vault().unseal(sealed)


def purge_files(session: DbSession, *, unclaimed_days: int, kept_days: int) -> int:
    """Delete one batch of bytes that nobody needs any more; returns the number of files."""
    days = {"unclaimed_days": unclaimed_days, "kept_days": kept_days}
    guids = list(session.execute(CHOOSE, days).scalars())
    locked = {
        name: list(session.execute(statement, {"guids": guids}).scalars())
        for name, statement in (("forms", LOCK_FORMS), ("documents", LOCK_DOCUMENTS))
    }
    return len(session.execute(PURGE, {**days, **locked, "guids": guids}).all())


def forget_files(session: DbSession, *, days: int, batch: int) -> int:
    """Remove one batch of the records of files whose bytes were deleted so many days ago; returns their number."""
    return int(session.execute(FORGET, {"days": days, "batch": batch}).scalar_one())
