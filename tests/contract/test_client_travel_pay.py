"""Travel Pay's clients against the fakes: the whole chain, what repeats of it mean, and every fault on its way."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest

from flaskapp.upstreams import Upstreams as Clients
from flaskapp.upstreams.errors import Duplicate, Rejected, Throttled, Unauthorized, Unavailable
from flaskapp.upstreams.sts import STSClient
from flaskapp.upstreams.tokens.person import Traveler
from flaskapp.upstreams.transport.http import HTTP
from flaskapp.upstreams.travel_pay.reads import ClaimDetail, ClaimSummary
from sandbox.faults import Control
from sandbox.upstreams.cast import TRAVEL_PAY_CAST, Veteran
from sandbox.upstreams.keys import OLD_KEY
from sandbox.upstreams.serve import Upstreams
from tests.contract.clients import (
    CUT_SECONDS,
    PATIENT_SECONDS,
    QUICK_STRIKES,
    STRIKES,
    Strike,
    clients_for,
    config_for,
    settled,
    write_nothing_first,
)

MOVED, NO_EMAIL, MANY, EVERY_STATUS = TRAVEL_PAY_CAST
TOKEN = "access-token"
# The connection of the token call is still open, so the next call does not meet a refused connection.
ONCE_CONNECTED = [strike for strike in STRIKES if strike.kind != "refuse"]
QUICK = [strike for strike in QUICK_STRIKES if strike.kind != "refuse"]


def traveler(person: Veteran) -> Traveler:
    return Traveler(f"account of {person.icn}", person.icn, person.email or "nobody@example.test")


ADA = traveler(MOVED)


def find(clients: Clients, who: Traveler = ADA) -> Any:
    details = ("Other", "Eye clinic", True)
    return clients.travel_pay_filing.find_or_add_appointment(who, "2031-03-04T09:30:00", "983", *details)


def create(clients: Clients) -> str:
    return clients.travel_pay_filing.create_claim(ADA, find(clients).id, "Travel", write_nothing_first)


def add(clients: Clients, claim_id: str) -> str:
    return clients.travel_pay_filing.add_mileage(ADA, claim_id, "2031-03-04", write_nothing_first)


def submit(clients: Clients, claim_id: str) -> str:
    return clients.travel_pay_filing.submit_begun_claim(ADA, claim_id, write_nothing_first)


def claim(clients: Clients, claim_id: str, who: Traveler = ADA) -> ClaimDetail | None:
    return clients.travel_pay.claim(who, claim_id, total_seconds=PATIENT_SECONDS)


def detail(clients: Clients, claim_id: str) -> ClaimDetail:
    found = claim(clients, claim_id)
    assert found is not None
    return found


def test_a_claim_is_filed_step_by_step_and_seen_at_every_one(clients: Clients) -> None:
    claim_id = create(clients)
    begun = detail(clients, claim_id)
    assert (begun.claim_status, begun.expenses) == ("Incomplete", ())
    assert begun.appointment_date == begun.appointment.appointment_date_time  # type: ignore[union-attr]
    assert (begun.appointment_date or "").startswith("2031-03-04T09:30:00")
    assert find(clients).associated_claim_id == claim_id
    expense_id = add(clients, claim_id)
    assert [each.id for each in detail(clients, claim_id).expenses] == [expense_id]
    assert submit(clients, claim_id) == detail(clients, claim_id).claim_status == "ClaimSubmitted"
    assert find(clients).associated_claim_number == begun.claim_number


@pytest.mark.parametrize("answers", ["several", "object"])
def test_an_unusual_answer_still_leads_to_the_requested_appointment(
    clients: Clients, control: Control, answers: str
) -> None:
    control.turn("travel_pay", find_or_add_answers=answers)
    begun = detail(clients, create(clients))
    assert (begun.appointment_date or "").startswith("2031-03-04T09:30:00")


def test_each_repeated_step_says_so_except_the_mileage(clients: Clients) -> None:
    claim_id = create(clients)
    assert find(clients).id == find(clients).id
    with pytest.raises(Duplicate):
        create(clients)
    assert add(clients, claim_id) != add(clients, claim_id)
    submit(clients, claim_id)
    with pytest.raises(Duplicate):
        submit(clients, claim_id)
    with pytest.raises(Duplicate):
        add(clients, claim_id)


def test_only_its_owner_sees_a_claim(clients: Clients) -> None:
    claim_id = create(clients)
    assert claim(clients, claim_id, traveler(MANY)) is None
    with pytest.raises(Rejected) as caught:
        clients.travel_pay_filing.submit_begun_claim(traveler(MANY), claim_id, write_nothing_first)
    assert caught.value.http_status == 404


def searched(clients: Clients, person: Veteran, size: int) -> list[ClaimSummary]:
    """All pages of the last two years."""
    today, found, number = date.today(), list[ClaimSummary](), 1
    while True:
        page = clients.travel_pay.search_claims(
            traveler(person), today - timedelta(days=730), today, number, size, total_seconds=PATIENT_SECONDS
        )
        found += page.items
        assert page.unreadable == 0 and page.page == number
        if page.page * page.size >= page.total:
            return found
        number += 1


def test_many_claims_are_read_page_by_page(clients: Clients) -> None:
    found = searched(clients, MANY, 100)
    assert len(found) == len({each.id for each in found}) == 120
    listed = clients.travel_pay.list_claims(traveler(MANY), total_seconds=PATIENT_SECONDS)
    assert {each.id for each in listed.items} < {each.id for each in found}
    assert (len(listed.items), listed.total) == (50, 120)


def test_a_search_ends_with_the_end_of_its_last_day(clients: Clients) -> None:
    claim_id = create(clients)
    day = date(2031, 3, 4)
    page = clients.travel_pay.search_claims(ADA, day, day, 1, 10, total_seconds=PATIENT_SECONDS)
    assert [each.id for each in page.items] == [claim_id]


def test_claims_in_every_status_and_their_documents_can_be_read(clients: Clients, control: Control) -> None:
    who, documents = traveler(EVERY_STATUS), []
    listed = searched(clients, EVERY_STATUS, 50)
    assert len({each.claim_status for each in listed}) > 10
    for each in listed:
        assert claim(clients, each.id, who) is not None
        found, _ = clients.travel_pay.documents(who, each.id, total_seconds=PATIENT_SECONDS)
        documents += [(each.id, document) for document in found]
    claim_id, letter = next(each for each in documents if each[1].filename == "Decision Letter.pdf")
    file = clients.travel_pay.document(who, claim_id, letter.document_id, total_seconds=PATIENT_SECONDS)
    assert file is not None and file.content.startswith(b"%PDF") and file.content_type == "application/pdf"
    assert clients.travel_pay.document(who, claim_id, "unknown", total_seconds=PATIENT_SECONDS) is None
    control.turn("travel_pay", documents_in_json=True)
    assert clients.travel_pay.document(who, claim_id, letter.document_id, total_seconds=PATIENT_SECONDS) == file


def test_appointments_with_claims_are_left_out_only_on_request(clients: Clients) -> None:
    create(clients)
    everything = clients.travel_pay.appointments(ADA, 1, 20, total_seconds=PATIENT_SECONDS)
    free = clients.travel_pay.appointments(ADA, 1, 20, total_seconds=PATIENT_SECONDS, exclude_with_claims=True)
    assert (everything.total, everything.unreadable) == (free.total + 1, 0)


def test_two_records_of_one_person_may_differ(clients: Clients) -> None:
    ours = clients.va_profile.contact(ADA.icn, total_seconds=PATIENT_SECONDS)
    theirs = clients.travel_pay.contact(ADA, total_seconds=PATIENT_SECONDS)
    assert ours is not None and (ours.city, theirs.city) == ("Springfield", "Peoria")
    assert theirs.street == "12 Old Mill Avenue, Apt 4" and ours.phone == MOVED.phone != theirs.phone


@pytest.mark.parametrize("strike", ONCE_CONNECTED, ids=str)
def test_a_create_reports_what_a_fault_did(clients: Clients, control: Control, strike: Strike) -> None:
    appointment_id = find(clients).id
    control.set("travel_pay", strike.kind, operation="POST /api/v3/claims", **strike.fields)
    started = time.monotonic()
    with pytest.raises(strike.write) as caught:
        clients.travel_pay_filing.create_claim(ADA, appointment_id, "Travel", write_nothing_first)
    assert time.monotonic() - started < CUT_SECONDS
    assert type(caught.value) is strike.write and caught.value.upstream == "travel_pay"
    assert strike.retry_after in (None, caught.value.retry_after)
    settled(control, "travel_pay", "POST /api/v3/claims")
    control.clear("travel_pay")
    assert (find(clients).associated_claim_id is not None) == strike.worked


@pytest.mark.parametrize("strike", QUICK, ids=str)
@pytest.mark.parametrize("step", [add, submit])
def test_the_other_writes_report_what_a_fault_did(
    clients: Clients, control: Control, step: Callable[[Clients, str], str], strike: Strike
) -> None:
    claim_id = create(clients)
    if step is submit:
        add(clients, claim_id)
    before = detail(clients, claim_id)
    control.set("travel_pay", strike.kind, **strike.fields)
    with pytest.raises(strike.write) as caught:
        step(clients, claim_id)
    assert type(caught.value) is strike.write
    settled(control, "travel_pay", "")
    control.clear("travel_pay")
    after = detail(clients, claim_id)
    assert (after.claim_status != before.claim_status) == strike.worked


@pytest.mark.parametrize("strike", QUICK, ids=str)
def test_a_read_never_guesses_during_a_fault(clients: Clients, control: Control, strike: Strike) -> None:
    claim_id = create(clients)
    control.set("travel_pay", strike.kind, **strike.fields)
    for read in (find, lambda known: claim(known, claim_id), lambda known: searched(known, MOVED, 50)):
        with pytest.raises(strike.read) as caught:
            read(clients)
        assert type(caught.value) is strike.read


@pytest.mark.parametrize("strike", QUICK_STRIKES, ids=str)
@pytest.mark.parametrize("upstream", ["veis", "sts", "travel_pay"])
def test_without_a_token_nothing_is_queried(clients: Clients, control: Control, upstream: str, strike: Strike) -> None:
    only = {} if strike.kind == "refuse" or upstream != "travel_pay" else {"operation": TOKEN}
    control.set(upstream, strike.kind, **only, **strike.fields)
    with pytest.raises(strike.read) as caught:
        find(clients)
    assert type(caught.value) is strike.read and caught.value.upstream == upstream
    assert control.received("travel_pay", "appointments") == []


@pytest.mark.parametrize("revoked", ["veis", "btsss"])
def test_only_a_token_that_died_early_is_replaced_and_one_claim_is_created(
    clients: Clients, control: Control, revoked: str
) -> None:
    appointment_id = find(clients).id
    control.call("POST", "travel_pay", "revoke", json={"token": revoked})
    assert clients.travel_pay_filing.create_claim(ADA, appointment_id, "Travel", write_nothing_first)
    assert [each["status"] for each in control.received("travel_pay", "POST /api/v3/claims")] == [401, 200]
    fetched = {"veis": len(control.received("veis")), "btsss": len(control.received("sts"))}
    assert fetched.pop(revoked) == 2 and set(fetched.values()) == {1}


def test_tokens_that_keep_dying_are_unauthorized_after_one_repeat(clients: Clients, control: Control) -> None:
    control.set("travel_pay", "expire", operation="find-or-add")
    with pytest.raises(Unauthorized):
        find(clients)
    assert len(control.received("travel_pay", "find-or-add")) == 2


def test_a_token_without_a_lifetime_is_kept_all_the_same(clients: Clients, control: Control) -> None:
    control.turn("travel_pay", tell_expiry=False)
    assert find(clients) == find(clients) and len(control.received("sts")) == 1


def test_a_person_unknown_to_btsss_waits_and_everybody_else_goes_on(clients: Clients) -> None:
    stranger = Traveler("account-0", "1999999999V999999", "stranger@example.test")
    with pytest.raises(Unavailable) as caught:
        find(clients, stranger)
    assert (caught.value.upstream, caught.value.http_status) == ("travel_pay", 403)
    assert stranger.icn not in caught.value.detail
    assert find(clients).id


@pytest.mark.parametrize("ahead", [20, 0, -20, -200])
def test_a_clock_that_differs_from_that_of_sts_refuses_nobody(
    upstreams: Upstreams, control: Control, ahead: int
) -> None:
    """`ahead` is by how many seconds our clock is ahead."""
    control.turn("sts", clock_offset_seconds=-ahead)
    sts = STSClient(config_for(upstreams), HTTP(10))
    assert len({sts.exchange(ADA.icn, ADA.email) for _ in range(60)}) == 60
    assert {entry["status"] for entry in control.received("sts")} == {200}


def test_a_clock_far_ahead_is_unauthorized_until_it_is_right_again(clients: Clients, control: Control) -> None:
    control.turn("sts", clock_offset_seconds=-60)
    for _ in range(2):
        with pytest.raises(Unauthorized) as caught:
            find(clients)
        assert (caught.value.upstream, caught.value.http_status) == ("sts", 400)
    control.turn("sts", clock_offset_seconds=0)
    assert find(clients).id


@pytest.mark.parametrize(
    ("name", "value", "upstream"),
    [
        ("STS_ISSUER", "https://elsewhere.invalid", "sts"),
        ("STS_PRIVATE_KEY", OLD_KEY, "sts"),
        ("STS_SCOPES", "another", "sts"),
        ("STS_SERVICE_ACCOUNT_ID", "another", "sts"),
        ("VEIS_CLIENT_SECRET", "wrong", "veis"),
        ("TRAVEL_PAY_SUBSCRIPTION_KEYS", "wrong", "travel_pay"),
    ],
)
def test_unknown_credentials_are_unauthorized(upstreams: Upstreams, name: str, value: str, upstream: str) -> None:
    with pytest.raises(Unauthorized) as caught:
        find(clients_for(upstreams, **{name: value}))
    assert caught.value.upstream == upstream


def test_a_404_of_the_gateway_never_looks_like_no_claim(upstreams: Upstreams) -> None:
    """The tokens, which are under the same host, are there already."""
    right = clients_for(upstreams)
    claim_id = create(right)
    right.travel_pay._base_url = right.travel_pay_filing._base_url = f"{upstreams['travel_pay']}/typo"
    for read in (lambda: claim(right, claim_id), lambda: submit(right, claim_id)):
        with pytest.raises(Unavailable):
            read()


def test_the_minutes_limit_says_when_to_try_again(clients: Clients, control: Control) -> None:
    control.turn("travel_pay", minute_limit=2)
    assert find(clients)
    with pytest.raises(Throttled) as caught:
        find(clients)
    assert caught.value.retry_after is not None and 0 < caught.value.retry_after <= 60


@pytest.mark.parametrize("strike", QUICK_STRIKES, ids=str)
def test_va_profile_is_trusted_only_when_it_answers(clients: Clients, control: Control, strike: Strike) -> None:
    control.set("va_profile", strike.kind, **strike.fields)
    with pytest.raises(strike.read) as caught:
        clients.va_profile.contact(ADA.icn, total_seconds=PATIENT_SECONDS)
    assert type(caught.value) is strike.read


def test_va_profile_says_whom_it_does_not_know(upstreams: Upstreams, clients: Clients) -> None:
    assert clients.va_profile.contact("1999999999V999999", total_seconds=PATIENT_SECONDS) is None
    with pytest.raises(Unauthorized):
        clients_for(upstreams, VA_PROFILE_API_KEY="wrong").va_profile.contact(ADA.icn, total_seconds=PATIENT_SECONDS)
