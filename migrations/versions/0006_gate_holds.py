"""Holds on gates: an operator's, or a maintenance window's."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

HOLDS = "outbox_gate_holds"


def moment(name: str, nullable: bool = True, default: sa.TextClause | None = None) -> sa.Column:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable, server_default=default)


def upgrade() -> None:
    op.create_table(
        HOLDS,
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("upstream", sa.Text(), nullable=False),
        moment("starts_at", nullable=False, default=sa.text("outbox_now()")),
        moment("ends_at", nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("set_by", sa.Text(), nullable=False),
        moment("lifted_at"),
        sa.Column("lifted_by", sa.Text(), nullable=True),
        sa.CheckConstraint("ends_at > starts_at", name=op.f(f"ck_{HOLDS}_ends_later")),
        sa.CheckConstraint("(lifted_at IS NULL) = (lifted_by IS NULL)", name=op.f(f"ck_{HOLDS}_lifted_by_somebody")),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{HOLDS}")),
    )
    op.create_index(f"ix_{HOLDS}_upstream", HOLDS, ["upstream", "ends_at"], unique=False)


def downgrade() -> None:
    op.drop_table(HOLDS)
