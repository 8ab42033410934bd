"""The share of accounts in the background: it can be changed at any time, nothing is lost, and no ITF vanishes."""

from __future__ import annotations

import json
import uuid

from flaskapp.intent_to_file.service import is_in_background
from sandbox.upstreams.cast import DEFAULT_CAST
from tests.integration.itf_steps import WITHOUT_ICN, creates, itfs, mails, on_file, sign_in
from tests.integration.steps import command, reconfigure
from tests.product import ADA, Product

BEN, CARLA, DOV = DEFAULT_CAST[1:4]


def share_of(percent: int, accounts: list[uuid.UUID]) -> set[uuid.UUID]:
    return {account for account in accounts if is_in_background(account, percent)}


def test_a_share_consists_of_accounts_and_only_grows_when_it_is_raised() -> None:
    accounts = [uuid.uuid4() for _ in range(3_000)]
    shares = [share_of(percent, accounts) for percent in (0, 1, 37, 38, 99, 100)]
    assert shares[0] == set() and shares[-1] == set(accounts)
    assert all(smaller < larger for smaller, larger in zip(shares, shares[1:], strict=False))
    assert 0.33 < len(shares[2]) / len(accounts) < 0.41
    assert share_of(37, accounts) == shares[2]


def test_a_person_is_on_the_same_side_of_the_share_every_time(product: Product) -> None:
    reconfigure(product, itf_async_percent=37)
    inside = {veteran.uuid for veteran in DEFAULT_CAST if is_in_background(uuid.UUID(veteran.account), 37)}
    assert 0 < len(inside) < len(DEFAULT_CAST)
    for veteran in DEFAULT_CAST:
        answered = [sign_in(product, veteran).post().status_code for _ in range(2)]
        assert answered == ([202, 202] if veteran.uuid in inside else [200, 200])
    paths = product.rows("SELECT path, state, count(*) FROM intents_to_file GROUP BY 1, 2 ORDER BY 1")
    outside = len(DEFAULT_CAST) - len(inside)
    assert paths == [("background", "pending", len(inside)), ("synchronous", "confirmed", outside)]
    assert creates(product) == outside
    product.work()
    assert [len(on_file(product, veteran)) for veteran in DEFAULT_CAST] == [1] * len(DEFAULT_CAST)


def test_lowering_and_raising_the_share_with_work_in_flight_loses_nothing(product: Product) -> None:
    product.control.set("lighthouse", "refuse")
    pending = {veteran: sign_in(product, veteran).ask() for veteran in (ADA, BEN, CARLA)}
    product.work(until=lambda: product.value("SELECT count(*) FROM outbox_breakers WHERE opened_at IS NOT NULL"))
    reconfigure(product, itf_async_percent=0)
    for veteran, itf in pending.items():
        person = sign_in(product, veteran)
        assert person.shown() == person.shown("") == [itf]
        assert (person.post().status_code, person.ask()) == (202, itf)
    newcomer = sign_in(product, DOV)
    assert (newcomer.get().status_code, newcomer.post().status_code) == (504, 504)
    product.control.clear("lighthouse")
    created = newcomer.ask()
    product.work()
    assert {row["state"] for row in itfs(product)} == {"confirmed"} and len(itfs(product)) == 4
    assert [sign_in(product, veteran).shown()[0]["creationDate"] for veteran in pending] == [
        itf["creationDate"] for itf in pending.values()
    ]
    reconfigure(product, itf_async_percent=100)
    assert (newcomer.shown(), newcomer.ask()["id"]) == ([created], created["id"])
    assert (creates(product), product.outstanding(), mails(product, 3)) == (4, 0, ["itf.confirmed"] * 3)


def test_the_preflight_reports_what_is_in_flight_and_whether_a_human_is_needed_first(product: Product) -> None:
    for veteran in (ADA, BEN):
        sign_in(product, veteran).ask()
    result = command(product, "itf", "preflight")
    assert result.exit_code == 0
    for words in ("ITF_ASYNC_PERCENT is 100", "995-supplemental-claim", "2 pending", "Nothing needs a human."):
        assert words in result.output
    sign_in(product, WITHOUT_ICN).ask()
    product.work()
    sign_in(product, CARLA).ask()
    result = command(product, "itf", "preflight", "--json")
    found = json.loads(result.output)
    assert result.exit_code == 1
    assert (found["itf_async_percent"], found["in_flight"], found["needs_human"]) == (100, 1, True)
    assert {row["state"]: row["itfs"] for row in found["itfs"]} == {"confirmed": 2, "failed": 1, "pending": 1}
    assert [(row["job"], row["state"], row["messages"]) for row in found["outstanding"]] == [
        ("jobs.intent_to_file.identify_person", "parked", 1),
        ("jobs.intent_to_file.identify_person", "ready", 1),
    ]
    assert found["open_cases"] == [{"kind": "refused", "cases": 1}]
    assert {row["upstream"]: row["opened_at"] for row in found["breakers"]} == {
        "accounts": None,
        "lighthouse_claims": None,
    }
    assert (found["refresh"][0]["in_the_cycle"], found["refresh"][0]["doubted"]) == (2, 0)
    assert "take care of the open cases" in command(product, "itf", "preflight").output
