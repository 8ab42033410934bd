"""Steps of a job, done for the request that asked for it: in logs, in traces, and in calls where that is allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from flaskapp.outside import asked
from flaskapp.outside.tracing import TRACING
from jobs.engine.spec import JobSpec
from outbox import Grant

P = ParamSpec("P")
R = TypeVar("R")


@contextmanager
def for_request_of(grant: Grant, step: str) -> Iterator[None]:
    """What happens in the block is a step of this grant's attempt."""
    attributes: dict[str, int | str] = {
        "message_id": grant.message_id,
        "attempt_id": grant.attempt_id,
        "purpose": grant.purpose,
    }
    name = f"{step} {grant.job.rpartition('.')[2]}"
    with asked.working_for(grant.request_id), TRACING.span(name, attributes):
        yield


def for_its_request(step: Callable[Concatenate[JobSpec, Grant, P], R]) -> Callable[Concatenate[JobSpec, Grant, P], R]:
    """The same for a function."""

    @wraps(step)
    def do(spec: JobSpec, grant: Grant, *args: P.args, **others: P.kwargs) -> R:
        with for_request_of(grant, step.__name__):
            return step(spec, grant, *args, **others)

    return do
