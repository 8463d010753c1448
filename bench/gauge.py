"""How fast the machine is at the moment, by a fixed piece of work.

A virtual machine shares its cores with others. While these work, the same instructions take up to
twice the CPU time, for seconds at a time, and nothing in the guest tells. So the work is measured
again and again. The least time of all shows how fast the machine can be.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable

from bench import system

#: Of a steady machine the fixed work takes at most so many times the least time.
STEADY = 1.1


def cpu_of_fixed_work() -> float:
    """Return the CPU seconds of some milliseconds of arithmetic on the measured process's core."""
    allowed = os.sched_getaffinity(0)
    system.pin(system.cores()[0])
    try:
        return statistics.median(_once() for _ in range(3))
    finally:
        os.sched_setaffinity(0, allowed)  # children inherit it


def _once() -> float:
    begun, total = time.thread_time(), 0
    for number in range(60_000):
        total += number
    return time.thread_time() - begun


class Gauge:
    """Compares the machine's speed to the best that it has had."""

    def __init__(self, read: Callable[[], float] = cpu_of_fixed_work, readings: int = 100) -> None:
        self._read = read
        self._least = min(read() for _ in range(readings))

    def slowness(self) -> float:
        """Return how many times longer than at best the fixed work takes now."""
        now = self._read()
        self._least = min(self._least, now)
        return now / self._least
