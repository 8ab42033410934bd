"""An application that says which process answered."""

from __future__ import annotations

import os

from flask import Flask


class NoKeys:
    """Stands where gunicorn.conf.py expects the check of the product's keys."""

    def refuse_start(self, app: Flask) -> None:
        """There is nothing to compare."""


app = Flask(__name__)
app.extensions["keys"] = NoKeys()


@app.get("/")
def pid() -> str:
    return str(os.getpid())
