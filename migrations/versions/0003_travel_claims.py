"""Travel claims of people who check in, and the check-in sessions that they come from."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

CHECK_IN_SESSIONS = """
    CREATE TABLE check_in_sessions (
        -- Of the cookie: whoever reads this table cannot sign in with it.
        token_digest text NOT NULL,
        uuid text NOT NULL,
        lorota_token bytea NOT NULL,
        identity bytea,
        created_at timestamptz DEFAULT outbox_now() NOT NULL,
        expires_at timestamptz NOT NULL,
        CONSTRAINT pk_check_in_sessions PRIMARY KEY (token_digest)
    );
    COMMENT ON TABLE check_in_sessions IS
        'Who has proved to be the person behind an appointment link, and what LoROTA answered about them (encrypted).';

    CREATE INDEX ix_check_in_sessions_expires_at ON check_in_sessions (expires_at);
"""

CLAIMS = """
    CREATE TABLE travel_claims (
        id uuid NOT NULL,
        person_digest text NOT NULL,
        station_digest text NOT NULL,
        appointment_date date NOT NULL,
        identity bytea NOT NULL,
        state text NOT NULL,
        unconfirmed boolean DEFAULT false NOT NULL,
        filed bytea,
        notification text,
        cycle integer DEFAULT 1 NOT NULL,
        asked_again integer DEFAULT 0 NOT NULL,
        requested_at timestamptz DEFAULT outbox_now() NOT NULL,
        finished_at timestamptz,
        CONSTRAINT pk_travel_claims PRIMARY KEY (id),
        -- Forbids a second claim of a person for one day at one station.
        CONSTRAINT uq_travel_claims_person_digest_appointment_date_station_digest
            UNIQUE (person_digest, appointment_date, station_digest),
        CONSTRAINT ck_travel_claims_state CHECK (state IN ('pending', 'submitted', 'duplicate', 'failed')),
        -- Forbids an end without its time, and a time of the end on what is pending.
        CONSTRAINT ck_travel_claims_final_is_finished CHECK ((state = 'pending') = (finished_at IS NULL)),
        -- Forbids saying that BTSSS holds a claim without recording what it holds.
        CONSTRAINT ck_travel_claims_filed_known CHECK (state NOT IN ('submitted', 'duplicate') OR filed IS NOT NULL)
    );

    CREATE INDEX ix_travel_claims_state ON travel_claims (state, requested_at);
    -- By this the audit leaves out what ended long ago.
    CREATE INDEX ix_travel_claims_finished_at ON travel_claims (finished_at);
"""


def upgrade() -> None:
    op.execute(CHECK_IN_SESSIONS)
    op.execute(CLAIMS)


def downgrade() -> None:
    op.drop_table("travel_claims")
    op.drop_table("check_in_sessions")
