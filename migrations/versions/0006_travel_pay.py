"""Travel pay of signed-in people: claims filed step by step, and contact details that differ between two sources."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

CLAIMS = """
    CREATE TABLE travel_pay_claims (
        id uuid NOT NULL,
        account_id uuid NOT NULL,
        -- Without a time zone: the clock on the wall of the facility, the only time that BTSSS knows.
        starts_at timestamp NOT NULL,
        station_digest text NOT NULL,
        requested bytea NOT NULL,
        state text NOT NULL,
        step text NOT NULL,
        appointment_id text,
        claim_id text,
        expense_id text,
        filed bytea,
        unconfirmed boolean DEFAULT false NOT NULL,
        notification text,
        cycle integer DEFAULT 1 NOT NULL,
        asked_again integer DEFAULT 0 NOT NULL,
        requested_at timestamptz DEFAULT outbox_now() NOT NULL,
        moved_at timestamptz DEFAULT outbox_now() NOT NULL,
        finished_at timestamptz,
        CONSTRAINT pk_travel_pay_claims PRIMARY KEY (id),
        CONSTRAINT fk_travel_pay_claims_account_id_accounts FOREIGN KEY (account_id) REFERENCES accounts (id),
        -- Forbids a second claim of an account for one appointment.
        CONSTRAINT uq_travel_pay_claims_account_id_starts_at_station_digest
            UNIQUE (account_id, starts_at, station_digest),
        CONSTRAINT ck_travel_pay_claims_state CHECK (state IN ('pending', 'submitted', 'duplicate', 'failed')),
        CONSTRAINT ck_travel_pay_claims_step CHECK (step IN ('appointment', 'claim', 'expense', 'submit')),
        -- Forbids an end without its time, and a time of the end on what is pending.
        CONSTRAINT ck_travel_pay_claims_final_is_finished CHECK ((state = 'pending') = (finished_at IS NULL)),
        -- Forbids calling a claim submitted before its last step.
        CONSTRAINT ck_travel_pay_claims_submitted_last CHECK (state <> 'submitted' OR step = 'submit'),
        -- Forbids saying that BTSSS holds a claim without recording what it holds.
        CONSTRAINT ck_travel_pay_claims_filed_known CHECK (
            state NOT IN ('submitted', 'duplicate') OR filed IS NOT NULL),
        -- These three forbid going on to a step without the id of what the step before has made in BTSSS.
        CONSTRAINT ck_travel_pay_claims_appointment_known CHECK (
            step = 'appointment' OR appointment_id IS NOT NULL),
        CONSTRAINT ck_travel_pay_claims_claim_known CHECK (
            step NOT IN ('expense', 'submit') OR claim_id IS NOT NULL),
        CONSTRAINT ck_travel_pay_claims_expense_known CHECK (step <> 'submit' OR expense_id IS NOT NULL)
    );

    CREATE INDEX ix_travel_pay_claims_state ON travel_pay_claims (state, requested_at);
    -- By this the audit leaves out what ended long ago.
    CREATE INDEX ix_travel_pay_claims_finished_at ON travel_pay_claims (finished_at);
"""

DISCREPANCIES = """
    CREATE TABLE contact_discrepancies (
        id uuid NOT NULL,
        account_id uuid NOT NULL,
        field text NOT NULL,
        masked bytea NOT NULL,
        digest text NOT NULL,
        found_at timestamptz DEFAULT outbox_now() NOT NULL,
        seen_at timestamptz DEFAULT outbox_now() NOT NULL,
        resolved_at timestamptz,
        CONSTRAINT pk_contact_discrepancies PRIMARY KEY (id),
        CONSTRAINT fk_contact_discrepancies_account_id_accounts FOREIGN KEY (account_id) REFERENCES accounts (id),
        CONSTRAINT ck_contact_discrepancies_field CHECK (field IN ('address', 'phone', 'email'))
    );
    COMMENT ON TABLE contact_discrepancies IS
        'Contact details in which VA Profile and BTSSS differ, masked, each recorded once until the two agree.';

    -- Forbids recording a difference twice while it lasts; those that were resolved stay.
    CREATE UNIQUE INDEX uq_contact_discrepancies_standing ON contact_discrepancies (account_id, field)
        WHERE resolved_at IS NULL;
"""


def upgrade() -> None:
    op.execute(CLAIMS)
    op.execute(DISCREPANCIES)


def downgrade() -> None:
    op.drop_table("contact_discrepancies")
    op.drop_table("travel_pay_claims")
