"""The fault switches, turned over HTTP, by scenario, and from the command line."""

from __future__ import annotations

import argparse
import socket
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
