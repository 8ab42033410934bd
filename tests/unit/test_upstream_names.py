"""The names of all upstreams: metrics show each from the start."""

from __future__ import annotations

import re
from pathlib import Path

from flaskapp import upstreams
from flaskapp.config import UPSTREAMS


def test_every_upstream_is_named() -> None:
    folder = Path(upstreams.__file__).parent
    found = {
        name for path in folder.rglob("*.py") for name in re.findall(r'^UPSTREAM = "(\w+)"', path.read_text(), re.M)
    }
    assert found == set(UPSTREAMS)
