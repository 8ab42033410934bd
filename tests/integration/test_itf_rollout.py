"""The share of accounts in the background can be turned at any time: nothing is lost, and nobody sees an ITF vanish."""

from __future__ import annotations

import json
import uuid

from flaskapp.intent_to_file.service import is_in_background
from sandbox.upstreams.cast import DEFAULT_CAST
from tests.house import ADA, House
from tests.integration.itf_steps import WITHOUT_ICN, creates, itfs, mails, on_file, sign_in
from tests.integration.steps import command, reconfigure

BEN, CARLA, DOV = DEFAULT_CAST[1:4]


def share_of(percent: int, accounts: list[uuid.UUID]) -> set[uuid.UUID]:
    return {account for account in accounts if is_in_background(account, percent)}


def test_a_share_is_of_accounts_and_only_grows_when_it_is_turned_up() -> None:
    accounts = [uuid.uuid4() for _ in range(3_000)]
    shares = [share_of(percent, accounts) for percent in (0, 1, 37, 38, 99, 100)]
    assert shares[0] == set() and shares[-1] == set(accounts)
    assert all(smaller < larger for smaller, larger in zip(shares, shares[1:], strict=False))
    assert 0.33 < len(shares[2]) / len(accounts) < 0.41
    assert share_of(37, accounts) == shares[2]


def test_a_person_is_on_one_side_of_the_share_every_time(house: House) -> None:
    reconfigure(house, itf_async_percent=37)
    inside = {veteran.uuid for veteran in DEFAULT_CAST if is_in_background(uuid.UUID(veteran.account), 37)}
    assert 0 < len(inside) < len(DEFAULT_CAST)
    for veteran in DEFAULT_CAST:
        answered = [sign_in(house, veteran).post().status_code for _ in range(2)]
        assert answered == ([202, 202] if veteran.uuid in inside else [200, 200])
    paths = house.rows("SELECT path, state, count(*) FROM intents_to_file GROUP BY 1, 2 ORDER BY 1")
    outside = len(DEFAULT_CAST) - len(inside)
    assert paths == [("background", "pending", len(inside)), ("waited", "confirmed", outside)]
    assert creates(house) == outside
    house.work()
    assert [len(on_file(house, veteran)) for veteran in DEFAULT_CAST] == [1] * len(DEFAULT_CAST)


def test_turned_down_with_work_in_flight_and_up_again_everything_is_created_and_seen(house: House) -> None:
    house.control.set("lighthouse", "refuse")
    asked = {veteran: sign_in(house, veteran).ask() for veteran in (ADA, BEN, CARLA)}
    house.work(until=lambda: house.value("SELECT count(*) FROM outbox_gates WHERE closed_at IS NOT NULL"))
    reconfigure(house, itf_async_percent=0)
    for veteran, itf in asked.items():
        person = sign_in(house, veteran)
        assert person.shown() == person.shown("") == [itf]
        assert (person.post().status_code, person.ask()) == (202, itf)
    newcomer = sign_in(house, DOV)
    assert (newcomer.get().status_code, newcomer.post().status_code) == (504, 504)
    house.control.clear("lighthouse")
    waited_for = newcomer.ask()
    house.work()
    assert {row["state"] for row in itfs(house)} == {"confirmed"} and len(itfs(house)) == 4
    assert [sign_in(house, veteran).shown()[0]["creationDate"] for veteran in asked] == [
        itf["creationDate"] for itf in asked.values()
    ]
    reconfigure(house, itf_async_percent=100)
    assert (newcomer.shown(), newcomer.ask()["id"]) == ([waited_for], waited_for["id"])
    assert (creates(house), house.owed(), mails(house, 3)) == (4, 0, ["itf.confirmed"] * 3)


def test_the_preflight_says_what_is_in_flight_and_whether_a_human_is_needed_first(house: House) -> None:
    for veteran in (ADA, BEN):
        sign_in(house, veteran).ask()
    told = command(house, "itf", "preflight")
    assert told.exit_code == 0
    for words in ("ITF_ASYNC_PERCENT is 100", "995-supplemental-claim", "2 pending", "Nothing needs a human."):
        assert words in told.output
    sign_in(house, WITHOUT_ICN).ask()
    house.work()
    sign_in(house, CARLA).ask()
    result = command(house, "itf", "preflight", "--json")
    found = json.loads(result.output)
    assert result.exit_code == 1
    assert (found["itf_async_percent"], found["in_flight"], found["needs_human"]) == (100, 1, True)
    assert {row["state"]: row["itfs"] for row in found["itfs"]} == {"confirmed": 2, "failed": 1, "pending": 1}
    assert [(row["job"], row["state"], row["messages"]) for row in found["owed"]] == [
        ("jobs.intent_to_file.identify_person", "parked", 1),
        ("jobs.intent_to_file.identify_person", "ready", 1),
    ]
    assert found["open_cases"] == [{"kind": "refused", "cases": 1}]
    assert {row["upstream"]: row["closed_at"] for row in found["gates"]} == {
        "accounts": None,
        "lighthouse_claims": None,
    }
    assert (found["refresh"][0]["in_the_cycle"], found["refresh"][0]["doubted"]) == (2, 0)
    assert "See to the open cases" in command(house, "itf", "preflight").output
