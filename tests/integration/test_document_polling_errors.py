"""Questions that get no answer: nobody is stamped for them, nothing is parked, and they are asked again."""

from __future__ import annotations

from typing import Any

from flaskapp.form526.states import PENDING
from jobs.documents import UPLOAD
from sandbox.upstreams.cast import DEFAULT_CAST
from tests.house import House
from tests.integration.form526_steps import filer, statuses, uploaded
from tests.integration.polling_steps import (
    STATUS,
    accepted,
    asked,
    change,
    deal,
    facts,
    owed_questions,
    plant,
    stamps,
)
from tests.integration.steps import command, publish, reconfigure, sweep

BEN = DEFAULT_CAST[1]

# The families of the contract and what networks do: none of them says anything of a document.
NO_ANSWER: tuple[tuple[str, dict[str, Any], str | None], ...] = (
    ("status", {"status": 500}, "api"),
    ("status", {"status": 504}, "kong"),
    ("status", {"status": 404}, "kong"),
    ("throttle", {}, None),
    ("html", {"status": 502}, None),
    ("drop", {}, None),
    ("late", {"seconds": 2.0}, None),
)
# Refusals of a question as a whole. The next cycle's is another one, of others.
REFUSALS = ((400, "api"), (413, "kong"))


def on_their_way(house: House) -> None:
    """Two documents that Lighthouse will be busy with for long."""
    accepted(house)
    plant(house)
    change(house, plan="stuck")


def waiting_uploads(house: House) -> list[str]:
    return [message["state"] for message in house.messages() if message["job"] == UPLOAD.path]


def ask_once(house: House) -> None:
    """Relay and run until one more question has reached Lighthouse."""
    before = asked(house)
    house.work(until=lambda: asked(house) > before)


def test_a_question_without_an_answer_stamps_nobody_and_is_asked_again(house: House) -> None:
    reconfigure(house, document_status_seconds=0.7)
    on_their_way(house)
    for kind, fields, family in NO_ANSWER:
        before = stamps(house)
        house.control.turn("documents", error_family=family)
        house.control.set("documents", kind, operation=STATUS, times=1, **fields)
        deal(house)
        ask_once(house)
        assert (kind, stamps(house)) == (kind, before)
        assert [message["state"] for message in owed_questions(house)] in (["later"], ["ready"])
        house.work()
        assert None not in stamps(house) and set(stamps(house)).isdisjoint(before)
    assert (statuses(house), house.cases()) == ([PENDING] * 2, [])


def test_a_refused_question_is_dropped_and_a_dead_token_is_renewed(house: House) -> None:
    on_their_way(house)
    for status, family in REFUSALS:
        before = stamps(house)
        house.control.turn("documents", error_family=family)
        house.control.set("documents", "status", status=status, operation=STATUS, times=1)
        deal(house)
        house.work()
        assert (stamps(house), house.messages(), house.cases()) == (before, [], [])
        deal(house)
        house.work()
        assert None not in stamps(house) and set(stamps(house)).isdisjoint(before)
    house.control.turn("documents", error_family=None)
    house.control.set("documents", "expire", operation=STATUS, times=1)
    before, questions = stamps(house), asked(house)
    deal(house)
    house.work()
    assert set(stamps(house)).isdisjoint(before) and asked(house) == questions + 2


def test_through_a_long_outage_each_cycle_takes_over_from_the_last_and_nothing_is_parked(house: House) -> None:
    on_their_way(house)
    house.control.set("documents", "status", status=503, operation=STATUS)
    for cycles in (1, 2, 3):
        deal(house)
        ask_once(house)
        assert len(owed_questions(house)) == cycles
        assert len({row.poll_batch for row in facts(house).values()}) == 1
    house.control.clear("documents")
    answered = asked(house)
    house.work()
    # The two older questions have nothing left to ask after.
    assert asked(house) == answered + 1
    assert None not in stamps(house)
    house.control.set("documents", "status", status=503, operation=STATUS)
    deal(house)
    ask_once(house)
    deal(house, hours=25)
    sweep(house)
    assert [message["state"] for message in house.messages()].count("parked") == 0
    assert len(owed_questions(house)) == 1
    assert house.cases() == []
    assert command(house, "audit").exit_code == 0


def test_a_poll_that_finds_lighthouse_down_holds_uploads_back_too(house: House) -> None:
    reconfigure(house, gate_close_seconds=600.0, gate_cap_seconds=600.0)
    on_their_way(house)
    house.control.set("documents", "status", status=503, operation=STATUS, times=1)
    deal(house)
    ask_once(house)
    filer(house, BEN).file()
    house.work(until=lambda: waiting_uploads(house))
    for _ in range(3):
        publish(house)
        house.run_queued()
    assert (waiting_uploads(house), len(uploaded(house))) == (["ready"], 2)
    deal(house, hours=0.2)
    house.work()
    assert (waiting_uploads(house), len(uploaded(house))) == ([], 3)
    assert stamps(house).count(None) == 1
