"""Digests that are stored and found again, while their key may be changing.

All processes write under the same key, whatever their settings say first: the oldest one that is in use. So Postgres's
unique constraints see two of the same, even if they come from processes of old and of new settings. Which key that is
changes in one transaction (`flask keys redigest`), which waits for everybody who is writing. From then on, what was
stored under the earlier key is looked for first.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text

from flaskapp.crypto import Vault, fingerprint, keyed_digest, vault
from flaskapp.db import DbSession
from flaskapp.keys.checks import NOT_RECORDED, WrongKeys, find_fault, recorded

# Takes the lock that `flask keys redigest` waits for, and then reads; its migration says why in this order.
WRITTEN_WITH = text("SELECT key_to_digest_with()")
# The same, as a condition of the statement that writes.
WITH_THIS_KEY = "key_to_digest_with() = :digest_key"


@dataclass(frozen=True)
class StoredDigests:
    """Digests for one transaction: under which key to write, and under which keys to look."""

    vault: Vault
    key: bytes

    @property
    def fingerprint(self) -> str:
        """The `:digest_key` of `WITH_THIS_KEY`."""
        return fingerprint(self.key)

    def of(self, *parts: str) -> str:
        """What to store."""
        return keyed_digest(self.key, parts)

    def all(self, *parts: str) -> list[str]:
        """Under what it may be stored already."""
        return self.vault.digests(*parts)

    @property
    def look_first(self) -> bool:
        """Whether something may be stored under another key than the one to write with: there, no constraint would see
        that it is the same."""
        return len(self.vault.digest_keys) > 1


def only_digests() -> StoredDigests | None:
    """The digests of a statement that writes only `WHERE {WITH_THIS_KEY}`, and so needs no look at the key before it;
    None while the key changes, when more than the statement itself has to be looked for."""
    ours = vault()
    return StoredDigests(ours, ours.digest_key) if len(ours.digest_keys) == 1 else None


def stored_digests(session: DbSession) -> StoredDigests:
    """The digests of this transaction; which key is written with stays so until it ends. One round trip the first time.

    Raises WrongKeys when this process does not have the key that is written with.
    """
    kept = session.info.get("digests")
    if kept is not None and kept[0] is session().get_transaction():
        found: StoredDigests = kept[1]
        return found
    ours, written_with = vault(), session.execute(WRITTEN_WITH).scalar_one_or_none()
    if written_with not in ours.digest_keys:
        raise WrongKeys(find_fault(recorded(session), ours) or NOT_RECORDED)
    digests = StoredDigests(ours, ours.digest_keys[written_with])
    session.info["digests"] = (session().get_transaction(), digests)
    return digests
