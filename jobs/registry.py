"""Registry of jobs: the spec behind the dotted path of a message."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from jobs.engine.runner import Job
from jobs.engine.spec import JobSpec


@cache
def spec_of(path: str) -> JobSpec:
    """The spec of the job at this path. Raises KeyError where there is none."""
    module, _, name = path.rpartition(".")
    try:
        job = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise KeyError(path) from error
    if not isinstance(job, Job) or job.spec.work.path != path:
        raise KeyError(path)
    return job.spec
