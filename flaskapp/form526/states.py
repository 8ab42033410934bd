"""States of a 526 submission, and of each of its documents: accepted is not delivered, so each has its own.

`failed → pending` is an operator's move only. A failed document is done when an operator delivered it by hand, or when
Lighthouse corrects itself.
"""

from flaskapp.statemachine import StateMachine

PENDING, ACCEPTED, FAILED, DONE = "pending", "accepted", "failed", "done"

SUBMISSION = StateMachine(
    subject="form526_submission",
    moves={
        PENDING: frozenset({ACCEPTED, FAILED}),
        ACCEPTED: frozenset(),
        FAILED: frozenset({PENDING}),
    },
    final=frozenset({ACCEPTED, FAILED}),
)

DOCUMENT = StateMachine(
    subject="form526_document",
    moves={
        PENDING: frozenset({DONE, FAILED}),
        DONE: frozenset(),
        FAILED: frozenset({PENDING, DONE}),
    },
    final=frozenset({DONE, FAILED}),
)

EVIDENCE, FORM_0781, FORM_0781A, BDD = "evidence", "form_0781", "form_0781a", "bdd_instructions"
KINDS = (EVIDENCE, FORM_0781, FORM_0781A, BDD)
# docType codes of the documents that we make (contract: benefits 4.2); evidence brings its own.
DOC_TYPES = {FORM_0781: "L228", FORM_0781A: "L229", BDD: "L023"}
MADE_NAMES = {FORM_0781: "Form 0781.pdf", FORM_0781A: "Form 0781a.pdf", BDD: "BDD instructions.pdf"}
# What the e-mails call them: the person sent no such file, and must not look for it.
MADE_WORDS = {
    FORM_0781: "Form 0781, which we made from the answers in your form",
    FORM_0781A: "Form 0781a, which we made from the answers in your form",
    BDD: "the instructions for a claim before discharge (BDD), a page that we add and not one of your files",
}

# What is shown instead of the name of a document that we no longer keep.
REMOVED = "a document whose name we no longer keep"

# A submission given up for one of these may be upstream all the same: nobody is informed that it is not.
UNCONFIRMED = ("may_exist_upstream", "conflicting_answers")

# The steps of a document behind Lighthouse (contract: benefits 4.3), and three of our own.
CLAIMS_EVIDENCE, BENEFITS_GATEWAY = "CLAIMS_EVIDENCE", "BENEFITS_GATEWAY_SERVICE"
MISSING, UPLOAD, NO_WORD = "MISSING", "UPLOAD", "NO_WORD"

SUBMISSION_WORDS = {
    PENDING: "We have your form and are sending it. You don't need to do anything.",
    ACCEPTED: "VA has your form.",
    FAILED: "We could not send your form. A person here is working on it and will reach you.",
}
SUBMISSION_UNCONFIRMED = (
    "We could not confirm whether VA has your form. A person here is finding out. Don't send it again."
)


def words_of_submission(state: str, unconfirmed: bool) -> str:
    return SUBMISSION_UNCONFIRMED if unconfirmed else SUBMISSION_WORDS[state]
