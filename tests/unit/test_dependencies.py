"""The check for known weaknesses: a finding is open until it is accepted, and silence is never an all-clear."""

from __future__ import annotations

import re
from argparse import ArgumentParser
from collections.abc import Iterator
from datetime import date
from importlib.metadata import distribution
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from flask import Flask, Response, request
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from pip_audit._format import JsonFormat
from pip_audit._service import Dependency, ResolvedDependency, SkippedDependency, VulnerabilityResult
from werkzeug.serving import make_server

from sandbox import dependencies
from sandbox.dependencies import ACCEPTED, REQUIREMENTS, Answers, judge, pinned, read_accepted, read_answers

TODAY = date(2026, 11, 22)
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
ACCEPTANCE = """
[[accepted]]
package = "Jinja2"
id = "CVE-2026-1"
reason = "Only templates of ours are rendered."
until = 2026-11-22
"""


def answered(findings: int = 1, skipped: tuple[str, ...] = ()) -> Answers:
    """What pip-audit itself writes about one package with so many findings, and about those that it had to skip."""
    found = [
        VulnerabilityResult(f"GHSA-{at}", "Long words.", [Version("3.1.7")], {f"CVE-2026-{at}"})
        for at in range(1, findings + 1)
    ]
    results: dict[Dependency, list[VulnerabilityResult]] = {ResolvedDependency("jinja2", Version("3.1.6")): found}
    results |= {SkippedDependency(name, "Dependency not found on PyPI"): [] for name in skipped}
    return read_answers(JsonFormat(True, True).format(results, []), {"jinja2", *skipped})


def verdict(answers: Answers, accepted: str = "", today: date = TODAY) -> tuple[int, str]:
    said: list[str] = []
    return judge(answers, read_accepted(accepted), today, said.append), "\n".join(said)


def test_an_open_finding_is_shown_with_its_names_and_its_fix() -> None:
    code, said = verdict(answered(2))
    assert code == 1
    assert "open: jinja2 3.1.6: GHSA-2 = CVE-2026-2, fixed in 3.1.7" in said
    assert said.splitlines()[-1].endswith("1 answered about, 2 findings open, 0 accepted, 0 not answered about")


def test_nothing_found_about_anything_is_the_only_all_clear() -> None:
    assert verdict(answered(0)) == (
        0,
        "dependencies: 1 answered about, 0 findings open, 0 accepted, 0 not answered about",
    )


def test_an_accepted_finding_is_shown_with_its_reason_and_no_error_until_its_day_is_over() -> None:
    code, said = verdict(answered(1), ACCEPTANCE)
    assert code == 0
    assert "accepted: Jinja2, CVE-2026-1, until 2026-11-22: Only templates of ours are rendered." in said
    code, said = verdict(answered(1), ACCEPTANCE, date(2026, 11, 23))
    assert (code, "open: jinja2 3.1.6" in said, "run out: Jinja2" in said) == (1, True, True)


@pytest.mark.parametrize(("findings", "today"), [(0, TODAY), (0, date(2027, 1, 1))])
def test_an_acceptance_of_nothing_is_an_error(findings: int, today: date) -> None:
    code, said = verdict(answered(findings), ACCEPTANCE, today)
    assert (code, "accepted: " in said) == (2, False)


def test_an_acceptance_is_for_one_advisory_of_one_package() -> None:
    assert verdict(answered(2), ACCEPTANCE)[0] == 1
    assert verdict(answered(1), ACCEPTANCE.replace("Jinja2", "flask"))[0] == 1


def test_silence_about_one_package_is_no_all_clear_and_hides_no_finding() -> None:
    code, said = verdict(answered(0, skipped=("flask",)))
    assert (code, "this is no all-clear" in said, "not answered: flask" in said) == (3, True, True)
    assert verdict(answered(1, skipped=("flask",)))[0] == 1
    assert verdict(answered(1, skipped=("flask",)), ACCEPTANCE)[0] == 3
    assert verdict(Answers(0, [], {}))[0] == 3


def test_what_pip_audit_left_out_is_not_answered_about() -> None:
    answers = read_answers('{"dependencies": [{"name": "flask", "version": "3.1.3", "vulns": []}]}', {"flask", "rq"})
    assert (answers.answered, answers.unanswered) == (1, {"rq": "pip-audit did not ask about it"})


@pytest.mark.parametrize(
    "wrong",
    [
        "until = 2027-01-31",
        ACCEPTANCE.replace('reason = "Only templates of ours are rendered."', ""),
        ACCEPTANCE.replace("Only templates of ours are rendered.", " "),
        ACCEPTANCE.replace("2026-11-22", '"2026-11-22"'),
        ACCEPTANCE.replace("2026-11-22", "2026-11-22T00:00:00"),
        ACCEPTANCE.replace("[[accepted]]", "[[acepted]]"),
        ACCEPTANCE + "\n[[",
    ],
)
def test_an_acceptance_without_all_it_needs_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_accepted(wrong)


def test_the_projects_own_file_and_its_example_can_be_read() -> None:
    text = ACCEPTED.read_text()
    read_accepted(text)
    (example,) = read_accepted(re.sub(r"(?m)^# (?=\[\[|\w+ = )", "", text))
    assert (example.package, example.until) == ("jinja2", date(2027, 1, 31))


def test_the_lists_name_everything_that_they_install() -> None:
    """What the lists do not name is neither checked nor installed, on any Python. Pip itself comes with Python. The
    last list is installed elsewhere."""
    named = pinned(REQUIREMENTS[:-1])
    assert len(named) > 90
    pythons = [{"extra": "", "python_version": each, "python_full_version": f"{each}.9"} for each in PYTHONS]
    for name in named:
        for needed in map(Requirement, distribution(name).requires or []):
            if needed.marker is None or any(map(needed.marker.evaluate, pythons)):
                assert canonicalize_name(needed.name) in {*named, "pip"}, f"{name} needs {needed.name}"


# -- the real pip-audit -------------------------------------------------------


@pytest.fixture
def osv() -> Iterator[str]:
    """An advisory service on loopback with OSV's interface, which knows one weakness of one package."""
    app = Flask(__name__, static_folder=None)

    def query() -> Any:
        name = request.get_json(force=True)["package"]["name"]
        ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "3.1.7"}]}]
        affected = [{"package": {"name": name, "ecosystem": "PyPI"}, "ranges": ranges}]
        known = {"id": "GHSA-1", "aliases": ["CVE-2026-1"], "summary": "Long words.", "affected": affected}
        return {"vulns": [known]} if name == "jinja2" else Response("{}", content_type="application/json")

    app.add_url_rule("/v1/query", view_func=query, methods=["POST"])
    server = make_server("127.0.0.1", 0, app)
    server.log = lambda *_: None  # type: ignore[method-assign]
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.port}/v1/query"
    server.shutdown()
    server.server_close()
    thread.join()


def command(tmp_path: Path, *words: str) -> int:
    listed = tmp_path / "requirements.txt"
    listed.write_text("jinja2==3.1.6\nflask==3.1.3\n")
    accepted = tmp_path / "accepted.toml"
    accepted.touch()
    parser = ArgumentParser()
    dependencies.add_arguments(parser)
    return dependencies.run(parser.parse_args(["--requirements", str(listed), "--accepted", str(accepted), *words]))


def test_the_real_command_reports_what_the_service_knows(
    tmp_path: Path, osv: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(tmp_path, "--osv-url", osv) == 1
    said = capsys.readouterr().out
    assert "open: jinja2 3.1.6: CVE-2026-1 = GHSA-1, fixed in 3.1.7" in said
    assert "2 answered about, 1 findings open, 0 accepted, 0 not answered about" in said


def test_a_service_that_cannot_be_reached_is_reported_and_is_no_all_clear(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(tmp_path, "--osv-url", "http://127.0.0.1:9/v1/query") == 3
    said = capsys.readouterr().out
    assert said.startswith("The advisory service could not be reached, so nothing is known of any finding: ")
    assert "findings open" not in said
