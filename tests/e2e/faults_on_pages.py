"""The front end's pages with every fault of the sandbox: what they show, and that every promise is kept.

`make faults` runs this file. It waits for limits and retries as people do, so it is no part of `make test`.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sandbox.upstreams.switches import KINDS
from tests.e2e import pages
from tests.e2e.front_end import PATIENCE_SECONDS, FrontEnd
from tests.e2e.pages import READY, Form526Page, ITFPage, TravelPayPage
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
}
WELL, BROKEN = dict.fromkeys(SHOWN, 0), dict.fromkeys(SHOWN, 1)
NO_ROUTE = {"headers": {"Content-Type": "application/json"}, "body": '{"message":"no Route matched with those values"}'}
NOTHING = {"headers": {"Content-Type": "application/json"}, "body": "{}"}
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
    "answer, another": ({"status": 200, **NOTHING}, BROKEN),
    # Whatever an answer calls itself, its body is read.
    "content_type": ({}, WELL),
    "expire": ({"times": 1}, WELL),
    "drip": ({"seconds": 0.001}, WELL),
}
WAITED_FOR = ("lorota", "chip", "lighthouse", "travel_pay")
BEHIND = ("btsss", "va_notify", "lighthouse", "accounts", "form526", "documents", "sts", "veis", "travel_pay")
STRIKES = 2


def test_no_fault_is_forgotten() -> None:
    assert {name.partition(",")[0] for name in FAULTS} == set(KINDS)


def turned_on(site: FrontEnd, upstreams: tuple[str, ...], name: str, **more: Any) -> None:
    for upstream in upstreams:
        site.control.set(upstream, name.partition(",")[0], **{**FAULTS[name][0], **more})


def turned_off(site: FrontEnd) -> None:
    for upstream in {*WAITED_FOR, *BEHIND}:
        site.control.clear(upstream)


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
    signed_in = [site.signed_in(site.newcomer()) for _ in range(3)]
    for browser in signed_in:
        # A breaker may be open since the fault before.
        eventually(lambda browser=browser: TravelPayPage(browser).claims()[0] == "list", PATIENCE_SECONDS)
    waiting: dict[str, Callable[[], str]] = {
        "landing": landing.open,
        "demographics": demographics.confirm,
        "check-in": check_in.check_in,
        "pension": ITFPage(signed_in[0], "R3", "pension").load,
        "ITF list": lambda: pages.itf_list(signed_in[1])[0],
        "claims": lambda: TravelPayPage(signed_in[2]).claims()[0],
    }
    turned_on(site, WAITED_FOR, name)
    try:
        shown = all_at_once(waiting)
    finally:
        turned_off(site)
    assert shown == {page: SHOWN[page][which] for page, which in FAULTS[name][1].items()}
    for page, act in waiting.items():
        eventually(lambda act=act, page=page: act() in (SHOWN[page][0], "found"), PATIENCE_SECONDS)


@pytest.mark.parametrize("name", FAULTS)
def test_pages_that_file_are_promised_and_kept_it_under(site: FrontEnd, name: str) -> None:
    people = [site.check_in(site.newcomer()) for _ in range(3)]
    assert [page.walk_to_claim() for page in people] == [READY] * 3
    veteran = site.newcomer()
    browser = site.signed_in(veteran)
    form = Form526Page(browser)
    filing: dict[str, Callable[[], str]] = {str(number): page.claim for number, page in enumerate(people)}
    filing["ITF"] = ITFPage(browser, "R2").load
    filing["526"] = lambda: f"{form.attach('letter.txt', b'What I have.')}, {form.submit(veteran={})}"
    lasts = name in ("refuse", "hold")
    turned_on(site, BEHIND, name, **({} if lasts else {"times": STRIKES}))
    try:
        shown = all_at_once(filing)
        assert shown == {**dict.fromkeys("012", pages.PROCESSING), "ITF": "itf-created", "526": "uploaded, submitted"}
        for page in people:
            site.promised(page.accepted["data"]["id"])
        site.promised_itf(veteran)
        site.promised(form.accepted["attributes"]["submissionId"])
        if lasts:
            turned_off(site)
        site.until_kept()
    finally:
        turned_off(site)
    assert form.poll(PATIENCE_SECONDS) == "success"
    assert ITFPage(browser, "R2").load() == "itf-found"


def test_nobody_is_unaccounted_for_at_the_end(site: FrontEnd) -> None:
    """The last test of this file."""
    audit = site.running.audit()
    assert (audit.returncode, site.broken_promises()) == (0, []), audit.stdout
