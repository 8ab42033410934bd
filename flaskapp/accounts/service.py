"""The only writer of accounts: find or create one, and remember whose it is."""

from __future__ import annotations

import uuid

from sqlalchemy import update
from sqlalchemy.dialects.postgresql import insert

from flaskapp.accounts.models import Account
from flaskapp.crypto import vault
from flaskapp.db import DbSession
from outbox.tables import NOW


def ensure_account(session: DbSession, account_id: uuid.UUID) -> Account:
    """The account of this id, made if we have never seen it; who it is may still be unknown."""
    account = session.get(Account, account_id)
    if account is None:
        session.execute(insert(Account).values(id=account_id).on_conflict_do_nothing())
        account = session.get_one(Account, account_id)
    return account


def icn_of(session: DbSession, account_id: uuid.UUID) -> str | None:
    """The person's ICN; None while nobody has told us."""
    account = session.get(Account, account_id)
    return account.identity["icn"] if account is not None and account.identity is not None else None


def remember_person(session: DbSession, account_id: uuid.UUID, icn: str) -> None:
    """Keep whose account this is. The first answer stays: an account does not change hands."""
    ensure_account(session, account_id)
    session.execute(
        update(Account)
        .where(Account.id == account_id, Account.identity.is_(None))
        .values(identity={"icn": icn}, icn_digest=vault().digest(icn), identified_at=NOW)
        .execution_options(synchronize_session="fetch")
    )
