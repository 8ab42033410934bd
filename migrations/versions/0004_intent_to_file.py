"""Intents to file, and the one row that paces the refresh of those that upstream holds."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# Brings equality into an exclusion constraint, beside the overlap of ranges. It is a trusted extension: the owner of
# the database may create it without being a superuser.
EXTENSION = "CREATE EXTENSION IF NOT EXISTS btree_gist"

INTENTS_TO_FILE = """
    CREATE TABLE intents_to_file (
        id uuid NOT NULL,
        account_id uuid NOT NULL,
        type text NOT NULL,
        path text NOT NULL,
        state text NOT NULL,
        unconfirmed boolean DEFAULT false NOT NULL,
        asked_at timestamptz NOT NULL,
        effective_date timestamptz NOT NULL,
        expires_at timestamptz NOT NULL,
        legal_midnight_at timestamptz NOT NULL,
        past_midnight boolean DEFAULT false NOT NULL,
        upstream_id text,
        upstream_status text,
        upstream_created_at timestamptz,
        upstream_expires_at timestamptz,
        how text,
        last_synced_at timestamptz,
        refresh_due_at timestamptz,
        doubted_at timestamptz,
        used_at timestamptz,
        finished_at timestamptz,
        notification text,
        cycle integer DEFAULT 1 NOT NULL,
        follows_id uuid,
        created_at timestamptz DEFAULT outbox_now() NOT NULL,
        CONSTRAINT pk_intents_to_file PRIMARY KEY (id),
        CONSTRAINT fk_intents_to_file_account_id_accounts FOREIGN KEY (account_id) REFERENCES accounts (id),
        CONSTRAINT fk_intents_to_file_follows_id_intents_to_file
            FOREIGN KEY (follows_id) REFERENCES intents_to_file (id),
        -- Forbids two valid ones of a type for one account at any time. The range begins with the request, not with the
        -- effective date: one found upstream may be dated back into the time of an earlier one that has expired since.
        CONSTRAINT ex_intents_to_file_one_valid EXCLUDE USING gist (
            account_id WITH =, type WITH =, tstzrange(asked_at, expires_at) WITH &&)
            WHERE (state IN ('pending', 'confirmed')),
        CONSTRAINT ck_intents_to_file_state CHECK (state IN ('pending', 'confirmed', 'failed', 'broken')),
        CONSTRAINT ck_intents_to_file_type CHECK (type IN ('compensation', 'pension', 'survivor')),
        CONSTRAINT ck_intents_to_file_path CHECK (path IN ('background', 'synchronous')),
        -- Forbids an effective date after the request: it may only ever move to the person's good.
        CONSTRAINT ck_intents_to_file_effective_only_earlier CHECK (effective_date <= asked_at),
        -- Forbids one that is over when it begins.
        CONSTRAINT ck_intents_to_file_expires_later CHECK (expires_at > asked_at),
        -- Forbids an end without its time, and a time of the end on what is pending.
        CONSTRAINT ck_intents_to_file_final_is_finished CHECK ((state = 'pending') = (finished_at IS NULL)),
        -- Forbids saying that upstream holds it, or held it, without what upstream says of it.
        CONSTRAINT ck_intents_to_file_confirmed_is_known_upstream CHECK (
            state NOT IN ('confirmed', 'broken') OR (upstream_id IS NOT NULL AND upstream_status IS NOT NULL
            AND upstream_created_at IS NOT NULL AND upstream_expires_at IS NOT NULL)),
        -- Forbids refreshing what upstream does not hold.
        CONSTRAINT ck_intents_to_file_only_confirmed_is_refreshed CHECK (
            refresh_due_at IS NULL OR state = 'confirmed')
    );

    CREATE INDEX ix_intents_to_file_account ON intents_to_file (account_id, type, asked_at);
    -- By this the audit leaves out what ended long ago.
    CREATE INDEX ix_intents_to_file_finished_at ON intents_to_file (finished_at);
    -- Those whose legal day ended before upstream had them, and that have no case for it: every sweep looks for them.
    CREATE INDEX ix_intents_to_file_midnight ON intents_to_file (legal_midnight_at)
        WHERE state = 'pending' AND NOT past_midnight;
    -- Those on their way, by the hours left: the few that `flask itf at-risk` lists.
    CREATE INDEX ix_intents_to_file_pending ON intents_to_file (legal_midnight_at) WHERE state = 'pending';
    -- Those that take part in the refresh, by when each is due: expired and used ones leave it.
    CREATE INDEX ix_intents_to_file_refresh ON intents_to_file (refresh_due_at) WHERE refresh_due_at IS NOT NULL;
"""

REFRESH_TICKS = """
    CREATE TABLE itf_refresh_ticks (
        single boolean DEFAULT true NOT NULL,
        ticked_at timestamptz NOT NULL,
        CONSTRAINT pk_itf_refresh_ticks PRIMARY KEY (single),
        -- Forbids a second row.
        CONSTRAINT ck_itf_refresh_ticks_single_row CHECK (single)
    );
    COMMENT ON TABLE itf_refresh_ticks IS
        'One row: when the refresh last took its share, so that two schedulers do not take two.';
    INSERT INTO itf_refresh_ticks (ticked_at) VALUES ('1970-01-01 00:00:00+00');
"""


def upgrade() -> None:
    for statements in (EXTENSION, INTENTS_TO_FILE, REFRESH_TICKS):
        op.execute(statements)


def downgrade() -> None:
    op.drop_table("itf_refresh_ticks")
    op.drop_table("intents_to_file")
    op.execute("DROP EXTENSION IF EXISTS btree_gist")
