"""The judge of the travel claims' promises, by BTSSS's book and the texts on the phone."""

from __future__ import annotations

from collections import defaultdict
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
from sandbox.story_claims import CREATED, DUPLICATE, REFUSED, UNDELIVERABLE, ClaimPromise

FLOW = "travel_claim"
CLAIMS = "SELECT id::text AS claim_id, state, requested_at FROM travel_claims"

STATE_OF = {"created": "submitted", "duplicate": "duplicate", "error": "failed"}
NOTIFICATION_OF = {CREATED: "created", DUPLICATE: "duplicate", REFUSED: "error", UNDELIVERABLE: "created"}
CASES_OF = {REFUSED: ["refused"], UNDELIVERABLE: ["notification_undeliverable"]}


@dataclass
class ClaimEvidence(Evidence):
    """All that is known about one claim. `book` is what BTSSS holds for that person and day."""

    claim: Row | None = None
    book: list[Row] = field(default_factory=list)
    submits: list[Row] = field(default_factory=list)


def verdicts(witnesses: Witnesses, promises: Sequence[ClaimPromise]) -> list[Verdict]:
    """One verdict for every promise, in order, and one for every other claim in Postgres."""
    found = testify(witnesses, promises)
    made = {promise.key for promise in promises}
    strays = [
        stray(f"claim {claim_id}", seen.claim["state"], seen)
        for claim_id, seen in found.items()
        if seen.claim and claim_id not in made
    ]
    return [judge(promise, found[promise.key]) for promise in promises] + strays


def testify(witnesses: Witnesses, promises: Sequence[ClaimPromise]) -> Mapping[str, ClaimEvidence]:
    found: dict[str, ClaimEvidence] = defaultdict(ClaimEvidence)
    for row in witnesses.rows(CLAIMS):
        found[row["claim_id"]].claim = row
    witnesses.add_ledger(FLOW, found)
    book = witnesses.control.call("GET", "btsss", "claims")
    submits = witnesses.control.received("btsss", "submitclaim")
    sends, phone = witnesses.control.call("GET", "va_notify", "notifications"), witnesses.control.phone()
    for promise in promises:
        evidence, veteran = found[promise.key], promise.veteran
        witnesses.add_notifications(evidence, sends, phone, veteran.phone)
        evidence.book = [row for row in book if (row["icn"], row["day"]) == (veteran.icn, promise.day.isoformat())]
        evidence.submits = [row for row in submits if row["body"]["ClaimantID"] == veteran.icn]
    return found


def judge(promise: ClaimPromise, evidence: ClaimEvidence) -> Verdict:
    requested_at = evidence.claim["requested_at"] if evidence.claim else None
    return Verdict(
        subject=f"claim {promise.key}",
        who=promise.veteran.name,
        scene=promise.scene,
        happened=what_happened(evidence, "filed", "text"),
        state=evidence.claim["state"] if evidence.claim else "unknown",
        received=received(evidence),
        seconds=seconds_to_notified(evidence, requested_at),
        kept_how=kept_how(evidence),
        faults=faults_in(promise, evidence),
        messages=messages_of(evidence),
    )


def received(evidence: Evidence) -> str:
    """The text's first words after its greeting, or why there is none."""
    openings = (text["body"].partition(": ")[2].partition(" for your")[0] for text in evidence.received)
    return " / ".join(openings) or untold(evidence)


def true_kind(evidence: ClaimEvidence) -> str:
    """The kind of notification that is true by BTSSS's own book: ours was filed, another one was there, or none is
    there."""
    if not evidence.book:
        return "error"
    return "created" if any(row["source"] == "submitted" for row in evidence.book) else "duplicate"


def faults_in(promise: ClaimPromise, evidence: ClaimEvidence) -> list[str]:
    """Everything about this promise that is wrong; nothing when it was kept."""
    if evidence.claim is None:
        return ["answered with 202, but Postgres holds no such claim"]
    notification, submitted = true_kind(evidence), acted_on(evidence.submits)
    checks: tuple[tuple[bool, str], ...] = (
        (
            notification == NOTIFICATION_OF[promise.planned],
            f"planned as {promise.planned}, but by BTSSS's book it is {notification}",
        ),
        (
            evidence.claim["state"] == STATE_OF[notification],
            f"we call it {evidence.claim['state']}, BTSSS's book {notification}",
        ),
        (len(evidence.book) <= 1, f"BTSSS holds {len(evidence.book)} claims"),
        (submitted == 1, f"BTSSS took {submitted} submits"),
        (len(evidence.sends) == 1, f"VANotify took {len(evidence.sends)} texts"),
    )
    wrong = [fault for holds, fault in checks if not holds]
    cases = faults_of_cases(evidence, CASES_OF.get(promise.planned, []))
    return wrong + faults_of_text(promise, evidence, notification) + cases


def faults_of_text(promise: ClaimPromise, evidence: ClaimEvidence, notification: str) -> list[str]:
    if promise.planned == UNDELIVERABLE:
        return ["a text arrived that could not"] if evidence.received else []
    if len(evidence.received) != 1:
        return [f"{len(evidence.received)} texts on the phone"]
    (text,) = evidence.received
    facility = "oh" if promise.veteran.facility_type == "oh" else "cie"
    named = any(number in text["body"] for number in numbers_of(evidence, notification))
    right = text["template"] == f"{facility}.{notification}" and f"{promise.day:%b %d}" in text["body"] and named
    return [] if right else [f"the wrong text: {text['template']}: {text['body']}"]


def numbers_of(evidence: ClaimEvidence, notification: str) -> list[str]:
    """What the text must call the claim, one of these: BTSSS does not say the number of one that was there before."""
    numbers = [row["number"][-4:] for row in evidence.book]
    return {"created": numbers, "duplicate": [*numbers, "unknown"]}.get(notification, [""])
