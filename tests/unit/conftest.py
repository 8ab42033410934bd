"""Conditions under which PDFs and pictures are opened."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from flaskapp.form526.attachments import opening


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A longer limit: a machine that is busy with other tests is no reason to refuse a file."""
    monkeypatch.setattr(opening, "READING_SECONDS", 60)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path
    assert open_in(tmp_path) == []


def open_in(folder: Path) -> list[str]:
    """The files that this process has open there, also those that have no name any more."""
    return [name for name in map(os.path.realpath, Path("/proc/self/fd").iterdir()) if name.startswith(str(folder))]
