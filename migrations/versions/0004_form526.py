"""Form 526: uploaded files in encrypted chunks, submissions, and the documents followed to where they belong."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

NOW = sa.text("outbox_now()")
FILES, CHUNKS = "form526_attachments", "form526_attachment_chunks"
FORMS, DOCUMENTS = "form526_submissions", "form526_document_submissions"


def timestamp(name: str, nullable: bool = True, default: sa.TextClause | None = None) -> sa.Column:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable, server_default=default)


def counted(name: str, first: int) -> sa.Column:
    return sa.Column(name, sa.Integer(), server_default=sa.text(f"{first}"), nullable=False)


def flag(name: str) -> sa.Column:
    return sa.Column(name, sa.Boolean(), server_default=sa.text("false"), nullable=False)


def check(table: str, name: str, rule: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(rule, name=op.f(f"ck_{table}_{name}"))


def points(table: str, column: str, target: str, key: str = "id", **options: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{target}.{key}"], name=op.f(f"fk_{table}_{column}_{target}"), **options)


def once(table: str, *columns: str) -> sa.UniqueConstraint:
    return sa.UniqueConstraint(*columns, name=op.f(f"uq_{table}_{'_'.join(columns)}"))


def upgrade() -> None:
    create_submissions()
    create_attachments()
    create_documents()
    create_indexes()


def create_submissions() -> None:
    op.create_table(
        FORMS,
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("form", sa.LargeBinary(), nullable=False),
        sa.Column("form_digest", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        flag("refused"),
        flag("unconfirmed"),
        sa.Column("claim_id", sa.BigInteger(), nullable=True),
        sa.Column("itf_id", sa.Uuid(), nullable=True),
        timestamp("requested_at", nullable=False, default=NOW),
        timestamp("finished_at"),
        sa.Column("notification", sa.Text(), nullable=True),
        counted("cycle", 1),
        counted("asked_again", 0),
        check(FORMS, "state", "state IN ('pending', 'accepted', 'failed')"),
        check(FORMS, "final_is_finished", "(state = 'pending') = (finished_at IS NULL)"),
        check(FORMS, "accepted_has_claim", "state <> 'accepted' OR claim_id IS NOT NULL"),
        points(FORMS, "account_id", "accounts"),
        points(FORMS, "itf_id", "intents_to_file"),
        once(FORMS, "account_id", "form_digest"),
        once(FORMS, "job_id"),
        once(FORMS, "claim_id"),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{FORMS}")),
    )


def create_attachments() -> None:
    op.create_table(
        FILES,
        sa.Column("guid", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.LargeBinary(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("chunks", sa.Integer(), nullable=False),
        timestamp("created_at", nullable=False, default=NOW),
        sa.Column("submission_id", sa.Uuid(), nullable=True),
        timestamp("purged_at"),
        check(FILES, "holds_something", "size > 0 AND chunks > 0"),
        points(FILES, "account_id", "accounts"),
        points(FILES, "submission_id", FORMS),
        sa.PrimaryKeyConstraint("guid", name=op.f(f"pk_{FILES}")),
    )
    op.create_table(
        CHUNKS,
        sa.Column("guid", sa.Uuid(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        points(CHUNKS, "guid", FILES, "guid", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("guid", "place", name=op.f(f"pk_{CHUNKS}")),
    )
    # Ciphertext does not compress: trying costs time for nothing.
    op.execute(f"ALTER TABLE {CHUNKS} ALTER COLUMN sealed SET STORAGE EXTERNAL")


def create_documents() -> None:
    op.create_table(
        DOCUMENTS,
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("submission_id", sa.Uuid(), nullable=False),
        sa.Column("attachment_guid", sa.Uuid(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("doc_type", sa.Text(), nullable=False),
        sa.Column("name", sa.LargeBinary(), nullable=False),
        sa.Column("lighthouse_request_id", sa.BigInteger(), nullable=True),
        sa.Column("lighthouse_status", sa.Text(), nullable=False),
        flag("possibly_twice"),
        timestamp("created_at", nullable=False, default=NOW),
        timestamp("uploaded_at"),
        timestamp("last_polled_at"),
        timestamp("poll_due_at"),
        sa.Column("poll_batch", sa.Uuid(), nullable=True),
        counted("not_found_count", 0),
        sa.Column("failed_step", sa.Text(), nullable=True),
        sa.Column("upstream_error", sa.Text(), nullable=True),
        timestamp("started_at"),
        timestamp("ended_at"),
        timestamp("finished_at"),
        sa.Column("delivered_by", sa.Text(), nullable=True),
        sa.Column("notification", sa.Text(), nullable=True),
        counted("cycle", 1),
        check(DOCUMENTS, "lighthouse_status", "lighthouse_status IN ('pending', 'done', 'failed')"),
        check(DOCUMENTS, "kind", "kind IN ('evidence', 'form_0781', 'form_0781a', 'bdd_instructions')"),
        check(DOCUMENTS, "only_evidence_is_attached", "kind = 'evidence' OR attachment_guid IS NULL"),
        check(DOCUMENTS, "final_is_finished", "(lighthouse_status = 'pending') = (finished_at IS NULL)"),
        check(
            DOCUMENTS,
            "done_was_delivered",
            "lighthouse_status <> 'done' OR lighthouse_request_id IS NOT NULL OR delivered_by IS NOT NULL",
        ),
        check(DOCUMENTS, "failed_at_a_step", "lighthouse_status <> 'failed' OR failed_step IS NOT NULL"),
        check(
            DOCUMENTS,
            "only_uploaded_is_polled",
            "poll_due_at IS NULL OR (lighthouse_status = 'pending' AND lighthouse_request_id IS NOT NULL)",
        ),
        points(DOCUMENTS, "submission_id", FORMS),
        points(DOCUMENTS, "attachment_guid", FILES, "guid"),
        once(DOCUMENTS, "lighthouse_request_id"),
        once(DOCUMENTS, "submission_id", "attachment_guid"),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{DOCUMENTS}")),
    )


def create_indexes() -> None:
    partial = [
        ("ix_form526_attachments_unclaimed", FILES, "created_at", "submission_id IS NULL"),
        ("ix_form526_attachments_submission", FILES, "submission_id", None),
        ("ix_form526_submissions_itf", FORMS, "itf_id", "itf_id IS NOT NULL"),
        ("ix_form526_documents_submission", DOCUMENTS, "submission_id", None),
        ("ix_form526_documents_attachment", DOCUMENTS, "attachment_guid", None),
        ("ix_form526_documents_due", DOCUMENTS, "poll_due_at", "poll_due_at IS NOT NULL"),
        ("ix_form526_documents_batch", DOCUMENTS, "poll_batch", "poll_batch IS NOT NULL"),
        ("ix_form526_documents_pending", DOCUMENTS, "created_at", "lighthouse_status = 'pending'"),
    ]
    for name, table, column, where in partial:
        op.create_index(name, table, [column], unique=False, postgresql_where=sa.text(where) if where else None)


def downgrade() -> None:
    for table in (DOCUMENTS, CHUNKS, FILES, FORMS):
        op.drop_table(table)
