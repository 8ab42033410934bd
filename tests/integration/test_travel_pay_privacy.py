"""Privacy of travel pay: who files, where they go and what BTSSS calls it is searched for wherever it must not be."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.settings import OPERATOR, kept_secrets
from sandbox.upstreams.cast import FACILITIES, Veteran
from tests.edge_app import log_in
from tests.integration import travel_pay_steps as steps
from tests.integration.steps import command, reconfigure, sweep
from tests.integration.test_privacy import PROBE, REGISTRIES, SPELLED, searched
from tests.integration.travel_pay_filing import come_to, file, plant, tried
from tests.integration.travel_pay_reading import APPOINTMENTS_URL, mend
from tests.integration.travel_pay_steps import CLAIMS_URL, SUBMIT, traveling
from tests.product import Product
from tests.scanner import found_in
from tests.unit.loopback import serving, whole

STATION, FACILITY, APPOINTMENT = "7QZX9", "Quaggamire Fen VA Clinic", "Brontide clinic follow-up"
FORM = {"facilityStationNumber": STATION, "facilityName": FACILITY, "appointmentName": APPOINTMENT}
NUMBER = "TC20310398765"
WRITTEN = [STATION, "Quaggamire", "Brontide", NUMBER]
FIRST, SECOND, THIRD, FOURTH = (f"2031-03-0{day}T09:30:00" for day in (1, 2, 3, 4))


def file_everything(product: Product, probe: Veteran, monkeypatch: pytest.MonkeyPatch) -> None:
    """Claims in every outcome, answers cached in Redis, and faults and refusals that quote the person."""
    person = traveling(product, probe)
    quoting = f"{probe.icn} <{probe.email}> has {NUMBER}, 303-555-0123"
    person.post(headers={"Idempotency-Key": f"{probe.icn} {STATION}"}, **{**FORM, "facilityStationNumber": FACILITY})
    person.signed.get(f"/{STATION}?facilityName={FACILITY}")
    fail_while_quoting(product, probe, quoting, monkeypatch)
    plant(product, probe, SECOND, station=STATION, claimNumber=NUMBER)
    product.control.set("travel_pay", "drop", operation=SUBMIT, times=1)
    for starts_at in (SECOND, THIRD):
        file(product, probe, starts_at, **FORM)
    product.work()
    be_refused_while_quoting(product, probe, quoting)
    assert person.read(CLAIMS_URL)["data"] and person.read(f"{CLAIMS_URL}/{steps.rows(product)[1]['id']}")
    person.read("/vaos/v2/appointments", _include="travel_pay_claims")
    person.get("/travel_pay/v0/contact_discrepancies")


def fail_while_quoting(product: Product, probe: Veteran, quoting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of our own, with the person in its text."""

    def fail(*_: Any) -> Any:
        raise RuntimeError(quoting)

    with monkeypatch.context() as patch:
        patch.setattr(type(product.app.extensions["upstreams"].travel_pay_filing), "find_or_add_appointment", fail)
        file(product, probe, FIRST, **FORM)
        product.work(
            until=lambda: product.value("SELECT count(*) FROM outbox_attempts WHERE error_class = 'RuntimeError'")
        )


def be_refused_while_quoting(product: Product, probe: Veteran, quoting: str) -> None:
    """Refused once by Travel Pay, for an appointment that is found, and once by STS, for a person who needs a token."""
    config = product.app.extensions["config"]
    come_to(product, "claim", file(product, probe, FOURTH, **FORM))
    refusal = {"success": False, "statusCode": 400, "message": f"Invalid appointment id: {quoting}", "data": None}
    with serving(whole(400, refusal)) as server:
        reconfigure(product, travel_pay_base_url=server.url)
        product.work()
    reconfigure(product, travel_pay_base_url=config.travel_pay_base_url)
    product.redis.flushall()
    with serving(whole(400, {"errors": quoting})) as server:
        reconfigure(product, sts_base_url=server.url)
        waiting = file(product, probe, "2031-03-05T09:30:00", **FORM)
        product.work(until=tried(waiting, 1))
        mend(product)
        answer = traveling(product, probe).get(APPOINTMENTS_URL)
        assert answer.status_code >= 400 and found_in({"the answer": [answer.text]}, [*SPELLED, *WRITTEN]) == []
    reconfigure(product, sts_base_url=config.sts_base_url)
    mend(product)
    product.work()


def sent_tokens(product: Product) -> list[str]:
    """Every token and assertion that an upstream saw."""
    received = [*product.control.received("travel_pay"), *product.control.received("sts")]
    found = {entry["headers"].get("btsss-access-token", "") for entry in received}
    found |= {entry["headers"].get("authorization", "").removeprefix("Bearer ") for entry in received}
    found |= {entry["query"].get("assertion", "") for entry in received}
    return [token for token in found if token]


def test_who_files_and_where_they_go_is_stored_only_encrypted(
    product: Product, secrets_folder: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FACILITIES, STATION, FACILITY)
    reconfigure(product, travel_pay_cache_seconds=60.0)
    added = product.control.call("POST", "lorota", "veterans", json=PROBE)
    probe = product.fakes.fakes.cast.by_uuid(added["uuid"])
    assert probe is not None
    file_everything(product, probe, monkeypatch)
    sweep(product)
    operator = product.app.test_client()
    assert log_in(operator, kept_secrets(secrets_folder).operator_password, OPERATOR).status_code == 303
    stores = searched(product, operator, capsys)
    stores["the consoles"] += [
        *(operator.get(f"/rq/0/data/jobs/travel_pay/{registry}/8/asc/1.json").text for registry in REGISTRIES),
        *(command(product, "travel-pay", name, "--json").output for name in ("unfinished", "discrepancies")),
    ]
    numbers = [claim["claimNumber"] for claim in steps.on_file(product, probe)]
    tokens = sent_tokens(product)
    assert len(numbers) >= 3 and len(tokens) >= 4
    assert found_in(stores, [*SPELLED, *WRITTEN, *numbers, *tokens]) == []
    assert_the_search_would_find_something(product, stores)


def assert_the_search_would_find_something(product: Product, stores: dict[str, list[str]]) -> None:
    """What may be there is there: the stores were not simply empty."""
    rows = steps.rows(product)
    assert {row["state"] for row in rows} == {"submitted", "duplicate", "failed"}
    failed = [str(row["id"]) for row in rows if row["state"] == "failed"]
    for store in ("the log", "Postgres", "the consoles"):
        assert all(any(each in text for text in stores[store]) for each in failed), store
    assert any("surefile:travel_pay:" in text for text in stores["Redis"])
    assert any("[icn]" in text and "[claim number]" in text for text in stores["the consoles"])
    assert "job failed" in stores["the log"][0]
