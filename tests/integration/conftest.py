"""What integration tests leave as they found it."""

from __future__ import annotations

from datetime import timedelta

import pytest


@pytest.fixture(autouse=True)
def clock_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of Python is the process's own, unlike Postgres's, which goes with the test's database."""
    monkeypatch.setattr("flaskapp.clock._offset", timedelta())
