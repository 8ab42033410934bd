"""Wrong answers at a check-in link are counted here: LoROTA counts none."""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

# The release before neither reads nor writes it.
TRIES = """
    CREATE TABLE check_in_tries (
        uuid text NOT NULL,
        wrong integer NOT NULL,
        -- Wrong ones and those that have no answer yet.
        taken integer NOT NULL,
        taken_at timestamptz NOT NULL,
        expires_at timestamptz NOT NULL,
        CONSTRAINT pk_check_in_tries PRIMARY KEY (uuid),
        -- Forbids a wrong answer that nobody asked for.
        CONSTRAINT ck_check_in_tries_wrong_is_taken CHECK (0 <= wrong AND wrong <= taken)
    );
    COMMENT ON TABLE check_in_tries IS 'How often the person behind an appointment link was named wrongly.';
    CREATE INDEX ix_check_in_tries_expires_at ON check_in_tries (expires_at);
"""


def upgrade() -> None:
    op.execute(TRIES)


def downgrade() -> None:
    op.drop_table("check_in_tries")
