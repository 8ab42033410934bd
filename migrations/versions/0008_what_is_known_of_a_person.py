"""What is known of a person before anything is promised: no ICN for an account, and first looks for ITFs."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# The release before neither reads nor writes it. It counts only while `identity` is null, so nobody has to clear it.
NOBODY = "ALTER TABLE accounts ADD COLUMN nobody_at timestamptz"

FIRST_LOOKS = """
    CREATE TABLE itf_first_looks (
        id uuid NOT NULL,
        account_id uuid NOT NULL,
        type text NOT NULL,
        state text NOT NULL,
        found boolean,
        cycle integer DEFAULT 1 NOT NULL,
        asked_at timestamptz DEFAULT outbox_now() NOT NULL,
        finished_at timestamptz,
        CONSTRAINT pk_itf_first_looks PRIMARY KEY (id),
        CONSTRAINT fk_itf_first_looks_account_id_accounts FOREIGN KEY (account_id) REFERENCES accounts (id),
        -- Forbids a second look at the same thing beside the first.
        CONSTRAINT uq_itf_first_looks_account_id_type UNIQUE (account_id, type),
        CONSTRAINT ck_itf_first_looks_state CHECK (state IN ('pending', 'done', 'dropped')),
        CONSTRAINT ck_itf_first_looks_type CHECK (type IN ('compensation', 'pension', 'survivor')),
        -- Forbids an end without its time, and a time of the end on what is pending.
        CONSTRAINT ck_itf_first_looks_final_is_finished CHECK ((state = 'pending') = (finished_at IS NULL)),
        -- Forbids an answer that nobody gave, and an end by an answer without it.
        CONSTRAINT ck_itf_first_looks_done_is_known CHECK ((state = 'done') = (found IS NOT NULL))
    );
    COMMENT ON TABLE itf_first_looks IS 'Whether upstream was looked at for an ITF that a person has from elsewhere.';
    -- By these two the audit reads what has not ended, or ended lately.
    CREATE INDEX ix_itf_first_looks_finished_at ON itf_first_looks (finished_at);
    CREATE INDEX ix_itf_first_looks_pending ON itf_first_looks (asked_at) WHERE state = 'pending';
"""


def upgrade() -> None:
    op.execute(NOBODY)
    op.execute(FIRST_LOOKS)


def downgrade() -> None:
    op.drop_table("itf_first_looks")
    op.drop_column("accounts", "nobody_at")
