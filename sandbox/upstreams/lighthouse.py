"""The fake Lighthouse: the ITF API of Benefits Claims v2, with the traps of the contract (contract: benefits 2.1).

No date is taken from a request: a new ITF begins when the request arrives, by Lighthouse's own clock. An ITF that is
over, one that a claim used, and one that never was look the same to a read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from flask import Blueprint, Response

from sandbox.upstreams.cast import Cast
from sandbox.upstreams.fake import answer, json_body
from sandbox.upstreams.itf_admin import itf_admin
from sandbox.upstreams.itfs import ITF, ITFs
from sandbox.upstreams.lighthouse_errors import problem
from sandbox.upstreams.lighthouse_gateway import GatewayKnobs, LighthouseAPI
from sandbox.upstreams.settings import LIGHTHOUSE_TOKEN_PATH, FakeSettings

READ, WRITE = "system/claim.read", "system/claim.write"
TYPES = {"compensation": "C", "pension": "P", "survivor": "S"}
# Status and age in days of what a veteran with a habit holds.
HELD = {"active": ("active", 100), "expired": ("expired", 400), "used": ("claim_recieved", 100)}


@dataclass(frozen=True, kw_only=True)
class LighthouseKnobs(GatewayKnobs):
    """`clock_offset_seconds` moves the clock that dates and expires ITFs. `create_status` is the status in the answer
    to every create without an active ITF on file. `duplicate_as`: with an active one on file, a create answers a `new`
    record, or the `existing` one, as duplicate."""

    create_status: str = "active"
    duplicate_as: str = "new"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.duplicate_as not in ("new", "existing"):
            raise ValueError("duplicate_as must be new or existing")


class Lighthouse(LighthouseAPI):
    name = "lighthouse"
    base = "/services/claims/v2/veterans"
    token_path = LIGHTHOUSE_TOKEN_PATH
    scopes = (READ, WRITE, "system/526-pdf.override")

    def __init__(self, settings: FakeSettings, cast: Cast) -> None:
        self.itfs = ITFs()
        self._settled: set[str] = set()
        super().__init__(settings, cast)

    def first_knobs(self) -> LighthouseKnobs:
        return LighthouseKnobs()

    def routes(self) -> None:
        super().routes()
        veteran = f"{self.base}/<icn>/intent-to-file"
        self.app.add_url_rule(f"{veteran}/<itf_type>", view_func=self.read)
        self.app.add_url_rule(veteran, view_func=self.create, methods=["POST"])
        self.app.add_url_rule(f"{veteran}/validate", view_func=self.validate, methods=["POST"])

    def admin_routes(self, admin: Blueprint) -> None:
        itf_admin(admin, self.itfs, self.now, self._settle_everybody)

    def reset(self) -> None:
        super().reset()
        with self.lock:
            self.itfs.reset()
            self._settled.clear()

    def audience(self) -> str:
        return self.settings.lighthouse_audience

    def read(self, icn: str, itf_type: str) -> Response:
        wanted = itf_type.lower()
        refusal = self.unauthorized(READ) or _bad_type(itf_type)
        if refusal:
            return refusal
        self._settle(icn)
        found = self.itfs.active(icn, wanted, self.now())
        if found is None:
            return problem(404, f"No active '{TYPES[wanted]}' intent to file found.")
        return answer(found.resource())

    def create(self, icn: str) -> Response:
        refusal = self.unauthorized(READ, WRITE) or self._malformed(icn) or self._nobody(icn)
        if refusal:
            return refusal
        self._settle(icn)
        return answer(self._created(icn).resource())

    def validate(self, icn: str) -> Response:
        refusal = self.unauthorized(READ, WRITE) or self._malformed(icn) or self._nobody(icn)
        return refusal or answer({"data": {"type": "intent_to_file_validation", "attributes": {"status": "valid"}}})

    def _created(self, icn: str) -> ITF:
        requested = json_body()["data"]["attributes"]["type"].lower()
        knobs = self.knobs
        return self.itfs.create(icn, requested, self.now(), knobs.create_status, knobs.duplicate_as == "new")

    def _malformed(self, icn: str) -> Response | None:
        data = json_body().get("data")
        attributes = data.get("attributes") if isinstance(data, dict) else None
        if not isinstance(attributes, dict):
            return problem(400, "Request body is not in the correct format.")
        kind = str(attributes.get("type") or "")
        return _bad_type(kind) or self._bad_ssn(icn, kind.lower(), attributes.get("claimantSsn"))

    def _bad_ssn(self, icn: str, kind: str, given: Any) -> Response | None:
        """What is wrong with an SSN. An empty one counts as missing; it is checked for every type, and required for
        survivors."""
        if not given:
            needed = kind == "survivor"
            return problem(422, "claimantSsn parameter cannot be blank for type survivor") if needed else None
        digits = re.sub(r"\D", "", str(given))
        if len(digits) != 9:
            return problem(422, "Invalid claimantSsn parameter")
        veteran = self.cast.by_icn(icn)
        if kind == "survivor" and veteran and digits == veteran.ssn:
            return problem(422, "Claimant SSN cannot be the same as veteran SSN for type survivor")
        return None

    def _nobody(self, icn: str) -> Response | None:
        veteran = self.cast.by_icn(icn)
        known = veteran is not None and veteran.itf != "unknown"
        return None if known else problem(404, "Veteran ID not found")

    def _settle(self, icn: str) -> None:
        """Put on file, once, what a veteran's habit says was filed before the first request."""
        veteran = self.cast.by_icn(icn)
        with self.lock:
            if veteran and veteran.itf in HELD and icn not in self._settled:
                self._settled.add(icn)
                status, days = HELD[veteran.itf]
                self.itfs.plant(icn, "compensation", status, self.now() - timedelta(days=days), None)

    def _settle_everybody(self) -> None:
        for veteran in self.cast.everybody():
            self._settle(veteran.icn)


def _bad_type(requested: str) -> Response | None:
    if requested.lower() in TYPES:
        return None
    return problem(400, f"{requested} is not valid for type", "invalid value for type")
