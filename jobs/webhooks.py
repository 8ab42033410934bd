"""Job that delivers what one receiver of webhooks is owed, one delivery after another, while it answers."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from flaskapp.current import settings
from flaskapp.db import DbSession
from flaskapp.upstreams.errors import Rejected, UpstreamError
from flaskapp.upstreams.webhooks import GONE
from flaskapp.webhooks import service
from flaskapp.webhooks.service import Batch, Owed
from jobs.engine.retry import WEBHOOK
from jobs.engine.runner import Job
from jobs.engine.spec import LEASE_MARGIN_SECONDS, Call, HandBack, JobSpec

# After so long no further delivery is begun: others wait for this thread.
BATCH_SECONDS = 20.0


@dataclass(frozen=True)
class Told:
    """What a receiver took, and what it refused with which HTTP status, in one attempt. `asked_for` is None unless it
    then took no more: for how many seconds it wants to be left alone, 0 where it did not say."""

    taken: tuple[uuid.UUID, ...]
    refused: Mapping[uuid.UUID, int]
    asked_for: float | None = None


def deliver_all(call: Call, batch: Batch) -> Told:
    """Deliver until the first sign that nobody answers there. Raises that only where nothing was answered before."""
    ends_at = time.monotonic() + BATCH_SECONDS
    taken: list[uuid.UUID] = []
    refused: dict[uuid.UUID, int] = {}
    for owed in batch.owed:
        if time.monotonic() >= ends_at:
            break
        try:
            status = deliver_one(call, batch, owed)
        except (UpstreamError, HandBack) as stop:
            if not taken and not refused:
                raise
            asked_for = stop.retry_after or 0.0 if isinstance(stop, UpstreamError) else None
            return Told(tuple(taken), refused, asked_for)
        if status is None:
            taken.append(owed.id)
        else:
            refused[owed.id] = status
    return Told(tuple(taken), refused)


def deliver_one(call: Call, batch: Batch, owed: Owed) -> int | None:
    """The HTTP status with which the receiver refuses this one delivery; None where it takes it."""
    call.before_write()
    try:
        call.upstreams.webhooks.post(batch.url, batch.secrets, str(owed.id), owed.body)
    except Rejected as error:
        if error.http_status == GONE or error.http_status is None:
            raise
        return error.http_status
    return None


def record(session: DbSession, webhook_id: str, told: Told) -> None:
    """One that takes no more in the midst of a batch is left alone as after a first failure, or as long as it asks."""
    stopped = told.asked_for is not None
    wait = WEBHOOK.wait(0, settings().retry_scale, told.asked_for) if stopped else 0.0
    service.record(session, webhook_id, told.taken, told.refused, wait)


DELIVER = JobSpec(
    work=service.DELIVER,
    # A delivery may come twice, under the same id: nothing has to be looked up.
    writes=False,
    schedule=WEBHOOK,
    lease_seconds=lambda config: BATCH_SECONDS + config.webhook_total_seconds + LEASE_MARGIN_SECONDS,
    call_seconds=lambda config: config.webhook_total_seconds,
    load=service.load,
    act=deliver_all,
    record=record,
    give_up=service.give_up,
)


deliver = Job(DELIVER)
