"""The judge of a chaos run, by the rows only: what was lost, done twice upstream, or not notified.

Every entry says whom and what it is about. The upstreams' books decide what is true; our own rows only say how it was
reported. Somebody whom a named human holds does not count as untold.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from sandbox.chaos.evidence import Evidence, Row
from sandbox.chaos.journeys import FORM, ITF, TRAVEL_CLAIM, TRAVEL_PAY, Promise

DOCUMENT = "form526_document"
# The right state and notifications, by what the upstream's book says of somebody.
FILED, THERE_BEFORE, NOT_THERE = "filed", "there before", "not there"
RIGHT_STATE_AND_KINDS: dict[tuple[str, str], tuple[str, tuple[str, ...]]] = {
    (TRAVEL_CLAIM, FILED): ("submitted", ("created",)),
    (TRAVEL_CLAIM, THERE_BEFORE): ("duplicate", ("duplicate",)),
    (TRAVEL_CLAIM, NOT_THERE): ("failed", ("error",)),
    (ITF, FILED): ("confirmed", ("confirmed",)),
    (FORM, FILED): ("accepted", ("accepted",)),
    (TRAVEL_PAY, FILED): ("submitted", ("submitted",)),
}
# What a notification may claim of the upstream; the other kinds say that we do not know.
SAYS_THERE = ("created", "duplicate", "denied", "confirmed", "confirmed_late", "accepted", "submitted")
SAYS_NOT_THERE = ("error", "failed")
SAYS_NOT_ARRIVED = {"document_failed", "document_missing", "document_incomplete"}
# States that say that the upstream has it.
DONE = ("submitted", "duplicate", "confirmed", "accepted", "done")


@dataclass
class Verdicts:
    """One line for each thing that must not be."""

    lost: list[str] = field(default_factory=list)
    duplicate: list[str] = field(default_factory=list)
    untold: list[str] = field(default_factory=list)


def judge(evidence: Evidence) -> Verdicts:
    """Everything wrong with these rows; three empty lists when every promise was kept."""
    shelf = Shelf(evidence)
    return Verdicts(
        lost=[*lost_promises(shelf), *lost_documents(shelf)],
        duplicate=[*doubled_upstream(evidence), *doubled_uploads(evidence), *doubled_promises(evidence)],
        untold=[*untold_promises(shelf), *lied_to(shelf), *untold_documents(shelf), *notified_too_late(evidence)],
    )


def held_promises(evidence: Evidence) -> Counter[str]:
    """How many submissions of each flow a named human has in the end."""
    shelf = Shelf(evidence)
    ids = {key: row["id"] for key, row in shelf.subjects.items()}
    promised = ((promise.flow, ids.get((promise.flow, promise.key), "")) for promise in evidence.promises)
    return Counter(flow for flow, subject_id in promised if shelf.held(flow, subject_id))


class Shelf:
    """The rows, indexed for look-ups."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.subjects = {(row["flow"], row["key"]): row for row in evidence.subjects}
        self.notifications = by(evidence.notifications, "subject_type", "subject_id")
        self.owners = {(row["subject_type"], row["subject_id"]): row["owner"] for row in evidence.cases}
        self.sends = by(evidence.sends, "reference")
        self.uploads = {row["id"]: row for row in evidence.uploads}
        alike: list[Row] = [{**row, "claim_id": str(row["claim_id"])} for row in evidence.uploads]
        self.uploads_alike = by(alike, "claim_id", "doc_type")
        self.books = {
            TRAVEL_CLAIM: by(evidence.claims, "icn", "day"),
            ITF: by([row for row in evidence.itfs if row["status"] == "active"], "icn"),
            FORM: by(evidence.forms, "icn"),
            TRAVEL_PAY: by(evidence.travel_pay, "icn", "wallClock"),
        }

    def held(self, flow: str, subject_id: str) -> bool:
        """Whether an open case names somebody."""
        return bool(self.owners.get((flow, subject_id)))

    def book(self, promise: Promise) -> list[Row]:
        """What the upstream holds of the promised thing."""
        icn, dated = promise.veteran.icn, promise.flow in (TRAVEL_CLAIM, TRAVEL_PAY)
        return self.books[promise.flow].get((icn, promise.about) if dated else (icn,), [])

    def truth(self, promise: Promise) -> str:
        found = self.book(promise)
        if not found:
            return NOT_THERE
        return THERE_BEFORE if found[0].get("source") == "kiosk" else FILED


def by(rows: list[Row], *names: str) -> dict[tuple[object, ...], list[Row]]:
    found: dict[tuple[object, ...], list[Row]] = defaultdict(list)
    for row in rows:
        found[tuple(row[name] for name in names)].append(row)
    return found


def named(promise: Promise) -> str:
    return f"{promise.flow} {promise.key} ({promise.about})"


def lost_promises(shelf: Shelf) -> Iterator[str]:
    """What was answered and is not in our rows, or is called done and is not in the upstream's book."""
    for promise in shelf.evidence.promises:
        row = shelf.subjects.get((promise.flow, promise.key))
        if row is None:
            yield f"{named(promise)}: Postgres holds no such thing"
        elif row["state"] in DONE and not shelf.book(promise):
            yield f"{named(promise)}: we call it {row['state']}, and the upstream has nothing"


def lost_documents(shelf: Shelf) -> Iterator[str]:
    for document in shelf.evidence.documents:
        upload = shelf.uploads.get(document["request_id"])
        if document["state"] == "done" and (upload is None or upload["state"] != "SUCCESS"):
            yield f"document {document['id']}: called done, by Lighthouse's book it is {upload and upload['state']}"


def doubled_upstream(evidence: Evidence) -> Iterator[str]:
    """One thing of one person that an upstream's book has twice, and a notification that VANotify took twice."""
    things = {
        "BTSSS claim": Counter((row["icn"], row["day"]) for row in evidence.claims),
        "ITF": Counter(row["icn"] for row in evidence.itfs if row["status"] in ("active", "duplicate")),
        "526": Counter(row["icn"] for row in evidence.forms),
        "Travel Pay claim": Counter((row["icn"], row["wallClock"]) for row in evidence.travel_pay),
        "notification": Counter(row["reference"] for row in evidence.sends),
    }
    for what, counted in things.items():
        yield from (f"{what} of {whose}: {times} times" for whose, times in counted.items() if times > 1)
    for row in evidence.travel_pay:
        if len(row["expenses"]) > 1:
            yield f"Travel Pay claim {row['id']}: {len(row['expenses'])} times its mileage"


def doubled_uploads(evidence: Evidence) -> Iterator[str]:
    """Documents that are there twice. This is allowed where Lighthouse cannot be queried, and only if our rows say
    so."""
    uploaded = Counter((str(row["claim_id"]), row["doc_type"]) for row in evidence.uploads)
    for document in evidence.documents:
        times = uploaded[(document["claim"], document["doc_type"])]
        if times > 1 and not document["possibly_twice"]:
            yield f"document {document['id']}: {times} uploads, and nothing says that it may be there twice"


def doubled_promises(evidence: Evidence) -> Iterator[str]:
    """Two ids for one thing: the same thing requested twice must be one submission."""
    ids: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for promise in evidence.promises:
        ids[(promise.flow, promise.veteran.icn, promise.about)].add(promise.key)
    yield from (
        f"{flow} of {icn} ({about}): {len(keys)} ids" for (flow, icn, about), keys in ids.items() if len(keys) > 1
    )


def untold_promises(shelf: Shelf) -> Iterator[str]:
    for promise in shelf.evidence.promises:
        row = shelf.subjects.get((promise.flow, promise.key))
        if row is None or shelf.held(promise.flow, row["id"]):
            continue
        truth = shelf.truth(promise)
        state, kinds = RIGHT_STATE_AND_KINDS.get((promise.flow, truth), (None, ()))
        if row["state"] != state:
            yield f"{named(promise)}: we call it {row['state']}, by the upstream's book it is {truth}; nobody holds it"
        else:
            yield from (f"{named(promise)}: {why}" for why in wrong_notifications(shelf, promise.flow, row, kinds))


def lied_to(shelf: Shelf) -> Iterator[str]:
    """Somebody with a human may have no notification yet, or one that says we do not know; but none that is false."""
    for promise in shelf.evidence.promises:
        row = shelf.subjects.get((promise.flow, promise.key))
        if row is None or not shelf.held(promise.flow, row["id"]):
            continue
        lies = SAYS_THERE if shelf.truth(promise) == NOT_THERE else SAYS_NOT_THERE
        for notification in shelf.notifications.get((promise.flow, row["id"]), []):
            if notification["kind"] in lies and shelf.sends.get((notification["id"],)):
                truth = shelf.truth(promise)
                yield f"{named(promise)}: notified {notification['kind']}, by the upstream's book it is {truth}"


def untold_documents(shelf: Shelf) -> Iterator[str]:
    """Documents without the right ending: one that arrived needs no notification, one that failed needs one and a
    human."""
    for document in shelf.evidence.documents:
        if document["state"] == "pending" and not shelf.held(DOCUMENT, document["id"]):
            yield f"document {document['id']}: still under way"
        elif document["state"] == "failed" and not shelf.held(DOCUMENT, document["id"]):
            yield f"document {document['id']}: failed, and nobody holds it"
        elif document["state"] == "failed":
            kinds = {notification["kind"] for notification in shelf.notifications.get((DOCUMENT, document["id"]), [])}
            if kinds & SAYS_NOT_ARRIVED and any(
                upload["state"] == "SUCCESS" for upload in own_uploads(shelf, document)
            ):
                yield f"document {document['id']}: notified that it failed, by Lighthouse's book it arrived"
            why = wrong_notifications(shelf, DOCUMENT, document, tuple(SAYS_NOT_ARRIVED | {"document_unconfirmed"}))
            yield from (f"document {document['id']}: {each}" for each in why)


def own_uploads(shelf: Shelf, document: Row) -> list[Row]:
    """Every upload that may be this document's: the one whose id we hold, and, because replies are lost, those of its
    claim and type whose id no document holds."""
    followed = {each["request_id"] for each in shelf.evidence.documents}
    alike = shelf.uploads_alike.get((document["claim"], document["doc_type"]), [])
    return [upload for upload in alike if upload["id"] == document["request_id"] or upload["id"] not in followed]


def wrong_notifications(shelf: Shelf, flow: str, row: Row, kinds: tuple[str, ...]) -> Iterator[str]:
    """Nothing when exactly the right notification was sent and VANotify took it, whatever became of it afterwards."""
    notifications = [each for each in shelf.notifications.get((flow, row["id"]), []) if each["cycle"] == row["cycle"]]
    if len(notifications) != 1:
        yield f"{len(notifications)} notifications"
        return
    (notification,) = notifications
    sends = shelf.sends.get((notification["id"],), [])
    if notification["kind"] not in kinds:
        yield f"notified {notification['kind']}, where {' or '.join(kinds)} is true"
    if not sends:
        yield f"VANotify never took the notification, which we call {notification['state']}"
    if any(send["template"] != f"{notification['sender']}.{notification['kind']}" for send in sends):
        yield f"sent as {', '.join(send['template'] for send in sends)}, the right one was {notification['kind']}"


def notified_too_late(evidence: Evidence) -> Iterator[str]:
    """An older notification must not arrive after a newer one, and one that we call withdrawn must not arrive at
    all."""
    order = {send["reference"]: place for place, send in enumerate(evidence.sends)}
    taken = sorted((each for each in evidence.notifications if each["id"] in order), key=lambda each: order[each["id"]])
    for (flow, subject_id), notifications in by(taken, "subject_type", "subject_id").items():
        for before, after in pairwise(notifications):
            if after["cycle"] < before["cycle"]:
                yield f"{flow} {subject_id}: notified {after['kind']} after {before['kind']}, which is newer"
    for notification in taken:
        if notification["state"] == "withdrawn":
            subject = f"{notification['subject_type']} {notification['subject_id']}"
            yield f"{subject}: notified {notification['kind']}, which we call withdrawn"
