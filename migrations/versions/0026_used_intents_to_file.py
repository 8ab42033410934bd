"""An ITF is `used`, and valid no more, once upstream does not show it any longer after an accepted form used it."""

from __future__ import annotations

from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

BEFORE, NOW = "'pending', 'confirmed', 'failed', 'broken'", "'pending', 'confirmed', 'used', 'failed', 'broken'"
KNOWN = """state NOT IN ({}) OR (upstream_id IS NOT NULL AND upstream_status IS NOT NULL
           AND upstream_created_at IS NOT NULL AND upstream_expires_at IS NOT NULL)"""


def constrain(**rules: str) -> None:
    """Replace checks. Rows are compared with them beside everybody else's work."""
    for name, rule in rules.items():
        op.execute(
            f"ALTER TABLE intents_to_file DROP CONSTRAINT {name}, ADD CONSTRAINT {name} CHECK ({rule}) NOT VALID"
        )
    with op.get_context().autocommit_block():
        for name in rules:
            op.execute(f"ALTER TABLE intents_to_file VALIDATE CONSTRAINT {name}")


def upgrade() -> None:
    constrain(
        ck_intents_to_file_state=f"state IN ({NOW})",
        ck_intents_to_file_confirmed_is_known_upstream=KNOWN.format("'confirmed', 'used', 'broken'"),
    )
    # The release before compared them no more. One after another within a fortnight, as after an outage.
    op.execute("""
        UPDATE intents_to_file SET refresh_due_at = outbox_now() + random() * interval '14 days'
         WHERE used_at IS NOT NULL AND state = 'confirmed' AND refresh_due_at IS NULL AND synthetic_on IS NULL
           AND expires_at > outbox_now()
    """)


def downgrade() -> None:
    # It was valid until the next one was asked for.
    op.execute("""
        UPDATE intents_to_file f SET state = 'confirmed', expires_at = LEAST(f.expires_at, COALESCE(
               (SELECT min(n.asked_at) FROM intents_to_file n
                 WHERE n.account_id = f.account_id AND n.type = f.type AND n.asked_at > f.asked_at), outbox_now()))
         WHERE f.state = 'used'
    """)
    constrain(
        ck_intents_to_file_state=f"state IN ({BEFORE})",
        ck_intents_to_file_confirmed_is_known_upstream=KNOWN.format("'confirmed', 'broken'"),
    )
