"""Accounts and their only writer: finds or creates one, and keeps who it belongs to."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any

from sqlalchemy import select, text, update
from sqlalchemy.dialects.postgresql import insert

from flaskapp.accounts.models import Account
from flaskapp.db import DbSession
from flaskapp.keys.digests import stored_digests
from outbox import NOW, QueueSpec

# That there is no ICN for an account is believed for so long; then it is looked up again.
NOBODY_FOR = timedelta(days=1)

ACCOUNTS = QueueSpec("accounts", upstream="accounts", threads=8, depth=100, concurrency=32)


@dataclass(frozen=True)
class Identity:
    """Who an account belongs to. Documents need the participant id or, if there is none, the file number. Travel pay
    needs the e-mail, which a person may not have."""

    icn: str
    participant_id: str | None = None
    file_number: str | None = None
    email: str | None = None


def ensure_account(session: DbSession, account_id: uuid.UUID) -> Account:
    """The account with this id, made if it is new; who it belongs to may still be unknown.

    It is locked against being removed, and against its person being forgotten, until the caller's transaction ends.
    """
    account = session.get(Account, account_id, with_for_update={"read": True, "key_share": True})
    if account is None:
        session.execute(insert(Account).values(id=account_id).on_conflict_do_nothing())
        account = session.get_one(Account, account_id)
    return account


def count_alone(session: DbSession, account_id: uuid.UUID, what: str) -> None:
    """Let one transaction at a time count what this account has of something; until it ends, others wait."""
    session.execute(
        text("SELECT pg_advisory_xact_lock(hashtext(:what), hashtext(:account))"),
        {"what": what, "account": str(account_id)},
    )


def identity_of(session: DbSession, account_id: uuid.UUID) -> Identity | None:
    """Who it belongs to; None while we do not know."""
    kept = session.execute(select(Account.identity).filter_by(id=account_id)).scalar_one_or_none()
    return Identity(**kept) if kept is not None else None


def icn_of(session: DbSession, account_id: uuid.UUID) -> str | None:
    """The person's ICN; None while we do not know it."""
    found = identity_of(session, account_id)
    return found.icn if found is not None else None


def remember_person(session: DbSession, account_id: uuid.UUID, identity: Identity) -> None:
    """Keep who the account belongs to. The first answer stays: accounts never change hands. An e-mail may follow."""
    ensure_account(session, account_id)
    digest = stored_digests(session).of(identity.icn)
    session.execute(
        update(Account)
        .where(Account.id == account_id, Account.identity.is_(None))
        .values(identity=asdict(identity), icn_digest=digest, identified_at=NOW)
        .execution_options(synchronize_session="fetch")
    )
    kept = identity_of(session, account_id)
    if kept is not None and kept.icn == identity.icn and kept.email is None and identity.email is not None:
        values = asdict(replace(kept, email=identity.email))
        session.execute(update(Account).where(Account.id == account_id).values(identity=values))


def remember_nobody(session: DbSession, account_id: uuid.UUID) -> None:
    """Keep that the account service has no ICN for it just now. Whom we know already, we go on knowing."""
    ensure_account(session, account_id)
    session.execute(
        update(Account)
        .where(Account.id == account_id, Account.identity.is_(None))
        .values(nobody_at=NOW)
        .execution_options(synchronize_session="fetch")
    )


def is_nobody(session: DbSession, account_id: uuid.UUID) -> bool:
    """Whether nothing can be filed for it: there was no ICN when it was last looked up, less than a day ago."""
    statement = select(Account.id).where(Account.id == account_id, Account.identity.is_(None))
    return session.execute(statement.where(Account.nobody_at > NOW - NOBODY_FOR)).first() is not None


def lock_account(session: DbSession, account_id: uuid.UUID) -> None:
    """Lock the account, made if it is new, until the caller's transaction ends: nobody begins anything for it."""
    ensure_account(session, account_id)
    session.execute(select(Account.id).filter_by(id=account_id).with_for_update())


def correct_person(session: DbSession, account_id: uuid.UUID, identity: Identity | None) -> None:
    """Keep another person for a locked account, or None for nobody: the first answer was wrong. `nobody_at` then says
    since when what was read for the person before is nobody's."""
    kept: dict[str, Any] = {"identity": None, "icn_digest": None, "identified_at": None}
    if identity is not None:
        digest = stored_digests(session).of(identity.icn)
        kept = {"identity": asdict(identity), "icn_digest": digest, "identified_at": NOW}
    kept["nobody_at"] = NOW
    changed = update(Account).where(Account.id == account_id).values(kept)
    session.execute(changed.execution_options(synchronize_session="fetch"))


def forget_person(session: DbSession, account_ids: Sequence[uuid.UUID]) -> int:
    """Remove who these accounts belong to; returns how many they are. It is looked up again when it is needed."""
    forgotten = {"identity": None, "icn_digest": None, "identified_at": None}
    session.execute(
        update(Account)
        .where(Account.id.in_(account_ids))
        .values(forgotten)
        .execution_options(synchronize_session=False)
    )
    return len(account_ids)
