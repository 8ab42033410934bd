"""States of a notification to the person: pending until VANotify accepts it, then followed until it arrives or cannot.

Callbacks may come early, twice or contradict each other, so either ending can turn into the other. A notification that
is no longer true before it was sent is withdrawn; if VANotify then says that it has it, that counts.
"""

from flaskapp.statemachine import StateMachine

PENDING, SENT, DELIVERED, UNDELIVERABLE = "pending", "sent", "delivered", "undeliverable"
WITHDRAWN = "withdrawn"

NOTIFICATION = StateMachine(
    subject="notification",
    moves={
        PENDING: frozenset({SENT, DELIVERED, UNDELIVERABLE, WITHDRAWN}),
        SENT: frozenset({DELIVERED, UNDELIVERABLE}),
        DELIVERED: frozenset({UNDELIVERABLE}),
        UNDELIVERABLE: frozenset({DELIVERED, PENDING, WITHDRAWN}),
        WITHDRAWN: frozenset({SENT, DELIVERED}),
    },
    final=frozenset({DELIVERED, UNDELIVERABLE, WITHDRAWN}),
)

# VANotify's words, and which of our states each one means. Unknown words change nothing.
STATE_OF_STATUS = {
    "created": SENT,
    "sending": SENT,
    "pending": SENT,
    "sent": SENT,
    "delivered": DELIVERED,
    "permanent-failure": UNDELIVERABLE,
    "temporary-failure": UNDELIVERABLE,
    "technical-failure": UNDELIVERABLE,
    "validation-failed": UNDELIVERABLE,
    "failed": UNDELIVERABLE,
    "cancelled": UNDELIVERABLE,
}
