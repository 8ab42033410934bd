"""Registry of jobs: the spec behind a dotted path, and the paths that a process may run out of Redis."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from flaskapp.flows import Flows
from flaskapp.requeue import REOPEN_PATH
from jobs.engine.runner import Job
from jobs.engine.spec import JobSpec
from jobs.periodic.schedule import PERIODIC
from outbox import rq_side


@cache
def spec_of(path: str) -> JobSpec:
    """The spec of the job at this path. Raises ImportError or AttributeError where no module has it, and TypeError
    where it is another job or none."""
    module, _, name = path.rpartition(".")
    job = getattr(import_module(module), name)
    if not isinstance(job, Job) or job.spec.work.path != path:
        raise TypeError(f"{path} is not the job of its work")
    return job.spec


def allow_our_jobs(flows: Flows) -> None:
    """From here on, this process runs these callables out of Redis and no others: a planted function name is an attack.

    A registered job that does not exist stops the start.
    """
    for path in flows.works:
        spec_of(path)
    rq_side.LedgerJob.allowed = frozenset({*flows.works, *(entry.path for entry in PERIODIC), REOPEN_PATH})
