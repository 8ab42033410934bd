"""Commands in the system that `make run` started, from another terminal: one `flask …`, or a shell for many."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from sandbox.processes import with_our_programs
from sandbox.settings import ENVIRONMENT_FILE, from_shell

FOLDER = Path(".run")
NOT_RUNNING = "surefile: nothing is running in this folder: start it with `make run`, and leave it running"
GREETING = "The settings of the running system are set here: `flask --help` lists the commands. `exit` leaves."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None."""


def run(arguments: argparse.Namespace) -> int:
    """Become the person's own shell."""
    return become([os.environ.get("SHELL") or "/bin/sh"], GREETING)


def run_flask(arguments: argparse.Namespace) -> int:
    """Become `flask` with these words."""
    return become([sys.executable, "-m", "flask", *arguments.words])


def become(argv: list[str], greeting: str = "") -> int:
    """Replace this process by another one with the settings of the running system; 1 when there is none."""
    kept = FOLDER / ENVIRONMENT_FILE
    if kept.exists():
        if greeting:
            print(greeting, flush=True)
        os.execvpe(argv[0], argv, {**with_our_programs(os.environ), **from_shell(kept.read_text())})
    print(NOT_RUNNING, file=sys.stderr)
    return 1
