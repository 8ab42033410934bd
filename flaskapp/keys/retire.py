"""Retirement of keys: what is said to all processes before and after everything stored is written anew.

Encryption keys: `used` → `leaving`: no process goes on writing with it; those that would stop by themselves within
seconds → everything is sealed anew → `gone`. Digest keys: `used` → `left`, in one transaction that waits for everybody
who is writing: from then on all write under the next one → digests are made anew → `gone`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import current_app
from sqlalchemy import Row, text

from flaskapp.crypto import Vault
from flaskapp.db import DbSession, transaction
from flaskapp.keys.checks import LOCK_ALL, Fault, WrongKeys, find_fault, kinds_of, recorded
from flaskapp.keys.models import ENCRYPTION, GONE, LEAVING, LEFT
from flaskapp.keys.passes import forget_marks

# How long every process has to notice, before anything is sealed anew: a web process looks every ten seconds, a worker
# hands back what it has in hand within some thirty.
NOTICE_SECONDS = 45.0

MOVE = text("""
    UPDATE key_checks SET state = :state, left_at = COALESCE(left_at, outbox_now())
     WHERE kind = :kind AND fingerprint = ANY(:fingerprints)
""")
WAIT = text("""
    SELECT COALESCE(GREATEST(0, extract(epoch FROM max(left_at) - outbox_now()) + :notice), 0)
      FROM key_checks WHERE kind = :kind AND state = 'leaving'
""")


def our_vault() -> Vault:
    found: Vault = current_app.extensions["vault"]
    return found


def begin(kind: str) -> list[str]:
    """Say that all keys of this kind but our newest are to be retired; returns their fingerprints, those that were
    being retired already included. Raises WrongKeys when ours are not the newest settings."""
    vault = our_vault()
    with transaction() as session:
        session.execute(LOCK_ALL)
        rows = recorded(session)
        fault = find_fault(rows, vault) or not_newest(rows, vault, kind)
        if fault is not None:
            raise WrongKeys(fault)
        ours = newest_of(vault, kind)
        earlier = [row for row in rows if row.kind == kind and row.fingerprint != ours and row.state != GONE]
        state = LEAVING if kind == ENCRYPTION else LEFT
        move(session, kind, [row.fingerprint for row in earlier if row.left_at is None], state)
        return [row.fingerprint for row in earlier]


def not_newest(rows: Sequence[Row[Any]], vault: Vault, kind: str) -> Fault | None:
    """Whoever has not heard of the newest key would write everything anew for an old one."""
    known = next(each for each in kinds_of(vault) if each.name == kind)
    newest = [row.fingerprint for row in rows if row.kind == kind and row.state != GONE][-1]
    if newest == known.ours[0]:
        return None
    advice = f"put the key with fingerprint {newest} there, and restart every process"
    return Fault(f"{known.setting} is not the newest key", advice)


def newest_of(vault: Vault, kind: str) -> str:
    return next(each for each in kinds_of(vault) if each.name == kind).ours[0]


def seconds_left(kind: str, notice_seconds: float) -> float:
    """How long to wait until every process has noticed what `begin` said."""
    with transaction() as session:
        return float(session.execute(WAIT, {"kind": kind, "notice": notice_seconds}).scalar_one())


def finish(kind: str, fingerprints: Sequence[str]) -> None:
    """Nothing is stored under these any more: they may be dropped from the settings."""
    with transaction() as session:
        move(session, kind, fingerprints, GONE)


def end_pass(kind: str) -> None:
    """The pass went through everything. The next one begins at the beginning: it may find what this one could not
    write."""
    with transaction() as session:
        forget_marks(session, newest_of(our_vault(), kind))


def move(session: DbSession, kind: str, fingerprints: Sequence[str], state: str) -> None:
    session.execute(MOVE, {"kind": kind, "fingerprints": list(fingerprints), "state": state})


def forget(fingerprint: str) -> bool:
    """An operator's word that a key is lost, or needed no more, whatever is still stored under it. False when there is
    no such earlier key."""
    vault = our_vault()
    with transaction() as session:
        session.execute(LOCK_ALL)
        found = [row for row in recorded(session) if row.fingerprint == fingerprint and row.state != GONE]
        if not found or fingerprint == newest_of(vault, found[0].kind):
            return False
        move(session, found[0].kind, [fingerprint], GONE)
    return True
