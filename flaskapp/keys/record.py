"""Record of the keys at a release: new ones are added, and a release without one that is needed is refused."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from sqlalchemy import text

from flaskapp.crypto import Vault
from flaskapp.db import DbSession
from flaskapp.keys.checks import (
    KNOWN_VALUE,
    LOCK_ALL,
    Fault,
    Kind,
    WrongKeys,
    find_fault,
    find_missing,
    kinds_of,
    recorded,
)
from flaskapp.keys.models import DIGEST
from flaskapp.keys.passes import positions_in
from flaskapp.keys.places import digested_places, sealed_places

EXISTS = text("SELECT to_regclass('key_checks') IS NOT NULL")
RECORD = text("INSERT INTO key_checks (kind, fingerprint, sealed) VALUES (:kind, :fingerprint, :sealed)")


def check_before_release(session: DbSession, vault: Vault) -> None:
    """Raise WrongKeys when a key is missing that is needed here. A database without any record is not migrated yet."""
    if not session.execute(EXISTS).scalar_one():
        return
    fault = find_missing(recorded(session), vault)
    if fault is not None:
        raise WrongKeys(fault)


def record_keys(session: DbSession, vault: Vault) -> list[str]:
    """Record our keys that are new to this database, oldest first; returns their fingerprints. Raises WrongKeys, and
    records nothing, when one that is needed is not ours."""
    session.execute(LOCK_ALL)
    rows, added = recorded(session), []
    missing = find_missing(rows, vault)
    if missing is not None:
        raise WrongKeys(missing)
    for kind in kinds_of(vault):
        known = {row.fingerprint for row in rows if row.kind == kind.name}
        if not known and (fault := contradiction(session, kind, vault)) is not None:
            raise WrongKeys(fault)
        for print_ in [each for each in reversed(kind.ours) if each not in known]:
            session.execute(RECORD, {"kind": kind.name, "fingerprint": print_, "sealed": sealed(vault, kind, print_)})
            added.append(print_)
    fault = find_fault(recorded(session), vault, newer_too=True)
    if fault is not None:
        raise WrongKeys(fault)
    return added


def sealed(vault: Vault, kind: Kind, print_: str) -> bytes | None:
    if kind.name == DIGEST:
        return None
    return vault.fernets[vault.encryption_fingerprints.index(print_)].encrypt(KNOWN_VALUE)


def contradiction(session: DbSession, kind: Kind, vault: Vault) -> Fault | None:
    """Before the first keys are recorded: whether none of the first values in each table fits our keys."""
    tried = list(digest_positions(session, vault) if kind.name == DIGEST else sealed_positions(session, vault))
    if not tried or any(position is not None for position in tried):
        return None
    return Fault(kind.reason, f"not one of {len(tried)} values fits. Set the keys with which they were stored")


def sealed_positions(session: DbSession, vault: Vault) -> Iterator[int | None]:
    rows = chain.from_iterable(place.read(session, None) for place in sealed_places())
    values = chain.from_iterable(row.values.values() for row in rows)
    return (vault.position_of(bytes(value)) for value in values if value is not None)


def digest_positions(session: DbSession, vault: Vault) -> Iterator[int | None]:
    for each in digested_places():
        for row in each.place.read(session, None):
            yield from positions_in(row, each, vault)
