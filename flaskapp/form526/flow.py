"""Registration of Form 526 and its documents, and the e-mails that say what became of them."""

from flaskapp.flows import Flow
from flaskapp.form526.documents import DOCUMENT_SUBJECT, UPLOAD_WORK
from flaskapp.form526.notifications import SENDER
from flaskapp.form526.polling import POLL_SUBJECT, POLL_WORK
from flaskapp.form526.routes import blueprint
from flaskapp.form526.service import FORM, IDENTIFY, SUBMIT

FLOW = Flow(
    "form526",
    subjects=(FORM, DOCUMENT_SUBJECT, POLL_SUBJECT),
    works=(IDENTIFY, SUBMIT, UPLOAD_WORK, POLL_WORK),
    blueprints=(blueprint,),
    notification_kinds={
        SENDER: (
            "accepted",
            "failed",
            "unconfirmed",
            "document_failed",
            "document_missing",
            "document_unconfirmed",
            "document_incomplete",
            "document_arrived",
        )
    },
)
