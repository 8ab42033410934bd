"""Every callable a worker may run, by its dotted path: the list that a planted job is checked against."""

from __future__ import annotations

from jobs import alerts, documents, form526, intent_to_file, notifications, travel_claims, travel_pay
from jobs.engine.spec import JobSpec

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
        travel_pay.IDENTIFY_TRAVELER,
        travel_pay.FIND_APPOINTMENT,
        travel_pay.BEGIN,
        travel_pay.ADD_MILEAGE,
        travel_pay.SUBMIT_CLAIM,
        notifications.SEND,
        notifications.ASK,
        alerts.SEND,
    )
}
