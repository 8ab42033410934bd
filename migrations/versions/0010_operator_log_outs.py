"""Log-ins of operators that were ended before their eight hours: a copy of the cookie must not outlive the log-out."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "operator_log_outs",
        sa.Column("log_in", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("outbox_now()")),
        sa.PrimaryKeyConstraint("log_in", name="pk_operator_log_outs"),
    )


def downgrade() -> None:
    op.drop_table("operator_log_outs")
