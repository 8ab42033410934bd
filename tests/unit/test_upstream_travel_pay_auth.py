"""The two tokens of a call: a refused one is replaced, the other stays, and there is no third try (contract: travel
5.2)."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from flaskapp.config import ConfigError
from flaskapp.upstreams.errors import Throttled, Unauthorized, Unavailable, UpstreamError
from flaskapp.upstreams.sts import STSClient
from flaskapp.upstreams.tokens.cache import FetchedToken
from flaskapp.upstreams.transport.http import HTTP
from flaskapp.upstreams.travel_pay.auth import Traveler, TravelerTokenClient
from flaskapp.upstreams.veis import VEISClient
from tests.unit.loopback import Body, Loopback, Reply, reset, serving, whole
from tests.unit.travel_pay import ADA, BY_BTSSS, BY_GATEWAY, Bench, envelope
from tests.unit.upstream_settings import Tokens, settings

LISTED = whole(200, envelope([]))
TOKEN = whole(200, envelope({"accessToken": "personal-1"}))
NO_FORM = {"title": "Unauthorized"}


@pytest.fixture
def bench() -> Iterator[Bench]:
    with serving(LISTED) as server:
        yield Bench(server)


def list_claims(bench: Bench) -> None:
    assert bench.reads.list_claims(ADA, total_seconds=30).items == ()


def test_both_tokens_and_a_new_correlation_id_are_sent_with_every_call(bench: Bench) -> None:
    list_claims(bench)
    list_claims(bench)
    first, second = (received.headers for received in bench.server.received)
    assert first["authorization"] == "Bearer token-1" and first["btsss-access-token"] == "personal-1"
    assert first["content-type"] == "application/json"
    assert first["ocp-apim-subscription-key"] == "travel-pay-key"
    assert uuid.UUID(first["x-correlation-id"]) != uuid.UUID(second["x-correlation-id"])


def test_production_has_two_subscription_keys() -> None:
    with serving(LISTED) as server:
        list_claims(Bench(server, travel_pay_subscription_keys="e,s"))
    (sent,) = server.received
    assert sent.headers["ocp-apim-subscription-key-e"] == "e" and sent.headers["ocp-apim-subscription-key-s"] == "s"


def test_a_wrong_number_of_subscription_keys_stops_the_start_by_its_settings_name() -> None:
    with pytest.raises(ConfigError, match="^TRAVEL_PAY_SUBSCRIPTION_KEYS cannot be read: expected one or two"):
        settings(travel_pay_subscription_keys="1,2,3")


@pytest.mark.parametrize(
    ("body", "veis_replaced", "personal_replaced"),
    [
        (BY_GATEWAY, ["token-1"], []),
        (BY_BTSSS, [], ["personal-1"]),
        (NO_FORM, ["token-1"], ["personal-1"]),
        ("<html>", ["token-1"], ["personal-1"]),
        ("", ["token-1"], ["personal-1"]),
    ],
)
def test_exactly_the_refused_token_is_replaced_and_the_call_made_once_more(
    bench: Bench, body: Body, veis_replaced: list[str], personal_replaced: list[str]
) -> None:
    list_claims(bench.answering(whole(401, body), LISTED))
    assert (bench.veis.replaced, bench.personal.replaced) == (veis_replaced, personal_replaced)
    again = bench.server.received[1].headers
    assert again["authorization"] == f"Bearer {bench.veis.get()}"
    assert again["btsss-access-token"] == bench.personal.get()


@pytest.mark.parametrize("body", [BY_GATEWAY, BY_BTSSS])
def test_a_token_refused_twice_is_unauthorized(bench: Bench, body: Body) -> None:
    with pytest.raises(Unauthorized) as caught:
        list_claims(bench.answering(whole(401, body)))
    assert len(bench.server.received) == 2 and caught.value.upstream == "travel_pay"


@pytest.mark.parametrize("body", [BY_GATEWAY, BY_BTSSS, NO_FORM])
def test_a_refused_token_that_stays_is_not_sent_once_more(bench: Bench, exchange: Exchange, body: Body) -> None:
    bench.veis.scarce = bench.personal.scarce = exchange.veis.scarce = True
    with pytest.raises(Unauthorized):
        list_claims(bench.answering(whole(401, body)))
    assert len(bench.server.received) == 1
    with pytest.raises(Unauthorized):
        exchange.fetch(whole(401, body))
    assert len(exchange.server.received) == 1


def test_a_traveler_is_in_no_repr() -> None:
    assert repr(ADA) == "Traveler()"


# -- the person's token -------------------------------------------------------


class Vouching(STSClient):
    def __init__(self) -> None:
        """An exchange that accepts everybody, without a call."""

    def exchange(self, icn: str, email: str) -> str:
        return f"vouched for {icn} {email}"


class Exchange:
    def __init__(self, server: Loopback) -> None:
        self.server, self.veis = server, Tokens()
        config = settings(travel_pay_base_url=server.url, travel_pay_read_seconds=30)
        self.client = TravelerTokenClient(config, HTTP(10), Vouching(), self.veis)

    def fetch(self, *replies: Reply, traveler: Traveler = ADA) -> FetchedToken:
        self.server.replies[:] = replies
        return self.client.fetch_token(traveler)


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    with serving(TOKEN) as server:
        yield Exchange(server)


def test_the_persons_token_is_requested_as_the_contract_says(exchange: Exchange) -> None:
    exchange.fetch(TOKEN)
    (sent,) = exchange.server.received
    assert sent.line == "POST /api/v2/Auth/access-token HTTP/1.1"
    assert sent.json() == {"authJwt": f"vouched for {ADA.icn} {ADA.email}"}
    assert sent.headers["authorization"] == "Bearer token-1"
    assert sent.headers["btsss-api-client-number"] == "0044"
    assert sent.headers["ocp-apim-subscription-key"] == "travel-pay-key"
    assert uuid.UUID(sent.headers["x-correlation-id"])


@pytest.mark.parametrize(("expiry", "seconds"), [({}, 3300), ({"expiresIn": 900}, 900), ({"expiresIn": "?"}, 3300)])
def test_a_token_without_a_lifetime_is_used_for_55_minutes(
    exchange: Exchange, expiry: dict[str, Any], seconds: float
) -> None:
    reply = whole(200, envelope({"accessToken": "personal-1", **expiry}))
    assert exchange.fetch(reply) == FetchedToken("personal-1", seconds)


@pytest.mark.parametrize("body", [BY_GATEWAY, "<html>"])
def test_a_veis_token_the_gateway_refuses_is_replaced_once(exchange: Exchange, body: Body) -> None:
    assert exchange.fetch(whole(401, body), TOKEN).value == "personal-1"
    assert exchange.veis.replaced == ["token-1"]
    with pytest.raises(Unauthorized):
        exchange.fetch(whole(401, body))
    assert len(exchange.server.received) == 4


def test_a_person_btsss_refuses_costs_nobody_else_a_token(exchange: Exchange) -> None:
    with pytest.raises(Unauthorized):
        exchange.fetch(whole(401, BY_BTSSS))
    assert exchange.veis.replaced == [] and len(exchange.server.received) == 1


@pytest.mark.parametrize(
    ("reply", "kind", "code"),
    [
        (whole(403, envelope(None, 403, "No profile.")), Unavailable, None),
        (whole(403, {"errors": [{"title": "Forbidden"}]}), Unavailable, None),
        (whole(403, {"statusCode": 403, "message": "Out of call volume quota."}), Unavailable, None),
        (whole(403, "<html>"), Unavailable, None),
        (whole(400, envelope(None, 400, "Bad request.")), Unavailable, None),
        (whole(404, BY_GATEWAY), Unavailable, None),
        (whole(200, envelope({})), Unavailable, None),
        (whole(200, envelope(None)), Unavailable, None),
        (whole(200, "<html>"), Unavailable, None),
        (whole(429, ""), Throttled, None),
        (whole(500, ""), Unavailable, None),
        (reset, Unavailable, None),
    ],
)
def test_no_refusal_of_a_persons_token_is_known_to_be_about_the_person(
    exchange: Exchange, reply: Reply, kind: type[UpstreamError], code: str | None
) -> None:
    with pytest.raises(kind) as caught:
        exchange.fetch(reply)
    assert type(caught.value) is kind and caught.value.upstream == "travel_pay"
    assert caught.value.code in (code, "NO_ANSWER")


def test_travel_pays_veis_token_is_requested_by_its_resource() -> None:
    with serving(whole(200, {"access_token": "token-1", "expires_in": "3599"})) as veis:
        fetched = VEISClient(settings(veis_base_url=veis.url), HTTP(10)).fetch_travel_pay_token()
    assert fetched == FetchedToken("token-1", 3599)
    (sent,) = veis.received
    assert sent.line == "POST /tenant-1/oauth2/token HTTP/1.1"
    assert sent.body == (
        b"client_id=client-1&client_secret=veis+secret%2F%2B&grant_type=client_credentials"
        b"&resource=resource-1&client_info=1"
    )
