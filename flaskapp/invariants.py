"""What must hold for every submission, each rule written once, in SQL, and named by what is wrong when it is broken.

The audit runs them, the metric counts them, the console shows them; `flask audit --repair` mends what it safely can.
"""

from __future__ import annotations

from dataclasses import dataclass

from flaskapp.flows import FLOWS

# Work on a subject that keeps its promise; comparisons of ITFs keep nobody's.
LIVE = """
    SELECT 1 FROM outbox_messages m
     WHERE m.subject_type = '{subject}' AND m.subject_id = s.id AND m.job <> 'jobs.intent_to_file.refresh_itf'
"""
HELD = """
    SELECT 1 FROM cases k WHERE k.subject_type = '{subject}' AND k.subject_id = s.id AND k.closed_at IS NULL
"""
EVER_HELD = "SELECT 1 FROM cases k WHERE k.subject_type = '{subject}' AND k.subject_id = s.id"


@dataclass(frozen=True)
class Rule:
    """`query` selects `subject_id` and `state` of every subject that breaks it. `words`: what that means to a human."""

    name: str
    words: str
    query: str


# Of every flow. `{states}` is the flow's own query: id, state, notice, cycle, watched.
OF_FLOWS = (
    Rule(
        "pending_unowed",
        "it is pending, and nobody owes the next step",
        "SELECT s.id AS subject_id, s.state FROM ({states}) s WHERE s.state = 'pending' AND NOT s.watched"
        f" AND NOT EXISTS ({LIVE}) AND NOT EXISTS ({HELD})",
    ),
    Rule(
        "failed_unheld",
        "it failed, and nobody was ever given its case",
        f"SELECT s.id AS subject_id, s.state FROM ({{states}}) s WHERE s.state = 'failed' AND NOT EXISTS ({EVER_HELD})",
    ),
    Rule(
        "parked_unheld",
        "its message is parked, and no case is open",
        "SELECT s.id AS subject_id, s.state FROM ({states}) s WHERE EXISTS ("
        f"{LIVE} AND m.state = 'parked') AND NOT EXISTS ({HELD})",
    ),
    Rule(
        "unnoticed",
        "it came to an end, and the notice that says so is missing",
        "SELECT s.id AS subject_id, s.state FROM ({states}) s WHERE s.notice IS NOT NULL AND NOT EXISTS ("
        "SELECT 1 FROM notifications n WHERE n.subject_type = '{subject}' AND n.subject_id = s.id"
        " AND n.kind = s.notice AND n.cycle = s.cycle)",
    ),
    Rule(
        "unexplained",
        "its state is not the one its history ends with",
        "SELECT s.id AS subject_id, s.state FROM ({states}) s LEFT JOIN LATERAL ("
        "SELECT h.moved_to FROM outbox_history h WHERE h.subject_type = '{subject}' AND h.subject_id = s.id"
        " AND h.moved_to IS NOT NULL AND h.what <> 'attempt.answered_late' ORDER BY h.id DESC LIMIT 1) last ON true"
        " WHERE last.moved_to IS DISTINCT FROM s.state",
    ),
    Rule(
        "owed_for_nobody",
        "work is owed for a submission that does not exist",
        "SELECT DISTINCT m.subject_id, 'none' AS state FROM outbox_messages m WHERE m.subject_type = '{subject}'"
        " AND NOT EXISTS (SELECT 1 FROM ({states}) s WHERE s.id = m.subject_id)",
    ),
)
# Of notices, whichever flow they are of.
OF_NOTICES = (
    Rule(
        "notice_unowed",
        "a notice is pending, and nobody sends it",
        "SELECT n.id::text AS subject_id, n.state FROM notifications n WHERE n.state = 'pending' AND NOT EXISTS ("
        "SELECT 1 FROM outbox_messages m WHERE m.subject_type = 'notification' AND m.subject_id = n.id::text)"
        " AND NOT EXISTS (SELECT 1 FROM cases k WHERE k.subject_type = 'notification' AND k.subject_id = n.id::text"
        " AND k.closed_at IS NULL)",
    ),
    Rule(
        "notice_unheld",
        "a notice could not be delivered, and nobody was ever given its case",
        "SELECT n.id::text AS subject_id, n.state FROM notifications n WHERE n.state = 'undeliverable' AND NOT EXISTS ("
        "SELECT 1 FROM cases k WHERE k.subject_type = 'notification' AND k.subject_id = n.id::text)",
    ),
)


def rules() -> dict[str, list[Rule]]:
    """Every rule with its SQL complete, by the type of subject it is about."""
    found: dict[str, list[Rule]] = {}
    for subject, flow in FLOWS.items():
        if flow.states is not None:
            states = flow.states.query
            found[subject] = [
                Rule(rule.name, rule.words, rule.query.format(subject=subject, states=states)) for rule in OF_FLOWS
            ]
    found["notification"] = list(OF_NOTICES)
    return found
