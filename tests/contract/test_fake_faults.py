"""The faults of the fakes: each really does to a connection what it says, and strikes only what it should."""

from __future__ import annotations

import socket
import time
from urllib.parse import urlsplit

import pytest
import requests

from sandbox.faults import UPSTREAMS, Control
from sandbox.upstreams.scenarios import with_habit
from sandbox.upstreams.serve import Upstreams
from tests.contract.receiver import eventually

ICN = with_habit("ok").icn


class Filing:
    """A call with an effect that can be counted: a claim on another day every time."""

    def __init__(self, http: requests.Session, upstreams: Upstreams) -> None:
        self.http = http
        self.known, self.claims = upstreams.fakes.settings, upstreams.fakes.btsss.claims
        self.url = f"{upstreams['btsss']}/api/ClaimIngest/submitclaim"
        self.token = upstreams.fakes.veis.tokens.issue(3600)
        self.day = 0

    def submit(self, timeout: float = 10) -> requests.Response:
        self.day += 1
        body = {
            "ClientNumber": self.known.btsss_client_number,
            "ClaimantID": ICN,
            "ClaimantIDType": "icn",
            "MileageExpense": {"TripType": "RoundTrip"},
            "Appointment": {"AppointmentDateTime": f"2031-03-{self.day:02d}"},
        }
        key = self.known.btsss_subscription_keys[0]
        headers = {"Authorization": f"Bearer {self.token}", "Ocp-Apim-Subscription-Key": key}
        return self.http.post(self.url, json=body, headers=headers, timeout=timeout)

    def filed(self) -> int:
        return len(self.claims.everything())


@pytest.fixture
def fresh(http: requests.Session, upstreams: Upstreams) -> Filing:
    """A caller whose first call opens a connection."""
    return Filing(http, upstreams)


@pytest.fixture(params=["fresh", "reused"])
def filing(request: pytest.FixtureRequest, fresh: Filing) -> Filing:
    """A caller over a new connection, and one over a connection that has served a call already."""
    if request.param == "reused":
        assert fresh.submit().status_code == 200
        fresh.claims.reset()
    return fresh


def test_connections_are_kept_open_between_calls(upstreams: Upstreams) -> None:
    place = urlsplit(upstreams["btsss"])
    with socket.create_connection((place.hostname or "", place.port or 0), timeout=5) as raw:
        for _ in range(3):
            raw.sendall(b"GET /nothing HTTP/1.1\r\nHost: btsss\r\n\r\n")
            assert raw.recv(4096).startswith(b"HTTP/1.1 404")


def test_a_refusing_upstream_has_nobody_listening(fresh: Filing, upstreams: Upstreams, control: Control) -> None:
    place = urlsplit(upstreams["btsss"])
    control.set("btsss", "refuse")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((place.hostname or "", place.port or 0), timeout=2)
    control.clear("btsss")
    assert fresh.submit().status_code == 200


def test_a_refusing_upstream_ends_connections_that_were_open(fresh: Filing, control: Control) -> None:
    fresh.submit()
    control.set("btsss", "refuse")
    with pytest.raises(requests.ConnectionError):
        fresh.submit()
    assert fresh.filed() == 1


def test_a_refusal_can_be_turned_on_and_off_again_and_again(fresh: Filing, control: Control) -> None:
    for _ in range(5):
        control.set("btsss", "refuse")
        with pytest.raises(requests.ConnectionError):
            fresh.submit()
        control.clear("btsss")
        assert fresh.submit().status_code == 200


def test_a_down_upstream_resets_without_reading(filing: Filing, control: Control) -> None:
    control.call("POST", "btsss", "reset")
    control.set("btsss", "down", times=1)
    with pytest.raises(requests.ConnectionError):
        filing.submit()
    assert control.received("btsss") == []
    assert filing.submit().status_code == 200


def test_down_is_a_tcp_reset(upstreams: Upstreams, control: Control) -> None:
    control.set("btsss", "down")
    place = urlsplit(upstreams["btsss"])
    with socket.create_connection((place.hostname or "", place.port or 0), timeout=5) as raw:
        raw.sendall(b"GET /nothing HTTP/1.1\r\nHost: btsss\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            raw.recv(100)


def test_a_dropped_reply_comes_after_the_work(filing: Filing, control: Control) -> None:
    control.set("btsss", "drop", times=1)
    with pytest.raises(requests.ConnectionError):
        filing.submit()
    assert filing.filed() == 1
    assert filing.submit().status_code == 200


def test_half_a_body_is_cut_off_after_the_work(filing: Filing, control: Control) -> None:
    control.set("btsss", "half", times=1)
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
        filing.submit()
    assert filing.filed() == 1
    assert filing.submit().status_code == 200


def test_a_slow_upstream_works_after_its_wait(filing: Filing, control: Control) -> None:
    control.set("btsss", "slow", seconds=1, times=1)
    started = time.monotonic()
    with pytest.raises(requests.Timeout):
        filing.submit(timeout=0.2)
    eventually(lambda: filing.filed() == 1)
    assert time.monotonic() - started >= 1
    eventually(lambda: control.received("btsss")[-1]["worked"])


def test_a_late_upstream_works_before_its_wait(filing: Filing, control: Control) -> None:
    control.set("btsss", "late", seconds=30, times=1)
    with pytest.raises(requests.Timeout):
        filing.submit(timeout=0.2)
    eventually(lambda: filing.filed() == 1)
    assert control.received("btsss")[-1]["answered_at"] is None


def test_held_work_is_done_once_it_is_released(filing: Filing, control: Control) -> None:
    control.set("btsss", "hold")
    with pytest.raises(requests.Timeout):
        filing.submit(timeout=0.2)
    eventually(lambda: [entry["answered_at"] for entry in control.received("btsss")][-1:] == [None])
    assert filing.filed() == 0
    control.clear("btsss")
    eventually(lambda: filing.filed() == 1)


@pytest.mark.parametrize(("kind", "status"), [("status", 500), ("status", 503), ("status", 504), ("status", 403)])
@pytest.mark.parametrize("works", [False, True])
def test_a_status_is_answered_before_or_after_the_work(
    filing: Filing, control: Control, kind: str, status: int, works: bool
) -> None:
    control.set("btsss", kind, status=status, works=works, times=1)
    answer = filing.submit()
    assert (answer.status_code, list(answer.json())) == (status, ["message"])
    assert filing.filed() == int(works)


@pytest.mark.parametrize("retry_after", [None, "7", "Wed, 21 Oct 2043 07:28:00 GMT"])
def test_a_throttle_has_a_retry_after_only_when_it_is_set(
    fresh: Filing, control: Control, retry_after: str | None
) -> None:
    control.set("btsss", "throttle", retry_after=retry_after)
    answer = fresh.submit()
    assert (answer.status_code, answer.headers.get("Retry-After")) == (429, retry_after)
    assert fresh.filed() == 0


@pytest.mark.parametrize("status", [200, 502])
@pytest.mark.parametrize("works", [False, True])
def test_an_html_page_can_come_with_any_status(filing: Filing, control: Control, status: int, works: bool) -> None:
    control.set("btsss", "html", status=status, works=works, times=1)
    answer = filing.submit()
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "text/html")
    assert answer.text.startswith("<!DOCTYPE html>")
    assert filing.filed() == int(works)


@pytest.mark.parametrize("status", [200, 502])
@pytest.mark.parametrize("works", [False, True])
def test_an_empty_answer_can_come_with_any_status(filing: Filing, control: Control, status: int, works: bool) -> None:
    control.set("btsss", "empty", status=status, works=works, times=1)
    answer = filing.submit()
    assert (answer.status_code, answer.content) == (status, b"")
    assert filing.filed() == int(works)


BODY = '{"errors":"Grüße, ‘nobody’"}\r\n'


@pytest.mark.parametrize("works", [False, True])
def test_an_answer_is_sent_exactly_as_given(filing: Filing, control: Control, works: bool) -> None:
    headers = {"Content-Type": "application/problem+json", "x-b3-TraceId": "a; b=ü", "Retry-After": "7"}
    control.set("btsss", "answer", status=418, headers=headers, body=BODY, works=works, times=1)
    answer = filing.submit()
    own = {"Content-Length": str(len(BODY.encode())), "Connection": "keep-alive"}
    assert (answer.status_code, dict(answer.headers), answer.content) == (418, headers | own, BODY.encode())
    assert filing.filed() == int(works)
    assert filing.submit().status_code == 200
    assert [entry["worked"] for entry in control.received("btsss")][-2:] == [works, True]


def test_an_answer_of_which_nothing_is_said_is_an_empty_200_of_no_type(fresh: Filing, control: Control) -> None:
    control.set("btsss", "answer")
    answer = fresh.submit()
    assert (answer.status_code, dict(answer.headers), answer.content) == (
        200,
        {"Content-Length": "0", "Connection": "keep-alive"},
        b"",
    )
    assert fresh.filed() == 0


def test_an_answer_strikes_its_operation_so_often_and_before_a_status(fresh: Filing, control: Control) -> None:
    control.set("btsss", "status", status=503, times=3)
    control.set("btsss", "answer", status=599, operation="submitclaim", times=2)
    assert fresh.http.get(fresh.url.replace("submitclaim", "elsewhere")).status_code == 503
    assert [fresh.submit().status_code for _ in range(3)] == [599, 599, 200]


@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_any_operation_of_any_fake_can_get_an_answer(
    http: requests.Session, upstreams: Upstreams, control: Control, upstream: str
) -> None:
    control.set(upstream, "answer", status=404, headers={"Content-Type": "text/plain"}, body="not here")
    answer = http.put(f"{upstreams[upstream]}/any/path")
    assert (answer.status_code, answer.headers["Content-Type"], answer.text) == (404, "text/plain", "not here")


def test_a_wrong_content_type_hides_the_true_answer(fresh: Filing, control: Control) -> None:
    control.set("btsss", "content_type", times=1)
    answer = fresh.submit()
    assert answer.headers["Content-Type"].startswith("text/html")
    assert answer.json()["claimNumber"].startswith("TC")


def test_a_dripping_body_comes_byte_by_byte_and_whole(filing: Filing, control: Control) -> None:
    control.set("btsss", "drip", seconds=0.01, times=1)
    started = time.monotonic()
    answer = filing.submit()
    assert time.monotonic() - started > 0.01 * len(answer.content)
    assert answer.json()["claimNumber"].startswith("TC")


def test_faults_of_several_kinds_strike_together(fresh: Filing, control: Control) -> None:
    control.set("btsss", "slow", seconds=0.2)
    control.set("btsss", "throttle")
    started = time.monotonic()
    assert fresh.submit().status_code == 429
    assert time.monotonic() - started >= 0.2


def test_a_fault_strikes_as_often_as_it_was_set(fresh: Filing, control: Control) -> None:
    control.set("btsss", "status", times=2)
    assert [fresh.submit().status_code for _ in range(3)] == [503, 503, 200]
    assert control.faults("btsss") == []


@pytest.mark.parametrize(
    ("operation", "status"),
    [("submitclaim", 503), ("POST /EC", 503), ("submitclaim$", 503), ("GetClaims", 200), ("GET ", 200), ("/EC$", 200)],
)
def test_a_fault_strikes_only_its_operation(fresh: Filing, control: Control, operation: str, status: int) -> None:
    control.set("btsss", "status", operation=operation)
    assert fresh.submit().status_code == status


def test_a_fault_with_a_chance_strikes_sometimes(fresh: Filing, control: Control) -> None:
    control.set("btsss", "status", chance=0.5)
    statuses = {fresh.http.post(fresh.url).status_code for _ in range(60)}
    assert statuses == {503, 401}


def test_a_fault_of_one_upstream_does_not_touch_the_others(fresh: Filing, control: Control) -> None:
    control.set("chip", "down")
    assert fresh.submit().status_code == 200
