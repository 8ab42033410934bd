"""The check for known weaknesses in what we depend on: asks an advisory service, by pip-audit, about every pinned
package.

pip-audit itself says "No known vulnerabilities found" when the service knew none of the packages, and it cannot record
why and until when a finding is accepted. Here a question without an answer is never an all-clear.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
REQUIREMENTS = tuple(ROOT / f"requirements{name}.txt" for name in ("", "-watch", "-run", "-dev", "-tools"))
ACCEPTED = ROOT / "accepted-findings.toml"
OPEN, MISTAKEN, UNASKED = 1, 2, 3
SHOWN = 5
Say = Callable[[str], None]


class Unreachable(Exception):
    """The advisory service gave no answer at all. The text is pip-audit's last message."""


@dataclass(frozen=True)
class Acceptance:
    """Somebody accepts this finding until the end of that day."""

    package: str
    id: str
    reason: str
    until: date


@dataclass(frozen=True)
class Finding:
    """A known weakness in a pinned package. `ids` are all names of the one advisory, the service's own first."""

    package: str
    version: str
    ids: tuple[str, ...]
    fixed_in: tuple[str, ...]

    def __str__(self) -> str:
        fixed = f"fixed in {', '.join(self.fixed_in)}" if self.fixed_in else "not fixed anywhere yet"
        return f"{self.package} {self.version}: {' = '.join(self.ids)}, {fixed}"

    def is_meant_by(self, accepted: Acceptance) -> bool:
        return canonicalize_name(accepted.package) == canonicalize_name(self.package) and accepted.id in self.ids


@dataclass(frozen=True)
class Answers:
    """How many packages the service answered about, what it found, and why it did not answer about the others."""

    answered: int
    findings: list[Finding]
    unanswered: dict[str, str]


# -- what is accepted ---------------------------------------------------------


def read_accepted(text: str) -> list[Acceptance]:
    """Raises ValueError, saying which entry, for one without its four values or with others."""
    found = tomllib.loads(text)
    entries = found.pop("accepted", [])
    if found:
        raise ValueError(f"there is no {', '.join(found)} here, only [[accepted]]")
    return [read_acceptance(place, entry) for place, entry in enumerate(entries, start=1)]


def read_acceptance(place: int, entry: Mapping[str, Any]) -> Acceptance:
    texts = {name: entry.get(name) for name in ("package", "id", "reason")}
    until = entry.get("until")
    is_day = isinstance(until, date) and not isinstance(until, datetime)
    if not is_day or len(entry) != 4 or not all(isinstance(value, str) and value.strip() for value in texts.values()):
        raise ValueError(f"entry {place} needs package, id, reason and, as a date like 2027-01-31, until")
    return Acceptance(str(texts["package"]), str(texts["id"]), str(texts["reason"]), until)  # type: ignore[arg-type]


# -- what is found ------------------------------------------------------------


def ask(requirements: Sequence[Path], osv_url: str | None = None) -> Answers:
    """Ask PyPI about every package of the lists, or at that URL a service with OSV's interface. Raises Unreachable."""
    service = ["--vulnerability-service", "osv", "--osv-url", osv_url] if osv_url else []
    # The lists name every package, so none has to be resolved. A fresh cache, because old answers do not count.
    with tempfile.TemporaryDirectory() as cache:
        lists = [word for path in requirements for word in ("--requirement", str(path))]
        command = [sys.executable, "-m", "pip_audit", *lists, "--no-deps", "--disable-pip", "--cache-dir", cache]
        options = ["--format", "json", "--progress-spinner", "off"]
        done = subprocess.run([*command, *options, *service], capture_output=True, text=True)
    # It exits 1 for findings and for failures alike; only an answer is written to its output.
    if done.returncode not in (0, 1) or not done.stdout.strip():
        said = done.stderr.strip().splitlines()
        # The last line names the error; where that says nothing more, an earlier one does.
        raise Unreachable(next((line for line in reversed(said) if ": " in line), "pip-audit said nothing"))
    return read_answers(done.stdout, pinned(requirements))


def pinned(requirements: Sequence[Path]) -> set[str]:
    """The packages that the lists name for this Python. pip-audit ignores a list within a list, and says nothing."""
    lines = (line.partition("#")[0].strip() for path in requirements for line in path.read_text().splitlines())
    named = [Requirement(line) for line in lines if line and not line.startswith("-")]
    return {canonicalize_name(each.name) for each in named if each.marker is None or each.marker.evaluate()}


def read_answers(text: str, wanted: Iterable[str]) -> Answers:
    """Read pip-audit's JSON. A package that it skipped or left out, for any reason, counts as not answered."""
    dependencies = {each["name"]: each for each in json.loads(text)["dependencies"]}
    answered = [each for each in dependencies.values() if "skip_reason" not in each]
    findings = [read_finding(each, found) for each in answered for found in each["vulns"]]
    unanswered = {name: each["skip_reason"] for name, each in dependencies.items() if "skip_reason" in each}
    unchecked = {name: "pip-audit did not ask about it" for name in sorted(wanted) if name not in dependencies}
    return Answers(len(answered), findings, unanswered | unchecked)


def read_finding(dependency: Mapping[str, Any], found: Mapping[str, Any]) -> Finding:
    ids = dict.fromkeys([found["id"], *found.get("aliases", [])])
    return Finding(dependency["name"], dependency["version"], tuple(ids), tuple(found["fix_versions"]))


# -- what it comes to ---------------------------------------------------------


def judge(answers: Answers, accepted: Sequence[Acceptance], today: date, say: Say) -> int:
    """Print what is open, and return the exit code: the gravest of what was found."""
    lived_with = [each for each in accepted if each.until >= today]
    still_open = [each for each in answers.findings if not any(map(each.is_meant_by, lived_with))]
    for finding in still_open:
        say(f"open: {finding}")
    for each in accepted:
        say(f"{standing(each, answers, today)}: {each.package}, {each.id}, until {each.until}: {each.reason}")
    for name, reason in list(answers.unanswered.items())[:SHOWN]:
        say(f"not answered: {name}: {reason}")
    counted = len(answers.findings) - len(still_open)
    say(
        f"dependencies: {answers.answered} answered about, {len(still_open)} findings open, {counted} accepted,"
        f" {len(answers.unanswered)} not answered about"
    )
    if still_open:
        return OPEN
    if answers.unanswered or not answers.answered:
        say("The advisory service did not answer about every package: this is no all-clear.")
        return UNASKED
    return MISTAKEN if any(standing(each, answers, today) != "accepted" for each in accepted) else 0


def standing(accepted: Acceptance, answers: Answers, today: date) -> str:
    if accepted.until < today:
        return "run out"
    found = any(each.is_meant_by(accepted) for each in answers.findings)
    return (
        "accepted" if found or canonicalize_name(accepted.package) in answers.unanswered else "accepted, but not found"
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--requirements", type=Path, nargs="+", default=REQUIREMENTS, help="lists of pinned packages")
    parser.add_argument("--accepted", type=Path, default=ACCEPTED, help="the findings lived with")
    parser.add_argument("--osv-url", help="ask this service, which has OSV's interface, instead of PyPI")


def run(arguments: argparse.Namespace) -> int:
    """0: no finding is open. 1: some are. 2: an acceptance is wrong, has run out, or is of no finding. 3: the service
    did not answer, or not about everything."""
    try:
        accepted = read_accepted(arguments.accepted.read_text())
    except ValueError as error:
        print(f"{arguments.accepted.name}: {error}")
        return MISTAKEN
    try:
        answers = ask(arguments.requirements, arguments.osv_url)
    except Unreachable as error:
        print(f"The advisory service could not be reached, so nothing is known of any finding: {error}")
        return UNASKED
    return judge(answers, accepted, datetime.now(UTC).date(), print)
