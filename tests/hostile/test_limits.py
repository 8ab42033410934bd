"""The rate limits: so much for a caller, so much for an address, whatever a request says about where it is from."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import psutil
import pytest

from flaskapp.config_readers import Rate
from flaskapp.web.rate_limits import NOT_BY_ADDRESS, address
from sandbox.servers import EmbeddedValkey
from tests.edge_app import CONFIG, ORIGIN, make_app
from tests.hostile.routes import every_request
from tests.integration.form526_steps import SUBMIT_URL
from tests.integration.itf_steps import sign_in
from tests.integration.steps import counts, reconfigure
from tests.product import Product
from tests.sign_in_edge import ACCOUNT, PATH, make_signed_in_app, token

FEW = Rate(3, 3600)
OTHER = "0f4f6d1e-0000-4000-8000-0000000000bb"


def bearer(account: str = ACCOUNT) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(sub=account)}"}


def where(config: Any = CONFIG, *, peer: str = "192.0.2.1", **headers: str) -> str:
    """The address that the limits use for this request."""
    app = make_app(config, lambda app: app.add_url_rule("/where", "where", address))
    return str(app.test_client().get("/where", headers=headers, environ_base={"REMOTE_ADDR": peer}).text)


def seconds(ask: Callable[[], Any], status: int) -> float:
    """How long it took to get this answer."""
    began = time.monotonic()
    assert ask().status_code == status
    return time.monotonic() - began


@pytest.fixture
def limited(product: Product) -> Product:
    reconfigure(product, rate_limit_per_caller=FEW, rate_limit_per_webhook=FEW)
    return product


def assert_is_a_429(answer: Any, rate: Rate = FEW) -> None:
    """In the shape that the front end reads, with the time that its 429 page shows."""
    assert answer.status_code == 429
    assert answer.json["errors"][0]["status"] == "429"
    assert 0 < int(answer.headers["Retry-After"]) <= rate.seconds
    assert int(answer.headers["X-RateLimit-Reset"]) > 1_700_000_000
    assert answer.headers["Cache-Control"] == "no-store"


def test_an_account_over_its_limit_gets_a_retry_after_and_the_others_are_served() -> None:
    client = make_signed_in_app(rate_limit_per_caller=FEW).test_client()
    assert [client.get(PATH, headers=bearer()).status_code for _ in range(3)] == [200] * 3
    refused = client.post(PATH, headers={**bearer(), "Origin": ORIGIN})
    assert_is_a_429(refused)
    assert "X-RateLimit-Reset" in refused.headers["Access-Control-Expose-Headers"]
    assert client.get(PATH, headers=bearer(OTHER)).status_code == 200


def test_a_forged_token_takes_nothing_from_the_account_it_names() -> None:
    client = make_signed_in_app(rate_limit_per_caller=FEW).test_client()
    forged = {"Authorization": f"Bearer {token('stranger')}"}
    assert {client.get(PATH, headers=forged).status_code for _ in range(9)} == {401}
    assert client.get(PATH, headers=bearer()).status_code == 200


def test_a_check_in_over_its_limit_is_refused_and_nothing_is_written(limited: Product) -> None:
    person = limited.sign_in()
    assert [limited.ask(person).status_code for _ in range(3)] == [202] * 3
    before = counts(limited)
    for answer in (limited.ask(person), limited.ask(person, date="2031-03-05"), limited.ask(limited.sign_in())):
        assert_is_a_429(answer)
    assert counts(limited) == before and before["travel_claims"] == 1


def test_a_repeat_under_the_same_key_counts_like_any_request(limited: Product) -> None:
    person = limited.sign_in()
    statuses = [limited.ask(person, **{"Idempotency-Key": "one"}).status_code for _ in range(4)]
    assert statuses == [202, 202, 202, 429]


def test_one_limit_counts_all_requests_of_a_person(limited: Product) -> None:
    person = sign_in(limited)
    client = limited.app.test_client()
    paths = ("/v0/intent_to_file", "/v0/intent_to_file/compensation", "/vaos/v2/appointments")
    assert 429 not in {client.get(path, headers=person.headers).status_code for path in paths}
    assert_is_a_429(client.post(SUBMIT_URL, json={"form526": {}}, headers=person.headers))


def test_callbacks_are_counted_by_their_token_and_strangers_by_their_address(limited: Product) -> None:
    known = {"Authorization": f"Bearer {limited.app.extensions['config'].vanotify_callback_tokens[0]}"}
    reconfigure(limited, rate_limit_per_address=FEW)
    client = limited.app.test_client()

    def call(**headers: str) -> int:
        return int(client.post("/va_notify/callbacks", json={"status": "delivered"}, headers=headers).status_code)

    assert [call(Authorization="Bearer x") for _ in range(4)] == [401, 401, 401, 429]
    assert [call(**known) for _ in range(4)] == [200, 200, 200, 503]


def test_a_proven_callback_is_never_answered_with_what_va_notify_does_not_repeat(limited: Product) -> None:
    config = limited.app.extensions["config"]
    headers = {"Authorization": f"Bearer {config.vanotify_callback_tokens[0]}"}

    def call() -> Any:
        body = {"reference": "0c4f6d1e-0000-4000-8000-0000000000aa", "status": "delivered"}
        return limited.app.test_client().post("/va_notify/callbacks", json=body, headers=headers)

    assert [call().status_code for _ in range(3)] == [200] * 3
    over = call()
    assert (over.status_code, over.json["errors"][0]["status"]) == (503, "503")
    assert 0 < int(over.headers["Retry-After"]) <= FEW.seconds


@pytest.mark.parametrize(
    ("peer", "network"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("192.0.2.7", "192.0.2.7"),
        ("", "nowhere"),
    ],
)
def test_an_address_is_counted_by_what_one_customer_holds_of_it(peer: str, network: str) -> None:
    assert where(peer=peer) == network


@pytest.mark.parametrize(
    ("proxies", "sent", "believed"),
    [
        (0, "198.51.100.1", "192.0.2.1"),
        (1, "203.0.113.9, 198.51.100.1", "198.51.100.1"),
        (1, "198.51.100.1, nonsense", "nonsense"),
        (1, "", "192.0.2.1"),
        # Azure's gateway and others add the caller's port, another one for each connection.
        (1, "198.51.100.1:40001", "198.51.100.1"),
        (1, "[2001:db8::1]:40001", "2001:db8::/64"),
        (1, "[2001:db8::1]", "2001:db8::/64"),
        (2, "203.0.113.9, 198.51.100.1, 10.0.0.1", "198.51.100.1"),
        (2, "198.51.100.1", "192.0.2.1"),
    ],
)
def test_only_as_many_entries_are_trusted_as_we_have_proxies(proxies: int, sent: str, believed: str) -> None:
    assert where(replace(CONFIG, trusted_proxies=proxies), **{"X-Forwarded-For": sent}) == believed


def test_a_new_address_in_every_header_evades_no_limit_and_spends_nobody_elses() -> None:
    config = replace(CONFIG, trusted_proxies=0, rate_limit_per_address=FEW)
    client = make_app(config).test_client()

    def ask(number: int, peer: str) -> int:
        forged = {"X-Forwarded-For": f"198.51.100.{number}", "Forwarded": f"for=198.51.100.{number}"}
        return int(client.get("/nowhere", headers=forged, environ_base={"REMOTE_ADDR": peer}).status_code)

    assert [ask(number, "192.0.2.1") for number in range(5)] == [404, 404, 404, 429, 429]
    assert ask(7, "198.51.100.1") == 404


def test_every_route_has_a_limit_by_address_but_those_that_machines_watch(product: Product) -> None:
    reconfigure(product, rate_limit_per_address=Rate(1, 86_400))
    client = product.app.test_client()
    client.get("/nowhere")
    answers: dict[str, set[int]] = {}
    for endpoint, method, path in every_request(product.app):
        if method != "OPTIONS":
            answers.setdefault(endpoint, set()).add(client.open(path, method=method).status_code)
    assert len(answers) > 30
    # Nobody here has the token of the metrics, so here they count.
    uncounted = {endpoint for endpoint, statuses in answers.items() if statuses != {429}}
    assert uncounted == NOT_BY_ADDRESS - {"metrics.metrics"}


def test_a_preflight_is_not_counted() -> None:
    client = make_app(replace(CONFIG, rate_limit_per_address=FEW)).test_client()
    headers = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    assert 429 not in {client.options("/openapi.json", headers=headers).status_code for _ in range(9)}


def test_a_redis_that_hangs_keeps_no_claim_waiting(limited: Product, redis_server: EmbeddedValkey) -> None:
    reconfigure(limited, rate_limit_per_caller=Rate(60, 3600), rate_limit_per_address=Rate(60, 3600))
    person = limited.sign_in()
    redis = psutil.Process(redis_server.pid)
    redis.suspend()
    try:
        taken = [seconds(lambda: limited.ask(person), 202) for _ in range(30)]
    finally:
        redis.resume()
    # A request that waits for Redis waits for most of a second. A busy machine causes such waits too, now and then.
    assert sorted(taken)[-3] < 1.5


def test_limits_hold_while_redis_is_away() -> None:
    client = make_signed_in_app(rate_limit_per_caller=FEW, redis_url="redis://127.0.0.1:1/0").test_client()
    assert [client.get(PATH, headers=bearer()).status_code for _ in range(3)] == [200] * 3
    assert_is_a_429(client.get(PATH, headers=bearer()))
