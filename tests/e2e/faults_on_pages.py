"""The front end's pages with every fault of the sandbox: what they show, and that every promise is kept.

`make faults` runs this file. It waits for limits and retries as people do, so it is no part of `make test`.
"""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil
import pytest

from sandbox.faults import UPSTREAMS
from sandbox.upstreams.cast import Veteran
from tests.e2e import dates, pages
from tests.e2e.browser import Browser, Rejected
from tests.e2e.fault_matrix import FILING, KEYS, LOST, TROUBLES, TWICE, WAITING, Strike, Trouble
from tests.e2e.front_end import PATIENCE_SECONDS, FrontEnd
from tests.e2e.pages import READY, CheckInPage, Form526Page, ITFPage, TravelPayPage
from tests.integration.steps import tokens_may_be_replaced
from tests.product import eventually

# The limit on a test ends one that hangs. It is longer than all the waits for what must come to pass.
pytestmark = [pytest.mark.processes, pytest.mark.timeout(900)]

# What each page that waits for an upstream shows when it is well, and what it may show when it is not. Another call may
# have opened the breaker, and then a page gets less far.
SHOWN: dict[str, tuple[str, set[str]]] = {
    "landing": (READY, {"lorota-fail"}),
    "travel-only": (READY, {"data-error"}),
    "demographics": (READY, {"check-in-demographics-patch-error"}),
    "check-in": (READY, {"error-completing-check-in"}),
    "pension": ("created", {"failed"}),
    # Refused by Lighthouse when it is well: the one who asks is the veteran.
    "survivor": ("failed", {"failed"}),
    "ITF list": ("list", {"error"}),
    "claims": ("list", {"general error"}),
    "all claims": ("list", {"error"}),
    "details": ("details", {"error", "details without documents"}),
    "document": ("downloaded", {"download failed"}),
    "appointment": (READY, {"appointment error"}),
    "contacts": ("details differ", {"details could not be compared"}),
}
# What may harm a page all the same. LoROTA's token, which lives for half a day, is all that a session has; CHIP's is
# fetched for the one call. And HTML is no document.
HARMED = {
    *(("expire", page) for page in ("travel-only", "demographics", "check-in")),
    ("slow, late, mislabelled and in drops", "document"),
}
# Only a new log-in makes this page well.
SESSION_ENDED = ("expire", "travel-only")
# What VANotify can do with its callbacks: the sandbox's knobs.
CALLBACKS = ("contradict", "twice", "early")
LOOK_SECONDS = 1.0


# -- turning faults on and off ---------------------------------------------------


def turned_on(site: FrontEnd, trouble: Trouble, strikes: Iterable[Strike], times: int | None = None) -> None:
    """On these operations. One that lasts takes their whole upstreams away."""
    aims = {(upstream, "") for upstream, _ in strikes} if trouble.lasts else set(strikes)
    for upstream, operation in aims:
        often = trouble.times or times
        often = often and often * (2 if (upstream, operation) in TWICE else 1)
        known = {"operation": operation} if operation else {}
        for each in trouble.faults:
            more = {} if trouble.lasts or often is None else {"times": often}
            site.control.set(upstream, **{**each, **known, **more})


def turned_off(site: FrontEnd) -> None:
    for upstream in UPSTREAMS:
        site.control.clear(upstream)
    site.control.turn("va_notify", **dict.fromkeys(CALLBACKS, False))


def not_met(site: FrontEnd, strikes: Iterable[Strike]) -> list[str]:
    """The faults of these operations that struck nobody yet."""
    wanted = set(strikes)
    return [
        f"{upstream} {each['operation']}: {each['kind']}"
        for upstream in {upstream for upstream, _ in wanted}
        for each in site.control.faults(upstream)
        if (upstream, each["operation"]) in wanted
    ]


def until_met(site: FrontEnd, strikes: Iterable[Strike]) -> None:
    wanted = set(strikes)
    try:
        eventually(lambda: not not_met(site, wanted), PATIENCE_SECONDS)
    except AssertionError:
        raise AssertionError(f"struck nobody: {not_met(site, wanted)}") from None


def without_tokens(site: FrontEnd) -> None:
    """No token is known any longer, so each must be fetched."""
    redis = site.running.redis
    redis.delete("none", *redis.keys("surefile:token:*"))


@contextmanager
def as_if_minutes_passed(site: FrontEnd) -> Iterator[None]:
    """Between any two tokens that die: else a refused token is replaced once a minute, and here each dies at once."""
    redis, over = site.running.redis, threading.Event()

    def let_pass() -> None:
        while not over.wait(0.05):
            tokens_may_be_replaced(redis)

    passing = threading.Thread(target=let_pass)
    passing.start()
    try:
        yield
    finally:
        over.set()
        passing.join()


def all_at_once(acts: dict[str, Callable[[], str]]) -> dict[str, str]:
    with ThreadPoolExecutor(len(acts)) as hands:
        shown = {name: hands.submit(act) for name, act in acts.items()}
        return {name: each.result() for name, each in shown.items()}


# -- pages that wait -------------------------------------------------------------


def waiting_pages(site: FrontEnd) -> dict[str, Callable[[], str]]:
    """Each of them ready for its call. What the calls before fetched is known."""
    landing, demographics, check_in = (site.check_in(site.newcomer()) for _ in range(3))
    appointment = {"station": "757", "time_zone": "America/New_York", "day": yesterday()}
    travel_only = site.check_in(site.newcomer(facility_type="oh", appointments=[appointment]))
    assert [(page.open(), page.load()) for page in (demographics, check_in, travel_only)] == [(READY, READY)] * 3
    assert check_in.confirm() == READY
    habits = ("none",) * 4 + ("contacts_differ", "statuses")
    signed_in = [site.signed_in(site.newcomer(travel_pay=habit)) for habit in habits]
    for browser in signed_in:
        # A breaker may be open since the fault before.
        eventually(lambda browser=browser: TravelPayPage(browser).claims()[0] == "list", PATIENCE_SECONDS)
    first, second, third, appointments, contacts, past = (TravelPayPage(browser) for browser in signed_in)
    [appointment_id] = appointments.list_appointments()
    claim_id, document_id = a_document(past)
    return {
        "landing": landing.open,
        "travel-only": travel_only.load,
        "demographics": demographics.confirm,
        "check-in": check_in.check_in,
        "pension": ITFPage(first.browser, "R3", "pension").load,
        "survivor": ITFPage(second.browser, "R3", "survivor").load,
        "ITF list": lambda: pages.itf_list(third.browser)[0],
        "claims": lambda: third.claims()[0],
        "all claims": lambda: all_claims(past.browser),
        "details": lambda: details(past, claim_id),
        "document": lambda: past.document(claim_id, document_id)[0],
        "appointment": lambda: appointments.open_appointment(appointment_id),
        "contacts": contacts.contact_details,
    }


def yesterday() -> str:
    return (datetime.now(UTC) - timedelta(days=1)).date().isoformat()


def a_document(page: TravelPayPage) -> tuple[str, str]:
    for each in page.claims()[1]:
        for document in page.details(each["id"])[1]["documents"]:
            if document["mimetype"]:
                return each["id"], document["documentId"]
    raise AssertionError("nobody's claim has a document")


def all_claims(browser: Browser) -> str:
    """The list without a period, which other clients than the pages ask for."""
    try:
        found = browser.api("/travel_pay/v0/claims")["data"]
    except Rejected:
        return "error"
    return "list" if found else "an empty list"


def details(page: TravelPayPage, claim_id: str) -> str:
    screen, claim = page.details(claim_id)
    return f"{screen} without documents" if claim.get("documentsMessage") else screen


@pytest.mark.parametrize("name", TROUBLES)
def test_pages_that_wait_show_the_truth_under(site: FrontEnd, name: str) -> None:
    """And, once the fault is over, what they are for."""
    trouble, every = TROUBLES[name], waiting_pages(site)
    rounds = [dict(WAITING[0]) | WAITING[1]] if trouble.lasts else WAITING
    for strikes in rounds:
        acts = {page: every[page] for page in strikes}
        turned_on(site, trouble, strikes.values())
        try:
            with as_if_minutes_passed(site):
                shown = all_at_once(acts)
            assert trouble.times is None or not_met(site, strikes.values()) == []
        finally:
            turned_off(site)
        untrue = {page: screen for page, screen in shown.items() if screen not in honest(name, page, trouble)}
        assert untrue == {}
        for page, act in acts.items():
            if (name, page) != SESSION_ENDED:
                until_well(page, act)


def until_well(page: str, act: Callable[[], str]) -> None:
    shown = ""

    def is_well() -> bool:
        nonlocal shown
        shown = act()
        return shown in (SHOWN[page][0], "found")

    try:
        eventually(is_well, PATIENCE_SECONDS)
    except AssertionError:
        raise AssertionError(f"{page} still shows: {shown}") from None


def honest(name: str, page: str, trouble: Trouble) -> set[str]:
    well, broken = SHOWN[page]
    if (name, page) in HARMED:
        return {well} | broken
    return {well} if trouble.harmless else broken


def test_keys_that_cannot_be_read_let_nobody_in_and_send_nobody_away(site: FrontEnd) -> None:
    """A web process that starts knows no key yet. A signed-in person is told to try again, not to sign in again."""
    browser = site.signed_in(site.newcomer())
    for name, trouble in TROUBLES.items():
        turned_on(site, trouble, [KEYS])
        try:
            begun_again(site)
            # 401 would raise: the page would be left for the log-in.
            assert (name, pages.itf_list(browser)[0]) in ((name, "list"), (name, "error"))
            assert trouble.harmless or pages.itf_list(browser)[0] == "error", name
        finally:
            turned_off(site)
        eventually(lambda: pages.itf_list(browser)[0] == "list", PATIENCE_SECONDS)


def begun_again(site: FrontEnd) -> None:
    """Every worker of the web process is a new one."""
    web = site.running.process("web")
    master = psutil.Process(web.pid)
    old = {each.pid for each in master.children()}
    web.signal(signal.SIGHUP)
    eventually(lambda: not old & (now := {each.pid for each in master.children()}) and len(now) == len(old))
    eventually(site.running.answers)


# -- pages that file -------------------------------------------------------------


@dataclass
class Filing:
    """One person for each way to file, ready to do it.

    Of `day_of`, `kiosk` is known to BTSSS already, and `again` is `first` with another device. `elsewhere` has an ITF
    that somebody filed for them. `late` and `second_form` file when the first faults are over, and lose an answer.
    """

    site: FrontEnd
    day_of: dict[str, CheckInPage]
    people: dict[str, Veteran]
    itf: ITFPage
    elsewhere: ITFPage
    form: Form526Page
    second_form: Form526Page
    travel: TravelPayPage
    looked_at: float = 0.0
    seen: set[tuple[str, str]] = field(default_factory=set)

    def file(self) -> dict[str, str]:
        """All at once; the screens."""
        acts: dict[str, Callable[[], str]] = {name: page.claim for name, page in self.day_of.items() if name != "late"}
        acts |= {"ITF": self.itf.load, "ITF elsewhere": self.elsewhere.load, "travel pay": self.travel.file}
        return all_at_once({**acts, "526": lambda: attached_and_submitted(self.form)})

    def file_late(self) -> dict[str, str]:
        return all_at_once({"late": self.day_of["late"].claim, "526": lambda: attached_and_submitted(self.second_form)})

    @property
    def claim_ids(self) -> dict[str, str]:
        return {name: page.accepted["data"]["id"] for name, page in self.day_of.items()}

    def look(self) -> None:
        """What the pages, and the lists of what was filed, say now; at most once a second."""
        if time.monotonic() - self.looked_at < LOOK_SECONDS:
            return
        self.looked_at = time.monotonic()
        for name, page in self.day_of.items():
            path = f"/check_in/v0/travel_claims/{page.accepted['data']['id']}"
            self.seen.add((f"claim of {name}", page.browser.api(path)["data"]["state"]))
        for form in (self.form, self.second_form):
            accepted = form.accepted["attributes"]
            self.seen.add(("form", self.status(form, f"submission_status/{accepted['jobId']}")["data"]))
            listed = self.status(form, f"{accepted['submissionId']}/documents")["data"]
            self.seen |= {("document", each["attributes"]["status"]) for each in listed}
        self.seen.add(("ITF", self.itf.load()))

    def status(self, form: Form526Page, path: str) -> Any:
        found = form.browser.api(f"/v0/disability_compensation_form/{path}")
        return {"data": found["data"]["attributes"]["status"]} if path.startswith("submission_status") else found


# What the pages and lists may say from the promise to its end. The kiosk's claim was there before.
HONEST = {
    *((f"claim of {name}", "submitted") for name in ("first", "again", "travel-only", "late")),
    *((f"claim of {name}", "pending") for name in ("first", "again", "travel-only", "late", "kiosk")),
    *(("claim of kiosk", "duplicate"), ("form", "try"), ("form", "success"), ("ITF", "itf-found")),
    *(("document", "pending"), ("document", "done")),
}
FILED = {
    **dict.fromkeys(("first", "kiosk", "again"), pages.PROCESSING),
    "travel-only": pages.TRAVEL_ONLY_SENT,
    "ITF": "itf-created",
    "ITF elsewhere": "already have one",
    "526": "uploaded, saved, submitted",
    "travel pay": "confirmation",
}
# Those of them who get one text, and nothing else.
TEXTED = ("first", "kiosk", "travel-only")
FILED_LATE = {"late": pages.PROCESSING, "526": "uploaded, saved, submitted"}


def attached_and_submitted(form: Form526Page) -> str:
    attached = form.attach("letter.txt", b"What I have.")
    return f"{attached}, {form.save()}, {form.submit(veteran={})}"


def ready_to_file(site: FrontEnd) -> Filing:
    oracle_health = [{"station": "757", "time_zone": "America/New_York", "day": yesterday()}]
    people = {name: site.newcomer() for name in ("first", "late", "veteran", "second", "traveler")}
    people["kiosk"] = site.newcomer(habit="filed")
    people["travel-only"] = site.newcomer(facility_type="oh", appointments=oracle_health)
    people["elsewhere"] = site.newcomer(itf="active")
    who = {**{name: people[name] for name in ("first", "kiosk", "travel-only", "late")}, "again": people["first"]}
    day_of = {name: site.check_in(veteran) for name, veteran in who.items()}
    assert {page.walk_to_claim() for page in day_of.values()} == {READY}
    browser, second, elsewhere = (site.signed_in(people[name]) for name in ("veteran", "second", "elsewhere"))
    travel = TravelPayPage(site.signed_in(people["traveler"]))
    [appointment_id] = eventually(travel.list_appointments, PATIENCE_SECONDS)
    assert travel.open_appointment(appointment_id) == READY
    # Its text is sent, and of its end there is no callback.
    outcome = {"recipient": people["late"].icn, "status": "technical-failure"}
    site.control.call("POST", "va_notify", "outcomes", json=outcome)
    return Filing(
        site,
        day_of,
        people,
        ITFPage(browser, "R2"),
        ITFPage(elsewhere, "R1"),
        Form526Page(browser),
        Form526Page(second),
        travel,
    )


def strikes_of(trouble: Trouble | None) -> list[Strike]:
    """What is struck while people file: everything, but nothing that only lost answers lead to where none is lost."""
    return [(upstream, operation) for upstream, each in FILING.items() for operation in each] if trouble else []


@contextmanager
def troubled(site: FrontEnd, name: str) -> Iterator[None]:
    if name in CALLBACKS:
        site.control.turn("va_notify", **{name: True})
    else:
        turned_on(site, TROUBLES[name], strikes_of(TROUBLES[name]), times=1)
    try:
        with as_if_minutes_passed(site):
            yield
    finally:
        turned_off(site)


@contextmanager
def all_on_their_way(filing: Filing) -> Iterator[None]:
    """No text and no e-mail arrives meanwhile, and VANotify calls nobody back: what was called back about is not looked
    for. Afterwards they have arrived, but for the text of `late`."""
    control, late = filing.site.control, filing.people["late"]
    known = control.turn("va_notify")
    arrived = {each["id"] for each in notifications(filing.site) if each["status"] == "delivered"}
    control.turn("va_notify", callback_url=None, delays=[*known["delays"][:2], 3600])
    try:
        yield
    finally:
        control.turn("va_notify", callback_url=known["callback_url"], delays=known["delays"])
        for each in notifications(filing.site):
            if each["id"] not in arrived and each["status"] in ("sent", "delivered"):
                status = "technical-failure" if each["to"] == late.phone else "delivered"
                control.call("POST", "va_notify", "callbacks", json={"id": each["id"], "status": status})


def notifications(site: FrontEnd) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = site.control.call("GET", "va_notify", "notifications")
    return found


def until_only_late_is_left(filing: Filing) -> None:
    """Wait until the others' texts have arrived, and the first answers that lead to look-ups were struck."""
    site, people = filing.site, filing.people
    eventually(lambda: all(site.mail(people[name]) for name in TEXTED), PATIENCE_SECONDS)
    until_met(site, [(upstream, answer) for (upstream, _), answer in LOST.items()])


def promise(filing: Filing) -> None:
    site, people = filing.site, filing.people
    for claim_id in filing.claim_ids.values():
        site.promised(claim_id)
    for form in (filing.form, filing.second_form):
        site.promised(form.accepted["attributes"]["submissionId"])
    site.promised_itf(people["veteran"])
    site.promised(people["traveler"].account, lambda: filing.travel.accepted["id"])


def silent_for_days(site: FrontEnd, claim_id: str) -> bool:
    """Make it four days since the text of this claim was sent, so that VANotify is asked what became of it."""
    aged = "UPDATE notifications SET created_at = created_at - interval '4 days', sent_at = sent_at - interval '4 days'"
    query = f"{aged} WHERE subject_id = %s AND state = 'sent' AND asked_at IS NULL RETURNING id"
    ended = "SELECT id FROM notifications WHERE subject_id = %s AND state = 'undeliverable'"
    return bool(site.running.rows(query, claim_id) or site.running.rows(ended, claim_id))


@pytest.mark.parametrize("name", [*TROUBLES, *CALLBACKS])
def test_pages_that_file_are_promised_and_kept_it_under(site: FrontEnd, name: str) -> None:
    trouble, filing = TROUBLES.get(name), ready_to_file(site)
    strikes = strikes_of(trouble)
    without_tokens(site)
    with troubled(site, name):
        assert filing.file() == FILED
        assert_no_rosier(filing)
        if trouble and not trouble.lasts:
            until_only_late_is_left(filing)
            with all_on_their_way(filing):
                for (upstream, _), answer in LOST.items():
                    site.control.set(upstream, "drop", operation=answer, times=1)
                assert filing.file_late() == FILED_LATE
                until_met(site, LOST)
                eventually(lambda: site.deliveries([filing.claim_ids["late"]]) == {"sent"}, PATIENCE_SECONDS)
        else:
            assert filing.file_late() == FILED_LATE
        assert filing.claim_ids["first"] == filing.claim_ids["again"]
        promise(filing)
        if trouble and trouble.lasts:
            filing.look()
            turned_off(site)
        eventually(lambda: silent_for_days(site, filing.claim_ids["late"]), PATIENCE_SECONDS)
        site.until_kept(filing.look)
        if trouble and not trouble.lasts:
            until_met(site, strikes)
    assert filing.seen <= HONEST
    assert_delivered(filing, "undeliverable" if name == "contradict" else "delivered")
    for form in (filing.form, filing.second_form):
        assert (form.poll(PATIENCE_SECONDS), form.save()) == ("success", "saved")
    assert_once_upstream(filing)
    assert filing.itf.load() == "itf-found"
    assert filing.travel.open_appointment(filing.travel.appointment["id"]) == "already filed"
    assert_end_known(filing)


def assert_delivered(filing: Filing, ended: str) -> None:
    site, claims, people = filing.site, filing.claim_ids, filing.people
    told = [claims[name] for name in claims if name != "late"]
    told += [site.promises[people[name].account]() for name in ("veteran", "traveler")]
    eventually(lambda: site.deliveries(told) == {ended}, PATIENCE_SECONDS)
    eventually(lambda: site.deliveries([claims["late"]]) == {"undeliverable"}, PATIENCE_SECONDS)
    assert {name: len(site.mail(people[name])) for name in TEXTED} == dict.fromkeys(TEXTED, 1)


def assert_once_upstream(filing: Filing) -> None:
    """Nothing is there twice. A document may be, where an answer was lost and Lighthouse cannot say (contract: benefits
    4.1), and then its row says so."""
    site, people = filing.site, filing.people

    def books(upstream: str, path: str, *names: str) -> list[int]:
        found = (site.control.call("GET", upstream, path, params={"icn": people[name].icn}) for name in names)
        return [len(each) for each in found]

    assert books("btsss", "claims", "first", "kiosk", "travel-only", "late") == [1] * 4
    assert books("travel_pay", "claims", "traveler") == [1]
    assert books("lighthouse", "itfs", "veteran", "elsewhere") == [1, 1]
    assert books("form526", "submissions", "veteran", "second") == [1, 1]
    references = Counter(each["reference"] for each in notifications(site))
    assert [reference for reference, times in references.items() if times > 1] == []
    query = "SELECT bool_or(possibly_twice) FROM form526_document_submissions WHERE submission_id::text = %s"
    for form in (filing.form, filing.second_form):
        uploads = site.control.call("GET", "documents", "uploads", params={"claim_id": str(form.claim_id)})
        twice = [name for name, times in Counter(each["file_name"] for each in uploads).items() if times > 1]
        assert not twice or site.running.value(query, form.accepted["attributes"]["submissionId"]), twice


# -- dates ---------------------------------------------------------------------------


def true_end(filing: Filing) -> datetime:
    [there] = filing.site.control.call("GET", "lighthouse", "itfs", params={"icn": filing.people["elsewhere"].icn})
    return datetime.fromisoformat(there["expires_at"])


def assert_no_rosier(filing: Filing) -> None:
    """The page shows no later end than that of the ITF that somebody else filed, known or not."""
    assert dates.instant(filing.elsewhere.expires or "") <= true_end(filing)


def assert_end_known(filing: Filing) -> None:
    assert filing.elsewhere.load() == "already have one"
    assert abs(dates.instant(filing.elsewhere.expires or "") - true_end(filing)) < timedelta(seconds=1)


def test_nobody_is_unaccounted_for_at_the_end(site: FrontEnd) -> None:
    """The last test of this file."""
    audit = site.running.audit()
    assert (audit.returncode, site.broken_promises()) == (0, []), audit.stdout
