"""A job is owed to a subject once, and a case is of a kind that somebody knows what to do about: Postgres says so.

The index takes the place of the one by subject. Where something was owed twice before, what was never tried goes: the
other is owed all the same. Two that were both tried are left, and the release stops at them: a human decides.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

MESSAGES = "outbox_messages"
OWED_ONCE = f"uq_{MESSAGES}_subject"
BY_SUBJECT = f"ix_{MESSAGES}_subject"
FORGET_DOUBLED = """
    DELETE FROM outbox_messages m
     WHERE m.state IN ('later', 'ready', 'published', 'parked')
       AND NOT EXISTS (SELECT 1 FROM outbox_attempts a WHERE a.message_id = m.id)
       AND EXISTS (SELECT 1 FROM outbox_messages o
                    WHERE o.subject_type = m.subject_type AND o.subject_id = m.subject_id AND o.job = m.job
                      AND (o.id < m.id OR EXISTS (SELECT 1 FROM outbox_attempts a WHERE a.message_id = o.id))
                      AND o.id <> m.id)
"""
KINDS = (
    "refused",
    "exhausted",
    "may_exist_upstream",
    "conflicting_answers",
    "half_filed",
    "answered_late",
    "overdue",
    "past_midnight",
    "dated_late",
    "broken",
    "document_failed",
    "document_in_efolder",
    "document_missing",
    "document_not_found",
    "document_unclear",
    "document_stuck",
    "notification_undeliverable",
    "notification_not_sent",
    "parked_by_hand",
    "unsettled",
    "unaccounted",
    "contradiction",
)


def upgrade() -> None:
    op.create_check_constraint(op.f("ck_cases_kind"), "cases", f"kind IN ({', '.join(map(repr, KINDS))})")
    # Nobody may owe the same once more between the two.
    op.execute(f"LOCK TABLE {MESSAGES} IN SHARE ROW EXCLUSIVE MODE")
    op.execute(sa.text(FORGET_DOUBLED))
    op.create_index(OWED_ONCE, MESSAGES, ["subject_type", "subject_id", "job"], unique=True)
    op.drop_index(BY_SUBJECT, MESSAGES)
    # Kept from before, they lack the counts that the metric and the console read. The next minute makes them anew.
    op.execute("DELETE FROM audits")


def downgrade() -> None:
    op.drop_constraint(op.f("ck_cases_kind"), "cases", type_="check")
    # The kind before these that says most nearly the same; a console that does not know a kind shows no case at all.
    op.execute("""
        UPDATE cases c SET kind = 'broken' WHERE kind = 'unsettled' AND NOT EXISTS (
            SELECT 1 FROM cases o WHERE o.subject_type = c.subject_type AND o.subject_id = c.subject_id
               AND o.kind = 'broken' AND o.closed_at IS NULL)
    """)
    op.create_index(BY_SUBJECT, MESSAGES, ["subject_type", "subject_id"])
    op.drop_index(OWED_ONCE, MESSAGES)
