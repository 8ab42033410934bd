"""States of an intent to file (ITF): pending until the upstream holds it. `failed` never got there, `broken` was lost.

`failed → pending` is an operator's move only. A broken one stays broken: the person's next request makes a new one.
"""

from flaskapp.statemachine import StateMachine

PENDING, CONFIRMED, FAILED, BROKEN = "pending", "confirmed", "failed", "broken"

INTENT_TO_FILE = StateMachine(
    subject="intent_to_file",
    moves={
        PENDING: frozenset({CONFIRMED, FAILED}),
        CONFIRMED: frozenset({BROKEN}),
        FAILED: frozenset({PENDING}),
        BROKEN: frozenset(),
    },
    final=frozenset({CONFIRMED, FAILED, BROKEN}),
)
# Only these make an ITF valid, and only while it is less than a year old.
VALID = (PENDING, CONFIRMED)

COMPENSATION, PENSION, SURVIVOR = "compensation", "pension", "survivor"
TYPES = (COMPENSATION, PENSION, SURVIVOR)

# How an ITF came to be here: requested and created in the background, or answered synchronously by the upstream.
BACKGROUND, SYNCHRONOUS = "background", "synchronous"
PATHS = (BACKGROUND, SYNCHRONOUS)

# What the person reads about a valid one, in plain words.
WORDS = {
    PENDING: "We have your intent to file, dated the day of your request. We are sending it to VA's records and will"
    " e-mail you when it is there. You can go on with your form.",
    CONFIRMED: "Your intent to file is on record.",
}
