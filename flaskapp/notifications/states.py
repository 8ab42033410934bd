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

# VANotify's words (contract: travel 6.5), and which of our states each one means. Unknown words change nothing.
STATE_OF_STATUS = {
    "created": SENT,
    "sending": SENT,
    "pending": SENT,
    "sent": SENT,
    "pending-virus-check": SENT,
    "delivered": DELIVERED,
    "temporary-failure": UNDELIVERABLE,
    "permanent-failure": UNDELIVERABLE,
    "validation-failed": UNDELIVERABLE,
    "virus-scan-failed": UNDELIVERABLE,
    "returned-letter": UNDELIVERABLE,
    "pii-check-failed": UNDELIVERABLE,
    "failed": UNDELIVERABLE,
    "cancelled": UNDELIVERABLE,
    "technical-failure": UNDELIVERABLE,
    "preferences-declined": UNDELIVERABLE,
}
