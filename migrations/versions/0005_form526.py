"""Form 526: submissions, uploaded files in encrypted chunks, and the documents followed to where they belong."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

SUBMISSIONS = """
    CREATE TABLE form526_submissions (
        id uuid NOT NULL,
        account_id uuid NOT NULL,
        job_id text NOT NULL,
        form bytea NOT NULL,
        form_digest text NOT NULL,
        state text NOT NULL,
        refused boolean DEFAULT false NOT NULL,
        unconfirmed boolean DEFAULT false NOT NULL,
        claim_id bigint,
        itf_id uuid,
        requested_at timestamptz DEFAULT outbox_now() NOT NULL,
        finished_at timestamptz,
        notification text,
        cycle integer DEFAULT 1 NOT NULL,
        asked_again integer DEFAULT 0 NOT NULL,
        CONSTRAINT pk_form526_submissions PRIMARY KEY (id),
        CONSTRAINT fk_form526_submissions_account_id_accounts FOREIGN KEY (account_id) REFERENCES accounts (id),
        CONSTRAINT fk_form526_submissions_itf_id_intents_to_file
            FOREIGN KEY (itf_id) REFERENCES intents_to_file (id),
        -- Forbids filing the same form of a person twice: posted again, it is the same submission.
        CONSTRAINT uq_form526_submissions_account_id_form_digest UNIQUE (account_id, form_digest),
        -- Forbids two submissions behind the id that a client polls by.
        CONSTRAINT uq_form526_submissions_job_id UNIQUE (job_id),
        -- Forbids one claim as the answer to two submissions.
        CONSTRAINT uq_form526_submissions_claim_id UNIQUE (claim_id),
        CONSTRAINT ck_form526_submissions_state CHECK (state IN ('pending', 'accepted', 'failed')),
        -- Forbids an end without its time, and a time of the end on what is pending.
        CONSTRAINT ck_form526_submissions_final_is_finished CHECK ((state = 'pending') = (finished_at IS NULL)),
        -- Forbids saying that a form was accepted without the claim it became.
        CONSTRAINT ck_form526_submissions_accepted_has_claim CHECK (state <> 'accepted' OR claim_id IS NOT NULL)
    );

    -- Forms with an intent to file, found from the intent; many forms have none.
    CREATE INDEX ix_form526_submissions_itf ON form526_submissions (itf_id) WHERE itf_id IS NOT NULL;
    -- By this the audit leaves out what ended long ago.
    CREATE INDEX ix_form526_submissions_finished_at ON form526_submissions (finished_at);
"""

ATTACHMENTS = """
    CREATE TABLE form526_attachments (
        guid uuid NOT NULL,
        account_id uuid NOT NULL,
        name bytea NOT NULL,
        content_type text NOT NULL,
        size bigint NOT NULL,
        chunks integer NOT NULL,
        created_at timestamptz DEFAULT outbox_now() NOT NULL,
        submission_id uuid,
        purged_at timestamptz,
        CONSTRAINT pk_form526_attachments PRIMARY KEY (guid),
        CONSTRAINT fk_form526_attachments_account_id_accounts FOREIGN KEY (account_id) REFERENCES accounts (id),
        CONSTRAINT fk_form526_attachments_submission_id_form526_submissions
            FOREIGN KEY (submission_id) REFERENCES form526_submissions (id),
        -- Forbids keeping an empty file, or one without its bytes.
        CONSTRAINT ck_form526_attachments_holds_something CHECK (size > 0 AND chunks > 0)
    );
    COMMENT ON TABLE form526_attachments IS 'Files as they were uploaded. The row stays when its bytes are purged.';

    CREATE INDEX ix_form526_attachments_submission ON form526_attachments (submission_id);
    -- Files that no form has named yet, oldest first: these are purged after some days.
    CREATE INDEX ix_form526_attachments_unclaimed ON form526_attachments (created_at) WHERE submission_id IS NULL;

    CREATE TABLE form526_attachment_chunks (
        guid uuid NOT NULL,
        place integer NOT NULL,
        sealed bytea NOT NULL,
        -- Forbids two chunks in the same place of a file.
        CONSTRAINT pk_form526_attachment_chunks PRIMARY KEY (guid, place),
        CONSTRAINT fk_form526_attachment_chunks_guid_form526_attachments
            FOREIGN KEY (guid) REFERENCES form526_attachments (guid) ON DELETE CASCADE
    );
    COMMENT ON TABLE form526_attachment_chunks IS
        'A file''s bytes, each MiB encrypted by itself, so that no process ever needs the whole file.';
    -- Encrypted bytes do not compress: trying costs time for nothing.
    ALTER TABLE form526_attachment_chunks ALTER COLUMN sealed SET STORAGE EXTERNAL;
"""

# Names of foreign keys that are longer than PostgreSQL allows end as SQLAlchemy shortens them.
DOCUMENTS = """
    CREATE TABLE form526_document_submissions (
        id uuid NOT NULL,
        submission_id uuid NOT NULL,
        attachment_guid uuid,
        kind text NOT NULL,
        doc_type text NOT NULL,
        name bytea NOT NULL,
        lighthouse_request_id bigint,
        lighthouse_status text NOT NULL,
        possibly_twice boolean DEFAULT false NOT NULL,
        created_at timestamptz DEFAULT outbox_now() NOT NULL,
        uploaded_at timestamptz,
        last_polled_at timestamptz,
        poll_due_at timestamptz,
        poll_batch uuid,
        not_found_count integer DEFAULT 0 NOT NULL,
        failed_step text,
        upstream_error text,
        started_at timestamptz,
        ended_at timestamptz,
        finished_at timestamptz,
        delivered_by text,
        notification text,
        cycle integer DEFAULT 1 NOT NULL,
        CONSTRAINT pk_form526_document_submissions PRIMARY KEY (id),
        CONSTRAINT fk_form526_document_submissions_submission_id_form526_s_5842
            FOREIGN KEY (submission_id) REFERENCES form526_submissions (id),
        CONSTRAINT fk_form526_document_submissions_attachment_guid_form526_187e
            FOREIGN KEY (attachment_guid) REFERENCES form526_attachments (guid),
        -- Forbids following two documents by one of Lighthouse's ids.
        CONSTRAINT uq_form526_document_submissions_lighthouse_request_id UNIQUE (lighthouse_request_id),
        -- Forbids sending one file twice for one form, however often the form names it.
        CONSTRAINT uq_form526_document_submissions_submission_id_attachment_guid
            UNIQUE (submission_id, attachment_guid),
        CONSTRAINT ck_form526_document_submissions_lighthouse_status CHECK (
            lighthouse_status IN ('pending', 'done', 'failed')),
        CONSTRAINT ck_form526_document_submissions_kind CHECK (
            kind IN ('evidence', 'form_0781', 'form_0781a', 'bdd_instructions')),
        -- Forbids an uploaded file behind a document that we make ourselves.
        CONSTRAINT ck_form526_document_submissions_only_evidence_is_attached CHECK (
            kind = 'evidence' OR attachment_guid IS NULL),
        -- Forbids an end without its time, and a time of the end on what is pending.
        CONSTRAINT ck_form526_document_submissions_final_is_finished CHECK (
            (lighthouse_status = 'pending') = (finished_at IS NULL)),
        -- Forbids saying that a document arrived when neither Lighthouse received it nor somebody brought it there.
        CONSTRAINT ck_form526_document_submissions_done_was_delivered CHECK (
            lighthouse_status <> 'done' OR lighthouse_request_id IS NOT NULL OR delivered_by IS NOT NULL),
        -- Forbids a failure that does not say how far the document came.
        CONSTRAINT ck_form526_document_submissions_failed_at_a_step CHECK (
            lighthouse_status <> 'failed' OR failed_step IS NOT NULL),
        -- Forbids polling for what was never uploaded, and for what has come to its end.
        CONSTRAINT ck_form526_document_submissions_only_uploaded_is_polled CHECK (
            poll_due_at IS NULL OR (lighthouse_status = 'pending' AND lighthouse_request_id IS NOT NULL))
    );

    CREATE INDEX ix_form526_documents_submission ON form526_document_submissions (submission_id);
    CREATE INDEX ix_form526_documents_attachment ON form526_document_submissions (attachment_guid);
    -- By this the audit leaves out what ended long ago.
    CREATE INDEX ix_form526_document_submissions_finished_at ON form526_document_submissions (finished_at);
    -- The three hold documents on their way, and leave out all that have arrived.
    -- Those to poll for, by when each is due:
    CREATE INDEX ix_form526_documents_due ON form526_document_submissions (poll_due_at)
        WHERE poll_due_at IS NOT NULL;
    -- Those of one poll:
    CREATE INDEX ix_form526_documents_batch ON form526_document_submissions (poll_batch)
        WHERE poll_batch IS NOT NULL;
    -- Those without an end for days, oldest first:
    CREATE INDEX ix_form526_documents_pending ON form526_document_submissions (created_at)
        WHERE lighthouse_status = 'pending';
"""


def upgrade() -> None:
    for statements in (SUBMISSIONS, ATTACHMENTS, DOCUMENTS):
        op.execute(statements)


def downgrade() -> None:
    for table in ("document_submissions", "attachment_chunks", "attachments", "submissions"):
        op.drop_table(f"form526_{table}")
