"""The log: every line is JSON, carries its request, and hides everything that could be a person."""

import json
import logging
import sys
import threading
import uuid
from datetime import UTC, datetime

import pytest
from flask import Flask
from hypothesis import example, given
from hypothesis import strategies as st
from rq.logutils import setup_loghandlers

from flaskapp import logs
from flaskapp.logs import mask, masked

ICN = "1012845331V153043"
PERSONAL = [
    ICN,
    ICN.lower(),
    "TC" + "202600000012345",
    "+15555550100",
    "+1 (555) 555-0100",
    "15555550100",
    "5555550100",
    "555-555-0100",
    "(555) 555-0100",
    "555.555.0100",
    "ana.lee+va@mail.example.gov",
    "123-45-6789",
    "123456789",
    "TC20310398765",
]
HARMLESS = [
    "0c4f6d1e-0000-4000-8000-00000000aa01",
    "8a7f1234-5678-4abc-9def-1234567890ab",
    "2031-03-04T10:11:12.000123+00:00",
    "4611686018427387904",
    "127.0.0.1:5432",
    "0.123456789",
    "travel_claims 983 500",
]


@pytest.fixture
def lines(capsys):
    """Parsed log lines written since the last call. Logging is put back afterwards."""
    root = logging.getLogger()
    before = (root.handlers[:], sys.excepthook, threading.excepthook)
    logs.configure("DEBUG")
    yield lambda: [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    root.handlers[:], sys.excepthook, threading.excepthook = before


@pytest.mark.parametrize("personal", PERSONAL)
@pytest.mark.parametrize("around", ["{}", "user {} failed", "phone={},", '{{"a":"{}"}}'])
def test_personal_data_is_masked_in_any_text(personal, around):
    assert personal not in mask(around.format(personal))


@pytest.mark.parametrize("text", HARMLESS)
def test_ids_and_times_stay_readable(text):
    assert mask(text) == text


def test_most_random_uuids_stay_readable():
    texts = [str(uuid.uuid4()) for _ in range(500)]
    assert sum(mask(text) != text for text in texts) <= 5


@given(
    st.lists(st.sampled_from([*"0123456789", "303", "-", ".", " ", "(", ")", "+1", "V", "tc", "@", "a.b", "Bearer "]))
)
@example(["+1", "(", "303", ")", *"5550143"])
def test_what_is_passed_on_unmasked_holds_nothing_to_mask(parts):
    text = "".join(parts)
    assert logs.SUSPICIOUS.search(text) or not any(pattern.search(text) for pattern, _ in logs.MASKS)


def test_passwords_in_addresses_and_tokens_are_masked():
    assert mask("redis://:hunter2@host:1/0") == "redis://[credentials]@host:1/0"
    assert "abcdefgh" not in mask("Authorization: Bearer abcdefgh.ijkl")


def test_extras_are_masked_at_every_depth(lines):
    extra = {"who": {ICN: [ICN, 15555550100]}, "claim": {"at": datetime(2031, 3, 4, tzinfo=UTC)}, "n": 7, "ok": True}
    logging.getLogger("flaskapp.x").info("claim %s", ICN, extra=extra | {"event": "claim.seen"})
    [line] = lines()
    assert ICN not in json.dumps(line) and "15555550100" not in json.dumps(line)
    assert line["message"] == "claim [icn]"
    assert (line["event"], line["n"], line["ok"], line["level"]) == ("claim.seen", 7, True, "INFO")
    assert line["claim"] == {"at": "2031-03-04T00:00:00+00:00"}


def test_objects_unknown_to_json_are_masked_too():
    class Person:
        def __str__(self):
            return ICN

    assert masked([Person(), ValueError(ICN), {ICN}]) == ["[icn]", "ValueError: [icn]", ["[icn]"]]


def test_an_exception_shows_type_and_frames_but_no_data(lines):
    name = "Zebediah"
    try:
        try:
            int(name)
        except ValueError as error:
            raise LookupError(f"no row\nDETAIL: Key (icn)=({ICN}) {name}") from error
    except LookupError:
        logging.getLogger("outbox.x").exception("failed")
    [line] = lines()
    assert line["message"] == "failed"
    assert name not in line["exc_info"] and ICN not in line["exc_info"]
    assert "LookupError: no row" in line["exc_info"] and "ValueError: invalid literal" in line["exc_info"]
    assert "test_logs.py" in line["exc_info"]


def test_an_error_in_a_cycle_of_causes_is_still_written(lines):
    first, second = ValueError("one"), ValueError("two")
    first.__cause__, second.__cause__ = second, first
    logging.getLogger("jobs").error("failed", exc_info=first)
    assert "one" in lines()[0]["exc_info"]


def test_an_uncaught_exception_of_any_thread_is_one_json_line(lines):
    thread = threading.Thread(target=lambda: int("5555550100x"))
    thread.start()
    thread.join()
    sys.excepthook(RuntimeError, RuntimeError(f"about {ICN}"), None)
    from_thread, from_main = lines()
    assert from_thread["event"] == from_main["event"] == "process.failed"
    assert "ValueError" in from_thread["exc_info"]
    assert from_main["exc_info"] == "RuntimeError: about [icn]"


def test_configuring_twice_writes_every_line_once(lines):
    logs.configure("INFO")
    logging.getLogger("jobs.x").debug("too quiet")
    logging.getLogger("jobs.x").info("once")
    assert [line["message"] for line in lines()] == ["once"]


def test_rq_and_gunicorn_write_our_lines_and_add_no_handler_of_their_own(lines):
    gunicorn = logging.getLogger("gunicorn.error")
    gunicorn.addHandler(logging.NullHandler())
    gunicorn.propagate = False
    logs.configure("INFO")
    setup_loghandlers("INFO")
    assert logging.getLogger("rq.worker").handlers == []
    logging.getLogger("rq.worker").warning("job of %s", ICN)
    gunicorn.info("booting")
    assert [line["message"] for line in lines()] == ["job of [icn]", "booting"]


def test_rqs_own_lines_about_every_job_are_dropped(lines):
    """RQ sets its logger to INFO when it is imported."""
    logs.configure("INFO")
    logging.getLogger("rq.worker").info("Job OK")
    assert lines() == []


def test_a_request_writes_one_line_with_its_id_and_route_but_not_its_path(lines):
    app = Flask(__name__)
    app.add_url_rule("/people/<name>", "person", lambda name: "ok")
    app.before_request(logs.start_clock)
    app.after_request(logs.log_answer)
    response = app.test_client().get("/people/Zebediah?ssn=1", headers={"X-Request-Id": "r-1"})
    [line] = lines()
    assert response.headers["X-Request-Id"] == line["request_id"] == "r-1"
    assert (line["method"], line["route"], line["status"]) == ("GET", "/people/<name>", 200)
    assert "Zebediah" not in json.dumps(line)
