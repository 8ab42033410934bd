"""`python -m sandbox docs`: write the pages and files that the product generates from its code."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from sandbox.faults import UPSTREAMS
from sandbox.settings import environment, kept_secrets

ROOT = Path(__file__).parent.parent
PAGES = ("docs/settings.md", "docs/audit-rules.md", "docs/errors.md", ".env.example", "app.json")
# Printing a page asks no server and no upstream.
NOBODY = "http://127.0.0.1:1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none."""


def run(arguments: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as folder:
        kept = kept_secrets(Path(folder))
        settings = environment(
            "postgres://nobody@127.0.0.1:1/x", "redis://127.0.0.1:1/0", dict.fromkeys(UPSTREAMS, NOBODY), kept
        )
        for page in PAGES:
            command = [sys.executable, "-m", "flask", "--app", "wsgi", "docs", "page", page]
            text = subprocess.check_output(command, cwd=ROOT, env={**os.environ, **settings}, text=True)
            (ROOT / page).write_text(text)
            print(page)
    return 0
