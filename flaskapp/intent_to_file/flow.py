"""Registration of intents to file, and the e-mails that say what became of them."""

from flaskapp.flows import Flow
from flaskapp.intent_to_file import first_look
from flaskapp.intent_to_file.routes import all_types, blueprint
from flaskapp.intent_to_file.service import CREATE, IDENTIFY, ITF, REFRESH, SENDER

FLOW = Flow(
    "intent_to_file",
    subjects=(ITF, first_look.FIRST_LOOK_SUBJECT),
    works=(IDENTIFY, CREATE, REFRESH, first_look.IDENTIFY, first_look.LOOK),
    blueprints=(blueprint, all_types),
    notification_kinds={SENDER: ("confirmed", "confirmed_late", "failed", "unconfirmed")},
    # While no share of them is taken in the background, their templates may still be missing.
    unused_senders=lambda config: () if config.itf_async_percent else (SENDER,),
)
