"""The people whom the fakes know, all made up and shared by every fake, as real services share real veterans.

A veteran whose appointment has no date has it again every day, so a sandbox that runs past midnight stays useful.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sandbox.upstreams.upload_plans import PLANS

FACILITIES = {
    "983": "Bluff Creek VA Clinic",
    "537": "Willow Bend VA Medical Center",
    "442": "Stony Fork VA Clinic",
    "757": "Cedar Landing VA Clinic",
    "668": "Harbor Ridge VA Medical Center",
}
ZONES = {
    "983": "America/Denver",
    "537": "America/Chicago",
    "442": "America/Denver",
    "757": "America/New_York",
    "668": "America/Los_Angeles",
}
_ACCOUNTS = uuid.UUID("3c9d5b2e-8a41-4f07-9b6a-5d2e7c1f8a90")


@dataclass(frozen=True)
class Appointment:
    """`start` is local to `time_zone`; a `day` of None means every day."""

    ien: str = "460"
    station: str = "983"
    start: str = "09:30"
    time_zone: str = ZONES["983"]
    day: str | None = None

    def on(self, wanted: date) -> bool:
        return self.day in (None, wanted.isoformat())

    def today(self) -> date:
        return date.fromisoformat(self.day) if self.day else datetime.now(ZoneInfo(self.time_zone)).date()

    def starts_at(self, day: date) -> datetime:
        return datetime.combine(day, time.fromisoformat(self.start), ZoneInfo(self.time_zone))


@dataclass(frozen=True)
class Veteran:
    """`habit` is how BTSSS and VANotify always treat this person, `itf` how Lighthouse does; see `HABITS` and
    `ITF_HABITS`. `documents` names the plan that Benefits Documents follows with this person's files, `travel_pay` what
    Travel Pay has on file (see `TRAVEL_PAY_HABITS`). The account of somebody who is not `identified` has no ICN.
    Participant id and file number are for the benefit systems."""

    uuid: str
    last_name: str
    dob: str
    icn: str
    phone: str | None
    first_name: str = "Test"
    facility_type: str = "vista"
    email: str | None = None
    habit: str = "ok"
    itf: str = "none"
    documents: str = "ok"
    travel_pay: str = "none"
    ssn: str | None = None
    participant_id: str | None = None
    file_number: str | None = None
    identified: bool = True
    appointments: tuple[Appointment, ...] = field(default_factory=lambda: (Appointment(),))

    def __post_init__(self) -> None:
        if self.itf not in ITF_HABITS:
            raise ValueError(f"itf must be one of {', '.join(ITF_HABITS)}")
        if self.documents not in PLANS:
            raise ValueError(f"documents must be one of {', '.join(PLANS)}")
        if self.travel_pay not in TRAVEL_PAY_HABITS:
            raise ValueError(f"travel_pay must be one of {', '.join(TRAVEL_PAY_HABITS)}")

    @property
    def name(self) -> str:
        return f"{self.first_name} {self.last_name}"

    @property
    def station(self) -> str:
        return self.appointments[0].station if self.appointments else "983"

    @property
    def is_oracle_health(self) -> bool:
        return self.facility_type.lower() == "oh"

    @property
    def account(self) -> str:
        """The person's account at the Sign-in Service: a UUID, different from the one of the check-in link."""
        return str(uuid.uuid5(_ACCOUNTS, self.uuid))

    def described(self) -> dict[str, Any]:
        return {**asdict(self), "account": self.account}


HABITS = {
    "ok": "everything works",
    "filed": "a claim was filed at the kiosk before anybody asks",
    "refused": "BTSSS refuses every claim",
    "not_found": "BTSSS does not know the appointment",
    "no_contact": "VANotify finds no number for the ICN",
    "blocked": "every text ends in permanent-failure",
    "unreachable": "every text ends in temporary-failure",
}
ITF_HABITS = {
    "none": "no intent to file yet",
    "active": "a compensation ITF was filed elsewhere 100 days ago",
    "expired": "a compensation ITF was filed 400 days ago and is expired",
    "used": "a compensation ITF was filed 100 days ago and used by a claim",
    "unknown": "Lighthouse does not know the ICN",
}
TRAVEL_PAY_HABITS = {
    "none": "no older claims",
    "contacts_differ": "BTSSS has another address and phone number than VA Profile",
    "statuses": "a claim in every status there is, some with documents, and one without an appointment",
    "many": "120 older claims, all paid",
}


def _veteran(number: int, first: str, last: str, dob: str, stations: str, habit: str = "ok", **fields: Any) -> Veteran:
    """`stations` lists one appointment each; 757 and 668 are Oracle Health facilities."""
    listed = stations.split()
    appointments = tuple(
        Appointment(str(460 + i), station, f"{9 + i:02d}:30", ZONES[station]) for i, station in enumerate(listed)
    )
    return Veteran(
        uuid=f"{number:08x}-5aee-4c1a-9f00-{number:012x}",
        last_name=last,
        dob=dob,
        icn=f"10123{number:05d}V{654000 + number:06d}",
        phone=f"+1555555{100 + number:04d}",
        first_name=first,
        facility_type="oh" if listed[0] in ("757", "668") else "vista",
        habit=habit,
        ssn=f"666{number:06d}",
        appointments=appointments,
        **{
            "email": f"{first}.{last}@example.com".lower(),
            "participant_id": f"6000{number:05d}",
            "file_number": f"7960{number:05d}",
        }
        | fields,
    )


DEFAULT_CAST = (
    _veteran(1, "Ada", "Marlow", "1951-04-12", "983"),
    _veteran(2, "Ben", "Okafor", "1968-11-30", "537"),
    _veteran(3, "Carla", "Nguyen", "1975-02-03", "442"),
    _veteran(4, "Dov", "Lindqvist", "1983-07-21", "983"),
    _veteran(5, "Elena", "Baptiste", "1990-09-09", "757"),
    _veteran(6, "Frank", "Tallman", "1947-12-01", "668"),
    _veteran(7, "Grace", "O'Dell", "1959-06-17", "757"),
    _veteran(8, "Hector", "Ruiz", "1972-03-28", "983", "filed"),
    _veteran(9, "Imani", "Stone", "1988-01-15", "668", "filed"),
    _veteran(10, "Jonas", "Vang", "1964-08-05", "537", "refused"),
    _veteran(11, "Kay", "Whitehorse", "1970-10-19", "442", "not_found"),
    _veteran(12, "Liam", "Petrov", "1955-05-05", "983 537"),
    _veteran(13, "Mona", "Achebe", "1979-12-24", "983", "no_contact"),
    _veteran(14, "Nils", "Garcia", "1993-02-11", "442", "blocked"),
    _veteran(15, "Olive", "Hart", "1961-07-07", "757", "unreachable"),
)
# Known to every fake. They are a list of their own because the demo files a travel claim for everybody in the other
# list.
ITF_CAST = (
    _veteran(16, "Pia", "Sorensen", "1966-10-02", "983", itf="active"),
    _veteran(17, "Quentin", "Abara", "1974-04-23", "537", itf="expired"),
    _veteran(18, "Rosa", "Delgado", "1981-08-14", "442", itf="used"),
    _veteran(19, "Sam", "Yazzie", "1957-01-30", "983", itf="unknown"),
    _veteran(20, "Tess", "Moreau", "1986-06-06", "537", identified=False),
)
# A list of its own for the same reason: the benefit systems know these people by other ids, or treat them differently.
DOCUMENT_CAST = (
    _veteran(21, "Uma", "Castellano", "1963-05-27", "983", participant_id=None),
    _veteran(22, "Viktor", "Amsel", "1977-12-09", "442", participant_id=None, file_number=None),
    _veteran(23, "Wanda", "Kealoha", "1969-09-18", "537", documents="fails_at_bgs"),
)
# A list of its own too: people with a past at Travel Pay, and one whose account has no e-mail address to vouch with.
TRAVEL_PAY_CAST = (
    _veteran(24, "Xavier", "Boone", "1958-03-15", "983", travel_pay="contacts_differ"),
    _veteran(25, "Yara", "Holm", "1971-11-02", "537", email=None),
    _veteran(26, "Zeke", "Martinez", "1949-08-27", "442", travel_pay="many"),
    _veteran(27, "Abel", "Thorne", "1965-05-19", "983 537", travel_pay="statuses"),
)
EVERYBODY = (*DEFAULT_CAST, *ITF_CAST, *DOCUMENT_CAST, *TRAVEL_PAY_CAST)


def veteran_from(data: dict[str, Any]) -> Veteran:
    """A veteran from JSON. Missing fields are made up; an unknown field raises TypeError."""
    fresh = uuid.uuid4()
    number = fresh.int % 10**7
    appointments = tuple(Appointment(**appointment) for appointment in data.get("appointments", [{}]))
    values: dict[str, Any] = {
        "uuid": str(fresh),
        "last_name": "Newcomer",
        "dob": "1970-01-01",
        "icn": f"1{fresh.int % 10**9:09d}V{fresh.int // 10**9 % 10**6:06d}",
        "phone": f"+1555{number:07d}",
        "ssn": f"9{fresh.int % 10**8:08d}",
        "participant_id": f"9{number:08d}",
        "file_number": f"8{number:08d}",
    }
    return Veteran(**{**values, **data, "appointments": appointments})


class Cast:
    """Everybody whom the fakes know, by any id or address; safe to use from many threads."""

    def __init__(self, veterans: Iterable[Veteran] = EVERYBODY) -> None:
        self._lock = threading.Lock()
        self._first = tuple(veterans)
        self.reset()

    def reset(self) -> None:
        with self._lock:
            self._by_uuid: dict[str, Veteran] = {}
            self._by_account: dict[str, Veteran] = {}
            self._by_icn: dict[str, Veteran] = {}
            self._by_contact: dict[str, Veteran] = {}
            self._by_benefit_id: dict[str, Veteran] = {}
        for veteran in self._first:
            self.add(veteran)

    def add(self, veteran: Veteran) -> None:
        with self._lock:
            self._by_uuid[veteran.uuid] = veteran
            self._by_account[veteran.account] = veteran
            self._by_icn[veteran.icn] = veteran
            for contact in filter(None, (veteran.phone, veteran.email)):
                self._by_contact[contact] = veteran
            for number in filter(None, (veteran.participant_id, veteran.file_number)):
                self._by_benefit_id[number] = veteran

    def by_uuid(self, wanted: str) -> Veteran | None:
        return self._by_uuid.get(wanted)

    def by_account(self, wanted: str) -> Veteran | None:
        return self._by_account.get(wanted)

    def by_icn(self, wanted: str) -> Veteran | None:
        return self._by_icn.get(wanted)

    def by_contact(self, wanted: str) -> Veteran | None:
        """By phone number or e-mail address."""
        return self._by_contact.get(wanted)

    def by_benefit_id(self, wanted: str) -> Veteran | None:
        """By participant id or file number."""
        return self._by_benefit_id.get(wanted)

    def everybody(self) -> list[Veteran]:
        with self._lock:
            return list(self._by_uuid.values())


def appointment_json(veteran: Veteran, appointment: Appointment) -> dict[str, Any]:
    """One appointment as LoROTA has it: local time and a number for vista, UTC, a time zone and the person's ids for
    `oh` (contract: travel 1.9)."""
    start = appointment.starts_at(appointment.today())
    shared = {
        "appointmentIEN": appointment.ien,
        "facility": FACILITIES.get(appointment.station, f"Station {appointment.station}"),
        "patientDFN": f"78{veteran.icn[5:10]}",
        "clinicIen": "32216049",
        "clinicName": "PRIMARY CARE",
        "clinicFriendlyName": "Primary care",
        "clinicStopCodeName": "PRIMARY CARE/MEDICINE",
        "clinicPhoneNumber": "5555550142",
        "clinicLocation": "Second floor, clinic 210",
        "doctorName": "Dr. Sample",
        "kind": "clinic",
        "status": "",
        "facilityAddress": {
            "street1": "100 Sample Road",
            "street2": "",
            "street3": "",
            "city": "Springfield",
            "state": "IL",
            "zip": "62701",
        },
    }
    if veteran.is_oracle_health:
        return shared | {
            "stationNo": appointment.station,
            "startTime": start.astimezone(UTC).isoformat(timespec="milliseconds"),
            "timezone": appointment.time_zone,
            "icn": veteran.icn,
            "edipi": f"11{veteran.icn[2:10]}",
        }
    return shared | {
        "stationNo": int(appointment.station) if appointment.station.isdecimal() else appointment.station,
        "startTime": start.strftime("%Y-%m-%dT%H:%M:%S"),
        "checkInWindowStart": (start - timedelta(minutes=45)).isoformat(timespec="milliseconds"),
        "checkInWindowEnd": (start + timedelta(minutes=15)).isoformat(timespec="milliseconds"),
        "eligibility": "ELIGIBLE",
    }


def utc_text(timestamp: datetime) -> str:
    """`2025-03-07T14:00:00.000Z`, the form of BTSSS."""
    return timestamp.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{timestamp.microsecond // 1000:03d}Z"
