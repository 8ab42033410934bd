"""A notice to the person: pending until VANotify accepts it, then followed until it arrives or cannot.

Callbacks may come early, twice or contradict each other, so both endings can turn into the other. What is not so any
more before it was sent is withdrawn; should VANotify say that it has it, it is believed.
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
