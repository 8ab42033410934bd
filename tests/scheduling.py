"""The order of the tests: which share a worker of pytest-xdist, and which go first. A run is as long as its last test.

A file stays together. So do the files that strike one running product, because its start takes ten seconds of a
processor.
"""

from __future__ import annotations

from zlib import crc32

import pytest
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

PROCESSES = "tests/processes"
# test_forks.py needs no product, test_pooler.py starts its own. test_itf_outage.py strikes it for so long that a second
# product beside the first pays off.
ITF_OUTAGE = f"{PROCESSES}/test_itf_outage.py"
ON_THEIR_OWN = ("test_forks.py", "test_itf_outage.py", "test_pooler.py")
# What waits or works longest begins first, and many short tests fill the end. A worker is given its next file while it
# runs the last two tests of one, so a file with one or two long tests is followed by a short one.
FIRST = (
    PROCESSES,
    ITF_OUTAGE,
    "tests/chaos/test_chaos.py",
    # Short and mostly waiting, beside three that take all of the processor.
    "tests/property",
    "tests/chaos/test_chaos_judge.py",
    "tests/e2e/test_make_run.py",
    "tests/simulator/test_simulator.py",
    "tests/e2e/test_demo.py",
    "tests/e2e/test_console_in_a_browser.py",
    "tests/e2e/test_site_in_a_browser.py",
    "tests/simulator",
    "tests/hostile/test_every_operation.py",
    "tests/integration/test_outage_day.py",
    "tests/integration/test_audit",
    "tests/integration/test_form526_polling",
    "tests/integration/test_itf_outcomes.py",
    "tests/integration/test_itf_refresh_pace.py",
    "tests/hostile/test_slow_clients.py",
    f"{PROCESSES}/test_forks.py",
)


class SharedProduct(LoadFileScheduling):
    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return PROCESSES if file.startswith(PROCESSES) and not file.endswith(ON_THEIR_OWN) else file

    def _reschedule(self, node: WorkerController) -> None:
        """A worker runs the last test that it has only when it has another or knows that there is none.

        xdist does not see to that for the worker that takes the place of one that crashed. It may hand it a file of
        which nothing is left to run, or one single test, and then waits for it without end.
        """
        while node in self.registered_collections and not node.shutting_down:
            super()._reschedule(node)
            if self._pending_of(self.assigned_work[node]) > 1:
                return


def rank(item: pytest.Item) -> tuple[int, int]:
    """The position of the entry that matches the test most closely. Files without an entry are mixed, because those of
    some folders mostly wait and those of others mostly work."""
    file = item.nodeid.partition("::")[0]
    named = [place for place, name in enumerate(FIRST) if file.startswith(name)]
    if not named:
        return len(FIRST), crc32(file.encode())
    return max(named, key=lambda place: len(FIRST[place])), 0
