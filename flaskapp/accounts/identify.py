"""Look-up of the person that an account belongs to, at the account service."""

from __future__ import annotations

from flaskapp.accounts.service import Identity
from flaskapp.upstreams.accounts import AccountsClient, Person
from flaskapp.upstreams.errors import NO_EMAIL, NO_ICN, Rejected


def identity_in(person: Person | None) -> Identity | None:
    """What we keep of the person; None without one, or without an ICN: then VA's records do not know them."""
    if person is None or person.icn is None:
        return None
    return Identity(person.icn, person.participant_id, person.file_number, person.email)


def identify(accounts: AccountsClient, account_id: str, *, needs_email: bool = False) -> Identity:
    """Who the account belongs to. Raises the upstream errors; Rejected with `NO_ICN` if there is nobody to file for,
    with `NO_EMAIL` if an e-mail address is needed and missing."""
    found = identity_in(accounts.find(account_id))
    if found is None:
        raise Rejected("accounts", "no ICN for this account", code=NO_ICN)
    if needs_email and found.email is None:
        raise Rejected("accounts", "no e-mail for this account", code=NO_EMAIL)
    return found
