"""Every address that the application answers, so that a new route cannot be forgotten."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from flask import Flask

PLACE = re.compile(r"<(?:(\w+)(?:\([^)]*\))?:)?([^<>]+)>")
BY_KIND = {"int": "1", "uuid": "0c4f6d1e-0000-4000-8000-00000000aa01", "path": "page.css"}
BY_NAME = {"queue_name": "travel_claims", "registry_name": "failed", "order": "asc", "instance_number": "0"}


class RequestedAppointment(NamedTuple):
    endpoint: str
    method: str
    path: str


def every_request(app: Flask) -> Iterator[RequestedAppointment]:
    """One for each route and method, with a fitting value where a path takes one."""
    for rule in app.url_map.iter_rules():
        path = PLACE.sub(lambda found: BY_NAME.get(found[2]) or BY_KIND.get(found[1] or "", "x"), rule.rule)
        for method in sorted(rule.methods or ()):
            yield RequestedAppointment(rule.endpoint, method, path)
