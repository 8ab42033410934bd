"""Check-in sessions: LoROTA says who somebody is, and we keep that, encrypted, for as long as the session lasts."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import delete

from flaskapp.check_in.appointments import Served, first_text, joined, served
from flaskapp.check_in.models import CheckInSession
from flaskapp.check_in.tries import end_try, take_try
from flaskapp.crypto import closed, opened, vault
from flaskapp.db import db, transaction
from flaskapp.keys.digests import WITH_THIS_KEY, only_digests, stored_digests
from flaskapp.upstreams.errors import Rejected, UpstreamError
from flaskapp.upstreams.lorota import LorotaClient
from outbox import connect_plainly, prepared

KEEP = prepared(f"""
    INSERT INTO check_in_sessions (token_digest, uuid, lorota_token, identity, appointments, expires_at)
    SELECT :token, :uuid, :lorota_token, :identity, :appointments, outbox_now() + make_interval(secs => :lifetime)
     WHERE {WITH_THIS_KEY} RETURNING token_digest
""")
# Written out: an ORM query takes longer than all else that a request for travel pay does.
FIND = prepared("""
    SELECT token_digest, uuid, lorota_token, identity, appointments FROM check_in_sessions
     WHERE token_digest = ANY(:digests) AND expires_at > outbox_now()
""")


@dataclass(frozen=True)
class Identity:
    """Who checks in and where, as LoROTA says. All of it is personal data.

    `patient_dfn` is the facility's own number of the person, by which CHIP knows them.
    """

    icn: str
    phone: str | None
    station: str
    facility_type: str
    patient_dfn: str | None = None

    @property
    def facility(self) -> str:
        """The two families of templates: Oracle Health, and everything else (contract: travel 2.3)."""
        return "oh" if self.facility_type.lower() == "oh" else "cie"


@dataclass(frozen=True)
class CheckIn:
    """A caller who proved who they are, and what we know about them. `sealed_token` is LoROTA's, which most requests do
    not need. `appointments` is None where we never kept any."""

    token_digest: str
    uuid: str
    sealed_token: bytes
    identity: Identity | None
    appointments: list[Served] | None


def start_session(lorota: LorotaClient, uuid: str, dob: date, last_name: str, lifetime_seconds: int) -> str:
    """Verify somebody and start a session; returns the cookie's token. Raises LoROTA's upstream errors, and like
    `take_try`.

    Identity and appointments are fetched here too, so that a claim posted later needs no upstream at all.
    """
    lorota_token = counted_token(lorota, uuid, dob, last_name)
    identity, appointments = None, None
    try:
        data = lorota.data(uuid, lorota_token)
        identity, appointments = identity_of(data), served(data)
    except UpstreamError:
        pass
    token = secrets.token_urlsafe(32)
    values = {
        "uuid": uuid,
        "lorota_token": closed(lorota_token),
        "identity": closed(vars(identity)) if identity else None,
        "appointments": closed(written(appointments)) if appointments is not None else None,
        "lifetime": lifetime_seconds,
    }
    keep_session(token, values)
    return token


def keep_session(token: str, values: dict[str, Any]) -> None:
    """In one statement, or under the key that is written with while the key changes."""
    digests = only_digests()
    if digests is not None:
        values = {**values, "token": digests.of(token), "digest_key": digests.fingerprint}
        with connect_plainly(db.engine) as connection:
            if connection.execute(KEEP, values).one_or_none() is not None:
                return
    with transaction() as session:
        digests = stored_digests(session)
        session.execute(KEEP, {**values, "token": digests.of(token), "digest_key": digests.fingerprint})


def counted_token(lorota: LorotaClient, uuid: str, dob: date, last_name: str) -> str:
    """LoROTA's token, for one of the tries that are left."""
    take_try(uuid)
    is_wrong = False
    try:
        return lorota.token(uuid, dob, last_name)
    except Rejected as refusal:
        is_wrong = refusal.code == "no_match"
        raise
    finally:
        end_try(uuid, is_wrong)


def find_session(token: str | None) -> CheckIn | None:
    """The session behind a cookie, copied out so that no connection stays with the request."""
    if not token:
        return None
    with connect_plainly(db.engine) as connection:
        row = connection.execute(FIND, {"digests": vault().digests(token)}).one_or_none()
    if row is None:
        return None
    identity, appointments = opened(row.identity), opened(row.appointments)
    return CheckIn(
        row.token_digest,
        row.uuid,
        bytes(row.lorota_token),
        Identity(**identity) if identity else None,
        None if appointments is None else [Served(**each) for each in appointments],
    )


def load_check_in(lorota: LorotaClient, check_in: CheckIn) -> dict[str, Any]:
    """Today's check-in data from LoROTA; who the person is and which appointments they were shown is kept."""
    data = lorota.data(check_in.uuid, opened(check_in.sealed_token))
    identity = identity_of(data)
    with transaction() as session:
        row = session.get_one(CheckInSession, check_in.token_digest)
        row.appointments = written(joined(served(data), check_in.appointments))
        if identity is not None:
            row.identity = vars(identity)
    return data


def end_session(check_in: CheckIn) -> None:
    """LoROTA knows it no more, so whoever comes with its cookie has to say again who they are."""
    with transaction() as session:
        session.execute(delete(CheckInSession).filter_by(token_digest=check_in.token_digest))


def written(appointments: list[Served] | None) -> list[dict[str, Any]] | None:
    """What the session's row keeps."""
    return None if appointments is None else [vars(each) for each in appointments]


def identity_of(data: dict[str, Any]) -> Identity | None:
    """The attributes that the jobs need, wherever they stand (contract: travel 1.2, 1.9).

    None while LoROTA does not know the person or the station.
    """
    first = data["appointments"][0] if data["appointments"] else {}
    demographics = data.get("demographics")
    demographics = demographics if isinstance(demographics, dict) else {}
    icn = first_text(demographics.get("icn"), first.get("icn"), data.get("icn"))
    station = first_text(first.get("stationNo"), data.get("stationNo"))
    if icn is None or station is None:
        return None
    holders = (data, demographics)
    phones = [holder.get(name) for name in ("patientCellPhone", "mobilePhone") for holder in holders]
    facility_type = first_text(data.get("facilityType"), data.get("type"))
    return Identity(
        icn=icn,
        phone=first_text(*phones),
        station=station,
        facility_type=facility_type or "",
        patient_dfn=first_text(data.get("patientDFN"), first.get("patientDFN")),
    )
