"""A notice to the person: pending until VANotify accepts it, then followed until it arrives or cannot.

Callbacks may come early, twice or contradict each other, so both endings can turn into the other.
"""

from flaskapp.statemachine import StateMachine

PENDING, SENT, DELIVERED, UNDELIVERABLE = "pending", "sent", "delivered", "undeliverable"

NOTIFICATION = StateMachine(
    subject="notification",
    moves={
        PENDING: frozenset({SENT, DELIVERED, UNDELIVERABLE}),
        SENT: frozenset({DELIVERED, UNDELIVERABLE}),
        DELIVERED: frozenset({UNDELIVERABLE}),
        UNDELIVERABLE: frozenset({DELIVERED, PENDING}),
    },
    final=frozenset({DELIVERED, UNDELIVERABLE}),
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
