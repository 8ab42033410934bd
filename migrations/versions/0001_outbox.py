"""The ledger: messages, attempts, history by the month, gates, process beats, and the clock they compare with."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Every lease and due comparison uses this clock: Postgres's own, plus an offset that is zero outside tests.
CLOCK = """
    CREATE FUNCTION outbox_now() RETURNS timestamptz LANGUAGE sql STABLE
    RETURN now() + (SELECT clock_offset FROM outbox_clock)
"""


def upgrade() -> None:
    op.create_table(
        "outbox_clock",
        sa.Column("single", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("clock_offset", sa.Interval(), server_default=sa.text("'0'"), nullable=False),
        sa.CheckConstraint("single", name=op.f("ck_outbox_clock_single_row")),
        sa.PrimaryKeyConstraint("single", name=op.f("pk_outbox_clock")),
    )
    op.execute("INSERT INTO outbox_clock (single) VALUES (true)")
    op.execute(CLOCK)
    op.create_table(
        "outbox_attempts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("subject_type", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("upstream", sa.Text(), nullable=True),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default=sa.text("'try'"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("outbox_now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("answered", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("charged", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("late", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("http_status", sa.Integer(), nullable=True),
        sa.Column("error_class", sa.Text(), nullable=True),
        sa.Column("error_detail", sa.Text(), nullable=True),
        sa.Column(
            "upstream_ids", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False
        ),
        sa.Column("worker_id", sa.Text(), nullable=False),
        sa.CheckConstraint("(status = 'try') = (finished_at IS NULL)", name=op.f("ck_outbox_attempts_finished")),
        sa.CheckConstraint(
            "purpose IN ('write', 'look_up', 'read', 'give_up')", name=op.f("ck_outbox_attempts_purpose")
        ),
        sa.CheckConstraint(
            "status IN ('try', 'success', 'error', 'unknown', 'expired')", name=op.f("ck_outbox_attempts_status")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox_attempts")),
        sa.UniqueConstraint("message_id", "fence", name=op.f("uq_outbox_attempts_message_id_fence")),
    )
    op.create_index(
        "ix_outbox_attempts_answered",
        "outbox_attempts",
        ["upstream", "finished_at"],
        unique=False,
        postgresql_where=sa.text("answered"),
    )
    op.create_index(
        "ix_outbox_attempts_open",
        "outbox_attempts",
        ["message_id"],
        unique=False,
        postgresql_where=sa.text("status = 'try'"),
    )
    op.create_index("ix_outbox_attempts_started", "outbox_attempts", ["started_at"], unique=False)
    op.create_index("ix_outbox_attempts_subject", "outbox_attempts", ["subject_type", "subject_id", "id"], unique=False)
    op.create_table(
        "outbox_breaker_trips",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("upstream", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), server_default=sa.text("outbox_now()"), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox_breaker_trips")),
    )
    op.create_index("ix_outbox_breaker_trips_upstream", "outbox_breaker_trips", ["upstream", "opened_at"], unique=False)
    op.create_index(
        "uq_outbox_breaker_trips_open",
        "outbox_breaker_trips",
        ["upstream"],
        unique=True,
        postgresql_where=sa.text("closed_at IS NULL"),
    )
    op.create_table(
        "outbox_breakers",
        sa.Column("upstream", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("open_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("trips", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("probe_message_id", sa.BigInteger(), nullable=True),
        sa.Column("probe_fence", sa.BigInteger(), nullable=True),
        sa.Column("unanswered", postgresql.ARRAY(sa.BigInteger()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("concurrency_limit", sa.Integer(), nullable=False),
        sa.CheckConstraint("(opened_at IS NULL) = (open_until IS NULL)", name=op.f("ck_outbox_breakers_open_has_end")),
        sa.CheckConstraint("concurrency_limit > 0", name=op.f("ck_outbox_breakers_limit")),
        sa.PrimaryKeyConstraint("upstream", name=op.f("pk_outbox_breakers")),
    )
    op.create_table(
        "outbox_history",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("outbox_now()"), nullable=False),
        sa.Column("subject_type", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("moved_from", sa.Text(), nullable=True),
        sa.Column("moved_to", sa.Text(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=True),
        sa.Column("detail", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.PrimaryKeyConstraint("at", "id", name=op.f("pk_outbox_history")),
        postgresql_partition_by="RANGE (at)",
    )
    op.create_index("ix_outbox_history_subject", "outbox_history", ["subject_type", "subject_id", "id"], unique=False)
    op.create_table(
        "outbox_messages",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("args", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("upstream", sa.Text(), nullable=True),
        sa.Column("subject_type", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deadline_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("budget_from", sa.DateTime(timezone=True), server_default=sa.text("outbox_now()"), nullable=False),
        sa.Column("give_up_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("charged_attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("unresolved_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("unresolved_why", sa.Text(), nullable=True),
        sa.Column("not_found_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("look_up_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("worker_id", sa.Text(), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("parked_reason", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("outbox_now()"), nullable=False),
        sa.CheckConstraint(
            "(state = 'parked') = (parked_reason IS NOT NULL)", name=op.f("ck_outbox_messages_parked_has_reason")
        ),
        sa.CheckConstraint(
            "(state = 'running') = (worker_id IS NOT NULL) AND (state = 'running') = (lease_expires_at IS NOT NULL)",
            name=op.f("ck_outbox_messages_running_has_lease"),
        ),
        sa.CheckConstraint("jsonb_typeof(args) = 'array'", name=op.f("ck_outbox_messages_args_array")),
        sa.CheckConstraint(
            "state IN ('later', 'ready', 'published', 'running', 'parked')", name=op.f("ck_outbox_messages_state")
        ),
        sa.CheckConstraint(
            "state NOT IN ('published', 'running', 'parked') OR fence IS NOT NULL",
            name=op.f("ck_outbox_messages_fenced"),
        ),
        sa.CheckConstraint(
            "(unresolved_since IS NULL) = (unresolved_why IS NULL)", name=op.f("ck_outbox_messages_unresolved_has_why")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox_messages")),
    )
    op.create_index(
        "ix_outbox_messages_deadline",
        "outbox_messages",
        ["deadline_at"],
        unique=False,
        postgresql_where=sa.text("state <> 'parked'"),
    )
    op.create_index(
        "ix_outbox_messages_give_up",
        "outbox_messages",
        ["give_up_at"],
        unique=False,
        postgresql_where=sa.text("state IN ('later', 'ready')"),
    )
    op.create_index(
        "ix_outbox_messages_in_flight",
        "outbox_messages",
        ["queue", "published_at"],
        unique=False,
        postgresql_where=sa.text("state IN ('published', 'running')"),
    )
    op.create_index(
        "ix_outbox_messages_later",
        "outbox_messages",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("state = 'later'"),
    )
    op.create_index(
        "ix_outbox_messages_ready",
        "outbox_messages",
        ["queue", "deadline_at", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'ready'"),
    )
    op.create_index("ix_outbox_messages_subject", "outbox_messages", ["subject_type", "subject_id"], unique=False)
    op.create_table(
        "outbox_processes",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("outbox_now()"), nullable=False),
        sa.Column("beat_at", sa.DateTime(timezone=True), server_default=sa.text("outbox_now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox_processes")),
    )
    op.execute("CREATE TABLE outbox_history_rest PARTITION OF outbox_history DEFAULT")


def downgrade() -> None:
    op.drop_table("outbox_processes")
    op.drop_table("outbox_messages")
    op.drop_table("outbox_history")
    op.drop_table("outbox_breakers")
    op.drop_table("outbox_breaker_trips")
    op.drop_table("outbox_attempts")
    op.execute("DROP FUNCTION outbox_now()")
    op.drop_table("outbox_clock")
