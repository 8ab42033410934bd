"""Every job that may be owed, and the queue it is done in: what nobody serves waits for ever, and nobody notices."""

from __future__ import annotations

from flaskapp import queues
from flaskapp.form526 import documents, polling
from flaskapp.form526 import service as form526
from flaskapp.intent_to_file import service as itfs
from flaskapp.intent_to_file import upkeep
from flaskapp.notifications import service as notifications
from flaskapp.travel_claims import service as travel_claims
from flaskapp.travel_pay import service as travel_pay
from outbox.values import QueueSpec

WORKS: dict[str, QueueSpec] = {
    travel_claims.SUBMIT_JOB: queues.TRAVEL_CLAIMS,
    itfs.IDENTIFY_JOB: queues.ACCOUNTS,
    itfs.CREATE_JOB: queues.INTENTS_TO_FILE,
    upkeep.REFRESH_JOB: queues.INTENTS_TO_FILE,
    form526.IDENTIFY_JOB: queues.ACCOUNTS,
    form526.SUBMIT_JOB: queues.FORM526,
    documents.UPLOAD_JOB: queues.DOCUMENTS,
    polling.POLL_JOB: queues.DOCUMENTS,
    travel_pay.IDENTIFY_JOB: queues.ACCOUNTS,
    **dict.fromkeys(travel_pay.STEP_JOBS.values(), queues.TRAVEL_PAY),
    notifications.SEND_JOB: queues.NOTIFICATIONS,
    notifications.ASK_JOB: queues.NOTIFICATIONS,
    "jobs.alerts.send_alert": queues.ALERTS,
}
# Job, queue and upstream, as a message names them.
SERVED = tuple((job, queue.name, queue.upstream) for job, queue in WORKS.items())
