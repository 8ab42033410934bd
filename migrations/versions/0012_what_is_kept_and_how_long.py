"""What is kept, and for how long: since when history is whole, and rows whose personal content was removed."""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

# Each table, the columns that are removed, and when a row came to rest.
EMPTIED = {
    "travel_claims": (("identity",), "finished_at"),
    "travel_pay_claims": (("requested",), "finished_at"),
    "form526_submissions": (("form",), "finished_at"),
    "form526_document_submissions": (("name",), "finished_at"),
    "notifications": (("recipient", "personalisation"), "COALESCE(finished_at, sent_at)"),
}
INDEXES = {
    **{
        f"ix_{table}_not_emptied": f"{table} ({rests_at if '(' not in rests_at else f'({rests_at})'})"
        " WHERE emptied_at IS NULL"
        for table, (_, rests_at) in EMPTIED.items()
    },
    "ix_cases_not_emptied": "cases (closed_at) WHERE closed_at IS NOT NULL AND emptied_at IS NULL",
    "ix_form526_attachments_purged_at": "form526_attachments (purged_at) WHERE purged_at IS NOT NULL",
    # Accounts are removed when nothing refers to them.
    "ix_form526_attachments_owner": "form526_attachments (account_id)",
    "ix_contact_discrepancies_account": "contact_discrepancies (account_id)",
    "ix_accounts_identified_at": "accounts (identified_at) WHERE identified_at IS NOT NULL",
    "ix_accounts_created_at": "accounts (created_at)",
    "ix_intents_to_file_follows": "intents_to_file (follows_id) WHERE follows_id IS NOT NULL",
}


def rules() -> dict[tuple[str, str], str]:
    """The rule that nothing is missing which was not removed, by its table and name."""
    found = {
        (table, f"ck_{table}_kept_or_emptied"): " AND ".join(f"{column} IS NOT NULL" for column in columns)
        + " OR emptied_at IS NOT NULL"
        for table, (columns, _) in EMPTIED.items()
    }
    found["form526_attachments", "ck_form526_attachments_named_or_purged"] = "name IS NOT NULL OR purged_at IS NOT NULL"
    return found


def upgrade() -> None:
    """What reads rows does so without a lock that stops anybody. Whoever dies in between runs it again."""
    op.execute(
        """
        CREATE TABLE IF NOT EXISTS outbox_retention (
            single boolean DEFAULT true NOT NULL,
            kept_since timestamptz DEFAULT '-infinity' NOT NULL,
            CONSTRAINT pk_outbox_retention PRIMARY KEY (single),
            CONSTRAINT ck_outbox_retention_single_row CHECK (single)
        )"""
    )
    op.execute("INSERT INTO outbox_retention (single) VALUES (true) ON CONFLICT DO NOTHING")
    for table in (*EMPTIED, "cases"):
        op.execute(f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS emptied_at timestamptz")
    op.execute("ALTER TABLE form526_attachments ALTER COLUMN name DROP NOT NULL")
    for table, (columns, _) in EMPTIED.items():
        for column in columns:
            op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} DROP NOT NULL")
    for (table, name), rule in rules().items():
        op.execute(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name}")
        op.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} CHECK ({rule}) NOT VALID")
    with op.get_context().autocommit_block():
        for table, name in rules():
            op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}")
        for name, columns in INDEXES.items():
            # One that was left unfinished would be taken for one that is there.
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {columns}")


def downgrade() -> None:
    """Refused by Postgres where content was removed: nothing brings it back."""
    for name in INDEXES:
        op.execute(f"DROP INDEX {name}")
    for table, name in rules():
        op.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
    for table, (columns, _) in EMPTIED.items():
        for column in columns:
            op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET NOT NULL")
    op.execute("ALTER TABLE form526_attachments ALTER COLUMN name SET NOT NULL")
    for table in (*EMPTIED, "cases"):
        op.execute(f"ALTER TABLE {table} DROP COLUMN emptied_at")
    op.execute("DROP TABLE outbox_retention")
