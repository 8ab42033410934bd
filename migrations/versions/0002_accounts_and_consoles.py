"""Tables that belong to no single flow: accounts, notifications, cases, audits, log-outs and idempotency keys."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ACCOUNTS = """
    CREATE TABLE accounts (
        id uuid NOT NULL,
        identity bytea,
        icn_digest text,
        created_at timestamptz DEFAULT outbox_now() NOT NULL,
        identified_at timestamptz,
        CONSTRAINT pk_accounts PRIMARY KEY (id),
        -- Forbids half an identity: who it is, the digest to find them by, and when this was looked up come together.
        CONSTRAINT ck_accounts_identified_whole CHECK (
            (identity IS NULL) = (icn_digest IS NULL) AND (identity IS NULL) = (identified_at IS NULL))
    );
    COMMENT ON TABLE accounts IS 'Sign-in accounts, and the person behind each (encrypted) once it is known.';

    -- Not unique: one person may have two accounts.
    CREATE INDEX ix_accounts_icn_digest ON accounts (icn_digest);
"""

NOTIFICATIONS = """
    CREATE TABLE notifications (
        id uuid NOT NULL,
        subject_type text NOT NULL,
        subject_id text NOT NULL,
        kind text NOT NULL,
        cycle integer NOT NULL,
        channel text NOT NULL,
        sender text NOT NULL,
        recipient bytea NOT NULL,
        personalisation bytea NOT NULL,
        state text NOT NULL,
        va_notify_id text,
        upstream_status text,
        status_at timestamptz,
        created_at timestamptz DEFAULT outbox_now() NOT NULL,
        sent_at timestamptz,
        finished_at timestamptz,
        asked_at timestamptz,
        superseded_why text,
        CONSTRAINT pk_notifications PRIMARY KEY (id),
        -- Forbids a second message to the person about the same end of the same subject. A requeue begins a new cycle.
        CONSTRAINT uq_notifications_subject_type_subject_id_kind_cycle UNIQUE (subject_type, subject_id, kind, cycle),
        CONSTRAINT ck_notifications_state CHECK (
            state IN ('pending', 'sent', 'delivered', 'undeliverable', 'withdrawn')),
        CONSTRAINT ck_notifications_channel CHECK (channel IN ('sms', 'email')),
        -- Forbids an end without its time.
        CONSTRAINT ck_notifications_finished CHECK (
            state NOT IN ('delivered', 'undeliverable', 'withdrawn') OR finished_at IS NOT NULL),
        -- Forbids withdrawing one without saying what made it untrue before it was sent.
        CONSTRAINT ck_notifications_withdrawn_has_why CHECK (state <> 'withdrawn' OR superseded_why IS NOT NULL)
    );
    COMMENT ON TABLE notifications IS
        'Texts and e-mails to people. VANotify knows each by its id, which is the reference of every try to send it.';

    -- When nothing was left to do about it, null until it is sent: the audit leaves out what came to rest long ago.
    CREATE INDEX ix_notifications_rest ON notifications ((COALESCE(finished_at, sent_at)));
    -- Those sent, without a word of their delivery, and not yet queried: a few of all that were ever sent.
    CREATE INDEX ix_notifications_followed ON notifications (sent_at) WHERE state = 'sent' AND asked_at IS NULL;
"""

CASES = """
    CREATE TABLE cases (
        id uuid NOT NULL,
        kind text NOT NULL,
        subject_type text NOT NULL,
        subject_id text NOT NULL,
        owner text NOT NULL,
        priority integer DEFAULT 0 NOT NULL,
        details jsonb DEFAULT '{}' NOT NULL,
        notes jsonb DEFAULT '[]' NOT NULL,
        opened_at timestamptz DEFAULT outbox_now() NOT NULL,
        closed_at timestamptz,
        closed_by text,
        resolution text,
        CONSTRAINT pk_cases PRIMARY KEY (id),
        -- Forbids a kind for which the console has no words: nobody would know what to do about it.
        CONSTRAINT ck_cases_kind CHECK (kind IN (
            'refused', 'exhausted', 'may_exist_upstream', 'conflicting_answers', 'half_filed', 'answered_late',
            'overdue', 'past_midnight', 'dated_late', 'broken', 'document_failed', 'document_in_efolder',
            'document_missing', 'document_not_found', 'document_unclear', 'document_stuck',
            'notification_undeliverable', 'notification_not_sent', 'parked_by_hand', 'unsettled', 'unaccounted',
            'contradiction')),
        -- Forbids a case that nobody is responsible for.
        CONSTRAINT ck_cases_owned CHECK (owner <> ''),
        -- Forbids closing a case without a name.
        CONSTRAINT ck_cases_closed_by_someone CHECK ((closed_at IS NULL) = (closed_by IS NULL))
    );
    COMMENT ON TABLE cases IS 'What a named human must look at. One open case for each subject and kind.';

    -- Forbids a second open case of a kind; closed ones stay, any number of them.
    CREATE UNIQUE INDEX uq_cases_open ON cases (subject_type, subject_id, kind) WHERE closed_at IS NULL;
    -- Closed ones too: some kinds are opened once and never again.
    CREATE INDEX ix_cases_subject ON cases (subject_type, subject_id, kind);
    -- The console's list of an owner, which shows no closed case.
    CREATE INDEX ix_cases_open_owner ON cases (owner, opened_at) WHERE closed_at IS NULL;
"""

AUDITS = """
    CREATE TABLE audits (
        scope text NOT NULL,
        at timestamptz DEFAULT outbox_now() NOT NULL,
        seconds double precision NOT NULL,
        report jsonb NOT NULL,
        CONSTRAINT pk_audits PRIMARY KEY (scope),
        CONSTRAINT ck_audits_scope CHECK (scope IN ('recent', 'full'))
    );
    COMMENT ON TABLE audits IS 'The latest report of each scope, for the metrics and the console.';
"""

LOG_OUTS = """
    CREATE TABLE operator_log_outs (
        log_in text NOT NULL,
        at timestamptz DEFAULT outbox_now() NOT NULL,
        CONSTRAINT pk_operator_log_outs PRIMARY KEY (log_in)
    );
    COMMENT ON TABLE operator_log_outs IS
        'Log-ins ended by their operators before they expired: a copy of such a cookie must not let anybody in.';
"""

IDEMPOTENCY_KEYS = """
    CREATE TABLE idempotency_keys (
        principal text NOT NULL,
        key_digest text NOT NULL,
        request_digest text NOT NULL,
        created_at timestamptz DEFAULT outbox_now() NOT NULL,
        -- Forbids one key of a caller for two requests. Another caller may have the same key.
        CONSTRAINT pk_idempotency_keys PRIMARY KEY (principal, key_digest)
    );
    COMMENT ON TABLE idempotency_keys IS 'Keys of callers, each with the one request that it names.';
"""


def upgrade() -> None:
    for statements in (ACCOUNTS, NOTIFICATIONS, CASES, AUDITS, LOG_OUTS, IDEMPOTENCY_KEYS):
        op.execute(statements)


def downgrade() -> None:
    for table in ("idempotency_keys", "operator_log_outs", "audits", "cases", "notifications", "accounts"):
        op.drop_table(table)
