"""Registration of notifications: they are sent, and followed until they arrive, like any other work."""

from flaskapp.flows import Flow
from flaskapp.notifications.routes import blueprint
from flaskapp.notifications.service import CHECK_DELIVERY, NOTIFICATION_SUBJECT, SEND

FLOW = Flow(
    "notifications",
    subjects=(NOTIFICATION_SUBJECT,),
    works=(SEND, CHECK_DELIVERY),
    blueprints=(blueprint,),
)
