"""Intents to file: sign-in accounts, the ITFs themselves, and the one row that paces their rolling refresh."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

NOW = sa.text("outbox_now()")


def timestamp(name: str, nullable: bool = True, default: sa.TextClause | None = None) -> sa.Column:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable, server_default=default)


def upgrade() -> None:
    # Equality beside a range in one exclusion constraint; a trusted extension, so the database's owner may make it.
    op.execute("CREATE EXTENSION IF NOT EXISTS btree_gist")
    create_accounts()
    create_intents_to_file()
    create_indexes()
    op.create_table(
        "itf_refresh_ticks",
        sa.Column("single", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        timestamp("ticked_at", nullable=False),
        sa.CheckConstraint("single", name=op.f("ck_itf_refresh_ticks_single_row")),
        sa.PrimaryKeyConstraint("single", name=op.f("pk_itf_refresh_ticks")),
    )
    op.execute("INSERT INTO itf_refresh_ticks (ticked_at) VALUES ('1970-01-01 00:00:00+00')")


def create_accounts() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("identity", sa.LargeBinary(), nullable=True),
        sa.Column("icn_digest", sa.Text(), nullable=True),
        timestamp("created_at", nullable=False, default=NOW),
        timestamp("identified_at"),
        sa.CheckConstraint(
            "(identity IS NULL) = (icn_digest IS NULL) AND (identity IS NULL) = (identified_at IS NULL)",
            name=op.f("ck_accounts_identified_whole"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts")),
    )
    op.create_index("ix_accounts_icn_digest", "accounts", ["icn_digest"], unique=False)


def create_intents_to_file() -> None:
    op.create_table(
        "intents_to_file",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("unconfirmed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        timestamp("asked_at", nullable=False),
        timestamp("effective_date", nullable=False),
        timestamp("expires_at", nullable=False),
        timestamp("legal_midnight_at", nullable=False),
        sa.Column("past_midnight", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("upstream_id", sa.Text(), nullable=True),
        sa.Column("upstream_status", sa.Text(), nullable=True),
        timestamp("upstream_created_at"),
        timestamp("upstream_expires_at"),
        sa.Column("how", sa.Text(), nullable=True),
        timestamp("last_synced_at"),
        timestamp("refresh_due_at"),
        timestamp("doubted_at"),
        timestamp("used_at"),
        timestamp("finished_at"),
        sa.Column("notification", sa.Text(), nullable=True),
        sa.Column("cycle", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("follows_id", sa.Uuid(), nullable=True),
        timestamp("created_at", nullable=False, default=NOW),
        sa.CheckConstraint(
            "state IN ('pending', 'confirmed', 'failed', 'broken')", name=op.f("ck_intents_to_file_state")
        ),
        sa.CheckConstraint("type IN ('compensation', 'pension', 'survivor')", name=op.f("ck_intents_to_file_type")),
        sa.CheckConstraint("path IN ('background', 'waited')", name=op.f("ck_intents_to_file_path")),
        sa.CheckConstraint("effective_date <= asked_at", name=op.f("ck_intents_to_file_effective_only_earlier")),
        sa.CheckConstraint("expires_at > asked_at", name=op.f("ck_intents_to_file_expires_later")),
        sa.CheckConstraint(
            "(state = 'pending') = (finished_at IS NULL)", name=op.f("ck_intents_to_file_final_is_finished")
        ),
        sa.CheckConstraint(
            "state NOT IN ('confirmed', 'broken') OR (upstream_id IS NOT NULL AND upstream_status IS NOT NULL"
            " AND upstream_created_at IS NOT NULL AND upstream_expires_at IS NOT NULL)",
            name=op.f("ck_intents_to_file_confirmed_is_known_upstream"),
        ),
        sa.CheckConstraint(
            "refresh_due_at IS NULL OR state = 'confirmed'",
            name=op.f("ck_intents_to_file_only_confirmed_is_refreshed"),
        ),
        postgresql.ExcludeConstraint(
            (sa.column("account_id"), "="),
            (sa.column("type"), "="),
            (sa.text("tstzrange(asked_at, expires_at)"), "&&"),
            using="gist",
            where=sa.text("state IN ('pending', 'confirmed')"),
            name="ex_intents_to_file_one_valid",
        ),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_intents_to_file_account_id_accounts")),
        sa.ForeignKeyConstraint(
            ["follows_id"], ["intents_to_file.id"], name=op.f("fk_intents_to_file_follows_id_intents_to_file")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_intents_to_file")),
    )


def create_indexes() -> None:
    table = "intents_to_file"
    op.create_index("ix_intents_to_file_account", table, ["account_id", "type", "asked_at"], unique=False)
    partial = {
        "ix_intents_to_file_midnight": ("legal_midnight_at", "state = 'pending' AND NOT past_midnight"),
        "ix_intents_to_file_pending": ("legal_midnight_at", "state = 'pending'"),
        "ix_intents_to_file_refresh": ("refresh_due_at", "refresh_due_at IS NOT NULL"),
    }
    for name, (column, where) in partial.items():
        op.create_index(name, table, [column], unique=False, postgresql_where=sa.text(where))


def downgrade() -> None:
    op.drop_table("itf_refresh_ticks")
    op.drop_table("intents_to_file")
    op.drop_table("accounts")
    op.execute("DROP EXTENSION IF EXISTS btree_gist")
