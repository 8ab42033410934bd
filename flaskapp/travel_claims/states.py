"""States of a travel claim: pending until BTSSS holds one or we gave up. Only an operator makes failed ones pending.

Whether the one that BTSSS holds is ours can turn out otherwise when an answer to an earlier submit comes late.
"""

from flaskapp.statemachine import StateMachine

PENDING, SUBMITTED, DUPLICATE, FAILED = "pending", "submitted", "duplicate", "failed"

TRAVEL_CLAIM = StateMachine(
    subject="travel_claim",
    moves={
        PENDING: frozenset({SUBMITTED, DUPLICATE, FAILED}),
        SUBMITTED: frozenset({DUPLICATE}),
        DUPLICATE: frozenset({SUBMITTED}),
        FAILED: frozenset({PENDING}),
    },
    final=frozenset({SUBMITTED, DUPLICATE, FAILED}),
)

UNCONFIRMED_WORDS = (
    "We could not confirm whether your travel claim was filed. A person here is finding out."
    " Please don't file again yet."
)
# What the person and the front end read about each state, in plain words.
WORDS = {
    PENDING: "We have your travel claim and are filing it. We'll text you when it is filed.",
    SUBMITTED: "Your travel claim is filed. We sent you a text message about it.",
    DUPLICATE: "A travel claim for this appointment was already on file. You don't need to file another.",
    FAILED: "We could not file your travel claim. A person here is working on it, and you can still file another way.",
}


def words_of(state: str, unconfirmed: bool) -> str:
    return UNCONFIRMED_WORDS if unconfirmed else WORDS[state]
