"""The roof: the application, with the process commands attached. `flask` and gunicorn both start here."""

from __future__ import annotations

import gc
import os
import sys

# What is imported and built from here on lives as long as the process: 230,000 objects and next to nothing to collect.
# The collector would walk them over and over while they are made, an eighth of a start, and again at every full round
# as the process works. So it looks away until all is built, and then only at what came after.
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
