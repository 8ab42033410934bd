"""Registration of intents to file, and the e-mails that say what became of them."""

from flaskapp.flows import Flow
from flaskapp.intent_to_file.routes import all_types, blueprint
from flaskapp.intent_to_file.service import CREATE, IDENTIFY, ITF, REFRESH, SENDER

FLOW = Flow(
    "intent_to_file",
    subjects=(ITF,),
    works=(IDENTIFY, CREATE, REFRESH),
    blueprints=(blueprint, all_types),
    notification_kinds={SENDER: ("confirmed", "confirmed_late", "failed", "unconfirmed")},
    # While no share of them is taken in the background, their templates may still be missing.
    unused_senders=lambda config: () if config.itf_async_percent else (SENDER,),
)
