"""Asking the account service whose an account is."""

from __future__ import annotations

from flaskapp.accounts.service import Identity
from flaskapp.upstreams.accounts import AccountsClient, Person
from flaskapp.upstreams.errors import Rejected


def identity_in(person: Person) -> Identity | None:
    """None without an ICN: then VA's records do not know the person."""
    if person.icn is None:
        return None
    return Identity(person.icn, person.participant_id, person.file_number, person.email)


def identify(accounts: AccountsClient, account_id: str) -> Identity:
    """Whose account this is. Raises the upstream errors; Rejected `NO_ICN` when nobody's that we could file for."""
    person = accounts.find(account_id)
    found = identity_in(person) if person is not None else None
    if found is None:
        raise Rejected("accounts", "no ICN for this account", code="NO_ICN")
    return found
