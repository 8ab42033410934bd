"""Plots of a run, into `build/bench/`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import pyplot

from tests.benchmarks.rows import Row, Run

GOOD, BAD = "#2e7d32", "#c62828"

matplotlib.use("Agg")


def save(folder: Path, figure: Any, name: str) -> None:
    figure.tight_layout()
    figure.savefig(folder / f"{name}.png", dpi=110)
    pyplot.close(figure)


def draw(folder: Path, rows: Sequence[Row], run: Run) -> None:
    """One picture of all bars, one of each comparison, and one of each course over time."""
    judged = [row for row in rows if row.met is not None]
    if judged:
        figure, axes = pyplot.subplots(figsize=(10, 1 + 0.3 * len(judged)))
        distances = [distance(row) for row in judged]
        axes.barh([row.name for row in judged], distances, color=[GOOD if row.met else BAD for row in judged])
        axes.axvline(1.0, color="black", linewidth=1)
        axes.set_xscale("log")
        axes.invert_yaxis()
        axes.set_xlabel("how far beyond its bar (1 = just met; to the right is better)")
        save(folder, figure, "bars")
    for title, found in run.rounds.items():
        figure, axes = pyplot.subplots(figsize=(8, 1.2 + 0.45 * len(found)))
        for place, values in enumerate(found.values()):
            axes.plot(values, [place] * len(values), "o", alpha=0.6)
            axes.plot([sorted(values)[len(values) // 2]], [place], "|", color="black", markersize=18)
        axes.set_yticks(range(len(found)), list(found))
        axes.invert_yaxis()
        axes.set_xlim(left=0)
        axes.set_title(f"{title} (each round; the mark is the median)", fontsize=10)
        save(folder, figure, f"rounds-{slug(title)}")
    for title, lines in run.lines.items():
        figure, axes = pyplot.subplots(figsize=(8, 4))
        for name, points in lines.items():
            axes.plot(*zip(*points, strict=True), label=name)
        axes.legend()
        axes.set_title(title, fontsize=10)
        save(folder, figure, f"line-{slug(title)}")


def distance(row: Row) -> float:
    """Ours to the bar, or the bar to ours where less is better: above 1 it is met."""
    ours = row.ours if row.ratio is None else row.ratio
    sign, bar = row.bar.split()[:2]
    value = ours / float(bar) if sign == ">=" else float(bar) / max(ours, 1e-9)
    return min(max(value, 0.01), 100.0)


def slug(title: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in title.lower())[:60].strip("-")
