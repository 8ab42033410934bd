"""A canary's ICN, SSN, phone, names, e-mail, date of birth, tokens and claim numbers, looked for where none belongs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from jobs.engine import runner
from sandbox.settings import OPERATOR, kept_secrets
from sandbox.upstreams.cast import Veteran
from tests.edge_app import log_in
from tests.house import House
from tests.integration.itf_steps import Signed, itfs, on_file, pass_time, sign_in
from tests.integration.itf_upkeep import let_a_cycle_pass, row_of, work_what_is_due
from tests.integration.steps import SUBMIT, call, command, file_claim, lose, reconfigure, sweep, take
from tests.scanner import found_in, postgres_texts, redis_texts
from tests.unit.loopback import serving, whole

CANARY = {
    "icn": "1087654321V998877",
    "phone": "+15559871234",
    "first_name": "Quillon",
    "last_name": "Zzyzxfield",
    "dob": "1937-11-13",
    "email": "quillon.zzyzxfield@example.com",
    "ssn": "987006543",
}
SPELLED = ["1087654321", "5559871234", "555-987-1234", "Quillon", "Zzyzxfield", "1937-11-13", "19371113"]
SPELLED += ["987006543", "987-00-6543"]
WRITTEN_TO_PAGES = ("/metrics", "/ops/", "/rq/0/view/jobs", "/rq/0/data/queues.json", "/rq/0/data/workers.json")
REGISTRIES = ("queued", "started", "finished", "failed", "scheduled", "deferred", "canceled")


def console_texts(operator: FlaskClient, house: House) -> Iterator[str]:
    for path in WRITTEN_TO_PAGES:
        yield operator.get(path).text
    for queue in ("travel_claims", "accounts", "intents_to_file", "form526", "documents", "notifications"):
        for registry in REGISTRIES:
            yield operator.get(f"/rq/0/data/jobs/{queue}/{registry}/8/asc/1.json").text
    for key in house.redis.scan_iter("rq:job:*"):
        yield operator.get(f"/rq/0/data/job/{key.decode()[7:]}.json").text
    for arguments in (["outbox", "list"], ["outbox", "summary"], ["cases", "list", "--all"], ["audit", "--json"]):
        yield command(house, *arguments).output
    for arguments in (["at-risk"], ["preflight"], *(["evidence", str(itf["id"])] for itf in itfs(house))):
        yield command(house, "itf", *arguments).output
        yield command(house, "itf", *arguments, "--json").output
    for row in house.rows("SELECT DISTINCT message_id FROM outbox_attempts"):
        yield command(house, "outbox", "show", str(row.message_id), "--json").output


def planned(house: House, day: str, outcome: str) -> None:
    body = {"icn": CANARY["icn"], "date": day, "outcome": outcome}
    house.control.call("POST", "btsss", "outcomes", json=body)


def live_through_everything(house: House, canary: Veteran, monkeypatch: pytest.MonkeyPatch) -> None:
    """Claims in every outcome, wrong log-ins, garbage, late answers, callbacks, and faults that quote the person."""
    stumble_at_the_door(house, canary)
    planned(house, "2031-03-02", "duplicate")
    house.control.call("POST", "btsss", "claims", json={"icn": canary.icn, "date": "2031-03-02", "age_seconds": 900})
    planned(house, "2031-03-03", "refused")
    for day in ("2031-03-01", "2031-03-02", "2031-03-03"):
        file_claim(house, canary, day)
    house.work()
    house.control.set("btsss", "drop", times=1, operation="submitclaim")
    file_claim(house, canary, "2031-03-04")
    house.work()
    fail_while_quoting_the_person(house, canary, monkeypatch)
    asked = file_claim(house, canary, "2031-03-06")
    held = take(house, asked)
    answer = call(house, held)
    lose(house, held)
    house.move_clock(timedelta(days=5, hours=1))
    sweep(house)
    runner.finish(SUBMIT, held, answer)
    house.work()


def stumble_at_the_door(house: House, canary: Veteran) -> None:
    client = house.app.test_client()
    session = {"uuid": canary.uuid, "dob": canary.dob, "lastName": f"{canary.last_name}X"}
    client.post("/check_in/v2/sessions/", json={"session": session})
    client.post("/check_in/v2/sessions/", json={"session": {**session, "dob": f"{canary.dob}?"}})
    client.post(
        "/check_in/v2/sessions/", data=f'{{"session": {canary.last_name} {canary.icn}', content_type="text/json"
    )
    client.get(f"/check_in/v2/sessions/{canary.last_name}?dob={canary.dob}&phone={canary.phone}")
    callback = {"reference": canary.icn, "to": canary.phone, "status": canary.last_name, "id": canary.phone}
    client.post("/va_notify/callbacks", json=callback)
    token = house.app.extensions["config"].vanotify_callback_tokens[0]
    client.post("/va_notify/callbacks", json=callback, headers={"Authorization": f"Bearer {token}"})


def fail_while_quoting_the_person(house: House, canary: Veteran, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a fault of our own, with the person in its text, and once BTSSS itself."""
    said = f"ClaimantID {canary.icn}, phone {canary.phone}, claim TC202603999988887"

    def fail(*_: Any) -> Any:
        raise RuntimeError(said)

    with monkeypatch.context() as patch:
        patch.setattr(type(house.app.extensions["upstreams"].btsss), "submit_claim", fail)
        file_claim(house, canary, "2031-03-05")
        house.work(until=lambda: house.value("SELECT count(*) FROM outbox_attempts WHERE error_class = 'RuntimeError'"))
    before = house.app.extensions["config"].btsss_base_url
    with serving(whole(400, {"message": said})) as server:
        reconfigure(house, btsss_base_url=server.url)
        house.work()
        reconfigure(house, btsss_base_url=before)


def test_a_persons_data_is_nowhere_but_encrypted(
    house: House, secrets_folder: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    added = house.control.call("POST", "lorota", "veterans", json=CANARY)
    canary = house.fakes.fakes.cast.by_uuid(added["uuid"])
    assert canary is not None
    live_through_everything(house, canary, monkeypatch)
    operator = house.app.test_client()
    assert log_in(operator, kept_secrets(secrets_folder).operator_password, OPERATOR).status_code == 303
    places = searched(house, operator, capsys)
    numbers = [claim["number"] for claim in house.filed()] + ["TC202603999988887"]
    assert len(numbers) >= 5
    assert found_in(places, [*SPELLED, *numbers]) == []
    assert_the_search_would_find_something(house, places)


def searched(house: House, operator: FlaskClient, capsys: pytest.CaptureFixture[str]) -> dict[str, list[str]]:
    return {
        "the log": [capsys.readouterr().out],
        "Redis": list(redis_texts(house.redis)),
        "Postgres": list(postgres_texts(house)),
        "the consoles": list(console_texts(operator, house)),
    }


def assert_the_search_would_find_something(house: House, places: dict[str, list[str]]) -> None:
    """What is allowed there is there: the places were not simply empty, and RQ's packed values were read."""
    states = {row[0] for row in house.rows("SELECT state FROM travel_claims")}
    assert states == {"submitted", "duplicate", "failed"}
    claim = str(house.value("SELECT id FROM travel_claims LIMIT 1"))
    assert any(claim in text for text in places["Postgres"])
    assert "job failed" in places["the log"][0] and "answered late" in places["the log"][0]
    assert any('"jobs.notifications.send_notice"' in text for text in places["Redis"])
    assert any("[icn]" in text for text in places["the consoles"])
    assert any("surefile_messages" in text for text in places["the consoles"])


def live_through_itfs(house: House, canary: Veteran, monkeypatch: pytest.MonkeyPatch) -> Signed:
    """Strange requests, refusals and faults that quote the person, an answer somebody waits for, and a lost ITF."""
    person = sign_in(house, canary)
    for headers in ({"Authorization": f"Bearer {canary.last_name}.{canary.icn}.x"}, {"Source-App-Name": canary.icn}):
        person.get(f"/{canary.icn}", **headers)
    person.post(canary.last_name, **{"Idempotency-Key": f"{canary.icn} {canary.ssn}"})
    person.ask()
    said = f"{canary.icn}, SSN {canary.ssn} (987-00-6543), {canary.email}"
    fail_itfs_while_quoting(house, said, monkeypatch)
    be_refused_while_quoting(house, person, said)
    person.post("survivor")
    house.work()
    for filed in on_file(house, canary):
        house.control.call("DELETE", "lighthouse", f"itfs/{filed['id']}")
    let_a_cycle_pass(house)
    pass_time(house, hours=2)
    work_what_is_due(house)
    return person


def fail_itfs_while_quoting(house: House, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError(said)

    with monkeypatch.context() as patch:
        patch.setattr(type(house.app.extensions["upstreams"].accounts), "find", fail)
        house.work(until=lambda: house.value("SELECT count(*) FROM outbox_attempts WHERE error_class = 'RuntimeError'"))


def be_refused_while_quoting(house: House, person: Signed, said: str) -> None:
    before = house.app.extensions["config"].lighthouse_base_url
    with serving(whole(422, {"errors": [{"title": "Unprocessable Entity", "detail": said}]})) as server:
        reconfigure(house, lighthouse_base_url=server.url)
        house.work(until=lambda: house.value("SELECT count(*) FROM outbox_attempts WHERE http_status = 422"))
        assert not any(text in person.post("pension").text for text in SPELLED)
        reconfigure(house, lighthouse_base_url=before)


def test_who_an_itf_is_for_is_nowhere_but_encrypted(
    house: House, secrets_folder: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    added = house.control.call("POST", "lorota", "veterans", json=CANARY)
    canary = house.fakes.fakes.cast.by_uuid(added["uuid"])
    assert canary is not None
    person = live_through_itfs(house, canary, monkeypatch)
    operator = house.app.test_client()
    assert log_in(operator, kept_secrets(secrets_folder).operator_password, OPERATOR).status_code == 303
    places = searched(house, operator, capsys)
    sent = [entry["headers"].get("authorization", "") for entry in house.control.received("lighthouse")]
    tokens = {header.removeprefix("Bearer ") for header in (*sent, person.headers["Authorization"]) if header}
    assert len(tokens) >= 2
    assert found_in(places, [*SPELLED, *tokens]) == []
    itf = str(row_of(house, canary)["id"])
    assert row_of(house, canary)["state"] == "broken"
    assert all(any(itf in text for text in places[place]) for place in ("the log", "Postgres", "the consoles"))
    assert any("[icn]" in text for text in places["the consoles"]) and "job failed" in places["the log"][0]
