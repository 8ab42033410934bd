"""The contact details of the cast, as VA Profile and as BTSSS write them: two records of one person.

For most people they agree but are written differently (capitals, form of the phone number); for one they differ.
"""

from __future__ import annotations

import threading
import zlib
from typing import Any

from sandbox.upstreams.cast import Veteran

MOVED = {
    "address": {
        "addressLine1": "12 Old Mill Avenue",
        "addressLine2": "Apt 4",
        "city": "Peoria",
        "state": "IL",
        "zipCode": "61602",
        "country": "USA",
    },
    "phoneNumber": "(555) 555-0931",
}


def at_va_profile(veteran: Veteran) -> dict[str, Any]:
    return {
        "icn": veteran.icn,
        "email": veteran.email,
        "mobilePhone": veteran.phone,
        "homePhone": None,
        "mailingAddress": {
            "addressLine1": f"{_street_number(veteran)} Sample Road",
            "addressLine2": None,
            "city": "Springfield",
            "stateCode": "IL",
            "zipCode": "62701",
            "countryCode": "USA",
        },
    }


def at_btsss(veteran: Veteran) -> dict[str, Any]:
    details = {
        "address": {
            "addressLine1": f"{_street_number(veteran)} SAMPLE ROAD ",
            "addressLine2": None,
            "city": "SPRINGFIELD",
            "state": "IL",
            "zipCode": "62701",
            "country": "USA",
        },
        "phoneNumber": _bracketed(veteran.phone),
        "email": veteran.email.title() if veteran.email else None,
    }
    return details | (MOVED if veteran.travel_pay == "contacts_differ" else {})


class Changes:
    """Details set over those of the cast, by ICN; safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_icn: dict[str, dict[str, Any]] = {}

    def reset(self) -> None:
        with self._lock:
            self._by_icn.clear()

    def plant(self, icn: str, details: dict[str, Any]) -> None:
        with self._lock:
            self._by_icn[icn] = self._by_icn.get(icn, {}) | details

    def over(self, icn: str, details: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            return details | self._by_icn.get(icn, {})


def _street_number(veteran: Veteran) -> int:
    return 100 + zlib.crc32(veteran.icn.encode()) % 900


def _bracketed(phone: str | None) -> str | None:
    return f"({phone[2:5]}) {phone[5:8]}-{phone[8:]}" if phone else None
