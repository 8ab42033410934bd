"""Travel pay for signed-in people: their claims step by step, and contact details that differ between two sources."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

NOW = sa.text("outbox_now()")
CLAIMS, DISCREPANCIES = "travel_pay_claims", "contact_discrepancies"


def timestamp(name: str, nullable: bool = True, default: sa.TextClause | None = None) -> sa.Column:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable, server_default=default)


def check(table: str, name: str, rule: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(rule, name=op.f(f"ck_{table}_{name}"))


def belongs_to_account(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f(f"fk_{table}_account_id_accounts"))


def upgrade() -> None:
    op.create_table(
        CLAIMS,
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=False), nullable=False),
        sa.Column("station_digest", sa.Text(), nullable=False),
        sa.Column("requested", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("appointment_id", sa.Text(), nullable=True),
        sa.Column("claim_id", sa.Text(), nullable=True),
        sa.Column("expense_id", sa.Text(), nullable=True),
        sa.Column("filed", sa.LargeBinary(), nullable=True),
        sa.Column("unconfirmed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("notification", sa.Text(), nullable=True),
        sa.Column("cycle", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("asked_again", sa.Integer(), server_default=sa.text("0"), nullable=False),
        timestamp("requested_at", nullable=False, default=NOW),
        timestamp("moved_at", nullable=False, default=NOW),
        timestamp("finished_at"),
        check(CLAIMS, "state", "state IN ('pending', 'submitted', 'duplicate', 'failed')"),
        check(CLAIMS, "step", "step IN ('appointment', 'claim', 'expense', 'submit')"),
        check(CLAIMS, "final_is_finished", "(state = 'pending') = (finished_at IS NULL)"),
        check(CLAIMS, "submitted_last", "state <> 'submitted' OR step = 'submit'"),
        check(CLAIMS, "filed_known", "state NOT IN ('submitted', 'duplicate') OR filed IS NOT NULL"),
        check(CLAIMS, "appointment_known", "step = 'appointment' OR appointment_id IS NOT NULL"),
        check(CLAIMS, "claim_known", "step NOT IN ('expense', 'submit') OR claim_id IS NOT NULL"),
        check(CLAIMS, "expense_known", "step <> 'submit' OR expense_id IS NOT NULL"),
        belongs_to_account(CLAIMS),
        sa.UniqueConstraint(
            "account_id", "starts_at", "station_digest", name=op.f(f"uq_{CLAIMS}_account_id_starts_at_station_digest")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{CLAIMS}")),
    )
    op.create_index("ix_travel_pay_claims_state", CLAIMS, ["state", "requested_at"], unique=False)
    op.create_table(
        DISCREPANCIES,
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("masked", sa.LargeBinary(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        timestamp("found_at", nullable=False, default=NOW),
        timestamp("seen_at", nullable=False, default=NOW),
        timestamp("resolved_at"),
        check(DISCREPANCIES, "field", "field IN ('address', 'phone', 'email')"),
        belongs_to_account(DISCREPANCIES),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{DISCREPANCIES}")),
    )
    op.create_index(
        "uq_contact_discrepancies_standing",
        DISCREPANCIES,
        ["account_id", "field"],
        unique=True,
        postgresql_where=sa.text("resolved_at IS NULL"),
    )


def downgrade() -> None:
    op.drop_table(DISCREPANCIES)
    op.drop_table(CLAIMS)
