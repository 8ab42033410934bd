"""Every callable a worker may run, by its dotted path: the list that a planted job is checked against."""

from __future__ import annotations

from jobs import alerts, documents, form526, intent_to_file, notifications, travel_claims
from jobs.spec import JobSpec

SPECS: dict[str, JobSpec] = {
    spec.path: spec
    for spec in (
        travel_claims.SUBMIT,
        intent_to_file.IDENTIFY_PERSON,
        intent_to_file.CREATE,
        intent_to_file.REFRESH,
        form526.IDENTIFY_PERSON,
        form526.SUBMIT,
        documents.UPLOAD,
        documents.POLL,
        notifications.SEND,
        notifications.ASK,
        alerts.SEND,
    )
}
