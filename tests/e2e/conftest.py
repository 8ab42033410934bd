"""The running product with the front end's pages before it, started once for a file of tests; and a Chromium."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.e2e.chromium import running_browser
from tests.e2e.front_end import FrontEnd, running_front_end


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontEnd]:
    with running_front_end(tmp_path_factory.mktemp("front_end")) as front_end:
        yield front_end


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Not for longer than a file: it keeps an event loop running in this thread, and other tests start their own."""
    with running_browser() as started:
        yield started
