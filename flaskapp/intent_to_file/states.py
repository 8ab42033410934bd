"""States of an intent to file (ITF): pending until the upstream holds it. `failed` never got there, `broken` was lost,
and `used` is one that upstream shows no more since an accepted form used it.

`failed → pending` is an operator's move only. After a broken or used one, the person's next request makes a new one.
"""

from flaskapp.statemachine import StateMachine

PENDING, CONFIRMED, USED, FAILED, BROKEN = "pending", "confirmed", "used", "failed", "broken"

INTENT_TO_FILE = StateMachine(
    subject="intent_to_file",
    moves={
        PENDING: frozenset({CONFIRMED, FAILED}),
        CONFIRMED: frozenset({USED, BROKEN}),
        USED: frozenset(),
        FAILED: frozenset({PENDING}),
        BROKEN: frozenset(),
    },
    final=frozenset({CONFIRMED, USED, FAILED, BROKEN}),
)
# Only these make an ITF valid, and only while it is less than a year old.
VALID = (PENDING, CONFIRMED)

# A first look: whether a person we never looked up has an ITF from elsewhere. Dropped: it could not be made.
DONE, DROPPED = "done", "dropped"
FIRST_LOOK = StateMachine(
    subject="itf_first_look",
    moves={
        PENDING: frozenset({DONE, DROPPED}),
        DONE: frozenset({PENDING}),
        DROPPED: frozenset({PENDING}),
    },
    final=frozenset({DONE, DROPPED}),
)

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
# The same of one that a form has used, while upstream still shows it.
USED_WORDS = (
    "Your intent to file is on record, and the form that was filed with it has used it. It does not set a date for"
    " another claim: if you start one, call VA at 800-698-2411 (TTY: 711) to have a new intent to file recorded."
)
# The same of a pending one as long as nobody has looked whether there is an earlier one.
UNCHECKED_WORDS = (
    "We have your intent to file, dated the day of your request. We have not been able to check yet whether you have an"
    " earlier one in VA's records. If you do, that one counts, and it may end soon. We will e-mail you when we know."
    " You can go on with your form."
)
# What the list of their submissions says of one that is not valid.
UNCONFIRMED_WORDS = (
    "We sent your intent to file, and could not confirm that it is on record. A person here is finding out. You can go"
    " on with your form."
)
GONE_WORDS = {
    FAILED: "We could not put your intent to file on record. A person here has your request and its date. You can go on"
    " with your form.",
    USED: "The form that was filed with your intent to file has used it. It does not set a date for another claim.",
    BROKEN: "VA's records do not show your intent to file any more. A person here is finding out why.",
}
ENDED_WORDS = "Your intent to file has ended. It does not set a date for a new claim."
