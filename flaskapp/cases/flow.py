"""Registration of cases: their alerts are sent as surely as a claim."""

from flaskapp.cases.service import CASE_SUBJECT, SEND_ALERT
from flaskapp.flows import Flow

FLOW = Flow("cases", subjects=(CASE_SUBJECT,), works=(SEND_ALERT,))
