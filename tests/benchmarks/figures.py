"""How the benchmarks say what they measured: one line a figure, ratios against something everybody can picture."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence


def title(text: str) -> None:
    print(f"\n{text}")


def figure(what: str, told: str) -> None:
    print(f"  {what:<66} {told}", flush=True)


def percentile(values: Sequence[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def spread(seconds: Sequence[float]) -> str:
    """Median and 99th percentile in milliseconds."""
    return f"p50 {percentile(seconds, 50) * 1000:6.1f} ms   p99 {percentile(seconds, 99) * 1000:6.1f} ms"


def timed(work: Callable[[], object]) -> float:
    """Seconds that one call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
