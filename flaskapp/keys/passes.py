"""Passes over everything that is stored under a key: to count it by its key, and to write it anew for the newest one.

A pass goes through a table in the order of its primary key, a few rows at a time, each batch in a transaction of its
own. It can be killed at any statement and goes on where it was. Rows are locked for as long as it takes to write them,
and read again under that lock, so nothing that is written meanwhile is lost; a row that somebody else has locked is
tried again.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography.fernet import InvalidToken
from sqlalchemy import delete, func, literal_column, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError

from flaskapp.crypto import Vault, keyed_digest
from flaskapp.db import DbSession, db, reading, transaction
from flaskapp.keys.models import KeyPass
from flaskapp.keys.places import Digested, Key, Place, Sourceless, Stored, key_text

# What a lost commit takes back is done again by the next run, so no commit waits for the disk.
QUICKLY = text("SET LOCAL synchronous_commit = off")
TRY_AGAIN_SECONDS = 0.2
TRIES = 25

Advance = Callable[[int], Any]
Convert = Callable[[dict[str, Any]], dict[str, Any]]
# Position of a key in the settings, or None where no key of ours fits.
Positions = Counter[int | None]


@dataclass
class Tally:
    """What a pass did: rows written anew, rows that stayed locked, and keys of rows that stand there twice."""

    written: int = 0
    locked: int = 0
    twice: list[str] = field(default_factory=list)


@dataclass
class Pace:
    """At most so many rows a second, on average; None: as fast as it goes."""

    rows_per_second: float | None = None
    begun: float = field(default_factory=time.monotonic)
    done: int = 0

    def wait(self, rows: int) -> None:
        self.done += rows
        if self.rows_per_second:
            time.sleep(max(0.0, self.begun + self.done / self.rows_per_second - time.monotonic()))


def batches(place: Place, after: Key | None = None) -> Iterator[list[Stored]]:
    """Every row after this key, a batch at a time; no connection is held between two batches."""
    while True:
        with reading() as session:
            rows = place.read(session, after)
        if not rows:
            return
        yield rows
        after = rows[-1].key


def write_anew(place: Place, convert: Convert, fingerprint: str, pace: Pace, advance: Advance) -> Tally:
    """Write every row for which `convert` gives other values. What it gives for a row must depend on that row only."""
    tally, mark = Tally(), find_mark(place, fingerprint)
    for rows in batches(place, mark):
        todo = [row.key for row in rows if convert(row.values)]
        locked = write_rows(place, todo, convert, tally)
        tally.locked += len(locked)
        if not tally.locked:
            keep_mark(place, fingerprint, rows[-1].key)
        advance(len(rows))
        pace.wait(len(rows))
    return tally


def write_rows(place: Place, todo: Sequence[Key], convert: Convert, tally: Tally) -> list[Key]:
    """Write these rows; returns those that stayed locked however often they were tried."""
    left = list(todo)
    for _ in range(TRIES):
        if not left:
            break
        with transaction() as session:
            session.execute(QUICKLY)
            free = place.find(session, left, lock=True)
            for row in free:
                write_row(session, place, row, convert, tally)
            written = {row.key for row in free}
            left = [key for key in left if key not in written]
        if left:
            # Locked by somebody else, or deleted.
            time.sleep(TRY_AGAIN_SECONDS)
            with reading() as session:
                left = [row.key for row in place.find(session, left)]
    return left


def write_row(session: DbSession, place: Place, row: Stored, convert: Convert, tally: Tally) -> None:
    values = convert(row.values)
    if not values:
        return
    try:
        with session.begin_nested():
            place.write(session, row.key, values)
        tally.written += 1
    except IntegrityError:
        tally.twice.append(f"{place.name} {key_text(row.key)}")


def find_mark(place: Place, fingerprint: str) -> Key | None:
    with reading() as session:
        kept = select(KeyPass.after).filter_by(fingerprint=fingerprint, place=place.name)
        after = session.execute(kept).scalar_one_or_none()
    return place.key_from(after) if after is not None else None


def keep_mark(place: Place, fingerprint: str, key: Key) -> None:
    values = {"fingerprint": fingerprint, "place": place.name, "after": key_text(key)}
    statement = insert(KeyPass).values(values)
    with transaction() as session:
        session.execute(QUICKLY)
        session.execute(statement.on_conflict_do_update(constraint="pk_key_passes", set_={"after": values["after"]}))


def forget_marks(session: DbSession, fingerprint: str) -> None:
    session.execute(delete(KeyPass).filter_by(fingerprint=fingerprint))


# -- encryption ---------------------------------------------------------------


def resealed(vault: Vault, values: dict[str, Any]) -> dict[str, Any]:
    """The values that an earlier key of ours opens, sealed with the newest one."""
    found = {}
    for name, value in values.items():
        if value is not None and (vault.position_of(bytes(value)) or 0) > 0:
            found[name] = vault.seal(vault.unseal(bytes(value)))
    return found


def count_sealed(place: Place, vault: Vault, advance: Advance) -> Positions:
    """The values of a place by the key that opens them."""
    positions: Positions = Counter()
    for rows in batches(place):
        positions.update(
            vault.position_of(bytes(value)) for row in rows for value in row.values.values() if value is not None
        )
        advance(len(rows))
    return positions


# -- digests ------------------------------------------------------------------


def redigested(vault: Vault, digested: Digested, values: dict[str, Any]) -> dict[str, Any]:
    """The digests that are not under the newest key, made anew from what they are of."""
    found = {}
    for name, parts in sources_of(vault, digested, values).items():
        if parts is not None and (digest := keyed_digest(vault.digest_key, parts)) != values[name]:
            found[name] = digest
    return found


def sources_of(vault: Vault, digested: Digested, values: dict[str, Any]) -> dict[str, tuple[str, ...] | None]:
    """What each digest of the row is of; None where no key of ours opens that. Rows without a digest have none."""
    found: dict[str, tuple[str, ...] | None] = {}
    opened: dict[str, Any] = {}
    for name, (source, parts) in digested.made_from.items():
        if values[name] is None or values[source] is None:
            continue
        try:
            if source not in opened:
                opened[source] = json.loads(vault.decrypt(bytes(values[source])))
            found[name] = parts(opened[source])
        except InvalidToken:
            found[name] = None
    return found


def count_digests(digested: Digested, vault: Vault, advance: Advance) -> Positions:
    """The digests of a table by the key under which they are."""
    positions: Positions = Counter()
    for rows in batches(digested.place):
        for row in rows:
            positions.update(positions_in(row, digested, vault))
        advance(len(rows))
    return positions


def positions_in(row: Stored, digested: Digested, vault: Vault) -> Iterator[int | None]:
    for name, parts in sources_of(vault, digested, row.values).items():
        ours = vault.digests(*parts) if parts is not None else []
        yield ours.index(row.values[name]) if row.values[name] in ours else None


def count_sourceless(session: DbSession, digest: Sourceless, left_at: Any) -> int:
    """How many rows are from before the newest digest key was written with, and may be under an earlier one."""
    counted = select(func.count()).select_from(db.metadata.tables[digest.table])
    return int(session.execute(counted.where(literal_column(digest.made_at) < left_at)).scalar_one())
