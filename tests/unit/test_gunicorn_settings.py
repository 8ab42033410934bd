"""Settings of the web server that depend on where it runs."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from flaskapp.config import Config
from sandbox.processes import surroundings

FILE = str(Path(__file__).parents[2] / "gunicorn.conf.py")


def settings() -> dict[str, Any]:
    return runpy.run_path(FILE)


def test_web_server_and_application_agree_how_many_threads_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WEB_THREADS", raising=False)
    assert settings()["threads"] == Config().web_threads
    monkeypatch.setenv("WEB_THREADS", "8")
    assert settings()["threads"] == 8


def test_it_listens_for_a_router_but_in_the_sandbox_for_this_machine_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WEB_ADDRESS", raising=False)
    monkeypatch.setenv("PORT", "8123")
    assert settings()["bind"] == "0.0.0.0:8123"
    monkeypatch.setenv("WEB_ADDRESS", surroundings({}, 8123)["WEB_ADDRESS"])
    assert settings()["bind"] == "127.0.0.1:8123"
    monkeypatch.setenv("WEB_ADDRESS", "0.0.0.0")
    assert surroundings({}, 8123)["WEB_ADDRESS"] == "0.0.0.0"


def test_heartbeats_go_where_a_file_can_be_made(tmp_path: Path) -> None:
    """Nobody, not even root, may make a file in /proc; it is there all the same."""
    usable = settings()["usable"]
    assert usable(str(tmp_path)) == str(tmp_path)
    assert usable("/proc") is None and usable(str(tmp_path / "absent")) is None
