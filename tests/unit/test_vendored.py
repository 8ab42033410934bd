"""What is vendored is what its package holds, byte for byte, and its licence stands beside it."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

STATIC = Path(__file__).parents[2] / "flaskapp" / "static"
PICO = "61207a40ffc02a42d1e50143651c121beab70ed413c934c1ff84fa263ba436b0"


def test_pico_is_unchanged_and_carries_its_licence_and_version() -> None:
    sheet = (STATIC / "pico" / "pico.classless.min.css").read_bytes()
    assert sha256(sheet).hexdigest() == PICO
    assert b"Pico CSS" in sheet[:200] and b"v2.1.1" in sheet[:200] and b"MIT" in sheet[:200]
    assert "MIT License" in (STATIC / "pico" / "LICENSE.md").read_text()


def test_our_own_sheet_loads_nothing_from_elsewhere() -> None:
    ours = (STATIC / "page.css").read_text()
    assert "http" not in ours and "@import" not in ours and 'url("data:' not in ours
