"""A caller of BTSSS ClaimIngest that knows only the wire (contract: travel 4.1)."""

from __future__ import annotations

from typing import Any

import requests

from sandbox.upstreams.serve import Upstreams

DAY = "2031-03-04"


class Caller:
    """Correct by default, with a live token and the subscription key."""

    def __init__(self, http: requests.Session, upstreams: Upstreams) -> None:
        self.http = http
        self.base = f"{upstreams['btsss']}/api/ClaimIngest"
        self.known = upstreams.fakes.settings
        token = upstreams.fakes.veis.tokens.issue(3600)
        key = self.known.btsss_subscription_keys[0]
        self.headers = {"Authorization": f"Bearer {token}", "Ocp-Apim-Subscription-Key": key}

    def submit_body(self, icn: str, day: str = DAY) -> dict[str, Any]:
        return {
            "ClientNumber": self.known.btsss_client_number,
            "ClaimantID": icn,
            "ClaimantIDType": "icn",
            "MileageExpense": {"TripType": "RoundTrip"},
            "Appointment": {"AppointmentDateTime": day},
        }

    def submit(self, icn: str, day: str = DAY) -> requests.Response:
        return self.post("submitclaim", self.submit_body(icn, day))

    def status_body(self, icn: str, day: str = DAY) -> dict[str, Any]:
        number = self.known.btsss_client_number
        return {
            "clientNumber": number,
            "vetIdType": "icn",
            "vetId": icn,
            "startRangeDate": day,
            "endRangeDate": day,
        }

    def status(self, icn: str, day: str = DAY) -> list[dict[str, Any]]:
        answer = self.post("V1/GetClaimsStatus", self.status_body(icn, day))
        assert answer.status_code == 200
        return list(answer.json())

    def post(self, path: str, body: Any) -> requests.Response:
        return self.http.post(f"{self.base}/{path}", json=body, headers=self.headers)
