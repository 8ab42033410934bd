"""Travel Pay's clients before a scripted server, with local tokens, and the forms in which it answers."""

from __future__ import annotations

from typing import Any

from flaskapp.config import Config
from flaskapp.upstreams.tokens.person import Traveler
from flaskapp.upstreams.transport.http import HTTP
from flaskapp.upstreams.travel_pay.auth import TravelPayAuth
from flaskapp.upstreams.travel_pay.filing import TravelPayFilingClient
from flaskapp.upstreams.travel_pay.reads import TravelPayClient
from tests.unit.loopback import Loopback, Reply
from tests.unit.upstream_settings import Tokens, settings

ADA = Traveler("7f6e5d4c-0000-4000-8000-000000000001", "1012345678V123456", "ada@example.test")
CLAIM_ID = "8b7a6c5d-0000-4000-8000-000000000001"
BY_GATEWAY = {"statusCode": 401, "message": "Unauthorized. Access token is missing or invalid."}
NO_ROUTE = {"statusCode": 404, "message": "Resource not found"}
NOT_FOUND = {"errors": [{"status": 404, "code": "TP_404", "title": "Claim not found"}]}
# In the API's own shape, with the code of a claim that is not there (contract: travel 5.3).
NO_ENDPOINT = {"errors": [{"status": 404, "code": "not_found", "title": "Endpoint not found."}]}
APPOINTMENT = {"id": "a1", "appointmentDateTime": "2031-03-04T09:30:00Z", "isCompleted": True}


def envelope(data: Any, status: int = 200, message: str = "Done.", **beside: Any) -> dict[str, Any]:
    """The API's own form; a refusal is one with a status of 400 or more."""
    head = {"correlationId": "5e1c", "timeStamp": "2031-03-04T14:00:05.123Z", "statusCode": status}
    return {**head, "message": message, "success": status < 400, "data": data, **beside}


BY_BTSSS = envelope(None, 401, "The access token is not valid.")


class PersonalTokens:
    """Ada's tokens: personal-1, personal-2, …, and which of them were replaced. While `scarce`, there is no other."""

    def __init__(self) -> None:
        self.replaced: list[str] = []
        self.scarce = False

    def get(self, traveler: Traveler = ADA) -> str:
        assert traveler == ADA
        return "personal-1" if self.scarce else f"personal-{len(self.replaced) + 1}"

    def replace(self, traveler: Traveler, token: str) -> str:
        assert traveler == ADA
        self.replaced.append(token)
        return self.get()


class Bench:
    """Both clients, the server that they call, and the count of their writes."""

    def __init__(self, server: Loopback, **changes: Any) -> None:
        self.server = server
        self.veis, self.personal = Tokens(), PersonalTokens()
        self.config: Config = settings(travel_pay_base_url=server.url, travel_pay_total_seconds=30, **changes)
        self.auth = TravelPayAuth(self.config, self.veis, self.personal)
        self.reads = TravelPayClient(self.config, HTTP(10), self.auth)
        self.filing = TravelPayFilingClient(self.config, HTTP(10), self.auth)
        self.writes = 0

    def before_write(self) -> None:
        assert len(self.server.received) == self.writes
        self.writes += 1

    def answering(self, *replies: Reply) -> Bench:
        self.server.replies[:] = replies
        return self
