"""Check that the keys in the settings are those of what is stored, for releases, starts, readiness and requests.

`key_checks` records every key that a release found in the settings. A process needs all that were recorded before its
own newest one. It need not know those that came later: while a release rolls out, processes of both settings run side
by side.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.fernet import InvalidToken
from flask import Flask, current_app
from sqlalchemy import Row, text
from sqlalchemy.exc import SQLAlchemyError

from flaskapp.crypto import Vault
from flaskapp.db import DbSession, db, reading
from flaskapp.keys.models import DIGEST, ENCRYPTION, GONE, USED
from outbox import Database

log = logging.getLogger("flaskapp.keys.checks")

KNOWN_VALUE = b"surefile"
# A verdict that is older is looked up again. Nobody who retires a key waits for less.
LOOK_AGAIN_SECONDS = 10.0
FIRST_LOOK_SECONDS = 1.0
MUST_NOT_START = 3

RECORDED = text("""
    SELECT id, kind, fingerprint, sealed, state, recorded_at, left_at FROM key_checks ORDER BY id
""")
# Whoever changes which digest key is written with waits for everybody who is writing, and they for it.
LOCK_ALL = text("SELECT pg_advisory_xact_lock(hashtextextended('surefile.keys', 0))")


@dataclass(frozen=True)
class Fault:
    """Why these settings must not be used with this database: a reason for readiness, and what to do about it."""

    reason: str
    advice: str

    @property
    def sentence(self) -> str:
        return f"{self.reason}: {self.advice}"


# What a database says that is new, or older than the records.
NOT_RECORDED = Fault("no release has recorded the keys", "run `flask release`")


class WrongKeys(Exception):
    """The keys of this process are not those of what is stored."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.sentence)
        self.fault = fault


@dataclass(frozen=True)
class Kind:
    """One kind of key: the setting that names it, our fingerprints of it (newest first), and readiness's words."""

    name: str
    setting: str
    earlier: str
    ours: Sequence[str]
    reason: str


def kinds_of(vault: Vault) -> tuple[Kind, Kind]:
    return (
        Kind(
            ENCRYPTION,
            "the first of ENCRYPTION_KEYS",
            "the end of ENCRYPTION_KEYS",
            vault.encryption_fingerprints,
            "the encryption keys do not open what is stored",
        ),
        Kind(
            DIGEST,
            "DIGEST_KEY",
            "EARLIER_DIGEST_KEYS",
            list(vault.digest_keys),
            "the digest keys do not find what is stored",
        ),
    )


def recorded(session: Database) -> Sequence[Row[Any]]:
    """Every key that was ever recorded, the oldest first."""
    found: Sequence[Row[Any]] = session.execute(RECORDED).all()
    return found


def find_fault(rows: Sequence[Row[Any]], vault: Vault, newer_too: bool = False) -> Fault | None:
    """What is wrong with our keys; None if nothing is. With `newer_too`, keys recorded after our newest count as well:
    then nothing that is stored could be closed to us."""
    for kind in kinds_of(vault):
        fault = fault_of(kind, [row for row in rows if row.kind == kind.name], vault, newer_too)
        if fault is not None:
            return fault
    return None


def fault_of(kind: Kind, rows: Sequence[Row[Any]], vault: Vault, newer_too: bool) -> Fault | None:
    if not rows:
        return NOT_RECORDED
    newest = next((row for row in rows if row.fingerprint == kind.ours[0]), None)
    needed = [row for row in rows if newer_too or newest is None or row.id < newest.id]
    missing = [row for row in needed if row.state != GONE and not holds(vault, row)]
    if missing:
        return Fault(kind.reason, advice_for(kind, missing))
    if newest is None:
        return Fault(f"{kind.setting} is not recorded", "run `flask release` with these settings")
    if newest.state != USED:
        newer = "a newer key is used, and nothing may be written with this one any more. Start with the newest settings"
        return Fault(f"{kind.setting} is out of use", newer)
    return None


def find_missing(rows: Sequence[Row[Any]], vault: Vault) -> Fault | None:
    """The keys of which something may be stored, and which are not ours; None if there is none."""
    for kind in kinds_of(vault):
        missing = [row for row in rows if row.kind == kind.name and row.state != GONE and not holds(vault, row)]
        if missing:
            return Fault(kind.reason, advice_for(kind, missing))
    return None


def advice_for(kind: Kind, missing: Sequence[Row[Any]]) -> str:
    keys = ", ".join(f"{row.fingerprint} (recorded {row.recorded_at:%Y-%m-%d})" for row in missing)
    return (
        f"what is stored needs the key with fingerprint {keys}. Put it back: at {kind.earlier} if a newer key follows"
        " it. `flask keys check` shows what each key is needed for; docs/keys.md says how one is retired"
    )


def holds(vault: Vault, row: Row[Any]) -> bool:
    """Whether this recorded key is among ours."""
    if row.kind == DIGEST:
        return row.fingerprint in vault.digest_keys
    try:
        return vault.unseal(bytes(row.sealed)) == KNOWN_VALUE
    except InvalidToken:
        return False


class KeyWatch:
    """What a process last found out about its keys. It looks again when that is ten seconds old, so a key can be
    retired while processes run that would still use it."""

    def __init__(self, vault: Vault) -> None:
        self.vault = vault
        self.fault: Fault | None = None
        self.looked = False
        self._next = 0.0
        self._turn = threading.Lock()

    def recent_fault(self) -> Fault | None:
        """What is wrong with our keys, as of the last ten seconds or, if Postgres is away, as of before. One caller
        looks while the others go on with what is known; only as long as `looked` is false, they wait a moment."""
        if time.monotonic() >= self._next and self._turn.acquire(timeout=0 if self.looked else FIRST_LOOK_SECONDS):
            try:
                if time.monotonic() >= self._next:
                    self._look()
            finally:
                self._turn.release()
        return self.fault

    def refuse_start(self, app: Flask) -> None:
        """Raise SystemExit when the keys are not those of what is stored, with the code by which gunicorn does not try
        again. While Postgres is away nothing is known, and the start goes on."""
        with app.app_context():
            fault = self.recent_fault()
        if fault is not None:
            sys.stderr.write(f"surefile: {fault.sentence}\n")
            sys.exit(MUST_NOT_START)

    def _look(self) -> None:
        seconds = LOOK_AGAIN_SECONDS
        try:
            with reading() as session:
                self.note(find_fault(recorded(session), self.vault))
        except SQLAlchemyError:
            db.session.remove()
            seconds = FIRST_LOOK_SECONDS
        self._next = time.monotonic() + seconds

    def note(self, fault: Fault | None) -> None:
        if fault is not None and fault != self.fault:
            log.error(fault.sentence, extra={"event": "keys.wrong"})
        self.fault, self.looked = fault, True


def key_watch() -> KeyWatch:
    found: KeyWatch = current_app.extensions["keys"]
    return found


def unready_for_keys(session: DbSession) -> str | None:
    """Readiness's check: why what is stored cannot be opened or found with our keys, or None."""
    watch = key_watch()
    watch.note(find_fault(recorded(session), watch.vault))
    return watch.fault.reason if watch.fault is not None else None
