"""Privacy: a test person's ICN, SSN, phone, names, e-mail, birth date, tokens and claim numbers are searched for."""

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
from tests.integration.itf_refresh_steps import let_a_cycle_pass, row_of, work_what_is_due
from tests.integration.itf_steps import Signed, itfs, on_file, pass_time, sign_in
from tests.integration.steps import SUBMIT, call, command, file_claim, lose, reconfigure, sweep, take
from tests.product import Product
from tests.scanner import found_in, postgres_texts, redis_texts
from tests.unit.loopback import serving, whole

PROBE = {
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
WRITTEN_TO_PAGES = ("/ops/", "/rq/0/view/jobs", "/rq/0/data/queues.json", "/rq/0/data/workers.json")
REGISTRIES = ("queued", "started", "finished", "failed", "scheduled", "deferred", "canceled")


def console_texts(operator: FlaskClient, product: Product) -> Iterator[str]:
    yield product.metrics()
    for path in WRITTEN_TO_PAGES:
        yield operator.get(path).text
    for queue in ("travel_claims", "accounts", "intents_to_file", "form526", "documents", "notifications"):
        for registry in REGISTRIES:
            yield operator.get(f"/rq/0/data/jobs/{queue}/{registry}/8/asc/1.json").text
    for key in product.redis.scan_iter("rq:job:*"):
        yield operator.get(f"/rq/0/data/job/{key.decode()[7:]}.json").text
    for arguments in (["outbox", "list"], ["outbox", "summary"], ["cases", "list", "--all"], ["audit", "--json"]):
        yield command(product, *arguments).output
    for arguments in (["at-risk"], ["preflight"], *(["evidence", str(itf["id"])] for itf in itfs(product))):
        yield command(product, "itf", *arguments).output
        yield command(product, "itf", *arguments, "--json").output
    for row in product.rows("SELECT DISTINCT message_id FROM outbox_attempts"):
        yield command(product, "outbox", "show", str(row.message_id), "--json").output


def planned(product: Product, day: str, outcome: str) -> None:
    body = {"icn": PROBE["icn"], "date": day, "outcome": outcome}
    product.control.call("POST", "btsss", "outcomes", json=body)


def live_through_everything(product: Product, probe: Veteran, monkeypatch: pytest.MonkeyPatch) -> None:
    """Claims in every outcome, failed log-ins, garbage, late answers, callbacks, and faults that quote the person."""
    fail_to_sign_in(product, probe)
    planned(product, "2031-03-02", "duplicate")
    product.control.call("POST", "btsss", "claims", json={"icn": probe.icn, "date": "2031-03-02", "age_seconds": 900})
    planned(product, "2031-03-03", "refused")
    for day in ("2031-03-01", "2031-03-02", "2031-03-03"):
        file_claim(product, probe, day)
    product.work()
    product.control.set("btsss", "drop", times=1, operation="submitclaim")
    file_claim(product, probe, "2031-03-04")
    product.work()
    fail_while_quoting_the_person(product, probe, monkeypatch)
    claim = file_claim(product, probe, "2031-03-06")
    granted = take(product, claim)
    answer = call(product, granted)
    lose(product, granted)
    product.move_clock(timedelta(days=5, hours=1))
    sweep(product)
    runner.finish(SUBMIT, granted, answer)
    product.work()


def fail_to_sign_in(product: Product, probe: Veteran) -> None:
    client = product.app.test_client()
    session = {"uuid": probe.uuid, "dob": probe.dob, "lastName": f"{probe.last_name}X"}
    client.post("/check_in/v2/sessions/", json={"session": session})
    client.post("/check_in/v2/sessions/", json={"session": {**session, "dob": f"{probe.dob}?"}})
    client.post("/check_in/v2/sessions/", data=f'{{"session": {probe.last_name} {probe.icn}', content_type="text/json")
    client.get(f"/check_in/v2/sessions/{probe.last_name}?dob={probe.dob}&phone={probe.phone}")
    callback = {"reference": probe.icn, "to": probe.phone, "status": probe.last_name, "id": probe.phone}
    client.post("/va_notify/callbacks", json=callback)
    token = product.app.extensions["config"].vanotify_callback_tokens[0]
    client.post("/va_notify/callbacks", json=callback, headers={"Authorization": f"Bearer {token}"})


def fail_while_quoting_the_person(product: Product, probe: Veteran, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of our own with the person in its text, then one of BTSSS."""
    quoting = f"ClaimantID {probe.icn}, phone {probe.phone}, claim TC202603999988887"

    def fail(*_: Any) -> Any:
        raise RuntimeError(quoting)

    with monkeypatch.context() as patch:
        patch.setattr(type(product.app.extensions["upstreams"].btsss), "submit_claim", fail)
        file_claim(product, probe, "2031-03-05")
        product.work(
            until=lambda: product.value("SELECT count(*) FROM outbox_attempts WHERE error_class = 'RuntimeError'")
        )
    before = product.app.extensions["config"].btsss_base_url
    with serving(
        whole(400, {"currentDate": "[3/5/2026 2:00:00 PM]", "message": f"Appointment not found. {quoting}"})
    ) as server:
        reconfigure(product, btsss_base_url=server.url)
        product.work()
        reconfigure(product, btsss_base_url=before)


def test_a_persons_data_is_stored_only_encrypted(
    product: Product, secrets_folder: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    added = product.control.call("POST", "lorota", "veterans", json=PROBE)
    probe = product.fakes.fakes.cast.by_uuid(added["uuid"])
    assert probe is not None
    live_through_everything(product, probe, monkeypatch)
    leave_a_pointer(product, probe)
    operator = product.app.test_client()
    assert log_in(operator, kept_secrets(secrets_folder).operator_password, OPERATOR).status_code == 303
    stores = searched(product, operator, capsys)
    numbers = [claim["number"] for claim in product.filed()] + ["TC202603999988887"]
    assert len(numbers) >= 5
    assert found_in(stores, [*SPELLED, *numbers]) == []
    assert_the_search_would_find_something(product, stores)


def leave_a_pointer(product: Product, probe: Veteran) -> None:
    """A pointer that waits in Redis: those that were followed are gone."""
    file_claim(product, probe, "2031-03-07")
    product.relay.run_once()


def searched(product: Product, operator: FlaskClient, capsys: pytest.CaptureFixture[str]) -> dict[str, list[str]]:
    return {
        "the log": [capsys.readouterr().out],
        "Redis": list(redis_texts(product.redis)),
        "Postgres": list(postgres_texts(product)),
        "the consoles": list(console_texts(operator, product)),
    }


def assert_the_search_would_find_something(product: Product, stores: dict[str, list[str]]) -> None:
    """What may be there is there: the stores were not simply empty, and RQ's packed values were read."""
    states = {row[0] for row in product.rows("SELECT state FROM travel_claims")}
    assert states == {"pending", "submitted", "duplicate", "failed"}
    claim = str(product.value("SELECT id FROM travel_claims LIMIT 1"))
    assert any(claim in text for text in stores["Postgres"])
    assert "job failed" in stores["the log"][0] and "answered late" in stores["the log"][0]
    assert any('"jobs.travel_claims.file_check_in_claim"' in text for text in stores["Redis"])
    assert any("[icn]" in text for text in stores["the consoles"])
    assert any("surefile_messages" in text for text in stores["the consoles"])


def live_through_itfs(product: Product, probe: Veteran, monkeypatch: pytest.MonkeyPatch) -> Signed:
    """Strange requests, refusals and faults that quote the person, a synchronous answer, and a lost ITF."""
    person = sign_in(product, probe)
    for headers in ({"Authorization": f"Bearer {probe.last_name}.{probe.icn}.x"}, {"Source-App-Name": probe.icn}):
        person.get(f"/{probe.icn}", **headers)
    person.post(probe.last_name, **{"Idempotency-Key": f"{probe.icn} {probe.ssn}"})
    person.ask()
    quoting = f"{probe.icn}, SSN {probe.ssn} (987-00-6543), {probe.email}"
    fail_itfs_while_quoting(product, quoting, monkeypatch)
    be_refused_while_quoting(product, person, quoting)
    person.post("survivor")
    product.work()
    for filed in on_file(product, probe):
        product.control.call("DELETE", "lighthouse", f"itfs/{filed['id']}")
    let_a_cycle_pass(product)
    pass_time(product, hours=2)
    work_what_is_due(product)
    return person


def fail_itfs_while_quoting(product: Product, quoting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError(quoting)

    with monkeypatch.context() as patch:
        patch.setattr(type(product.app.extensions["upstreams"].accounts), "find", fail)
        product.work(
            until=lambda: product.value("SELECT count(*) FROM outbox_attempts WHERE error_class = 'RuntimeError'")
        )


def be_refused_while_quoting(product: Product, person: Signed, quoting: str) -> None:
    before = product.app.extensions["config"].lighthouse_base_url
    with serving(whole(422, {"errors": [{"title": "Unprocessable Entity", "detail": quoting}]})) as server:
        reconfigure(product, lighthouse_base_url=server.url)
        product.work(until=lambda: product.value("SELECT count(*) FROM outbox_attempts WHERE http_status = 422"))
        assert not any(text in person.post("pension").text for text in SPELLED)
        reconfigure(product, lighthouse_base_url=before)


def test_the_person_of_an_itf_is_stored_only_encrypted(
    product: Product, secrets_folder: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    added = product.control.call("POST", "lorota", "veterans", json=PROBE)
    probe = product.fakes.fakes.cast.by_uuid(added["uuid"])
    assert probe is not None
    person = live_through_itfs(product, probe, monkeypatch)
    operator = product.app.test_client()
    assert log_in(operator, kept_secrets(secrets_folder).operator_password, OPERATOR).status_code == 303
    stores = searched(product, operator, capsys)
    sent = [entry["headers"].get("authorization", "") for entry in product.control.received("lighthouse")]
    tokens = {header.removeprefix("Bearer ") for header in (*sent, person.headers["Authorization"]) if header}
    assert len(tokens) >= 2
    assert found_in(stores, [*SPELLED, *tokens]) == []
    itf = str(row_of(product, probe)["id"])
    assert row_of(product, probe)["state"] == "broken"
    assert all(any(itf in text for text in stores[store]) for store in ("the log", "Postgres", "the consoles"))
    assert any("[icn]" in text for text in stores["the consoles"]) and "job failed" in stores["the log"][0]
