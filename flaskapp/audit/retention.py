"""Retention of what rows hold of a person: removed when its use has ended, and the rows when their history has.

First goes the content of what ended `KEEP_…_DAYS` ago: ids and states remain, and digests, by which a request that is
made again is still the same one. When history is dropped too (`KEEP_HISTORY_MONTHS`), the row goes with all that is
about it. Nothing goes that somebody has an open case for, or that work is outstanding for.

Each function does one batch in the caller's transaction, skips what somebody has locked, and returns how many rows it
changed: it may be stopped after any batch, and the rest is still due.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import delete, text

from flaskapp.accounts.models import Account
from flaskapp.accounts.service import forget_person
from flaskapp.current import flows, settings
from flaskapp.db import DbSession, db
from flaskapp.flows import Subject
from flaskapp.subjects import states_of
from outbox import parked, sql

BATCH = 500
# What a closed case keeps of its details: ids, codes and the state by which the audit knows that it is explained.
KEPT_DETAILS = (
    *("rule", "state", "message", "attempt", "about", "subject", "notification", "submission", "document", "step"),
    "newer",
)

SUBJECT_CASES = "SELECT 1 FROM cases k WHERE k.subject_type = '{name}' AND k.subject_id = s.id::text"
# Also a case about its notification, or, for a notification, about what it tells of.
NEIGHBOURS_CASES = """SELECT 1 FROM cases k JOIN notifications n ON k.subject_type = 'notification'
        AND k.subject_id = n.id::text WHERE n.subject_type = '{name}' AND n.subject_id = s.id::text"""
TOLD_OF_CASES = "SELECT 1 FROM cases k WHERE k.subject_type = s.subject_type AND k.subject_id = s.subject_id"
LONG_OVER = "{ended} < outbox_now() - make_interval(days => :days) AND NOT ({needed})"

EMPTY = """
    UPDATE {table} SET {nulls}, emptied_at = outbox_now() WHERE id IN (
        SELECT s.id FROM {table} s
         WHERE s.emptied_at IS NULL AND {long_over} AND {nobody} AND NOT EXISTS ({work})
         ORDER BY {ended} LIMIT :batch FOR UPDATE SKIP LOCKED)
    RETURNING id
"""
PARKED = """
    SELECT m.subject_id FROM (SELECT m.* {messages} AND m.state = 'parked') m
      JOIN {table} s ON s.id::text = m.subject_id
     WHERE {long_over} AND {nobody} ORDER BY m.id LIMIT :batch
"""
# Parked work about nothing that a person was promised: alerts of cases, say.
PARKED_OTHERS = text(f"""
    SELECT m.subject_type, m.subject_id {sql.messages()}
       AND m.state = 'parked' AND m.subject_type <> ALL(:promised)
       AND m.created_at < outbox_now() - make_interval(days => :days) ORDER BY m.id LIMIT :batch
""")
EMPTY_CASES = text("""
    UPDATE cases SET emptied_at = outbox_now(), notes = '[]', resolution = NULL, details = COALESCE((
               SELECT jsonb_object_agg(key, value) FROM jsonb_each(details) WHERE key = ANY(:kept)), '{}')
     WHERE id IN (
        SELECT id FROM cases WHERE closed_at < outbox_now() - make_interval(days => :days) AND emptied_at IS NULL
         ORDER BY closed_at LIMIT :batch FOR UPDATE SKIP LOCKED)
    RETURNING id
""")
OVER = """
    SELECT s.id::text AS id FROM {table} s
     WHERE {ended} < {kept_since} AND {emptied} AND NOT ({needed})
       AND NOT EXISTS (SELECT 1 {history}) AND NOT EXISTS ({work}) AND NOT EXISTS ({cases} AND {recent})
       AND NOT EXISTS (SELECT 1 FROM notifications n WHERE n.subject_type = '{name}' AND n.subject_id = s.id::text
                          AND (n.emptied_at IS NULL OR EXISTS (SELECT 1 {told_history}) OR EXISTS (SELECT 1 {told_work})
                               OR EXISTS (SELECT 1 FROM cases k WHERE k.subject_type = 'notification'
                                             AND k.subject_id = n.id::text AND {recent})))
       {unreferenced}
     ORDER BY {ended} LIMIT :batch FOR UPDATE SKIP LOCKED
"""
# No history says anything of a case that is as old as that.
RECENT = f"(k.closed_at IS NULL OR k.closed_at >= {sql.kept_since()})"
REMOVE_TOLD = text("""
    WITH told AS (DELETE FROM notifications WHERE subject_type = :type AND subject_id = ANY(:ids) RETURNING id::text)
    DELETE FROM cases WHERE (subject_type = :type AND subject_id = ANY(:ids))
        OR (subject_type = 'notification' AND subject_id IN (SELECT id FROM told))
""")
REMOVE_OTHER_CASES = text(f"""
    DELETE FROM cases WHERE id IN (
        SELECT k.id FROM cases k WHERE k.closed_at < {sql.kept_since()} AND k.subject_type <> ALL(:promised)
         LIMIT :batch FOR UPDATE SKIP LOCKED)
    RETURNING id
""")
IDENTITIES = """
    SELECT a.id FROM accounts a
     WHERE a.identified_at < outbox_now() - make_interval(days => :days) {which} AND {unused}
     ORDER BY a.identified_at LIMIT :batch FOR UPDATE SKIP LOCKED
"""
IN_USE = """EXISTS (
        SELECT 1 FROM {table} s WHERE {account} = a.id AND (
               {ended} IS NULL OR {watched} OR {needed} OR {held} OR EXISTS ({work}) OR EXISTS ({cases}
           AND k.closed_at IS NULL)))"""
ACCOUNTS = """
    SELECT a.id FROM accounts a
     WHERE a.identity IS NULL AND a.created_at < outbox_now() - make_interval(days => :days)
       AND COALESCE(a.nobody_at, a.created_at) < outbox_now() - make_interval(days => :days) {which} {unreferenced}
     ORDER BY a.created_at LIMIT :batch FOR UPDATE SKIP LOCKED
"""
WHICH = "AND a.id = ANY(:ids)"


def parts() -> dict[str, Callable[[DbSession], int]]:
    """Everything that retention does to the rows of flows and accounts, by name, in the order in which it can be done:
    what refers to other rows goes before them."""
    found: dict[str, Callable[[DbSession], int]] = {}
    promises = flows().promises
    for name, subject in promises.items():
        found[f"parked {name}"] = bound(discard_parked, subject)
    found["parked others"] = discard_others
    for name, subject in promises.items():
        if subject.content:
            found[f"content {name}"] = bound(empty, subject)
    found["content of cases"] = empty_cases
    for subject in reversed([each for each in promises.values() if each is not promises.get("notification")]):
        found[f"rows {subject.name}"] = bound(remove_rows, subject)
    return {**found, "cases": remove_other_cases, "identities": forget_identities, "accounts": remove_accounts}


def bound(work: Callable[[DbSession, Subject], int], subject: Subject) -> Callable[[DbSession], int]:
    return lambda session: work(session, subject)


def fragments(subject: Subject) -> dict[str, str]:
    """The SQL about one type of subject, whose row is `s`."""
    states, name = states_of(subject), subject.name
    messages = sql.messages(subject_type=f"'{name}'", subject_id="s.id::text")
    cases = [SUBJECT_CASES.format(name=name)]
    cases.append(NEIGHBOURS_CASES.format(name=name) if name != "notification" else TOLD_OF_CASES)
    return {
        "name": name,
        "table": states.table,
        "ended": states.ended,
        "needed": subject.needed,
        "watched": states.watched,
        "work": f"SELECT 1 {messages}",
        "cases": cases[0],
        "messages": sql.messages(subject_type=f"'{name}'"),
        "history": sql.history(subject_type=f"'{name}'", subject_id="s.id::text"),
        "told_history": sql.history(subject_type="'notification'", subject_id="n.id::text"),
        "told_work": sql.messages(subject_type="'notification'", subject_id="n.id::text"),
        "long_over": LONG_OVER.format(ended=states.ended, needed=subject.needed),
        "nobody": " AND ".join(f"NOT EXISTS ({each} AND k.closed_at IS NULL)" for each in cases),
        "kept_since": sql.kept_since(),
        "recent": RECENT,
    }


def values_of(subject: Subject) -> dict[str, Any]:
    return {"days": subject.keep_days(settings()), "batch": BATCH}


def discard_parked(session: DbSession, subject: Subject) -> int:
    """Parked work whose case was closed long ago: nobody requeues it any more, and soon nobody could."""
    found = session.execute(text(PARKED.format(**fragments(subject))), values_of(subject)).scalars().all()
    return parked.discard(session, subject.name, found)


def discard_others(session: DbSession) -> int:
    values = {"promised": list(flows().promises), "days": settings().keep_ended_days, "batch": BATCH}
    found = session.execute(PARKED_OTHERS, values).all()
    return sum(parked.discard(session, row.subject_type, [row.subject_id]) for row in found)


def empty(session: DbSession, subject: Subject) -> int:
    """Remove what the rows of this type hold of a person. Ids, states, times and digests remain."""
    nulls = ", ".join(f"{column} = NULL" for column in subject.content)
    return len(session.execute(text(EMPTY.format(nulls=nulls, **fragments(subject))), values_of(subject)).all())


def empty_cases(session: DbSession) -> int:
    """Remove from closed cases what people wrote, and all details but ids and codes."""
    values = {"days": settings().keep_ended_days, "batch": BATCH, "kept": list(KEPT_DETAILS)}
    return len(session.execute(EMPTY_CASES, values).all())


def remove_rows(session: DbSession, subject: Subject) -> int:
    """Remove rows whose whole history was dropped, with their notifications and closed cases.

    Not before: a history without its row says that something outside Surefile removed it.
    """
    emptied = "s.emptied_at IS NOT NULL" if subject.content else "true"
    unreferenced = " ".join(f"AND NOT EXISTS ({each})" for each in references(states_of(subject).table, "s"))
    query = OVER.format(emptied=emptied, unreferenced=unreferenced, **fragments(subject))
    ids = list(session.execute(text(query), values_of(subject)).scalars())
    if ids:
        subject.before_removal(session, ids)
        session.execute(REMOVE_TOLD, {"type": subject.name, "ids": ids})
        table = states_of(subject).table
        session.execute(text(f"DELETE FROM {table} WHERE id = ANY(CAST(:ids AS uuid[]))"), {"ids": ids})
    return len(ids)


def references(table: str, alias: str) -> list[str]:
    """A query for each column of another table that refers to this row."""
    return [
        f"SELECT 1 FROM {key.parent.table.name} r WHERE r.{key.parent.name} = {alias}.{key.column.name}"
        for other in db.metadata.sorted_tables
        if other.name != table
        for key in sorted(other.foreign_keys, key=lambda key: str(key.parent))
        if key.column.table.name == table
    ]


def remove_other_cases(session: DbSession) -> int:
    """Closed cases about what has no row of its own, such as a poll. The others go with their subject."""
    values = {"promised": list(flows().promises), "batch": BATCH}
    return len(session.execute(REMOVE_OTHER_CASES, values).all())


def forget_identities(session: DbSession) -> int:
    """Remove whose account it is, where nothing of theirs needs it any more."""
    unused = "true"
    for subject in flows().promises.values():
        account = states_of(subject).account
        # A document's form says for both of them whether somebody needs to be known.
        if account is not None and hasattr(states_of(subject).model, account):
            held = "s.emptied_at IS NULL" if subject.content else "false"
            unused += f" AND NOT {IN_USE.format(account=account, held=held, **fragments(subject))}"
    values = {"days": settings().keep_identity_days, "batch": BATCH}
    ids = again(session, IDENTITIES.format(which="{which}", unused=unused), values)
    return forget_person(session, ids)


def remove_accounts(session: DbSession) -> int:
    """Remove accounts that nothing refers to any more."""
    unreferenced = " ".join(f"AND NOT EXISTS ({each})" for each in references("accounts", "a"))
    values = {"days": settings().keep_identity_days, "batch": BATCH}
    ids = again(session, ACCOUNTS.format(which="{which}", unreferenced=unreferenced), values)
    session.execute(delete(Account).where(Account.id.in_(ids)).execution_options(synchronize_session=False))
    return len(ids)


def again(session: DbSession, query: str, values: dict[str, Any]) -> Sequence[Any]:
    """The accounts that a query locks, asked about once more: before it had the lock, a request may have begun
    something for one of them. From now on a request waits for this transaction."""
    ids = list(session.execute(text(query.format(which="")), values).scalars())
    return list(session.execute(text(query.format(which=WHICH)), {**values, "ids": ids}).scalars()) if ids else []
