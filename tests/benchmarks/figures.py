"""The output of the benchmarks: one line for each figure, as ratios against something that everybody can picture."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path


def title(text: str) -> None:
    say(f"\n{text}")


def figure(what: str, value: str) -> None:
    say(f"  {what:<66} {value}")


def say(text: str) -> None:
    """Print to the terminal, also where `quiet` has redirected stdout."""
    print(text, file=sys.__stdout__, flush=True)


@contextmanager
def quiet() -> Iterator[None]:
    """Write log lines, so that their cost is paid, where nobody has to read them."""
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        yield


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
