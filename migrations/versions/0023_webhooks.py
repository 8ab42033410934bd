"""Receivers of webhooks are told what happens: who they are, and what each is owed."""

from __future__ import annotations

from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

WEBHOOKS = """
    CREATE TABLE webhooks (
        id uuid NOT NULL,
        url text NOT NULL,
        kinds text[] NOT NULL,
        -- Sealed, both.
        secret bytea,
        earlier_secret bytea,
        rotated_at timestamptz,
        made_by text NOT NULL,
        made_at timestamptz DEFAULT outbox_now() NOT NULL,
        removed_by text,
        removed_at timestamptz,
        CONSTRAINT pk_webhooks PRIMARY KEY (id),
        -- Forbids a receiver that is told nothing.
        CONSTRAINT ck_webhooks_kinds CHECK (cardinality(kinds) > 0),
        -- Forbids removing one without a name.
        CONSTRAINT ck_webhooks_removed_by_someone CHECK ((removed_at IS NULL) = (removed_by IS NULL)),
        -- Forbids a delivery that nobody could verify, and a secret that outlives its use.
        CONSTRAINT ck_webhooks_has_secret CHECK ((removed_at IS NULL) = (secret IS NOT NULL)),
        CONSTRAINT ck_webhooks_rotated CHECK ((earlier_secret IS NULL) = (rotated_at IS NULL))
    );
    COMMENT ON TABLE webhooks IS 'Who is told what happens, since when, and by whom that was decided.';
"""

DELIVERIES = """
    CREATE TABLE webhook_deliveries (
        id uuid NOT NULL,
        webhook_id uuid NOT NULL,
        sequence bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
        event text NOT NULL,
        kind text NOT NULL,
        data jsonb NOT NULL,
        occurred_at timestamptz NOT NULL,
        created_at timestamptz DEFAULT outbox_now() NOT NULL,
        state text DEFAULT 'pending' NOT NULL,
        refusals integer DEFAULT 0 NOT NULL,
        due_at timestamptz DEFAULT outbox_now() NOT NULL,
        finished_at timestamptz,
        CONSTRAINT pk_webhook_deliveries PRIMARY KEY (id),
        CONSTRAINT fk_webhook_deliveries_webhook_id_webhooks FOREIGN KEY (webhook_id) REFERENCES webhooks (id),
        -- Forbids a second delivery for one event.
        CONSTRAINT uq_webhook_deliveries_webhook_id_event UNIQUE (webhook_id, event),
        CONSTRAINT ck_webhook_deliveries_state CHECK (state IN ('pending', 'delivered', 'refused', 'withdrawn')),
        CONSTRAINT ck_webhook_deliveries_finished CHECK ((state = 'pending') = (finished_at IS NULL))
    );
    COMMENT ON TABLE webhook_deliveries IS 'What each receiver is owed, and what became of it. No personal data.';
    CREATE INDEX ix_webhook_deliveries_pending ON webhook_deliveries (webhook_id, sequence) WHERE state = 'pending';
    CREATE INDEX ix_webhook_deliveries_kept ON webhook_deliveries (COALESCE(finished_at, created_at));
"""

BEFORE = (
    *("refused", "exhausted", "may_exist_upstream", "conflicting_answers", "half_filed", "answered_late"),
    *("overdue", "past_midnight", "dated_late", "broken", "document_failed", "document_in_efolder"),
    *("document_missing", "document_not_found", "document_unclear", "document_stuck"),
    *("notification_undeliverable", "notification_not_sent", "parked_by_hand", "unsettled", "synthetic_late"),
    *("unaccounted", "contradiction"),
)


def allow_kinds(kinds: tuple[str, ...]) -> None:
    """Forbids a kind of case for which the console has no words. Checked without keeping anybody from opening one."""
    words = ", ".join(f"'{kind}'" for kind in kinds)
    op.execute(f"""
        ALTER TABLE cases DROP CONSTRAINT IF EXISTS ck_cases_kind,
                          ADD CONSTRAINT ck_cases_kind CHECK (kind IN ({words})) NOT VALID""")
    op.execute("ALTER TABLE cases VALIDATE CONSTRAINT ck_cases_kind")


def upgrade() -> None:
    op.execute(WEBHOOKS)
    op.execute(DELIVERIES)
    allow_kinds((*BEFORE, "webhook_failing", "webhook_refused"))


def downgrade() -> None:
    op.execute("DELETE FROM outbox_counted WHERE source IN ('feed_moves', 'feed_trips')")
    op.execute("DELETE FROM cases WHERE subject_type = 'webhook'")
    op.execute("DELETE FROM outbox_messages WHERE subject_type = 'webhook'")
    op.drop_table("webhook_deliveries")
    op.drop_table("webhooks")
    allow_kinds(BEFORE)
