"""`python -m tests.examples`: keep real answers as the examples of the API's description.

It runs tests in which each route is called in many ways. Of the answers of one kind it keeps one that says much and can
still be read. Ids are written anew, so that the next run changes little.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from flaskapp.web.inflection import to_snake, with_keys
from flaskapp.web.openapi import EXAMPLES

ROOT = Path(__file__).parents[1]
TESTS = (
    "tests/contract/test_openapi.py",
    "tests/contract/test_openapi_travel_pay.py",
    *(
        f"tests/integration/test_{name}.py"
        for name in (
            "account_limits",
            "check_in_data",
            "check_in_demographics",
            "check_in_sessions",
            "form526",
            "form526_files",
            "form526_submission",
            "idempotency",
            "itf_first_look",
            "itf_list",
            "itf_outcomes",
            "itf_requests",
            "itf_synchronous",
            "notifications_callbacks",
            "postgres_away",
            "submissions",
            "travel_claim_outcomes",
            "travel_claim_requests",
            "travel_pay_contacts",
            "travel_pay_filing",
            "travel_pay_lists",
            "travel_pay_reads",
            "travel_pay_requests",
            "travel_pay_synchronous",
            "web_sign_in",
        )
    ),
)
MOST_CHARACTERS = 1_500
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
REQUEST_ID = "5d1c0b7e9a8f4c3db2a1908f7e6d5c4b"


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        command = ["env", f"SUREFILE_EXAMPLES={folder}/answers", sys.executable, "-m", "pytest", "-n", "2", *TESTS]
        if subprocess.run(command, cwd=ROOT, check=False).returncode != 0:
            return 1
        lines = [line for path in sorted(Path(folder).iterdir()) for line in path.read_text().splitlines()]
    kept = chosen(map(json.loads, lines))
    EXAMPLES.write_text(json.dumps(kept, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    print(f"{sum(map(len, kept.values()))} examples of {len(kept)} operations")
    return 0


def chosen(answers: Iterable[tuple[str, int, Any]]) -> dict[str, dict[str, Any]]:
    """By operation and status the longest answer that is not too long, or the shortest of all."""
    kinds: dict[tuple[str, str], set[str]] = {}
    for name, status, value in answers:
        kinds.setdefault((name, str(status)), set()).add(json.dumps(tidied(value)))
    found: dict[str, dict[str, Any]] = {}
    for (name, status), texts in kinds.items():
        fit = [text for text in texts if len(text) <= MOST_CHARACTERS]
        best = max(fit, key=lambda text: (len(text), text)) if fit else min(texts, key=lambda text: (len(text), text))
        found.setdefault(name, {})[status] = json.loads(best)
    return found


def tidied(value: Any) -> Any:
    """The answer in snake case, with ids that are the same at every run."""
    ids: dict[str, str] = {}

    def number(match: re.Match[str]) -> str:
        return ids.setdefault(match[0], f"0c4f6d1e-0000-4000-8000-{len(ids) + 1:012}")

    text = UUID.sub(number, json.dumps(with_keys(value, to_snake)))
    return with_request_id(json.loads(text))


def with_request_id(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: REQUEST_ID if key == "request_id" else with_request_id(item) for key, item in value.items()}
    return [with_request_id(item) for item in value] if isinstance(value, list) else value


if __name__ == "__main__":
    sys.exit(main())
