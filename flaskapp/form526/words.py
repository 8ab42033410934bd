"""Sentences for the person about each document, in plain words: received is not delivered."""

from __future__ import annotations

from flaskapp.form526.models import DocumentSubmission
from flaskapp.form526.states import BENEFITS_GATEWAY, DONE, MADE_NAMES, MISSING, PENDING


def words_of(document: DocumentSubmission) -> str:
    """One sentence or two: where it is, and what happens next."""
    if document.lighthouse_status == DONE:
        return "This document is in your file."
    if document.lighthouse_status == PENDING:
        if document.uploaded_at is None:
            return "We have this document and are sending it. You don't need to do anything."
        return "VA has received this document and is putting it into your file. We keep checking that it gets there."
    if document.failed_step == BENEFITS_GATEWAY:
        return "This document is in your file, but was not yet linked to your claim. A person here is working on it."
    if document.failed_step == MISSING:
        return "We don't have this document. Please send it again; a person here is expecting it."
    if document.unconfirmed:
        return (
            "We could not confirm whether this document got into your file. A person here is finding out. You don't"
            " need to send it again before you hear from us."
        )
    if document.kind in MADE_NAMES:
        return "This document did not get into your file. We made it, and a person here is working on it."
    return "This document did not get into your file. A person here is working on it, and you can also mail it."
