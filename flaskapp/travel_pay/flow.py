"""Registration of travel pay for signed-in people: reads, and claims filed in four steps."""

from flaskapp.flows import Flow
from flaskapp.travel_pay.appointments import blueprint as appointments
from flaskapp.travel_pay.routes import blueprint
from flaskapp.travel_pay.service import IDENTIFY, SENDER, STEP_WORKS, TRAVEL_PAY_SUBJECT

FLOW = Flow(
    "travel_pay",
    subjects=(TRAVEL_PAY_SUBJECT,),
    works=(IDENTIFY, *STEP_WORKS.values()),
    blueprints=(blueprint, appointments),
    notification_kinds={SENDER: ("submitted", "duplicate", "failed", "unfinished", "unconfirmed")},
    sync_upstreams={"travel_pay": "travel pay system", "va_profile": "profile service"},
)
