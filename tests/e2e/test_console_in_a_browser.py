"""The console in a real Chromium: every page and state at three widths, in light and dark, without accessibility
faults; by the keyboard alone; and an outage from the operator's chair.

One browser and one product serve all of it. Screenshots go to build/console.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product as each_of
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route

from flaskapp.db import transaction
from flaskapp.webhooks import service as webhooks
from jobs import housekeeping
from jobs.periodic.scheduler import LedgerScheduler
from sandbox.databases import TemplateDatabase
from sandbox.servers import EmbeddedValkey
from sandbox.settings import OPERATOR, kept_secrets
from sandbox.upstreams.serve import Upstreams
from tests.e2e.chromium import check_at, give_axe, needs_chromium, opened, reach
from tests.integration.restore_steps import product_on
from tests.integration.steps import file_claim, listening, reconfigure
from tests.product import Product

pytestmark = [needs_chromium, pytest.mark.timeout(900)]

PICTURES = Path(__file__).parents[2] / "build" / "console"
WIDTHS, SCHEMES = (320, 390, 1280), ("dark", "light")
# As wide as a telephone in the dark, and as a desk by day.
PICTURED = {(320, "dark"), (1280, "light")}


@pytest.fixture(scope="module")
def product(
    migrated: TemplateDatabase, redis_server: EmbeddedValkey, fakes: Upstreams, secrets_folder: Path
) -> Iterator[Product]:
    """The product in this process, for all tests of this file: each goes on where the last one ended."""
    fakes.fakes.reset()
    with migrated.copied() as url, product_on(url, redis_server.url, fakes, secrets_folder) as built:
        built.redis.flushall()
        yield built


@pytest.fixture(scope="module")
def page(product: Product, browser: Browser) -> Iterator[Page]:
    """A page of the console before its log-in."""
    with listening(product.app) as url, opened(browser, url, viewport={"width": 1280, "height": 900}) as shown:
        shown.goto("/ops/")
        yield shown


def without_faults(page: Page, name: str) -> None:
    """No fault that axe finds, and nothing wider than the window, at any size."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    give_axe(page)
    for width, scheme in each_of(WIDTHS, SCHEMES):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        check_at(page, width, {}, (name, scheme))
        if (width, scheme) in PICTURED:
            page.screenshot(path=PICTURES / f"{name}-{width}-{scheme}.png", full_page=True)


def test_a_log_in_by_the_keyboard_alone(page: Page, secrets_folder: Path) -> None:
    without_faults(page, "log-in")
    page.keyboard.type(OPERATOR)
    reach(page, "#password")
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    page.get_by_role("alert").wait_for()
    without_faults(page, "log-in-refused")
    page.locator("#password").focus()
    page.keyboard.type(kept_secrets(secrets_folder).operator_password)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Log out").wait_for()
    page.reload()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"


def test_an_outage_from_the_operators_chair(page: Page, product: Product) -> None:
    """BTSSS refuses three, and then goes away. What, for whom and until when; hold it, lift the hold, try it."""
    reconfigure(product, breaker_open_seconds=900.0, breaker_cap_seconds=900.0)
    product.control.play("btsss", "refused")
    for day in (1, 2, 3):
        file_claim(product, date=f"2031-03-0{day}")
    product.work()
    product.control.play("btsss", "ok")
    product.control.set("btsss", "throttle")
    file_claim(product, date="2031-03-20")
    product.work(until=lambda: product.value("SELECT count(*) FROM outbox_breakers WHERE opened_at IS NOT NULL"))
    housekeeping.audit_all()
    housekeeping.count_minutes()
    LedgerScheduler(product.redis).tick()

    page.goto("/ops/")
    first = page.locator("section", has=page.locator("#panel-first"))
    assert "Open cases: 3" in first.inner_text() and "Cannot be called: btsss" in first.inner_text()
    without_faults(page, "home")
    page.set_viewport_size({"width": 1280, "height": 900})
    page.get_by_role("button", name="Pause").press("Enter")
    assert page.get_by_role("button", name="Pause").get_attribute("aria-pressed") == "true"
    first.get_by_role("link", name="Cannot be called").press("Enter")
    page.get_by_role("heading", name="Circuit breakers", level=1).wait_for()
    without_faults(page, "breakers")
    page.get_by_role("link", name="btsss", exact=True).press("Enter")
    page.get_by_role("heading", name="btsss: open").wait_for()
    assert "HTTP 429" in page.inner_text("main") and "1 waiting" in page.inner_text("main")
    page.locator("#duration").fill("2h")
    page.locator("#reason").fill("they are at it until four")
    page.locator("#reason").press("Enter")
    page.get_by_role("status").wait_for()
    assert "Nothing is sent to btsss" in page.get_by_role("status").inner_text()
    without_faults(page, "breaker-held")

    product.control.reset()
    page.get_by_role("button", name="Lift this hold").press("Enter")
    page.get_by_text("1 lifted").wait_for()
    page.locator("#why").fill("they say it is back")
    page.locator("#why").press("Enter")
    page.get_by_text("Its probe goes next").wait_for()
    product.rows("UPDATE outbox_messages SET due_at = outbox_now() WHERE state <> 'parked' RETURNING 1")
    product.work()


def test_what_is_parked_is_redriven_and_a_case_closed(page: Page, product: Product) -> None:
    """After the outage: one of three is requeued, seen to succeed, and of the others one is closed by hand."""
    page.get_by_role("link", name="Parked").press("Enter")
    page.get_by_role("heading", name="Parked work").wait_for()
    without_faults(page, "parked")
    page.locator("main table a").first.press("Enter")
    page.get_by_text("3 parked; 0 filed again since").wait_for()
    without_faults(page, "redrive")
    page.locator("#reason").fill("eligibility corrected")
    page.locator("#reason").press("Enter")
    page.get_by_text("1 requeued.").wait_for()
    product.work()
    page.reload()
    page.get_by_text("1 done, 0 parked again").wait_for()
    without_faults(page, "redrive-on")

    page.get_by_role("link", name="Cases", exact=True).press("Enter")
    page.get_by_role("heading", name="2 open cases").wait_for()
    without_faults(page, "cases")
    page.locator("main table a").first.press("Enter")
    page.locator("#outcome").wait_for()
    without_faults(page, "case")
    page.locator("#outcome").fill("Filed by hand, person informed")
    page.locator("#outcome").press("Enter")
    page.get_by_text("Closed.", exact=True).wait_for()
    without_faults(page, "case-closed")
    page.locator("main a").first.press("Enter")
    page.get_by_role("heading", name="What happened").wait_for()
    without_faults(page, "story")


def test_the_other_pages(page: Page, product: Product) -> None:
    for url in ("http://127.0.0.1:9/hook", "http://127.0.0.1:9/another"):
        with product.app.app_context(), transaction() as session:
            receiver = webhooks.add(session, url, ["case.opened"], OPERATOR).id
    others: dict[str, Any] = {
        "webhooks": "/ops/webhooks/",
        "webhook": f"/ops/webhooks/{receiver}",
        "people": "/ops/people/",
        "closed-cases": "/ops/cases/?closed=yes",
        "gone": "/ops/cases/0000",
        "rq-queues": "/rq/",
        "rq-failed": "/rq/0/view/jobs?queue=travel_claims&registry=failed",
        "rq-requeue-all": "/rq/requeue/travel_claims/preview",
        "rq-workers": "/rq/0/view/workers",
    }
    for name, path in others.items():
        page.goto(path)
        without_faults(page, name)
    page.goto(others["rq-failed"])
    page.locator("main table a").first.press("Enter")
    page.get_by_role("heading", name="failed").wait_for()
    without_faults(page, "rq-job")
    page.goto("/ops/")
    page.locator("#wanted").fill("nothing like it")
    page.locator("#wanted").press("Enter")
    page.get_by_role("heading", name="0 found").wait_for()
    without_faults(page, "found-nothing")


def refuse(product: Product, date: str) -> None:
    """A claim that BTSSS refuses: one more open case."""
    product.control.play("btsss", "refused")
    file_claim(product, date=date)
    product.work()
    product.control.clear("btsss")


def is_fetch(route: Route) -> bool:
    return route.request.resource_type == "fetch"


def test_home_replaces_its_panels_by_itself(page: Page, product: Product) -> None:
    """Every half minute of the page's own clock, but never under somebody's hands, and never twice at once. It is the
    last one: the context keeps that clock."""
    held: list[Route] = []
    page.route("**/ops/", lambda route: held.append(route) if is_fetch(route) else route.continue_())
    page.clock.install()
    refuse(product, "2031-03-08")
    page.goto("/ops/")
    cases = page.locator("#fresh").get_by_role("link", name="Open cases")
    number = int(cases.inner_text().rpartition(" ")[2])

    def half_a_minute() -> int:
        """How many answers the page waits for, half a minute later."""
        page.clock.fast_forward(30_000)
        page.wait_for_timeout(100)
        return len(held)

    def answer() -> None:
        with page.expect_event("requestfinished"):
            held.pop().continue_()
        page.wait_for_timeout(100)

    refuse(product, "2031-03-09")
    assert half_a_minute() == half_a_minute() == half_a_minute() == 1
    answer()
    page.get_by_role("link", name=f"Open cases: {number + 1}").wait_for()

    refuse(product, "2031-03-10")
    assert half_a_minute() == 1
    page.locator("#fresh a").first.focus()
    answer()
    assert cases.inner_text().endswith(f" {number + 1}") and half_a_minute() == 0
    page.get_by_role("button", name="Pause").click()
    assert half_a_minute() == 0 and "paused" in page.locator("#age").inner_text()
    page.get_by_role("button", name="Pause").click()
    page.wait_for_timeout(100)
    answer()
    page.get_by_role("link", name=f"Open cases: {number + 2}").wait_for()
