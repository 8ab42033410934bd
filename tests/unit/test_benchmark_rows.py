"""The judge of `make bench`: bars, medians, and load that counts only what it was meant to count."""

from __future__ import annotations

import itertools
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import pytest

from tests.benchmarks import report
from tests.benchmarks.load import Load, drive, request
from tests.benchmarks.rows import Run, as_json, at_least, at_most, no_less_than, no_more_than, shown

ROWS = [
    at_least("faster", 13.0, 20.0, 0.65, "/s", "a peer"),
    at_least("not fast enough", 12.9, 20.0, 0.65, "/s", "a peer"),
    at_most("as slow", 11.0, 10.0, 1.1, "ms", "itself"),
    at_most("slower", 11.1, 10.0, 1.1, "ms", "itself"),
    no_more_than("small enough", 10.0, 10.0, ""),
    no_less_than("too few", 199.0, 200.0, ""),
    at_least("two workers", 1.0, 1.0, 1.6, "/s", "one", judged=False),
    shown("only shown", 1.0, 2.0, "/s", "a peer"),
    no_more_than("never told", float("inf"), 1.0, "s"),
]


def test_a_bar_is_met_or_missed_or_not_judged() -> None:
    assert [row.met for row in ROWS] == [True, False, True, False, True, False, None, None, False]


def test_every_missed_bar_is_named_with_what_was_measured() -> None:
    missed = report.missed(ROWS)
    assert [text.partition(":")[0] for text in missed] == ["not fast enough", "slower", "too few", "never told"]
    assert "0.645" in missed[0] and ">= 0.65 x" in missed[0]


def test_the_results_are_written_beside_the_table(tmp_path: Path) -> None:
    run = Run(1, 1.0, lambda text: None)
    printed = report.write(tmp_path, ROWS, run, 60.0)
    written = json.loads((tmp_path / "results.json").read_text())
    assert written == [as_json(row) for row in ROWS]
    assert written[-1]["ours"] is None
    assert set(written[0]) == {"name", "ours", "baseline", "ratio", "bar", "met"}
    assert printed == (tmp_path / "table.md").read_text()


def test_there_is_a_plot_of_all_bars_of_each_comparison_and_of_each_course(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="make bench installs it")
    run = Run(1, 1.0, lambda text: None)
    run.rounds["a rate"] = {"ours": [1.0, 2.0]}
    run.lines["a line"] = {"ours": [(0.0, 1.0), (1.0, 2.0)]}
    import_module("tests.benchmarks.plots").draw(tmp_path, ROWS, run)
    assert {path.name for path in tmp_path.glob("*.png")} == {"bars.png", "rounds-a-rate.png", "line-a-line.png"}


def test_all_take_turns_and_the_median_counts() -> None:
    order: list[str] = []
    values = {"ours": iter([1.0, 9.0, 2.0]), "peer": iter([4.0, 3.0, 5.0])}

    def turn(name: str) -> float:
        order.append(name)
        return next(values[name])

    run = Run(3, 1.0, lambda text: None)
    found = run.in_turn("a rate", {name: lambda name=name: turn(name) for name in values})  # type: ignore[misc]
    assert found == {"ours": 2.0, "peer": 4.0}
    assert order == ["ours", "peer", "peer", "ours", "ours", "peer"]


# -- load ---------------------------------------------------------------------


@contextmanager
def answering(*answers: bytes) -> Iterator[int]:
    """A server that gives each request the next of these answers, again and again; yields its port."""
    wanted = itertools.cycle(answers)

    def serve(client: socket.socket) -> None:
        with client:
            while client.recv(65_536):
                answer = next(wanted)
                client.sendall(answer)
                if b"Connection: close" in answer:
                    return

    def accept() -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=accept, daemon=True).start()
        yield listening.getsockname()[1]


ACCEPTED = b"HTTP/1.1 202 ACCEPTED\r\nContent-Length: 2\r\n\r\n{}"
LAST = b"HTTP/1.1 202 ACCEPTED\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
BUSY = b"HTTP/1.1 503 BUSY\r\nContent-Length: 0\r\n\r\n"


def some(count: int) -> Iterator[bytes]:
    return itertools.repeat(request("POST", "/", "{}"), count)


def test_a_refusal_is_no_figure() -> None:
    with answering(ACCEPTED, BUSY) as port, pytest.raises(AssertionError, match="503"):
        drive(port, some(10), clients=1, seconds=60).expect(202)
    with pytest.raises(AssertionError):
        Load().expect(202)


def test_a_closed_connection_is_opened_again() -> None:
    with answering(ACCEPTED, LAST) as port:
        load = drive(port, some(25), clients=3, seconds=60).expect(202)
    assert len(load.times) == 25


def test_a_steady_rate_does_not_wait_for_answers() -> None:
    with answering(ACCEPTED) as port:
        load = drive(port, some(1_000), clients=4, seconds=0.5, per_second=40).expect(202)
    assert 15 <= len(load.times) <= 21
