"""The judge of the intents to file, by Lighthouse's book and the e-mails in the inbox: one each, with the date
requested.

An earlier one that somebody filed elsewhere counts as the person's own, with its date.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

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
from sandbox.story_itf import ADOPTED, CREATE, CREATED, NOT_FILED, OVERTAKEN, ITFPromise
from sandbox.upstreams.itfs import ZONE

FLOW = "intent_to_file"
ITFS = """
    SELECT id::text AS itf_id, account_id::text AS account_id, state, asked_at, effective_date, expires_at, upstream_id,
           notification
      FROM intents_to_file ORDER BY asked_at
"""
CREATIONS_OF = {CREATED: 1, ADOPTED: 0, OVERTAKEN: 1, NOT_FILED: 0}
CASES_OF = {NOT_FILED: ["refused"]}
DATE = re.compile(r"[A-Z][a-z]+ \d{1,2}, \d{4}")
DONE_AS = {CREATED: "created", ADOPTED: "already there", OVERTAKEN: "duplicate"}


@dataclass
class ITFEvidence(Evidence):
    """All that is known about one person's ITFs: our rows, Lighthouse's book, and the creates that Lighthouse
    received."""

    itfs: list[Row] = field(default_factory=list)
    book: list[Row] = field(default_factory=list)
    creations: list[Row] = field(default_factory=list)

    @property
    def in_force(self) -> list[Row]:
        """What a read upstream would show. Everything else in the book is over, used up, or only a duplicate."""
        return [row for row in self.book if row["status"] == "active"]


def verdicts(witnesses: Witnesses, promises: Sequence[ITFPromise]) -> list[Verdict]:
    """One verdict for every promise, in order, and one for every other account that has an ITF in Postgres."""
    found = testify(witnesses, promises)
    made = {promise.key for promise in promises}
    strays = [
        stray(f"ITF of account {account}", states_of(seen), seen)
        for account, seen in found.items()
        if account not in made
    ]
    return [judge(promise, found[promise.key]) for promise in promises] + strays


def testify(witnesses: Witnesses, promises: Sequence[ITFPromise]) -> Mapping[str, ITFEvidence]:
    """The evidence by account. All ITFs of an account share one entry, so that a second one cannot hide behind the
    first."""
    found: dict[str, ITFEvidence] = defaultdict(ITFEvidence)
    by_itf: dict[str, ITFEvidence] = defaultdict(ITFEvidence)
    for row in witnesses.rows(ITFS):
        by_itf[row["itf_id"]] = found[row["account_id"]]
        found[row["account_id"]].itfs.append(row)
    witnesses.add_ledger(FLOW, by_itf)
    creations = witnesses.control.received("lighthouse", CREATE)
    sends, inbox = witnesses.control.call("GET", "va_notify", "notifications"), witnesses.control.phone()
    book = witnesses.control.call("GET", "lighthouse", "itfs")
    for promise in promises:
        evidence, veteran = found[promise.key], promise.veteran
        witnesses.add_notifications(evidence, sends, inbox, veteran.email)
        evidence.book = [row for row in book if row["icn"] == veteran.icn]
        evidence.creations = [row for row in creations if f"/{veteran.icn}/" in row["path"]]
    return found


def judge(promise: ITFPromise, evidence: ITFEvidence) -> Verdict:
    requested_at = evidence.itfs[0]["asked_at"] if evidence.itfs else None
    return Verdict(
        subject=f"ITF of account {promise.key}",
        who=promise.veteran.name,
        scene=promise.scene,
        happened=what_happened(evidence, DONE_AS.get(ending_in(evidence), "nothing filed"), "e-mail"),
        state=states_of(evidence),
        received=received(evidence),
        seconds=seconds_to_notified(evidence, requested_at),
        kept_how="shown by the page" if was_shown(evidence) else kept_how(evidence),
        faults=faults_in(promise, evidence),
        messages=messages_of(evidence),
    )


def states_of(evidence: ITFEvidence) -> str:
    return " and ".join(row["state"] for row in evidence.itfs) or "unknown"


def received(evidence: Evidence) -> str:
    """The e-mail's subject and the first date that it names, or why there is none."""
    mails = (f"{mail['subject']} ({first_date(mail['body'])})" for mail in evidence.received)
    return " / ".join(mails) or untold(evidence)


def was_shown(evidence: ITFEvidence) -> bool:
    """Whether the page showed what was filed elsewhere before anything was requested: nobody is written to then."""
    unwritten = [row for row in evidence.itfs if row["state"] == "confirmed" and row.get("notification", "") is None]
    return bool(unwritten)


def first_date(body: str) -> str:
    found = DATE.search(body)
    return found.group() if found else "no date"


def ending_in(evidence: ITFEvidence) -> str:
    """What became of it by Lighthouse's own book, whatever we say."""
    if not evidence.in_force:
        return NOT_FILED
    if not acted_on(evidence.creations):
        return ADOPTED
    return OVERTAKEN if any(row["status"] == "duplicate" for row in evidence.book) else CREATED


def faults_in(promise: ITFPromise, evidence: ITFEvidence) -> list[str]:
    """Everything about this promise that is wrong; nothing when it was kept."""
    if len(evidence.itfs) != 1:
        return [f"Postgres holds {len(evidence.itfs)} ITFs of one person"]
    (itf,) = evidence.itfs
    ending, creations = ending_in(evidence), acted_on(evidence.creations)
    state = "failed" if ending == NOT_FILED else "confirmed"
    began_at, ended_at = promise.requested_between
    others = {answer.itf_id for answer in promise.answers} - {itf["itf_id"], itf["upstream_id"], ""}
    checks: tuple[tuple[bool, str], ...] = (
        (ending == promise.planned, f"planned as {promise.planned}, but by Lighthouse's book it is {ending}"),
        (itf["state"] == state, f"we call it {itf['state']}, by Lighthouse's book it is {ending}"),
        (not others, f"{len(others)} of our answers named another ITF"),
        (began_at <= itf["asked_at"] <= ended_at, f"requested at {began_at}, recorded as {itf['asked_at']}"),
        (creations == CREATIONS_OF[promise.planned], f"Lighthouse took {creations} creations"),
    )
    wrong = [fault for holds, fault in checks if not holds]
    cases = faults_of_cases(evidence, CASES_OF.get(promise.planned, []))
    return wrong + faults_of_dates(itf, evidence) + faults_of_mail(promise, itf, evidence) + cases


def faults_of_dates(itf: Row, evidence: ITFEvidence) -> list[str]:
    """The legal date is the day of the request, or an earlier one that Lighthouse holds."""
    if len(evidence.in_force) > 1:
        return [f"Lighthouse holds {len(evidence.in_force)} ITFs"]
    if not evidence.in_force:
        return [] if itf["effective_date"] == itf["asked_at"] else ["the date of the request is lost"]
    (filed,) = evidence.in_force
    created_at, expires_at = (datetime.fromisoformat(filed[name]) for name in ("created_at", "expires_at"))
    checks: tuple[tuple[bool, str], ...] = (
        (itf["upstream_id"] == filed["id"], f"we hold {itf['upstream_id']}, Lighthouse {filed['id']}"),
        (itf["effective_date"] == min(itf["asked_at"], created_at), f"we date it {itf['effective_date']}"),
        (created_at.astimezone(ZONE).date() <= itf["asked_at"].astimezone(ZONE).date(), f"filed only {created_at}"),
        (itf["expires_at"] <= expires_at, f"we say it lasts until {itf['expires_at']}, Lighthouse {expires_at}"),
    )
    return [fault for holds, fault in checks if not holds]


def faults_of_mail(promise: ITFPromise, itf: Row, evidence: ITFEvidence) -> list[str]:
    if promise.planned == NOT_FILED:
        return ["an e-mail was sent that could not arrive"] if evidence.received or evidence.sends else []
    if was_shown(evidence):
        return ["an e-mail about nothing that was requested"] if evidence.received or evidence.sends else []
    if (len(evidence.sends), len(evidence.received)) != (1, 1):
        return [f"VANotify took {len(evidence.sends)} e-mails, {len(evidence.received)} arrived"]
    (mail,) = evidence.received
    days = [f"{itf[name].astimezone(ZONE):%B %-d, %Y}" for name in ("effective_date", "expires_at")]
    right = mail["template"] == "itf.confirmed" and all(day in mail["body"] for day in days)
    return [] if right else [f"the wrong e-mail: {mail['template']}: {mail['body']}"]
