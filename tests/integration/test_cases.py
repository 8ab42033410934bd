"""Cases: each has an owner and an alert, is worked on from the shell, and opens whenever work is late."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from flaskapp.cases.kinds import KINDS
from flaskapp.cases.service import open_case
from flaskapp.db import transaction
from sandbox.settings import OPERATOR
from tests.contract.receiver import listening
from tests.integration.steps import RequestedClaim, command, file_claim, reconfigure, sweep, texts
from tests.product import Product


def refused(product: Product) -> RequestedClaim:
    product.control.play("btsss", "refused")
    claim = file_claim(product)
    product.work()
    return claim


def case_id(product: Product) -> str:
    return str(product.value("SELECT id FROM cases"))


# -- opening ------------------------------------------------------------------


def test_a_case_has_an_owner_holds_only_ids_and_logs_an_error_event(
    product: Product, caplog: pytest.LogCaptureFixture
) -> None:
    claim = refused(product)
    (case,) = product.rows("SELECT * FROM cases")
    assert (case.kind, case.owner, case.subject_id) == ("refused", OPERATOR, claim.id)
    assert set(case.details) == {"message", "attempt"}
    (event,) = [record for record in caplog.records if getattr(record, "event", "") == "case.opened"]
    assert (event.levelname, vars(event)["kind"], vars(event)["owner"]) == ("ERROR", "refused", OPERATOR)


def test_a_second_case_of_the_same_kind_is_not_opened_while_one_is_open(product: Product) -> None:
    with transaction() as session:
        first = open_case(session, "refused", "travel_claim", "1")
        assert first is not None
        assert open_case(session, "refused", "travel_claim", "1") is None
        assert open_case(session, "exhausted", "travel_claim", "1") is not None
    assert command(product, "cases", "close", str(first), "--resolution", "done").exit_code == 0
    with transaction() as session:
        assert open_case(session, "refused", "travel_claim", "1") is not None


def test_the_webhook_is_called_again_until_it_accepts_the_alert(product: Product) -> None:
    with listening() as receiver:
        receiver.answers = [503, 429]
        reconfigure(product, alert_webhook_url=receiver.url)
        refused(product)
        assert len(receiver.came) == 3
        bodies = [body for _, body in receiver.came]
    assert bodies[0] == bodies[2]
    assert bodies[0] == {
        "case": case_id(product),
        "kind": "refused",
        "owner": OPERATOR,
        "summary": KINDS["refused"].summary,
        "to_do": KINDS["refused"].to_do,
        "opened_at": product.value("SELECT opened_at FROM cases").isoformat(),
    }
    assert [message["state"] for message in product.messages()] == ["parked"]


def test_a_webhook_that_refuses_is_sent_the_alert_again_until_it_takes_it(product: Product) -> None:
    with listening() as receiver:
        receiver.answers = [400, 404, 403]
        reconfigure(product, alert_webhook_url=receiver.url)
        refused(product)
        product.work(until=lambda: len(receiver.came) == 4)
        product.work()
    assert product.cases() == ["refused"]
    assert [message["queue"] for message in product.messages()] == ["travel_claims"]


def test_an_unreachable_webhook_delays_nothing_else(product: Product) -> None:
    reconfigure(product, alert_webhook_url="http://127.0.0.1:1/alerts")
    product.control.play("btsss", "refused")
    file_claim(product)
    product.work(until=product.control.phone)
    assert texts(product) == ["cie.error"]
    assert [m["queue"] for m in product.messages() if m["state"] != "parked"] == ["alerts"]


def test_late_work_gets_a_case_while_it_is_still_tried(product: Product) -> None:
    product.control.set("veis", "refuse")
    claim = file_claim(product)
    product.work(until=lambda: product.value("SELECT count(*) FROM outbox_attempts"))
    product.move_clock(timedelta(hours=24))
    sweep(product)
    assert product.cases() == []
    product.move_clock(timedelta(hours=25, minutes=1))
    for _ in range(2):
        sweep(product)
    assert (product.cases(), claim.state["state"]) == (["overdue"], "pending")
    product.control.clear("veis")
    product.work()
    assert (product.cases(), claim.state["state"]) == ([], "submitted")


def test_a_closed_case_of_late_work_opens_again_when_it_is_late_for_twice_as_long(product: Product) -> None:
    """Late since hour 25. Whoever closes it is left alone for a day, and after that for as long as it was late then."""
    file_claim(product)

    def at_hour(hour: float) -> list[str]:
        product.move_clock(timedelta(hours=hour))
        sweep(product)
        return product.cases()

    assert at_hour(26) == ["overdue"]
    close_all(product)
    assert (at_hour(26.1), at_hour(49.9), at_hour(50.1)) == ([], [], ["overdue"])
    close_all(product)
    assert (at_hour(75), at_hour(75.3)) == ([], ["overdue"])
    assert at_hour(76) == ["overdue"]
    assert product.value("SELECT count(*) FROM cases") == 3
    assert at_hour(119) == ["overdue"], "the claim's five days are not over"


def test_work_that_was_requeued_is_overdue_anew_when_its_new_deadline_has_passed(product: Product) -> None:
    claim = file_claim(product)
    product.move_clock(timedelta(hours=26))
    sweep(product)
    message = str(claim.message["id"])
    assert command(product, "outbox", "park", message, "--reason", "waiting for the clinic").exit_code == 0
    assert command(product, "outbox", "requeue", message).exit_code == 0
    close_all(product)
    product.move_clock(timedelta(hours=50))
    sweep(product)
    assert product.cases() == []
    product.move_clock(timedelta(hours=51.1))
    sweep(product)
    assert product.cases() == ["overdue"]


def close_all(product: Product) -> None:
    product.rows(
        "UPDATE cases SET closed_at = outbox_now(), closed_by = 'somebody' WHERE closed_at IS NULL RETURNING 1"
    )


# -- from the shell -----------------------------------------------------------


def test_a_case_is_listed_shown_noted_assigned_and_closed(product: Product) -> None:
    claim = refused(product)
    identifier = case_id(product)
    listed = json.loads(command(product, "cases", "list", "--json").output)
    assert [(row["id"], row["kind"], row["owner"]) for row in listed] == [(identifier, "refused", OPERATOR)]
    assert command(product, "cases", "note", identifier, "called the clinic").exit_code == 0
    assert command(product, "cases", "assign", identifier, "bea").exit_code == 0
    assert "nothing" in command(product, "cases", "list", "--owner", OPERATOR).output
    shown = command(product, "cases", "show", identifier).output
    to_do = KINDS["refused"].to_do.replace("MESSAGE", str(claim.message["id"]))
    for words in (claim.id, "owner bea", KINDS["refused"].summary, to_do, "called the clinic"):
        assert words in shown
    assert command(product, "cases", "close", identifier, "--resolution", "filed on paper").exit_code == 0
    assert product.cases() == []
    assert "nothing" in command(product, "cases", "list").output
    assert identifier in command(product, "cases", "list", "--all").output
    assert "Resolution: filed on paper" in command(product, "cases", "show", identifier).output
    whats = [row[0] for row in product.rows("SELECT what FROM outbox_history WHERE what LIKE 'case.%' ORDER BY id")]
    assert whats == ["case.opened", "case.noted", "case.assigned", "case.closed"]
    actors = product.rows("SELECT DISTINCT actor FROM outbox_history WHERE what = 'case.closed'")
    assert actors[0].actor.startswith("shell:")


def test_a_closed_or_unknown_case_cannot_be_changed(product: Product) -> None:
    refused(product)
    identifier = case_id(product)
    assert command(product, "cases", "close", identifier, "--resolution", "done").exit_code == 0
    unknown = "0c4f6d1e-0000-4000-8000-0000000000aa"
    for arguments in (
        ["close", identifier, "--resolution", "again"],
        ["note", identifier, "late"],
        ["assign", unknown, "bea"],
        ["show", unknown],
    ):
        result = command(product, "cases", *arguments)
        assert (result.exit_code, "there is no " in result.output) == (1, True)
    assert command(product, "cases", "close", identifier).exit_code == 2
    assert product.value("SELECT resolution FROM cases") == "done"
