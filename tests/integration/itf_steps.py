"""Steps for tests of intents to file: sign in, request one, look at the records, and let time pass everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any

from flaskapp import clock
from sandbox.upstreams.cast import ITF_CAST, Veteran
from tests.product import ADA, Product

ITF_URL = "/v0/intent_to_file"
CREATES = "POST /services/claims"
READS = "GET /services/claims"
WITH_ITF = {veteran.itf: veteran for veteran in ITF_CAST if veteran.identified}
WITHOUT_ICN = next(veteran for veteran in ITF_CAST if not veteran.identified)


@dataclass
class Signed:
    """Somebody who is signed in and calls with a bearer token, spelling keys as the front end does."""

    product: Product
    veteran: Veteran
    headers: dict[str, str]

    def get(self, path: str = "/compensation", **headers: str) -> Any:
        return self.product.app.test_client().get(f"{ITF_URL}{path}", headers={**self.headers, **headers})

    def post(self, itf_type: str = "compensation", **headers: str) -> Any:
        return self.product.app.test_client().post(f"{ITF_URL}/{itf_type}", headers={**self.headers, **headers})

    def shown(self, path: str = "/compensation") -> list[dict[str, Any]]:
        """The ITFs that a page would show."""
        response = self.get(path)
        assert response.status_code == 200, response.text
        found: list[dict[str, Any]] = response.get_json()["data"]["attributes"]["intentToFile"]
        return found

    def ask(self) -> dict[str, Any]:
        """Request an ITF, as the page does after an empty list."""
        response = self.post()
        assert response.status_code in (200, 202), response.text
        found: dict[str, Any] = response.get_json()["data"]["attributes"]["intentToFile"]
        return found


def sign_in(product: Product, veteran: Veteran = ADA) -> Signed:
    """A token that is good by the product's clock, however far a test has moved it."""
    seconds = 1800 + (clock.now() - datetime.now(UTC)).total_seconds()
    issued = product.control.call("POST", "sign_in", "tokens", json={"account": veteran.account, "seconds": seconds})
    headers = {"Authorization": f"Bearer {issued['access_token']}", "X-Key-Inflection": "camel"}
    return Signed(product, veteran, headers)


def itfs(product: Product) -> list[dict[str, Any]]:
    """Every ITF that we hold, in the order of the requests."""
    return [dict(row._mapping) for row in product.rows("SELECT * FROM intents_to_file ORDER BY asked_at, id")]


def on_file(product: Product, veteran: Veteran = ADA) -> list[dict[str, Any]]:
    """Every ITF that Lighthouse holds for one person."""
    found: list[dict[str, Any]] = product.control.call("GET", "lighthouse", "itfs", params={"icn": veteran.icn})
    return found


def creates(product: Product) -> int:
    return len(product.control.received("lighthouse", CREATES))


def reads(product: Product) -> int:
    return len(product.control.received("lighthouse", READS))


def creating(veteran: Veteran) -> str:
    """The `operation` of a fault that hits only creations for this person."""
    return f"POST /services/claims/v2/veterans/{veteran.icn}/"


def reading(veteran: Veteran) -> str:
    """The `operation` of a fault that hits only reads for this person."""
    return f"GET /services/claims/v2/veterans/{veteran.icn}/"


def row_of(product: Product, person: Signed) -> dict[str, Any]:
    """The latest ITF that we hold for this person."""
    return [row for row in itfs(product) if str(row["account_id"]) == person.veteran.account][-1]


def attempts(product: Product, itf_id: Any) -> list[tuple[str, str]]:
    """The creation attempts of an ITF: what each did and how it ended."""
    query = "SELECT purpose, status FROM outbox_attempts WHERE subject_id = :id AND job LIKE :job ORDER BY id"
    return [tuple(row) for row in product.rows(query, id=str(itf_id), job="%.create_itf")]


def mails(product: Product, number: int = 1) -> list[str]:
    """The templates of the messages that reached people, oldest first."""
    return [message["template"] for message in reversed(product.phone(number))]


def pass_time(product: Product, **span: float) -> None:
    """Let time pass, for us and for Lighthouse alike."""
    offset = clock.now() - datetime.now(UTC) + timedelta(**span)
    move_to(product, offset)


def begin_at_noon(product: Product) -> None:
    """Of tomorrow. The hours that pass in a test are then all of one legal day."""
    travel_to(product, datetime.combine(clock.now().date() + timedelta(days=1), time(18), UTC))


def move_to(product: Product, offset: timedelta) -> None:
    product.move_clock(offset)
    # Requests for tokens carry the time of this machine, as those to VANotify do: the authorization server checks it.
    product.control.turn("lighthouse", clock_offset_seconds=offset.total_seconds())


def travel_to(product: Product, timestamp: datetime) -> None:
    """Set the time, for us and for Lighthouse."""
    move_to(product, timestamp - datetime.now(UTC))
