"""The front end's pages with every fault of the sandbox: what they show, and that every promise is kept.

`make faults` runs this file. It waits for limits and retries as people do, so it is no part of `make test`.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from sandbox.upstreams.switches import KINDS
from tests.e2e import pages
from tests.e2e.front_end import PATIENCE_SECONDS, FrontEnd
from tests.e2e.pages import READY, CheckInPage, Form526Page, ITFPage, TravelPayPage
from tests.product import eventually

# The limit on a test ends one that hangs. It is longer than all the waits for what must come to pass.
pytestmark = [pytest.mark.processes, pytest.mark.timeout(900)]

# What each page that waits for an upstream shows when it is well, and when it is not.
SHOWN = {
    "landing": (READY, "lorota-fail"),
    "demographics": (READY, "check-in-demographics-patch-error"),
    "check-in": (READY, "error-completing-check-in"),
    "pension": ("created", "failed"),
    "ITF list": ("list", "error"),
    "claims": ("list", "general error"),
    "appointment": (READY, "appointment error"),
    "contacts": ("details differ", "details could not be compared"),
}
WELL, BROKEN = dict.fromkeys(SHOWN, 0), dict.fromkeys(SHOWN, 1)
NO_ROUTE = {"headers": {"Content-Type": "application/json"}, "body": '{"message":"no Route matched with those values"}'}
# In no upstream's words a yes, a no or a list.
RECEIVED = {"headers": {"Content-Type": "application/json"}, "body": '"received"'}
# Each fault, and which of the two screens those pages show. A page that only files is shown its success page always.
FAULTS: dict[str, tuple[dict[str, Any], dict[str, int]]] = {
    "refuse": ({}, BROKEN),
    "down": ({}, BROKEN),
    "slow": ({"seconds": 0.3}, WELL),
    "late": ({"seconds": 0.3}, WELL),
    # Longer than any page waits.
    "hold": ({}, BROKEN),
    "status": ({"status": 503}, BROKEN),
    "throttle": ({"retry_after": "1"}, BROKEN),
    "drop": ({}, BROKEN),
    "half": ({}, BROKEN),
    "html": ({"status": 200}, BROKEN),
    "empty": ({"status": 502}, BROKEN),
    "answer": ({"status": 404, **NO_ROUTE}, BROKEN),
    "answer, another": ({"status": 200, **RECEIVED}, BROKEN),
    # Whatever an answer calls itself, its body is read.
    "content_type": ({}, WELL),
    "expire": ({"times": 1}, WELL),
    "drip": ({"seconds": 0.001}, WELL),
}
WAITED_FOR = ("lorota", "chip", "lighthouse", "travel_pay", "va_profile")
BEHIND = ("btsss", "va_notify", "lighthouse", "accounts", "form526", "documents", "sts", "veis", "travel_pay")
STRIKES = 2
# What VANotify can do with its callbacks: the sandbox's knobs.
CALLBACKS = ("contradict", "twice", "early")


def test_no_fault_is_forgotten() -> None:
    assert {name.partition(",")[0] for name in FAULTS} == set(KINDS)


def turned_on(site: FrontEnd, upstreams: tuple[str, ...], name: str, **more: Any) -> None:
    if name in CALLBACKS:
        site.control.turn("va_notify", **{name: True})
        return
    for upstream in upstreams:
        site.control.set(upstream, name.partition(",")[0], **{**FAULTS[name][0], **more})


def turned_off(site: FrontEnd) -> None:
    for upstream in {*WAITED_FOR, *BEHIND}:
        site.control.clear(upstream)
    site.control.turn("va_notify", **dict.fromkeys(CALLBACKS, False))


def all_at_once(acts: dict[str, Callable[[], str]]) -> dict[str, str]:
    with ThreadPoolExecutor(len(acts)) as hands:
        shown = {name: hands.submit(act) for name, act in acts.items()}
        return {name: each.result() for name, each in shown.items()}


@pytest.mark.parametrize("name", FAULTS)
def test_pages_that_wait_show_the_truth_under(site: FrontEnd, name: str) -> None:
    """And, once the fault is over, what they are for."""
    people = [site.check_in(site.newcomer()) for _ in range(3)]
    landing, demographics, check_in = people
    assert [(page.open(), page.load()) for page in (demographics, check_in)] == [(READY, READY)] * 2
    assert check_in.confirm() == READY
    signed_in = [site.signed_in(site.newcomer(travel_pay=habit)) for habit in ("none",) * 4 + ("contacts_differ",)]
    for browser in signed_in:
        # A breaker may be open since the fault before.
        eventually(lambda browser=browser: TravelPayPage(browser).claims()[0] == "list", PATIENCE_SECONDS)
    appointments = TravelPayPage(signed_in[3])
    [appointment_id] = appointments.list_appointments()
    waiting: dict[str, Callable[[], str]] = {
        "landing": landing.open,
        "demographics": demographics.confirm,
        "check-in": check_in.check_in,
        "pension": ITFPage(signed_in[0], "R3", "pension").load,
        "ITF list": lambda: pages.itf_list(signed_in[1])[0],
        "claims": lambda: TravelPayPage(signed_in[2]).claims()[0],
        "appointment": lambda: appointments.open_appointment(appointment_id),
        "contacts": TravelPayPage(signed_in[4]).contact_details,
    }
    turned_on(site, WAITED_FOR, name)
    try:
        shown = all_at_once(waiting)
    finally:
        turned_off(site)
    assert shown == {page: SHOWN[page][which] for page, which in FAULTS[name][1].items()}
    for page, act in waiting.items():
        eventually(lambda act=act, page=page: act() in (SHOWN[page][0], "found"), PATIENCE_SECONDS)


@dataclass
class Filing:
    """One person for each way to file, ready to do it. `kiosk` is known to BTSSS already; `again` is the first person
    of `people` with another device."""

    people: list[CheckInPage]
    kiosk: CheckInPage
    again: CheckInPage
    itf: ITFPage
    form: Form526Page
    travel: TravelPayPage

    def file(self) -> dict[str, str]:
        """All at once; the screens."""
        acts: dict[str, Callable[[], str]] = {str(number): page.claim for number, page in enumerate(self.people)}
        acts |= {"kiosk": self.kiosk.claim, "again": self.again.claim, "ITF": self.itf.load}
        acts |= {"526": self._attach_and_submit, "travel pay": self.travel.file}
        return all_at_once(acts)

    def _attach_and_submit(self) -> str:
        return f"{self.form.attach('letter.txt', b'What I have.')}, {self.form.submit(veteran={})}"


FILED = {
    **dict.fromkeys(("0", "1", "kiosk", "again"), pages.PROCESSING),
    **{"ITF": "itf-created", "526": "uploaded, submitted", "travel pay": "confirmation"},
}


@pytest.mark.parametrize("name", [*FAULTS, *CALLBACKS])
def test_pages_that_file_are_promised_and_kept_it_under(site: FrontEnd, name: str) -> None:
    people = [site.newcomer(), site.newcomer(), site.newcomer(habit="filed")]
    checked_in = [site.check_in(each) for each in [*people, people[0]]]
    assert [page.walk_to_claim() for page in checked_in] == [READY] * 4
    veteran, traveler = site.newcomer(), site.newcomer()
    browser, travel = site.signed_in(veteran), TravelPayPage(site.signed_in(traveler))
    [appointment_id] = travel.list_appointments()
    assert travel.open_appointment(appointment_id) == READY
    first, second, kiosk, again = checked_in
    filing = Filing([first, second], kiosk, again, ITFPage(browser, "R2"), Form526Page(browser), travel)
    lasts = name in ("refuse", "hold")
    turned_on(site, BEHIND, name, **({} if lasts else {"times": STRIKES}))
    try:
        assert filing.file() == FILED
        claims = [page.accepted["data"]["id"] for page in checked_in]
        assert claims[0] == claims[3]
        for claim_id in claims:
            site.promised(claim_id)
        site.promised_itf(veteran)
        site.promised(filing.form.accepted["attributes"]["submissionId"])
        site.promised(traveler.account, lambda: travel.accepted["id"])
        if lasts:
            turned_off(site)
        site.until_kept()
        delivery = "undeliverable" if name == "contradict" else "delivered"
        told = [site.promises[key]() for key in (*claims, veteran.account, traveler.account)]
        eventually(lambda: site.deliveries(told) == {delivery}, PATIENCE_SECONDS)
    finally:
        turned_off(site)
    assert [len(site.control.call("GET", "btsss", "claims", params={"icn": each.icn})) for each in people] == [1] * 3
    assert [len(site.mail(each)) for each in people] == [1] * 3
    assert site.running.value("SELECT state FROM travel_claims WHERE id::text = %s", claims[2]) == "duplicate"
    assert filing.form.poll(PATIENCE_SECONDS) == "success"
    assert filing.itf.load() == "itf-found"
    assert travel.open_appointment(appointment_id) == "already filed"


def test_nobody_is_unaccounted_for_at_the_end(site: FrontEnd) -> None:
    """The last test of this file."""
    audit = site.running.audit()
    assert (audit.returncode, site.broken_promises()) == (0, []), audit.stdout
