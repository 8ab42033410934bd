"""The running product with the front end's pages before it, started once for a file of tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.front_end import FrontEnd, running_front_end


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontEnd]:
    with running_front_end(tmp_path_factory.mktemp("front_end")) as front_end:
        yield front_end
