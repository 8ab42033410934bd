"""Strangers' tools read the description: a validator accepts it, and a client generated from it drives every flow."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from flaskapp.web.openapi import document
from tests.integration.itf_steps import sign_in
from tests.integration.steps import listening
from tests.product import ADA, APPOINTMENT_DATE, Product

STRANGER = Path(__file__).with_name("stranger.py")
TOOLS = Path(__file__).parents[2] / ".venv" / "tools" / "bin"

pytestmark = pytest.mark.skipif(
    not TOOLS.exists(), reason="`make tools` installs the programs of requirements-tools.txt"
)


def run(tool: str, *arguments: str, **settings: str) -> str:
    done = subprocess.run(
        [TOOLS / tool, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": f"{TOOLS}:{os.environ['PATH']}", **settings},
    )
    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-3_000:]
    return done.stdout


def test_a_generated_client_drives_every_flow(product: Product, tmp_path: Path) -> None:
    """The other document differs in the spelling of its keys only."""
    (tmp_path / "camel.json").write_text(json.dumps(document(product.app)))
    run("openapi-spec-validator", str(tmp_path / "camel.json"))
    (tmp_path / "settings.yaml").write_text("post_hooks: []\npackage_name_override: surefile_client\n")
    parts = {"--path": "camel.json", "--config": "settings.yaml", "--output-path": "surefile_client"}
    options = [text for name, value in parts.items() for text in (name, str(tmp_path / value))]
    said = run("openapi-python-client", "generate", "--meta", "none", "--fail-on-warning", *options)
    assert "warning" not in said.lower(), said
    # Everybody has an appointment on that day.
    product.sign_in()
    with listening(product.app) as url:
        given = {"url": url, "token": sign_in(product).headers["Authorization"].removeprefix("Bearer ")}
        given |= {"uuid": ADA.uuid, "dob": ADA.dob, "name": ADA.last_name, "day": APPOINTMENT_DATE}
        command = [TOOLS / "python", STRANGER, json.dumps(given)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(tmp_path)}
        ) as stranger:
            while stranger.poll() is None:
                product.work()
                time.sleep(0.1)
            assert stranger.stdout is not None
            said = stranger.stdout.read()
    assert stranger.returncode == 0
    found: dict[str, Any] = json.loads(said)
    assert found == {
        "travel claim": "submitted",
        "itf": "confirmed",
        "form": "success",
        "documents": ["letter.txt", "BDD instructions.pdf"],
        "mileage": "submitted",
        "claims": 1,
    }
