"""Ground that the ledger stands on: whether this PostgreSQL keeps what it confirms, and is the one that it was.

Every transaction with a promise asks for a commit on the disk by itself (`outbox.commit_durably`). What no transaction
can ask for is named here: a server that does not wait for the disk at all, and a database restored from a backup.
"""

from __future__ import annotations

import logging

from sqlalchemy import Connection, text

from flaskapp.config import Config
from flaskapp.current import settings
from flaskapp.db import DbSession
from outbox import Database, eras

log = logging.getLogger("flaskapp.ops.ground")

RESTORED = "the database seems to be restored from a backup ({why}): run `flask after-restore`"

# With either of them off, a crash of the machine loses confirmed commits, or leaves pages half written.
UNSAFE = text("""
    SELECT name FROM pg_settings WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off' ORDER BY name
""")
# What a new session begins with, whatever this one has set since.
WEAK_DEFAULT = text("""
    SELECT reset_val FROM pg_settings
     WHERE name = 'synchronous_commit' AND reset_val IN ('off', 'local', 'remote_write')
""")
MEND_ROLE = text("""
    DO $$ BEGIN
        EXECUTE format('ALTER ROLE %I IN DATABASE %I SET synchronous_commit = on', current_user, current_database());
    END $$
""")
# Of other sessions' standbys an ordinary role sees that they exist, and no more.
ASYNCHRONOUS_STANDBY = text("""
    SELECT EXISTS (SELECT 1 FROM pg_stat_replication) AND current_setting('synchronous_standby_names') = ''
""")


def loses_commits(db: Database, config: Config) -> str | None:
    """Why this server cannot keep what it confirms; None when it can, or is allowed not to."""
    if config.allow_lossy_postgres:
        return None
    off = list(db.execute(UNSAFE, {}).scalars())
    return f"the database may lose what it has confirmed: {' and '.join(off)} off" if off else None


def was_restored(db: Database) -> str | None:
    """What to do first where the database seems to be restored from a backup; None where it does not."""
    why = eras.doubt(db)
    return RESTORED.format(why=why) if why is not None else None


def gives_way(session: DbSession) -> str | None:
    """Why no request can be accepted here: what was accepted could be lost, or done twice."""
    return was_restored(session) or loses_commits(session, settings())


def mend_role(db: Connection) -> str | None:
    """Have new sessions of our role in this database commit durably, if they would not. Returns the setting that they
    had before, or None if there was nothing to do."""
    weak: str | None = db.execute(WEAK_DEFAULT).scalar_one_or_none()
    if weak is not None:
        db.execute(MEND_ROLE)
        log.warning("role mended", extra={"event": "release.role_mended", "synchronous_commit": weak})
    return weak


def note_standby(db: Connection) -> bool:
    """Log that a failover may lose the last commits, where every standby is asynchronous."""
    asynchronous = bool(db.execute(ASYNCHRONOUS_STANDBY).scalar_one())
    if asynchronous:
        log.warning("no standby is synchronous", extra={"event": "release.standby_asynchronous"})
    return asynchronous
