"""Entry point of `flask` and gunicorn: the application, with the process commands attached."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

# What is imported and built from here on lives as long as the process: 230,000 objects and next to nothing to collect.
# The garbage collector would walk them again and again while they are made, which is an eighth of a start, and later
# at every full collection. So it is off until everything is built, and then it only looks at what was made afterwards.
gc.disable()

from flask.cli import FlaskGroup  # noqa: E402

from flaskapp import create_app, create_help_app  # noqa: E402
from flaskapp.config import ConfigError, from_env  # noqa: E402
from flaskapp.ops.exports import MissingPackage  # noqa: E402
from jobs.cli import attach  # noqa: E402

# Whether `flask` (or `python -m flask`) is only to say what there is, to a person or to their shell's completion.
asked = len(sys.argv) < 2 or "--help" in sys.argv or "_FLASK_COMPLETE" in os.environ
HELP = asked and not {"flask", "surefile"}.isdisjoint(Path(sys.argv[0]).parts[-2:])

try:
    app = create_help_app() if HELP else create_app(from_env(os.environ))
except (ConfigError, MissingPackage) as error:
    sys.exit(f"surefile: {error}")

attach(app)
gc.freeze()
gc.enable()


def main() -> None:
    """The command `surefile` of the installed package: `flask`, with this application."""
    FlaskGroup(create_app=lambda: app, help="Surefile: its processes and operators' commands.").main(
        prog_name="surefile"
    )
