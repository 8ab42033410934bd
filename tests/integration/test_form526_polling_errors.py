"""Status questions without an answer: no document is stamped, nothing is parked, and they are sent again."""

from __future__ import annotations

from typing import Any

from flaskapp.form526.states import PENDING
from jobs.documents import UPLOAD
from sandbox.upstreams.cast import DEFAULT_CAST
from tests.integration.form526_polling_steps import (
    STATUS,
    accepted,
    change,
    deal,
    facts,
    outstanding_questions,
    plant,
    stamps,
    status_requests,
)
from tests.integration.form526_steps import filer, statuses, uploaded
from tests.integration.steps import command, publish, reconfigure, sweep
from tests.product import Product

BEN = DEFAULT_CAST[1]

# The error families of the contract, and what networks do: none of them says anything about a document.
NO_ANSWER: tuple[tuple[str, dict[str, Any], str | None], ...] = (
    ("status", {"status": 500}, "api"),
    ("status", {"status": 400}, "api"),
    ("status", {"status": 504}, "kong"),
    ("status", {"status": 404}, "kong"),
    ("throttle", {}, None),
    ("html", {"status": 502}, None),
    ("drop", {}, None),
    ("late", {"seconds": 4.0}, None),
)


def on_their_way(product: Product) -> None:
    """Two documents that Lighthouse works on for a long time."""
    accepted(product)
    plant(product)
    change(product, plan="stuck")


def waiting_uploads(product: Product) -> list[str]:
    return [message["state"] for message in product.messages() if message["job"] == UPLOAD.work.path]


def send_one_question(product: Product) -> None:
    """Relay and run until one more question has reached Lighthouse."""
    before = status_requests(product)
    product.work(until=lambda: status_requests(product) > before)


def test_an_unanswered_question_stamps_no_document_and_is_sent_again(product: Product) -> None:
    patience = product.app.extensions["config"].document_status_seconds
    on_their_way(product)
    for kind, fields, family in NO_ANSWER:
        before = stamps(product)
        product.control.turn("documents", error_family=family)
        product.control.set("documents", kind, operation=STATUS, times=1, **fields)
        deal(product)
        # Only the late answer meets a short limit: a busy machine may need as long for any other.
        reconfigure(product, document_status_seconds=2.0 if kind == "late" else patience)
        send_one_question(product)
        reconfigure(product, document_status_seconds=patience)
        assert (kind, stamps(product)) == (kind, before)
        assert [message["state"] for message in outstanding_questions(product)] in (["later"], ["ready"])
        product.work()
        assert None not in stamps(product) and set(stamps(product)).isdisjoint(before)
    assert (statuses(product), product.cases()) == ([PENDING] * 2, [])


def test_a_refused_question_is_dropped_and_an_expired_token_is_renewed(product: Product) -> None:
    """A question that is too large. The next cycle's is another one, about others."""
    on_their_way(product)
    before = stamps(product)
    product.control.turn("documents", error_family="kong")
    product.control.set("documents", "status", status=413, operation=STATUS, times=1)
    deal(product)
    product.work()
    assert (stamps(product), product.messages(), product.cases()) == (before, [], [])
    deal(product)
    product.work()
    assert None not in stamps(product) and set(stamps(product)).isdisjoint(before)
    product.control.turn("documents", error_family=None)
    product.control.set("documents", "expire", operation=STATUS, times=1)
    before, questions = stamps(product), status_requests(product)
    deal(product)
    product.work()
    assert set(stamps(product)).isdisjoint(before) and status_requests(product) == questions + 2


def test_in_a_long_outage_each_cycle_replaces_the_last_and_nothing_is_parked(product: Product) -> None:
    on_their_way(product)
    product.control.set("documents", "throttle", operation=STATUS)
    for cycles in (1, 2, 3):
        deal(product)
        send_one_question(product)
        # From the second cycle on, by halves.
        assert len(outstanding_questions(product)) >= min(cycles, 2)
        assert len({row.poll_batch for row in facts(product).values()}) == min(cycles, 2)
    product.control.clear("documents")
    before = status_requests(product)
    product.work()
    # The older questions have no documents left.
    assert status_requests(product) == before + 2
    assert None not in stamps(product)
    product.control.set("documents", "throttle", operation=STATUS)
    deal(product)
    send_one_question(product)
    deal(product, hours=25)
    sweep(product)
    assert [message["state"] for message in product.messages()].count("parked") == 0
    assert len(outstanding_questions(product)) == 2
    assert product.cases() == []
    assert command(product, "audit").exit_code == 0


def test_a_failed_poll_delays_uploads_too(product: Product) -> None:
    reconfigure(product, breaker_open_seconds=600.0, breaker_cap_seconds=600.0)
    on_their_way(product)
    product.control.set("documents", "throttle", operation=STATUS, times=1)
    deal(product)
    send_one_question(product)
    filer(product, BEN).file()
    product.work(until=lambda: waiting_uploads(product))
    for _ in range(3):
        publish(product)
        product.run_queued()
    assert (waiting_uploads(product), len(uploaded(product))) == (["ready"], 2)
    deal(product, hours=0.2)
    product.work()
    assert (waiting_uploads(product), len(uploaded(product))) == ([], 3)
    assert stamps(product).count(None) == 1
