"""The roof: the application, with the process commands attached. `flask` and gunicorn both start here."""

from __future__ import annotations

import os
import sys

from flaskapp import create_app
from flaskapp.config import ConfigError, from_env
from jobs.cli import attach

try:
    app = create_app(from_env(os.environ))
except ConfigError as error:
    sys.exit(f"surefile: {error}")

attach(app)
