"""Which tests share a worker of pytest-xdist, and which go first: a run is as long as whatever ends last.

A file stays together. So do the files that strike one running product, which takes ten seconds of a processor to start.
"""

from __future__ import annotations

import pytest
from xdist.scheduler import LoadFileScheduling

PROCESSES = "tests/processes"
# One needs no product, the other strikes it so long that it is worth one more beside the first.
ON_THEIR_OWN = ("test_forks.py", "test_itf_outage.py")
# What waits or works longest begins earliest, and many short tests fill what is left at the end.
FIRST = (PROCESSES, "tests/chaos", "tests/simulator", "tests/e2e", "tests/property")


class SharedProduct(LoadFileScheduling):
    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return PROCESSES if file.startswith(PROCESSES) and not file.endswith(ON_THEIR_OWN) else file


def rank(item: pytest.Item) -> int:
    return next((place for place, folder in enumerate(FIRST) if item.nodeid.startswith(folder)), len(FIRST))
