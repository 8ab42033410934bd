"""A real Chromium before our pages: what axe-core finds in them, what is too wide, and the way of the tab key."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: `make browser` installs it or says how")
# What a size or a scheme changes of a page that was wholly looked at once in each scheme.
BY_SIZE = {"runOnly": ["scrollable-region-focusable", "target-size", "link-in-text-block"]}
# What makes the page itself wider than its window.
TOO_WIDE = """document.documentElement.scrollWidth <= innerWidth ? [] :
    [...document.querySelectorAll('body *')].filter((each) => !each.closest('.scroll, pre')
        && each.getBoundingClientRect().right > innerWidth).map((each) => each.outerHTML.slice(0, 120))"""
# A page is busy for as long as a busy machine needs.
PATIENCE_MS = 120_000


@contextmanager
def running_browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Without a sandbox of its own, as in containers: it is shown our own pages only.
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@contextmanager
def opened(browser: Browser, url: str, **options: Any) -> Iterator[Page]:
    """A page in a window of its own, without transitions, in the midst of which axe would measure colours. Whatever its
    console says is an error: a refused script or style."""
    context = browser.new_context(base_url=url, reduced_motion="reduce", **options)
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    yield page
    context.close()
    # A page that says no is shown, and the browser mentions its status.
    complaints = [words for words in said if not words.startswith("Failed to load resource")]
    assert not complaints, complaints


def check_at(page: Page, width: int, rules: dict[str, Any], name: object) -> None:
    """Nothing that axe finds by these rules (all: none given), and nothing wider than a window of this width."""
    page.set_viewport_size({"width": width, "height": 900})
    faults = page.evaluate(
        "async (rules) => (await axe.run({resultTypes: ['violations'], ...rules})).violations", rules
    )
    assert not faults, (name, width, [(each["id"], each["nodes"][0]["html"]) for each in faults])
    too_wide = page.evaluate(TOO_WIDE)
    assert not too_wide, (name, width, too_wide)


def give_axe(page: Page) -> None:
    page.evaluate(Axe().axe_script)


def reach(page: Page, selector: str) -> None:
    """Go to this element with the tab key alone, and see that focus is shown there."""
    for _ in range(200):
        page.keyboard.press("Tab")
        if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none", selector
            return
    raise AssertionError(f"{selector} is not reached")
