"""The judge of the signed-in travel pay claims, by Travel Pay's book and the inbox.

There is one claim for an appointment, and every answer is true.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sandbox.promises import (
    Evidence,
    Row,
    Verdict,
    Witnesses,
    acted_on,
    faults_of_cases,
    kept_how,
    messages_of,
    seconds_to_notified,
    stray,
    untold,
    what_happened,
)
from sandbox.story_travel_pay import CREATE, DUPLICATE, SUBMITTED, UNFINISHED, Answer, TravelPayPromise

FLOW = "travel_pay_claim"
CLAIMS = """
    SELECT id::text AS row_id, account_id::text AS account_id, state, claim_id, requested_at, finished_at
      FROM travel_pay_claims ORDER BY requested_at, id
"""
DISCREPANCIES = "SELECT account_id::text AS account_id, field FROM contact_discrepancies WHERE resolved_at IS NULL"
NOT_FILED = "not filed"
STATE_OF = {SUBMITTED: "submitted", DUPLICATE: "duplicate", UNFINISHED: "failed"}
CREATIONS_OF = {SUBMITTED: 1, DUPLICATE: 0, UNFINISHED: 1}
EXPENSES_OF = {SUBMITTED: 1, DUPLICATE: 1, UNFINISHED: 1}
CASES_OF = {UNFINISHED: ["half_filed"]}
# What a 201 may say, by the ending in Travel Pay's book.
WORDS_OF = {SUBMITTED: "Claim submitted", UNFINISHED: "Saved"}
OPEN = ("Incomplete", "Saved")
# The fields that differ for the cast member with two different addresses and phone numbers.
DIFFERING = ["address", "phone"]


@dataclass
class TravelPayEvidence(Evidence):
    """All that is known about one person's claims: our rows, Travel Pay's book, and the creates that Travel Pay
    received."""

    rows: list[Row] = field(default_factory=list)
    book: list[Row] = field(default_factory=list)
    creations: list[Row] = field(default_factory=list)
    discrepancies: list[str] = field(default_factory=list)


def verdicts(witnesses: Witnesses, promises: Sequence[TravelPayPromise]) -> list[Verdict]:
    """One verdict for every promise, in order, and one for every other account that has a claim in Postgres."""
    found = testify(witnesses, promises)
    made = {promise.key for promise in promises}
    strays = [
        stray(f"travel pay of account {account}", states_of(seen), seen)
        for account, seen in found.items()
        if account not in made and seen.rows
    ]
    return [judge(promise, found[promise.key]) for promise in promises] + strays


def testify(witnesses: Witnesses, promises: Sequence[TravelPayPromise]) -> Mapping[str, TravelPayEvidence]:
    """The evidence by account. All claims of an account share one entry, so that a second one cannot hide behind the
    first."""
    found: dict[str, TravelPayEvidence] = defaultdict(TravelPayEvidence)
    by_row: dict[str, TravelPayEvidence] = defaultdict(TravelPayEvidence)
    for row in witnesses.rows(CLAIMS):
        by_row[row["row_id"]] = found[row["account_id"]]
        found[row["account_id"]].rows.append(row)
    for row in witnesses.rows(DISCREPANCIES):
        found[row["account_id"]].discrepancies.append(row["field"])
    witnesses.add_ledger(FLOW, by_row)
    book, creations = witnesses.control.call("GET", "travel_pay", "claims"), created(witnesses)
    sends, inbox = witnesses.control.call("GET", "va_notify", "notifications"), witnesses.control.phone()
    for promise in promises:
        evidence, veteran = found[promise.key], promise.veteran
        witnesses.add_notifications(evidence, sends, inbox, veteran.email)
        evidence.book = [row for row in book if (row["icn"], row["wallClock"]) == (veteran.icn, promise.starts_at)]
        appointment_ids = {row["appointmentId"] for row in evidence.book}
        evidence.creations = [row for row in creations if row["body"]["appointmentId"] in appointment_ids]
    return found


def created(witnesses: Witnesses) -> list[Row]:
    """The calls that begin a claim; the other paths begin with this one and go on."""
    return [row for row in witnesses.control.received("travel_pay", CREATE) if CREATE.endswith(row["path"])]


def judge(promise: TravelPayPromise, evidence: TravelPayEvidence) -> Verdict:
    return Verdict(
        subject=f"travel pay of account {promise.key}",
        who=promise.veteran.name,
        scene=promise.scene,
        happened=happened_to(evidence),
        state=f"{states_of(evidence)} ({statuses_of(promise)})",
        received=" / ".join(mail["subject"] for mail in evidence.received) or untold(evidence),
        seconds=seconds_to_notified(evidence, evidence.rows[0]["requested_at"] if evidence.rows else None),
        kept_how=kept_how(evidence),
        faults=faults_in(promise, evidence),
        messages=messages_of(evidence),
    )


def happened_to(evidence: TravelPayEvidence) -> str:
    """The writing steps, as their attempts show them. A claim that was found on the appointment needed none."""
    happened = what_happened(evidence, "step done", "e-mail")
    return "already there" if happened == "nothing" and ending_in(evidence) == DUPLICATE else happened


def states_of(evidence: TravelPayEvidence) -> str:
    return " and ".join(row["state"] for row in evidence.rows) or "unknown"


def statuses_of(promise: TravelPayPromise) -> str:
    counted = Counter(answer.status for answer in promise.answers)
    return ", ".join(str(status) if times == 1 else f"{status} ×{times}" for status, times in sorted(counted.items()))


def ending_in(evidence: TravelPayEvidence) -> str:
    """What became of it by Travel Pay's own book, whatever we say."""
    if not evidence.book:
        return NOT_FILED
    if any(row["source"] != "created" for row in evidence.book):
        return DUPLICATE
    return UNFINISHED if any(row["claimStatus"] in OPEN for row in evidence.book) else SUBMITTED


def faults_in(promise: TravelPayPromise, evidence: TravelPayEvidence) -> list[str]:
    """Everything about this promise that is wrong; nothing when it was kept."""
    if len(evidence.rows) != 1:
        return [f"Postgres holds {len(evidence.rows)} claims of one person"]
    ending = ending_in(evidence)
    if ending != promise.planned:
        return [f"planned as {promise.planned}, but by Travel Pay's book it is {ending}"]
    if len(evidence.book) != 1:
        return [f"Travel Pay holds {len(evidence.book)} claims for one appointment"]
    (row,), (filed,) = evidence.rows, evidence.book
    expenses, creations = len(filed["expenses"]), acted_on(evidence.creations)
    ours = filed["id"] if ending != DUPLICATE else None
    checks: tuple[tuple[bool, str], ...] = (
        (row["state"] == STATE_OF[ending], f"we call it {row['state']}, by Travel Pay's book it is {ending}"),
        (row["claim_id"] == ours, f"we hold claim {row['claim_id']}, Travel Pay {filed['id']}"),
        (creations == CREATIONS_OF[ending], f"Travel Pay began {creations} claims"),
        (expenses == EXPENSES_OF[ending], f"the claim has {expenses} expenses"),
    )
    wrong = [fault for holds, fault in checks if not holds]
    wrong += faults_of_answers(promise, row, filed) + faults_of_contacts(promise, evidence)
    return wrong + faults_of_mail(promise, filed, evidence) + faults_of_cases(evidence, CASES_OF.get(ending, []))


def faults_of_answers(promise: TravelPayPromise, row: Row, filed: Row) -> list[str]:
    lies = [answer for answer in promise.answers if not is_true(answer, promise.planned, row, filed)]
    return [f"the page got {answer.status}, {answer.words}, id {answer.claim_id or answer.id}" for answer in lies]


def is_true(answer: Answer, ending: str, row: Row, filed: Row) -> bool:
    """A 202 names our record and no ending. Any other answer names the ending, and not before it came."""
    if answer.status == 202:
        return (answer.id, answer.claim_id) == (row["row_id"], None)
    if row["finished_at"] is None or row["finished_at"] > answer.ended_at:
        return False
    if answer.status == 400:
        return ending == DUPLICATE
    return (answer.id, answer.claim_id, answer.words) == (row["row_id"], filed["id"], WORDS_OF.get(ending))


def faults_of_contacts(promise: TravelPayPromise, evidence: TravelPayEvidence) -> list[str]:
    """Somebody who checked saw both values of every difference, neither of them whole, and we keep a record of it."""
    if promise.shown is None:
        return []
    fields, values = (
        [each["field"] for each in promise.shown],
        [each[source] for each in promise.shown for source in ("vaProfile", "btsss")],
    )
    checks: tuple[tuple[bool, str], ...] = (
        (fields == DIFFERING, f"the page was shown a difference in {', '.join(fields) or 'nothing'}"),
        (sorted(evidence.discrepancies) == fields, f"recorded are {', '.join(evidence.discrepancies) or 'none'}"),
        (all("***" in (value or "") for value in values), "contact details were shown unmasked, or not at all"),
    )
    return [fault for holds, fault in checks if not holds]


def faults_of_mail(promise: TravelPayPromise, filed: Row, evidence: TravelPayEvidence) -> list[str]:
    if (len(evidence.sends), len(evidence.received)) != (1, 1):
        return [f"VANotify took {len(evidence.sends)} e-mails, {len(evidence.received)} arrived"]
    (mail,) = evidence.received
    named = [f"{promise.day:%b %-d, %Y}"] + ([filed["claimNumber"][-4:]] if promise.planned == SUBMITTED else [])
    right = mail["template"] == f"travel_pay.{promise.planned}" and all(text in mail["body"] for text in named)
    return [] if right else [f"the wrong e-mail: {mail['template']}: {mail['body']}"]
