"""What Travel Pay already has on file about the cast: the day's appointments, and earlier claims of some people."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

from sandbox.upstreams.cast import Veteran
from sandbox.upstreams.travel_pay_book import MILEAGE, Book, BookedAppointment, Claim, Document, Expense, wall_text

# Every status of the contract (contract: travel 2.3) as Travel Pay spells it, and those that end with a letter.
STATUSES = (
    "Incomplete",
    "Saved",
    "ClaimSubmitted",
    "InProcess",
    "InManualReview",
    "OnHold",
    "Appeal",
    "PreApprovedForPayment",
    "ApprovedForPayment",
    "SubmittedForPayment",
    "ClaimPaid",
    "PartialPayment",
    "PaymentCanceled",
    "FiscalRescinded",
    "ClosedWithNoPayment",
    "Denied",
)
REJECTED = {
    "Denied": "The claim was filed more than 30 days after the appointment.",
    "PartialPayment": "Part of the trip was not on the shortest way.",
}
MANY = 120
LETTER, REJECTION, RECEIPT, NOTE = "Decision Letter.pdf", "Rejection Letter.pdf", "Beleg für Maut.png", "screening.txt"
PDF = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
    b"2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
    b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]>>endobj\n"
    b"trailer<</Root 1 0 R>>\n%%EOF\n"
)
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)


def settle(book: Book, veteran: Veteran) -> None:
    """Put on file what is missing: today's appointments every day, earlier claims once until a reset."""
    with book.lock:
        todays = [_todays(book, veteran, number) for number in range(len(veteran.appointments))]
        if veteran.habit == "filed" and todays:
            _filed(book, todays[0], "ClaimSubmitted", source="kiosk")
        if veteran.icn not in book.settled:
            book.settled.add(veteran.icn)
            _PASTS.get(veteran.travel_pay, _no_past)(book, veteran)


def mileage(appointment: BookedAppointment, trip: str = "RoundTrip") -> Expense:
    return Expense(f"{appointment.at:%Y-%m-%d}", "mileage", trip, MILEAGE[trip])


def _todays(book: Book, veteran: Veteran, number: int) -> BookedAppointment:
    due = veteran.appointments[number]
    at = datetime.combine(due.today(), time.fromisoformat(due.start))
    return book.find_or_add(BookedAppointment(veteran.icn, at, due.station))[0]


def _filed(book: Book, appointment: BookedAppointment, status: str, source: str = "past") -> Claim:
    """A claim that was made on the evening of the appointment; nothing where there is a claim already."""
    filed_at = min(appointment.at.replace(tzinfo=UTC) + timedelta(hours=10), datetime.now(UTC) - timedelta(hours=1))
    claim = Claim(
        icn=appointment.icn,
        number=book.next_number(),
        name=f"Claim created for {appointment.name}",
        appointment=appointment,
        status=status,
        station=appointment.station,
        created_at=filed_at,
        modified_at=filed_at + timedelta(minutes=30),
        expenses=[] if status == "Incomplete" else [mileage(appointment)],
        rejection=REJECTED.get(status),
        source=source,
    )
    claim.documents = _documents(status, claim.modified_at)
    book.create(claim)
    return claim


def _documents(status: str, at: datetime) -> list[Document]:
    if status in REJECTED:
        return [Document(REJECTION, "application/pdf", PDF, at)]
    if status == "ClaimPaid":
        letter, receipt = Document(LETTER, "application/pdf", PDF, at), Document(RECEIPT, "image/png", PNG, at)
        return [letter, receipt, Document(NOTE, None, b"{\\rtf1 screened}", at)]
    return []


def _earlier(book: Book, veteran: Veteran, days: int) -> BookedAppointment:
    at = datetime.combine(date.today() - timedelta(days=days), time(14, 15))
    return book.find_or_add(BookedAppointment(veteran.icn, at, veteran.station))[0]


def _no_past(book: Book, veteran: Veteran) -> None:
    """Most people file for the first time."""


def _every_status(book: Book, veteran: Veteran) -> None:
    for number, status in enumerate(STATUSES):
        _filed(book, _earlier(book, veteran, 3 * (number + 1)), status)
    lost = Claim(veteran.icn, book.next_number(), "Claim on paper", None, "ClaimPaid", veteran.station)
    lost.created_at = lost.modified_at = datetime.now(UTC) - timedelta(days=80)
    lost.source, lost.expenses = "past", [Expense(wall_text(lost.created_at), "mileage", "RoundTrip", 20.75)]
    book.create(lost)


def _many(book: Book, veteran: Veteran) -> None:
    for number in range(MANY):
        _filed(book, _earlier(book, veteran, 5 * (number + 1)), "ClaimPaid")


_PASTS = {"statuses": _every_status, "many": _many}
