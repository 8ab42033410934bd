"""The product's own web worker with short time limits: the tests check that it ends, and how."""

from __future__ import annotations

from flaskapp.form526.attachments import opening, turns
from flaskapp.web.worker import PatientWorker

# A busy machine takes long to read a file for somebody.
turns.TURN_SECONDS = opening.READING_SECONDS = 60.0


class HastyWorker(PatientWorker):
    # Longer than a busy machine takes to answer somebody else meanwhile.
    ARRIVAL_SECONDS = 16.0
    SEND_SECONDS = 0.5
    SEND_BUFFER_BYTES = 8 * 1024
    BODY_PATIENCE_SECONDS = 1.0
