"""Job that delivers what one receiver of webhooks is owed, one delivery after another, while it answers."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass

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
    """What a receiver took, and what it refused, in one attempt."""

    taken: tuple[uuid.UUID, ...]
    refused: tuple[uuid.UUID, ...]


def deliver_all(call: Call, batch: Batch) -> Told:
    """Deliver until the first sign that nobody answers there. Raises that only where nothing was answered before."""
    ends_at = time.monotonic() + BATCH_SECONDS
    taken: list[uuid.UUID] = []
    refused: list[uuid.UUID] = []
    for owed in batch.owed:
        if time.monotonic() >= ends_at:
            break
        try:
            was_taken = deliver_one(call, batch, owed)
        except (UpstreamError, HandBack):
            if not taken and not refused:
                raise
            break
        (taken if was_taken else refused).append(owed.id)
    return Told(tuple(taken), tuple(refused))


def deliver_one(call: Call, batch: Batch, owed: Owed) -> bool:
    """False where the receiver refuses this one delivery."""
    call.before_write()
    try:
        call.upstreams.webhooks.post(batch.url, batch.secrets, str(owed.id), owed.body)
    except Rejected as error:
        if error.http_status == GONE:
            raise
        return False
    return True


def record(session: DbSession, webhook_id: str, told: Told) -> None:
    service.record(session, webhook_id, told.taken, told.refused)


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
