"""What a run leaves in `build/bench/`: the table, `results.json`, and plots."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.benchmarks.ground import CORES, ROOT
from tests.benchmarks.rows import Row, Run, as_json

COLUMNS = ("what", "ours", "baseline", "ratio", "bar", "met", "against")
GOOD, BAD, PLAIN = "#2e7d32", "#c62828", "#607d8b"
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
    """Write everything; returns the table with its heading."""
    whole = f"{head(seconds, run)}\n\n{table(rows)}\n"
    (folder / "table.md").write_text(whole)
    (folder / "results.json").write_text(json.dumps([as_json(row) for row in rows], indent=1, allow_nan=True) + "\n")
    plots(folder, rows, run)
    return whole


def plots(folder: Path, rows: Sequence[Row], run: Run) -> None:
    import matplotlib  # noqa: PLC0415 - takes a second, and the display of a missing package comes first

    matplotlib.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    def save(figure: Any, name: str) -> None:
        figure.tight_layout()
        figure.savefig(folder / f"{name}.png", dpi=110)
        pyplot.close(figure)

    judged = [row for row in rows if row.met is not None]
    if judged:
        figure, axes = pyplot.subplots(figsize=(10, 1 + 0.3 * len(judged)))
        distances = [distance(row) for row in judged]
        axes.barh([row.name for row in judged], distances, color=[GOOD if row.met else BAD for row in judged])
        axes.axvline(1.0, color="black", linewidth=1)
        axes.set_xscale("log")
        axes.invert_yaxis()
        axes.set_xlabel("how far beyond its bar (1 = just met; to the right is better)")
        save(figure, "bars")
    for title, found in run.rounds.items():
        figure, axes = pyplot.subplots(figsize=(8, 1.2 + 0.45 * len(found)))
        for place, values in enumerate(found.values()):
            axes.plot(values, [place] * len(values), "o", alpha=0.6)
            axes.plot([sorted(values)[len(values) // 2]], [place], "|", color="black", markersize=18)
        axes.set_yticks(range(len(found)), list(found))
        axes.invert_yaxis()
        axes.set_xlim(left=0)
        axes.set_title(f"{title} (each round; the mark is the median)", fontsize=10)
        save(figure, f"rounds-{slug(title)}")
    for title, lines in run.lines.items():
        figure, axes = pyplot.subplots(figsize=(8, 4))
        for name, points in lines.items():
            axes.plot(*zip(*points, strict=True), label=name)
        axes.legend()
        axes.set_title(title, fontsize=10)
        save(figure, f"line-{slug(title)}")


def distance(row: Row) -> float:
    """Ours to the bar, or the bar to ours where less is better: above 1 it is met."""
    ours = row.ours if row.ratio is None else row.ratio
    sign, bar = row.bar.split()[:2]
    value = ours / float(bar) if sign == ">=" else float(bar) / max(ours, 1e-9)
    return min(max(value, 0.01), 100.0)


def slug(title: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in title.lower())[:60].strip("-")
