"""Registration of webhooks: receivers are told what happens, as surely as a claim is filed."""

from flaskapp.flows import Flow
from flaskapp.webhooks.events import tells
from flaskapp.webhooks.service import DELIVER, WEBHOOK_SUBJECT, WITHOUT_WORK

FLOW = Flow("webhooks", subjects=(WEBHOOK_SUBJECT,), works=(DELIVER,), rules=(WITHOUT_WORK,), tells=tells)
