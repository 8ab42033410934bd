"""States of a travel pay claim of a signed-in person: pending through four steps until it is submitted or given up.

`failed → pending` is an operator's move only. `duplicate → pending` follows a late answer which shows that the claim
that was there is ours.
"""

from flaskapp.statemachine import StateMachine

PENDING, SUBMITTED, DUPLICATE, FAILED = "pending", "submitted", "duplicate", "failed"

TRAVEL_PAY_CLAIM = StateMachine(
    subject="travel_pay_claim",
    moves={
        PENDING: frozenset({SUBMITTED, DUPLICATE, FAILED}),
        SUBMITTED: frozenset(),
        DUPLICATE: frozenset({PENDING}),
        FAILED: frozenset({PENDING}),
    },
    final=frozenset({SUBMITTED, DUPLICATE, FAILED}),
)

# The first step not done: find the appointment, begin the claim, add the mileage, submit.
APPOINTMENT, CLAIM, EXPENSE, SUBMIT = "appointment", "claim", "expense", "submit"
STEPS = (APPOINTMENT, CLAIM, EXPENSE, SUBMIT)
# From here on BTSSS holds a claim of ours that is not complete.
BEGUN = (EXPENSE, SUBMIT)

UNCONFIRMED_WORDS = (
    "We could not confirm whether your travel pay claim was filed. A person here is finding out."
    " Please don't file again yet."
)
UNFINISHED_WORDS = (
    "Your travel pay claim was begun but could not be finished. A person here is finishing it; you don't need to file"
    " again."
)
# What the person reads about each state, in plain words.
WORDS = {
    PENDING: "We have your travel pay claim and are filing it. We'll e-mail you when it is filed.",
    SUBMITTED: "Your travel pay claim is submitted.",
    DUPLICATE: "A travel pay claim for this appointment was already on file. You don't need to file another.",
    FAILED: "We could not file your travel pay claim. A person here is working on it, and you can still file another"
    " way.",
}


def words_of(state: str, step: str, unconfirmed: bool) -> str:
    if state == FAILED and unconfirmed:
        return UNCONFIRMED_WORDS
    if state == FAILED and step in BEGUN:
        return UNFINISHED_WORDS
    return WORDS[state]
