"""The keys that this database was used with, and how far a pass has come that writes what is stored anew for one."""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE key_checks (
            id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
            kind text NOT NULL,
            fingerprint text NOT NULL,
            sealed bytea,
            state text DEFAULT 'used' NOT NULL,
            recorded_at timestamptz DEFAULT outbox_now() NOT NULL,
            left_at timestamptz,
            CONSTRAINT pk_key_checks PRIMARY KEY (id),
            CONSTRAINT ck_key_checks_kind CHECK (kind IN ('encryption', 'digest')),
            CONSTRAINT ck_key_checks_state CHECK (state IN ('used', 'leaving', 'left', 'gone')),
            -- Forbids an encryption key whose holders cannot be told: by the known value that they can open.
            CONSTRAINT ck_key_checks_encryption_is_sealed CHECK ((kind = 'encryption') = (sealed IS NOT NULL)),
            -- Forbids a key that is being retired and does not say since when.
            CONSTRAINT ck_key_checks_left_at_a_time CHECK ((state = 'used') = (left_at IS NULL)),
            -- Forbids two records of one key.
            CONSTRAINT uq_key_checks_kind_fingerprint UNIQUE (kind, fingerprint)
        );
        COMMENT ON TABLE key_checks IS 'Fingerprints of the keys that were used here. No key is in it.';

        -- The digest key to write with. It stays so until the caller's transaction ends: who changes it takes the lock
        -- alone. The key is read after the lock was granted, because each statement of a volatile function sees what
        -- was committed before it.
        CREATE FUNCTION key_to_digest_with() RETURNS text LANGUAGE plpgsql VOLATILE AS $$
        BEGIN
            PERFORM pg_advisory_xact_lock_shared(hashtextextended('surefile.keys', 0));
            RETURN (SELECT fingerprint FROM key_checks WHERE kind = 'digest' AND state = 'used' ORDER BY id LIMIT 1);
        END $$;

        CREATE TABLE key_passes (
            fingerprint text NOT NULL,
            place text NOT NULL,
            after text NOT NULL,
            CONSTRAINT pk_key_passes PRIMARY KEY (fingerprint, place)
        );
        COMMENT ON TABLE key_passes IS 'The last row that a pass has written anew for this key, in each place.';
    """)


def downgrade() -> None:
    op.execute("DROP FUNCTION key_to_digest_with(); DROP TABLE key_passes; DROP TABLE key_checks")
