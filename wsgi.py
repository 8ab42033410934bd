"""Entry point of `flask` and gunicorn: the application, with the process commands attached."""

from __future__ import annotations

import gc
import os
import sys

# What is imported and built from here on lives as long as the process: 230,000 objects and next to nothing to collect.
# The garbage collector would walk them again and again while they are made, which is an eighth of a start, and later
# at every full collection. So it is off until everything is built, and then it only looks at what was made afterwards.
gc.disable()

from flaskapp import create_app  # noqa: E402
from flaskapp.config import ConfigError, from_env  # noqa: E402
from jobs.cli import attach  # noqa: E402

try:
    app = create_app(from_env(os.environ))
except ConfigError as error:
    sys.exit(f"surefile: {error}")

attach(app)
gc.freeze()
gc.enable()
