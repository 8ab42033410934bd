"""Submissions that Surefile files by itself, to see that a flow works, bear the day that they are of; and the console's
list of cases is read in its order."""

from __future__ import annotations

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

# By table: whether Postgres refuses a second one of a day. Documents and notifications belong to one.
MARKED = {
    "travel_claims": True,
    "travel_pay_claims": True,
    "intents_to_file": True,
    "form526_submissions": True,
    "form526_document_submissions": False,
    "notifications": False,
}

KINDS = (
    *("refused", "exhausted", "may_exist_upstream", "conflicting_answers", "half_filed", "answered_late", "overdue"),
    *("past_midnight", "dated_late", "broken", "document_failed", "document_in_efolder", "document_missing"),
    *("document_not_found", "document_unclear", "document_stuck", "notification_undeliverable"),
    *("notification_not_sent", "parked_by_hand", "unsettled"),
)
INBOX = {
    "ix_cases_inbox": "(priority DESC, opened_at, id) INCLUDE (kind, owner, subject_type) WHERE closed_at IS NULL",
    "ix_cases_closed": "(closed_at DESC, id) INCLUDE (kind, owner, subject_type, opened_at)"
    " WHERE closed_at IS NOT NULL",
}
OF_THE_AUDIT = ("unaccounted", "contradiction")


def allow(kinds: tuple[str, ...]) -> None:
    """Rows are checked after the lock, beside the traffic."""
    allowed = ", ".join(f"'{kind}'" for kind in kinds)
    op.execute(
        "ALTER TABLE cases DROP CONSTRAINT ck_cases_kind,"
        f" ADD CONSTRAINT ck_cases_kind CHECK (kind IN ({allowed})) NOT VALID"
    )


def upgrade() -> None:
    """What stands before the block commits when it begins, and may be there from a run that was cut short."""
    for table in MARKED:
        op.execute(f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS synthetic_on date")
    allow((*KINDS, "synthetic_late", *OF_THE_AUDIT))
    with op.get_context().autocommit_block():
        op.execute("ALTER TABLE cases VALIDATE CONSTRAINT ck_cases_kind")
        for name, indexed in INBOX.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON cases {indexed}")
        for table, one_a_day in MARKED.items():
            # One that was left unfinished would be taken for one that is there.
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS ix_{table}_synthetic")
            op.execute(
                f"CREATE {'UNIQUE ' if one_a_day else ''}INDEX CONCURRENTLY ix_{table}_synthetic ON {table}"
                " (synthetic_on) WHERE synthetic_on IS NOT NULL"
            )


def downgrade() -> None:
    for name in INBOX:
        op.execute(f"DROP INDEX {name}")
    for table in MARKED:
        op.execute(f"DROP INDEX ix_{table}_synthetic")
        op.drop_column(table, "synthetic_on")
    op.execute("DELETE FROM cases WHERE kind = 'synthetic_late'")
    allow((*KINDS, *OF_THE_AUDIT))
    op.execute("ALTER TABLE cases VALIDATE CONSTRAINT ck_cases_kind")
