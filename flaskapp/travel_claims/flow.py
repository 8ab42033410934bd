"""Registration of travel claims from check-in, and the texts that say what became of them."""

from flaskapp.flows import Flow
from flaskapp.travel_claims.routes import blueprint
from flaskapp.travel_claims.service import CLAIM, SUBMIT

TEXTS = ("created", "duplicate", "error", "unconfirmed", "denied")

FLOW = Flow(
    "travel_claims",
    subjects=(CLAIM,),
    works=(SUBMIT,),
    blueprints=(blueprint,),
    # By the kind of facility: VistA (cie) and Oracle Health (oh) have templates of their own.
    notification_kinds={"cie": TEXTS, "oh": TEXTS},
    sms_senders={
        "cie": lambda config: config.vanotify_sms_sender_id,
        "oh": lambda config: config.vanotify_sms_sender_id_oh,
    },
)
