"""Contact details of a person at VA Profile and at BTSSS, compared. A difference is shown and recorded, masked.

VA Profile is the source of truth. Nothing is written to either.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from flaskapp.current import database_now, settings, upstreams
from flaskapp.db import DbSession, db, transaction
from flaskapp.keys.digests import stored_digests
from flaskapp.travel_pay.models import CONTACT_FIELDS, ContactDiscrepancy
from flaskapp.travel_pay.reads import Limit, traveler
from flaskapp.upstreams.contact import Contact
from flaskapp.web.errors import Problem
from flaskapp.web.passthrough import call_while_waiting

AGREE = "Your contact details agree."
DIFFER = (
    "Your contact details in the travel pay system differ from your VA profile. Your VA profile counts; to have the"
    " travel pay system corrected, call the number on your claim."
)
# Words in addresses and their short forms (USPS Publication 28).
SHORTENED = {
    "STREET": "ST",
    "AVENUE": "AVE",
    "ROAD": "RD",
    "DRIVE": "DR",
    "LANE": "LN",
    "COURT": "CT",
    "BOULEVARD": "BLVD",
    "HIGHWAY": "HWY",
    "PLACE": "PL",
    "CIRCLE": "CIR",
    "APARTMENT": "APT",
    "SUITE": "STE",
    "NORTH": "N",
    "SOUTH": "S",
    "EAST": "E",
    "WEST": "W",
}
COUNTRIES = {"USA": "US", "UNITED STATES": "US", "UNITED STATES OF AMERICA": "US"}


@dataclass(frozen=True)
class Difference:
    """One field in which the two differ. `masked` may be shown; `plain` are both values, of which a digest is kept."""

    field: str
    masked: dict[str, str | None]
    plain: tuple[str, str]


def compare(account_id: uuid.UUID) -> list[dict[str, Any]]:
    """Read both, record what differs, and return it. Raises Problem if one of them cannot be read."""
    client, limit = upstreams(), Limit(account_id)
    who = traveler(account_id, limit)
    seconds = min(settings().va_profile_total_seconds, limit.left)
    ours = call_while_waiting(
        "va_profile", account_id, lambda left: client.va_profile.contact(who.icn, total_seconds=left), seconds
    )
    if ours is None:
        raise Problem(404, "Not found", "VA Profile has no contact details of yours.")
    theirs = limit.call(lambda seconds: client.travel_pay.contact(who, total_seconds=seconds))
    with transaction() as session:
        record_differences(session, account_id, differences(ours, theirs))
        found = standing(session, account_id)
    db.session.remove()
    return found


def differences(ours: Contact, theirs: Contact) -> list[Difference]:
    """The fields in which VA Profile's and BTSSS's values mean something else, however they are written."""
    return [
        Difference(
            field,
            {"va_profile": MASKS[field](ours), "btsss": MASKS[field](theirs)},
            (PLAIN[field](ours), PLAIN[field](theirs)),
        )
        for field in CONTACT_FIELDS
        if PLAIN[field](ours) != PLAIN[field](theirs)
    ]


def record_differences(session: DbSession, account_id: uuid.UUID, found: list[Difference]) -> None:
    """Record each difference once, until it is gone or another one has replaced it."""
    now, digests = database_now(session), stored_digests(session)
    stood = {difference.field: digests.all(difference.field, *difference.plain) for difference in found}
    made = {difference.field: digests.of(difference.field, *difference.plain) for difference in found}
    for row in unresolved(session, account_id):
        if row.digest in stood.get(row.field, ()):
            row.seen_at, row.digest = now, made[row.field]
        else:
            row.resolved_at = now
    session.flush()
    for difference in found:
        values = {
            "id": uuid.uuid4(),
            "account_id": account_id,
            "field": difference.field,
            "masked": difference.masked,
            "digest": made[difference.field],
        }
        session.execute(insert(ContactDiscrepancy).values(**values).on_conflict_do_nothing())


def unresolved(session: DbSession, account_id: uuid.UUID) -> list[ContactDiscrepancy]:
    statement = select(ContactDiscrepancy).filter_by(account_id=account_id, resolved_at=None)
    return list(session.execute(statement.with_for_update()).scalars())


def standing(session: DbSession, account_id: uuid.UUID) -> list[dict[str, Any]]:
    """What was last found to differ, for the person it is about."""
    statement = select(ContactDiscrepancy).filter_by(account_id=account_id, resolved_at=None)
    rows = session.execute(statement.order_by(ContactDiscrepancy.field)).scalars()
    return [{"field": row.field, **row.masked, "found_at": row.found_at.isoformat(timespec="seconds")} for row in rows]


# -- one meaning, many spellings ----------------------------------------------


def plain_phone(contact: Contact) -> str:
    """The ten digits of a North American number; of any other, all its digits."""
    digits = re.sub(r"\D", "", contact.phone or "")
    return digits[1:] if len(digits) == 11 and digits.startswith("1") else digits


def plain_email(contact: Contact) -> str:
    return (contact.email or "").strip().lower()


def plain_address(contact: Contact) -> str:
    if not any((contact.street, contact.city, contact.state, contact.zip)):
        return ""
    words = re.sub(r"[^A-Z0-9]+", " ", f"{contact.street or ''} {contact.city or ''}".upper()).split()
    country = re.sub(r"[^A-Z ]", "", (contact.country or "US").upper()).strip()
    place = [(contact.state or "").strip().upper(), (contact.zip or "").strip()[:5], COUNTRIES.get(country, country)]
    return "|".join([" ".join(SHORTENED.get(word, word) for word in words), *place])


def masked_phone(contact: Contact) -> str | None:
    digits = plain_phone(contact)
    return f"***-***-{digits[-4:]}" if len(digits) >= 7 else "***" if digits else None


def masked_email(contact: Contact) -> str | None:
    name, _, host = plain_email(contact).partition("@")
    if not name and not host:
        return None
    _, dot, ending = host.rpartition(".")
    return f"{name[:1]}***@{host[:1]}***{f'.{ending}' if dot else ''}"


def masked_address(contact: Contact) -> str | None:
    """Enough to see that two differ: the beginnings of the words, the state, and the beginning of a whole post code."""
    if not plain_address(contact):
        return None
    words = " ".join(f"{word[0]}***" for word in f"{contact.street or ''} {contact.city or ''}".split())
    code = contact.zip or ""
    place = f"{(contact.state or '').upper()} {code[:3] if len(code) >= 5 else ''}**"
    return ", ".join(part for part in (words, place.strip()) if part)


PLAIN = {"address": plain_address, "phone": plain_phone, "email": plain_email}
MASKS = {"address": masked_address, "phone": masked_phone, "email": masked_email}
