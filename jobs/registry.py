"""Registry of jobs: the spec behind the dotted path of a message."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from jobs.engine.runner import Job
from jobs.engine.spec import JobSpec


@cache
def spec_of(path: str) -> JobSpec:
    """The spec of the job at this path. Raises ImportError or AttributeError where no module has it, and TypeError
    where it is another job or none."""
    module, _, name = path.rpartition(".")
    job = getattr(import_module(module), name)
    if not isinstance(job, Job) or job.spec.work.path != path:
        raise TypeError(f"{path} is not the job of its work")
    return job.spec
