"""`flask show ID` and short ids: one way to find anything, and its whole story in text and as JSON."""

from __future__ import annotations

import json
from datetime import UTC

import pytest

from flaskapp.db import db
from flaskapp.ops.find import FEWEST
from sandbox.upstreams.cast import DEFAULT_CAST
from tests.integration.steps import command, file_claim, filed_and_notified, refused, sends
from tests.product import ADA, Product

OUTAGE = """
    INSERT INTO outbox_breaker_trips (upstream, opened_at, closed_at, reason)
    SELECT 'btsss', requested_at - interval '30 seconds', requested_at + interval '60 seconds', 'unavailable'
      FROM travel_claims RETURNING 1
"""


def shown(product: Product, wanted: object) -> str:
    result = command(product, "show", str(wanted))
    assert result.exit_code == 0, result.output
    return result.stdout


def case_of(product: Product) -> str:
    return str(product.value("SELECT id::text FROM cases"))


def heading(product: Product, wanted: object) -> str:
    """The first line about the claim: whatever was asked for, it is the same story."""
    (line,) = [line for line in shown(product, wanted).splitlines() if line.startswith("travel claim ")]
    return line


def test_the_story_of_a_claim_says_what_was_received_tried_and_told(product: Product) -> None:
    claim = filed_and_notified(product)
    product.rows(OUTAGE)
    text = shown(product, claim.id)
    happened = [line.split("  ", 2)[-1] for line in text.partition("Timeline")[2].splitlines()]
    told = str(product.value("SELECT id::text FROM notifications"))[:8]
    expected = (
        "btsss could not be called: unavailable, 90.0 s",
        "received (request ",
        "sent at btsss (file_check_in_claim): success",
        "pending → submitted",
        f"[notification created {told}] sent at va_notify (send_notification): success",
        f"[notification created {told}] pending → sent",
    )
    for words in expected:
        assert any(line.startswith(words) for line in happened), text
    positions = [next(at for at, line in enumerate(happened) if line.startswith(words)) for words in expected]
    assert positions == sorted(positions), text
    assert "nothing: it is over" in text
    assert ADA.icn not in text and ADA.last_name not in text


def test_what_happens_next_is_said_with_its_time(product: Product) -> None:
    claim = file_claim(product)
    assert "file check in claim: waits for its turn" in shown(product, claim.id)
    hold = command(product, "breakers", "hold", "btsss", "--for", "2h", "--reason", "their release")
    assert hold.exit_code == 0
    until = product.value("SELECT ends_at FROM outbox_breaker_holds").astimezone(UTC)
    waits = f"waits until btsss may be called again, it is held, {until:%Y-%m-%d %H:%M:%S} UTC"
    assert waits in shown(product, claim.id)


def test_a_parked_claim_names_its_case_and_the_command_that_requeues_it(product: Product) -> None:
    claim = refused(product)
    text = shown(product, claim.id)
    assert f"flask outbox requeue {claim.message['id']}" in text
    assert f"{case_of(product)}  case refused, open" in text
    story = json.loads(command(product, "show", claim.id, "--json").stdout)
    assert (story["state"], story["coming"][0]["parked"]) == ("failed", True)
    assert story["found"]["by"] == "its id" and story["events"][0]["words"].startswith("received")


def test_every_id_of_a_claim_leads_to_its_story(product: Product) -> None:
    claim = refused(product)
    message, told = claim.message, product.value("SELECT id::text FROM notifications")
    job = f"{message['id']}-{message['fence']}"
    for wanted in (claim.id, claim.id[:FEWEST], claim.id.upper(), message["id"], job, case_of(product)[:8]):
        assert heading(product, wanted) == f"travel claim {claim.id}: failed", wanted
    for wanted in (told, product.value("SELECT va_notify_id FROM notifications")):
        assert shown(product, wanted).startswith(f"notification {told}: ")
    assert f"{claim.id}  travel claim, failed (what it tells of)" in shown(product, told)


def test_a_claim_is_found_by_the_last_four_of_its_number_and_by_its_finished_message(product: Product) -> None:
    claim = file_claim(product)
    number = claim.message["id"]
    product.work()
    (text,) = sends(product)
    last_four = text["personalisation"]["claim_number"]
    assert len(last_four) == 4
    assert '"by": "the last four of its claim number"' in command(product, "show", last_four, "--json").stdout
    for wanted in (last_four, number):
        assert heading(product, wanted) == f"travel claim {claim.id}: submitted"


def test_the_id_of_a_request_leads_to_what_it_asked_for(product: Product) -> None:
    asked = product.ask(product.sign_in(), **{"X-Request-Id": "front-end.7"})
    assert (asked.status_code, asked.headers["X-Request-Id"]) == (202, "front-end.7")
    claim_id = asked.get_json()["data"]["id"]
    assert heading(product, "front-end.7") == f"travel claim {claim_id}: pending"
    assert "received (request front-end.7) · person" in shown(product, claim_id)
    other = product.ask(product.sign_in(ADA, "2031-03-05"), date="2031-03-05", **{"X-Request-Id": ADA.icn})
    assert other.status_code == 202
    assert ADA.icn not in str(product.rows("SELECT detail FROM outbox_history")), "callers choose their ids"


def test_a_story_outlives_its_row(product: Product) -> None:
    claim = filed_and_notified(product)
    number = product.value("SELECT message_id FROM outbox_attempts ORDER BY id LIMIT 1")
    product.rows("DELETE FROM travel_claims RETURNING 1")
    assert heading(product, number) == f"travel claim {claim.id}: its row is gone"
    assert "only these records are left" in shown(product, number)


def test_the_other_claims_of_the_same_person_are_named_and_nobody_elses(product: Product) -> None:
    claims = [file_claim(product, date=date) for date in ("2031-03-04", "2031-03-05")]
    stranger = file_claim(product, DEFAULT_CAST[1])
    text = shown(product, claims[0].id)
    assert f"{claims[1].id}  travel claim, pending (of the same person)" in text
    assert stranger.id not in text


def test_an_id_that_may_be_several_things_names_them_all(product: Product) -> None:
    claim = refused(product)
    twin = claim.id[:8] + "-0000-4000-8000-000000000001"
    product.rows("UPDATE cases SET id = CAST(:id AS uuid) RETURNING 1", id=twin)
    result = command(product, "show", claim.id[:8])
    assert result.exit_code == 1
    assert claim.id in result.stderr and twin in result.stderr
    assert command(product, "cases", "show", claim.id[:8]).exit_code == 0, "of cases, there is one"


def test_what_is_no_id_of_anything_is_refused_in_a_sentence(product: Product) -> None:
    refused(product)
    for wanted in ("", " ", "nobody", "12345", "99999999999999999999", "a" * 40, "1-2-3", "é", "%", "\0", "²"):
        result = command(product, "show", "--", wanted)
        assert result.exit_code == 1, wanted
        assert result.stderr == f"Error: there is no thing with the id {wanted}\n"


def test_commands_take_as_much_of_an_id_as_the_console_shows(product: Product) -> None:
    claim = refused(product)
    short = case_of(product)[:8]
    assert "refused · travel_claim" in command(product, "cases", "show", short).stdout
    assert command(product, "cases", "note", short, "called them").exit_code == 0
    assert json.loads(command(product, "cases", "show", short, "--json").stdout)["notes"][0]["note"] == "called them"
    job = f"{claim.message['id']}-{claim.message['fence']}"
    assert "state: parked" in command(product, "outbox", "show", job).stdout
    assert command(product, "outbox", "requeue", job).exit_code == 0


def test_a_limit_that_is_none_is_refused_in_words(product: Product) -> None:
    lists = ("outbox list", "documents unfinished", "itf at-risk", "travel-pay unfinished", "travel-pay discrepancies")
    for number in ("-1", "0", "x", "99999999999"):
        for words in lists:
            result = command(product, *words.split(), "--limit", number)
            assert result.exit_code == 2
            assert f"expected a whole number from 1 to 1000000, not {number}" in result.stderr


def test_what_goes_wrong_is_one_sentence_and_no_line_of_a_log(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = file_claim(product)
    with monkeypatch.context() as patched:
        patched.setattr("flaskapp.ops.commands.show.tell", lambda *_: 1 / 0)
        failed = command(product, "show", claim.id)
    assert (failed.exit_code, failed.stdout) == (1, "")
    assert failed.stderr == (
        "Error: this is a fault of Surefile: ZeroDivisionError: division by zero. LOG_LEVEL=DEBUG shows where\n"
    )
    product.rows("ALTER TABLE cases RENAME TO cases_elsewhere; SELECT 1")
    failed = command(product, "cases", "list")
    assert (failed.exit_code, failed.stdout, failed.stderr.count("\n")) == (1, "", 1)
    monkeypatch.setattr("flaskapp.ops.commands.show.find_one", lambda *_: refuse())
    failed = command(product, "show", claim.id)
    assert (failed.exit_code, failed.stdout) == (1, "")
    assert failed.stderr.startswith("Error: Postgres is away: ") and failed.stderr.count("\n") == 1


def refuse() -> None:
    raise db.engine.dialect.loaded_dbapi.OperationalError("connection refused")
