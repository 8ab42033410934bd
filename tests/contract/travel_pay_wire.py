"""Travel Pay's wire: the whole chain of tokens (contract: travel 5.1), and every call with its headers."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime
from typing import Any

import jwt
import requests

from sandbox.upstreams.cast import Veteran, utc_text
from sandbox.upstreams.keys import private_key
from sandbox.upstreams.serve import Upstreams

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ENVELOPE = {"correlationId", "timeStamp", "statusCode", "message", "success", "data"}
PAGING = {"totalRecordCount", "pageNumber", "pageSize"}
WHEN, STATION = "2031-03-04T09:30:00Z", "983"


class Chain:
    """The three tokens. It knows only the wire and the credentials."""

    def __init__(self, http: requests.Session, upstreams: Upstreams) -> None:
        self.http, self.urls, self.known = http, upstreams, upstreams.fakes.settings

    def veis_form(self, **changes: str) -> dict[str, str]:
        fields = {
            "client_id": self.known.veis_client_id,
            "client_secret": self.known.veis_client_secret,
            "client_info": "1",
            "grant_type": "client_credentials",
            "resource": self.known.travel_pay_veis_resource,
        }
        return {name: value for name, value in {**fields, **changes}.items() if value}

    def ask_veis(self, **changes: str) -> requests.Response:
        url = f"{self.urls['veis']}/{self.known.veis_tenant}/oauth2/token"
        return self.http.post(url, data=self.veis_form(**changes))

    def veis(self) -> str:
        return str(self.ask_veis().json()["access_token"])

    @property
    def sts_url(self) -> str:
        return f"{self.urls['sts']}/v0/sign_in/token"

    def assertion(self, person: Veteran, key: str | None = None, without: str = "", **changes: Any) -> str:
        now = int(time.time())
        claims = {
            "iss": self.known.sts_issuer,
            "sub": person.email,
            "aud": self.sts_url,
            "iat": now,
            "exp": now + 300,
            "scopes": list(self.known.sts_scopes),
            "service_account_id": self.known.sts_service_account_id,
            "jti": str(uuid.uuid4()),
            "user_attributes": {"icn": person.icn},
        }
        shown = {name: value for name, value in {**claims, **changes}.items() if name != without}
        return jwt.encode(shown, private_key(key or self.known.sts_client_key), algorithm="RS256")

    def exchange(self, assertion: str, grant_type: str = GRANT_TYPE) -> requests.Response:
        return self.http.post(self.sts_url, params={"grant_type": grant_type, "assertion": assertion})

    def sts(self, person: Veteran) -> str:
        return str(self.exchange(self.assertion(person)).json()["data"]["access_token"])

    def gateway_headers(self, veis: str) -> dict[str, str]:
        return {
            "Authorization": f"Bearer {veis}",
            "X-Correlation-ID": str(uuid.uuid4()),
            "Ocp-Apim-Subscription-Key": self.known.travel_pay_subscription_keys[0],
        }

    def ask_btsss(self, veis: str, auth_jwt: str, **headers: str) -> requests.Response:
        shown = self.gateway_headers(veis) | {"BTSSS-API-Client-Number": self.known.travel_pay_client_number} | headers
        url = f"{self.urls['travel_pay']}/api/v2/Auth/access-token"
        return self.http.post(url, json={"authJwt": auth_jwt}, headers=shown)


class Traveler:
    """One person's calls, with live tokens."""

    def __init__(self, chain: Chain, person: Veteran) -> None:
        self.chain, self.person, self.veis = chain, person, chain.veis()
        self.btsss = chain.ask_btsss(self.veis, chain.sts(person)).json()["data"]["accessToken"]
        self.headers: dict[str, str] = {}

    def call(self, method: str, path: str, **parts: Any) -> requests.Response:
        shown = self.chain.gateway_headers(self.veis) | {"BTSSS-Access-Token": self.btsss} | self.headers
        return self.chain.http.request(method, f"{self.chain.urls['travel_pay']}/api/{path}", headers=shown, **parts)

    def find_or_add(self, at: str = WHEN, station: str = STATION, **more: Any) -> requests.Response:
        body = {"appointmentDateTime": at, "facilityStationNumber": station} | more
        return self.call("POST", "v3/appointments/find-or-add", json=body)

    def create(self, appointment: str, **changes: Any) -> requests.Response:
        body = {"appointmentId": appointment, "claimName": "Travel reimbursement", "claimantType": "Veteran"} | changes
        return self.call("POST", "v3/claims", json=body)

    def add_mileage(self, claim: str, **changes: Any) -> requests.Response:
        body = {"claimId": claim, "dateIncurred": "2031-03-04", "description": "mileage", "tripType": "RoundTrip"}
        return self.call("POST", "v3/expenses/mileage", json=body | changes)

    def submit(self, claim: str) -> requests.Response:
        return self.call("PATCH", f"v3/claims/{claim}/submit")

    def claim(self, claim: str) -> requests.Response:
        return self.call("GET", f"v3/claims/{claim}")

    def claims(self, **query: Any) -> requests.Response:
        return self.call("GET", "v2/claims", params=query)

    def search(self, first: str, last: str, **query: Any) -> requests.Response:
        dates = {"startDate": first, "endDate": last}
        return self.call("GET", "v2/claims/search-by-appointment-date", params=dates | query)

    def appointments(self, **query: Any) -> requests.Response:
        return self.call("GET", "v2/appointments", params=query)

    def begun(self, at: str = WHEN) -> str:
        """The id of a claim that has been created and nothing more."""
        return str(self.create(data(self.find_or_add(at))[0]["id"]).json()["data"]["claimId"])


def data(answer: requests.Response) -> Any:
    """The data of a good answer, whose envelope is checked on the way."""
    body = answer.json()
    assert answer.status_code == body["statusCode"] == 200, body
    assert set(body) in (ENVELOPE, ENVELOPE | PAGING)
    assert body["success"] is True
    assert body["timeStamp"] <= utc_text(datetime.now(UTC))
    return body["data"]


def refusal(answer: requests.Response) -> tuple[int, str]:
    """HTTP status and message of an error in the envelope."""
    body = answer.json()
    assert set(body) == ENVELOPE
    assert (body["statusCode"], body["success"], body["data"]) == (answer.status_code, False, None)
    return answer.status_code, body["message"]


def not_found(answer: requests.Response) -> str:
    """The title of a 404 in the older shape."""
    assert answer.status_code == 404
    (only,) = answer.json()["errors"]
    assert (set(only), only["status"], only["code"]) == ({"status", "code", "title"}, "404", "404")
    return str(only["title"])
