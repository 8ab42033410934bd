"""The queues, one per kind of work, and the upstream each of them serves. The worker reads nothing else."""

from __future__ import annotations

from outbox.values import QueueSpec

TRAVEL_CLAIMS = QueueSpec("travel_claims", upstream="btsss", threads=64, depth=200, concurrency=200)
ACCOUNTS = QueueSpec("accounts", upstream="accounts", threads=8, depth=100, concurrency=32)
INTENTS_TO_FILE = QueueSpec("intents_to_file", upstream="lighthouse_claims", threads=32, depth=200, concurrency=100)
FORM526 = QueueSpec("form526", upstream="form526", threads=16, depth=100, concurrency=50)
# Each upload in flight holds a few MiB.
DOCUMENTS = QueueSpec("documents", upstream="lighthouse_documents", threads=16, depth=100, concurrency=50)
# Short calls, four to a claim; people read from the same upstream.
TRAVEL_PAY = QueueSpec("travel_pay", upstream="travel_pay", threads=32, depth=200, concurrency=100)
NOTIFICATIONS = QueueSpec("notifications", upstream="va_notify", threads=16, depth=300, concurrency=100)
ALERTS = QueueSpec("alerts", upstream="alert_webhook", threads=2, depth=50, concurrency=4)
HOUSEKEEPING = QueueSpec("housekeeping", upstream=None, threads=2, depth=50)
