"""What a run leaves in `build/bench/`: the table and `results.json`."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.benchmarks.ground import CORES, ROOT
from tests.benchmarks.rows import Row, Run, as_json

COLUMNS = ("what", "ours", "baseline", "ratio", "bar", "met", "against")
VERDICTS = {True: "yes", False: "**no**", None: "-"}


def number(value: float | None, unit: str = "") -> str:
    if value is None:
        return "-"
    if not math.isfinite(value):
        return "inf"
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.3g}"
    return f"{text} {unit}".rstrip()


def cells(row: Row) -> tuple[str, ...]:
    ratio = "-" if row.ratio is None else f"{row.ratio:.2f}"
    ours, baseline = number(row.ours, row.unit), number(row.baseline, row.unit)
    return (row.name, ours, baseline, ratio, row.bar or "-", VERDICTS[row.met], row.against)


def table(rows: Sequence[Row]) -> str:
    """The rows as a table of Markdown, its columns aligned for readers of the plain text."""
    lines = [COLUMNS, *map(cells, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    written = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    written.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    return "\n".join(written)


def head(seconds: float, run: Run) -> str:
    """When, where and on what it was measured."""
    commit = git("describe", "--always", "--dirty", "--abbrev=10")
    load = os.getloadavg()[0]
    small = "" if run.scale == 1 else f", scale {run.scale:g}"
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {commit}, {CORES} cores, {platform.machine()},"
        f" Python {platform.python_version()}; {run.repeats} rounds{small}, {seconds:.0f} s, load average at the end"
        f" {load:.1f}"
    )


def git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def missed(rows: Sequence[Row]) -> list[str]:
    return [
        f"{row.name}: {number(row.ours if row.ratio is None else row.ratio)}, the bar is {row.bar}"
        for row in rows
        if row.met is False
    ]


def write(folder: Path, rows: Sequence[Row], run: Run, seconds: float) -> str:
    """Write both; returns the table with its heading."""
    whole = f"{head(seconds, run)}\n\n{table(rows)}\n"
    (folder / "table.md").write_text(whole)
    (folder / "results.json").write_text(json.dumps([as_json(row) for row in rows], indent=1, allow_nan=False) + "\n")
    return whole
