"""A flow whose job does nothing, and its processes: `python -m tests.benchmarks.noop relay` or `worker`.

What is left is the cost of doing a job through the ledger. It is entered through the one registration, as any flow.
"""

from __future__ import annotations

import os
import sys

from flaskapp import REGISTERED, create_app
from flaskapp.config import from_env
from flaskapp.db import db
from flaskapp.flows import Flow, Subject, Work
from jobs.cli import COMMANDS
from jobs.engine.retry import ALERT
from jobs.engine.runner import Job
from jobs.engine.spec import JobSpec
from outbox import QueueSpec, breakers

# As a rule deep enough that the relay is measured, not the limit on Redis.
DEPTH = int(os.environ.get("BENCH_DEPTH", "1000000"))
BENCH = QueueSpec("bench", upstream="bench", threads=16, depth=DEPTH, concurrency=1_000_000)
WORK = Work("tests.benchmarks.noop.do_nothing", BENCH, "bench", 86_400.0, 9 * 86_400.0)
FLOW = Flow("bench", subjects=(Subject("bench", case_owner=lambda config: "nobody", overdue=False),), works=(WORK,))

NOOP = JobSpec(
    work=WORK,
    writes=True,
    schedule=ALERT,
    lease_seconds=lambda config: 60.0,
    call_seconds=lambda config: 1.0,
    load=lambda session, subject_id: subject_id,
    act=lambda call, work: None,
    record=lambda session, subject_id, answer: None,
    give_up=lambda session, subject_id, kind, details: None,
)
do_nothing = Job(NOOP)


def main(kind: str) -> None:
    app = create_app(from_env(os.environ), REGISTERED.and_also(FLOW))
    with app.app_context():
        with db.engine.begin() as connection:
            breakers.ensure_breakers(connection, [BENCH])
        COMMANDS[kind][0](app)


if __name__ == "__main__":
    # What messages name must be this very module, not a second one called __main__.
    from tests.benchmarks import noop

    noop.main(sys.argv[1])
