"""The fault switches, turned over HTTP, by scenario, and from the command line."""

from __future__ import annotations

import argparse
import socket
from pathlib import Path
from typing import Any

import pytest
import requests

from sandbox import faults
from sandbox.faults import UPSTREAMS, Control, Refused
from sandbox.upstreams.scenarios import SCENARIOS
from sandbox.upstreams.serve import Upstreams
from sandbox.upstreams.switches import KINDS


def test_clearing_removes_one_kind_or_all(control: Control) -> None:
    for kind in ("slow", "status", "drop"):
        control.set("btsss", kind)
    control.clear("btsss", "status")
    assert [fault["kind"] for fault in control.faults("btsss")] == ["slow", "drop"]
    control.clear("btsss")
    assert control.faults("btsss") == []


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"refuse"}))
def test_no_fault_locks_the_admin_api_of_the_fake_itself(
    http: requests.Session, upstreams: Upstreams, control: Control, kind: str
) -> None:
    control.set("chip", kind)
    door = f"{upstreams['chip']}/_sandbox/faults"
    assert http.get(door, timeout=2).json()[0]["kind"] == kind
    assert http.delete(door, timeout=2).json() == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "gremlins"},
        {},
        {"kind": "slow", "colour": "red"},
        {"kind": "drop", "times": 0},
        {"kind": "refuse", "times": 1},
        {"kind": "hold", "times": 1},
        {"kind": "refuse", "operation": "submit"},
    ],
)
def test_a_switch_that_makes_no_sense_is_refused(control: Control, wrong: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="HTTP 400"):
        control.call("POST", "btsss", "faults", json=wrong)
    assert control.faults("btsss") == []


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        *(
            ({"status": status}, "status must be a whole number from 100 to 599")
            for status in (99, 600, "404", 4.5, True)
        ),
        ({"headers": ["X: y"]}, "headers must be an object"),
        ({"headers": {"X": 1}}, "the header X must be one line of Latin-1 text"),
        ({"headers": {"X": "a\r\nY: b"}}, "the header X must be one line"),
        ({"headers": {"X": "a\nb"}}, "the header X must be one line"),
        ({"headers": {"X": "’"}}, "the header X must be one line of Latin-1 text"),
        ({"headers": {"X\r\nY": "a"}}, "cannot be the name of a header"),
        ({"headers": {"": "a"}}, "cannot be the name of a header"),
        ({"headers": {"content-length": "7"}}, "content-length is written by the server itself"),
        ({"body": {"errors": []}}, "body must be a text"),
        ({"body": "\ud800"}, "body must be a text that UTF-8 can hold"),
        ({"body": "x", "status": 204}, "an answer with status 204 has no body"),
        ({"kind": "status", "body": "x"}, "only answer has headers and a body"),
        ({"kind": "html", "headers": {"X": "y"}}, "only answer has headers and a body"),
    ],
)
def test_an_answer_that_cannot_be_sent_is_refused_in_a_sentence(
    control: Control, fields: dict[str, Any], why: str
) -> None:
    with pytest.raises(Refused, match="HTTP 400") as caught:
        control.call("POST", "btsss", "faults", json={"kind": "answer", **fields})
    assert why in str(caught.value)
    assert control.faults("btsss") == []


def test_a_knob_that_does_not_exist_is_refused(control: Control) -> None:
    with pytest.raises(Refused, match="volume"):
        control.turn("btsss", volume=11)


@pytest.mark.parametrize(
    ("name", "scenario"), [(name, key) for name in UPSTREAMS for key, it in SCENARIOS.items() if it.fits(name)]
)
def test_every_scenario_plays_where_it_fits(control: Control, name: str, scenario: str) -> None:
    control.set(name, "content_type")
    control.play(name, scenario)
    wanted = [fault["kind"] for fault in SCENARIOS[scenario].faults]
    assert [fault["kind"] for fault in control.faults(name)] == wanted


@pytest.mark.parametrize("scenario", ["apocalypse", "blocked"])
def test_a_scenario_for_another_upstream_is_refused(control: Control, scenario: str) -> None:
    with pytest.raises(Refused):
        control.play("btsss", scenario)


def test_a_reset_forgets_the_faults_of_everybody(control: Control) -> None:
    for name in UPSTREAMS:
        control.set(name, "refuse" if name == "btsss" else "down")
    control.reset()
    assert [control.faults(name) for name in UPSTREAMS] == [[]] * len(UPSTREAMS)


def command(control: Control, *words: str) -> int:
    parser = argparse.ArgumentParser()
    faults.add_arguments(parser)
    return faults.run(parser.parse_args([*words, "--url", control.url]))


def test_the_command_sets_lists_and_clears(control: Control, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(control, "btsss", "slow", "--seconds", "20", "--times", "1", "--operation", "submitclaim") == 0
    assert 'slow {"operation": "submitclaim", "chance": 1.0, "times": 1, "seconds": 20.0}' in capsys.readouterr().out
    (fault,) = control.faults("btsss")
    assert (fault["seconds"], fault["times"], fault["operation"]) == (20.0, 1, "submitclaim")
    assert command(control, "all", "clear") == 0
    assert command(control) == 0
    assert capsys.readouterr().out.splitlines()[-len(UPSTREAMS) :] == [f"{name}: works" for name in UPSTREAMS]


def test_the_command_gives_an_answer_from_a_file(
    control: Control, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    page = tmp_path / "page.json"
    page.write_bytes(('{"errors":"é"}\r\n' + 100 * "x").encode())
    headers = ("--header", "Content-Type: application/json", "--header", "X-Time:12:30")
    words = ("--status", "404", "--times", "3", "--operation", "sms", "--works", "--chance", "0.5")
    assert command(control, "va_notify", "answer", *words, *headers, "--body-file", str(page)) == 0
    (fault,) = control.faults("va_notify")
    assert fault["headers"] == {"Content-Type": "application/json", "X-Time": "12:30"}
    assert fault["body"] == page.read_bytes().decode()
    given = {name: fault[name] for name in ("status", "times", "operation", "works", "chance")}
    assert given == {"status": 404, "times": 3, "operation": "sms", "works": True, "chance": 0.5}
    shown = capsys.readouterr().out
    assert '"headers": {"Content-Type": "application/json", "X-Time": "12:30"}' in shown
    assert "errors" in shown and 80 * "x" not in shown


def test_the_command_answers_with_the_bytes_of_a_file(control: Control, upstreams: Upstreams, tmp_path: Path) -> None:
    """A recorded document is no text."""
    recorded = tmp_path / "recorded.pdf"
    recorded.write_bytes(b"%PDF-1.7\n\xe2\xe3\xcf\xd3\0")
    words = ("--header", "Content-Type: application/pdf", "--body-file", str(recorded))
    assert command(control, "travel_pay", "answer", *words) == 0
    reply = requests.get(f"{upstreams['travel_pay']}/api/v2/claims", timeout=30)
    assert (reply.content, reply.headers["Content-Type"]) == (recorded.read_bytes(), "application/pdf")


def test_the_command_takes_no_answer_that_it_cannot_read(
    control: Control, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for words, why in (
        (("--body-file", str(tmp_path / "missing")), "No such file"),
        (("--header", "X: a", "--header", "X: b"), "--header: each name only once"),
        (("--status", "600"), "status must be a whole number from 100 to 599"),
    ):
        assert command(control, "btsss", "answer", *words) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert why in line
    with pytest.raises(SystemExit):
        command(control, "btsss", "answer", "--header", "no colon")
    assert "write NAME: VALUE" in capsys.readouterr().err
    assert control.faults("btsss") == []


def test_the_command_says_in_one_line_what_was_refused(control: Control, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(control, "btsss", "refuse", "--times", "1") == 1
    assert "refuse acts on the whole upstream" in capsys.readouterr().err


def test_the_command_says_in_one_line_that_nobody_answers(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    parser = argparse.ArgumentParser()
    faults.add_arguments(parser)
    assert faults.run(parser.parse_args(["--url", f"http://127.0.0.1:{port}"])) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"no sandbox answers at http://127.0.0.1:{port}; --url takes")
