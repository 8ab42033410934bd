"""An attempt's end gets a number out of the sequence that numbers their beginnings: which of two came first.

Moments do not tell it: a clock may be put back between them. Attempts that ended before this have none.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("outbox_attempts", sa.Column("end_number", sa.BigInteger))


def downgrade() -> None:
    op.drop_column("outbox_attempts", "end_number")
