"""Small plots of the console, drawn on the server as SVG: they need no script and print as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from markupsafe import Markup, escape

WIDTH, HEIGHT = 160, 36


@dataclass(frozen=True)
class Line:
    """One line of a plot: what it counts, and one value for each step of time; None where nothing is known."""

    name: str
    values: Sequence[float | None]


def plot(lines: Sequence[Line], words: str) -> Markup:
    """The lines over the same time and on the same scale, which begins at 0. `words` say it to who cannot see it."""
    top = max((value for line in lines for value in line.values if value is not None), default=0) or 1
    drawn = "".join(
        f'<path class="line-{number}" d="{path_of(line.values, top)}"/>' for number, line in enumerate(lines)
    )
    return Markup(
        f'<svg class="plot" role="img" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
        f' preserveAspectRatio="none" aria-label="{escape(words)}"><path class="ground" d="M0 {HEIGHT - 1}H{WIDTH}"/>'
        f"{drawn}</svg>"
    )


def path_of(values: Sequence[float | None], top: float) -> str:
    """The path of one line. It is broken where nothing is known."""
    step = WIDTH / max(1, len(values) - 1)
    parts, pen = [], "M"
    for index, value in enumerate(values):
        if value is None:
            pen = "M"
            continue
        # A single point between gaps is drawn as a short dash.
        parts.append(f"{pen}{index * step:.1f} {HEIGHT - 1 - value / top * (HEIGHT - 4):.1f}h.1")
        pen = "L"
    return "".join(parts)


def bar(share: float) -> Markup:
    """A bar as long as this share of the whole, from 0 to 1; the number stands beside it."""
    return Markup(
        '<svg class="bar" aria-hidden="true" viewBox="0 0 100 6" width="100" height="6">'
        f'<rect width="{100 * min(max(share, 0), 1):.0f}" height="6"/></svg>'
    )


def in_words(what: str, line: Sequence[float | None], began: Sequence[datetime], unit: str = "") -> str:
    """`Accepted: 120 at most, at 10:15 on 4 March`: what a plot says at a glance."""
    known = [(value, at) for value, at in zip(line, began, strict=True) if value is not None]
    if not known or not max(known)[0]:
        return f"{what}: none"
    most, at = max(known)
    return f"{what}: at most {most:.0f}{unit}, at {at:%H:%M} on {at.day} {at:%B}"
