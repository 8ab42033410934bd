"""Notices that are withdrawn: what they say was not so any more before they were sent."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

STATES = ("pending", "sent", "delivered", "undeliverable")
ENDED = ("delivered", "undeliverable")


def allow(states: tuple[str, ...], ended: tuple[str, ...]) -> None:
    rules = {"state": f"state IN {states}", "finished": f"state NOT IN {ended} OR finished_at IS NOT NULL"}
    for name, rule in rules.items():
        op.drop_constraint(op.f(f"ck_notifications_{name}"), "notifications")
        op.create_check_constraint(op.f(f"ck_notifications_{name}"), "notifications", rule)


def upgrade() -> None:
    op.add_column("notifications", sa.Column("superseded_why", sa.Text(), nullable=True))
    allow((*STATES, "withdrawn"), (*ENDED, "withdrawn"))
    op.create_check_constraint(
        op.f("ck_notifications_withdrawn_has_why"),
        "notifications",
        "state <> 'withdrawn' OR superseded_why IS NOT NULL",
    )


def downgrade() -> None:
    op.drop_constraint(op.f("ck_notifications_withdrawn_has_why"), "notifications")
    # They reached nobody.
    op.execute("UPDATE notifications SET state = 'undeliverable' WHERE state = 'withdrawn'")
    allow(STATES, ENDED)
    op.drop_column("notifications", "superseded_why")
