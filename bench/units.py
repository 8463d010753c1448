"""Figures as text: a value with its unit, and the spread of several values.

Units: "s" (seconds), "us" (microseconds), "s/s" (CPU seconds per second), "B" (bytes),
"B/s", "1/s" (a rate), "share" (0 to 1) and "times" (a ratio).
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

#: The value, in seconds, of a cell that waited for something that did not happen.
NEVER = 1e9

_TIMES = ((1e9, "ns"), (1e6, "us"), (1e3, "ms"), (1.0, "s"))


def _scale(value: float, unit: str) -> tuple[float, str]:
    """Return the factor and the suffix that suit a value."""
    if unit == "s":
        value = abs(value)
        if value < 1e-6:
            return _TIMES[0]
        return next((scale for scale in _TIMES[1:] if value * scale[0] < 1000), _TIMES[-1])
    if unit == "s/s":
        return 1e6, "us/s"
    if unit == "B/s":
        return (1e-9, "GB/s") if value >= 1e9 else (1e-6, "MB/s")
    if unit == "B":
        return (1e-6, "MB") if value >= 1e6 else (1.0, "B")
    return 1.0, ""


def _number(value: float, unit: str, suffix: str) -> str:
    """Return a scaled value with as many digits as mean something."""
    if unit == "1/s":
        return f"{value / 1000:.1f}k" if value >= 1000 else f"{value:.0f}"
    if unit == "share":
        return f"{value:.2f}" if value >= 0.01 or value == 0 else f"{value:.1g}"
    if unit == "times" or suffix in ("s", "GB/s"):
        return f"{value:.2f}"
    if suffix in ("us", "ms", "MB", "MB/s"):
        return f"{value:.{abs(value) < 100:d}f}"
    return f"{value:.0f}"


def median(figures: Iterable[float]) -> float:
    """Return the median. Between a value and NEVER nothing is in the middle: that is NEVER."""
    values = list(figures)
    return statistics.median_high(values) if NEVER in values else statistics.median(values)


def figure(value: float, unit: str) -> str:
    """Return a value with its unit."""
    return spread([value], unit)


def spread(values: Sequence[float], unit: str) -> str:
    """Return several values, with the unit that suits the one in the middle."""
    if unit == "us":
        return spread([value * 1e-6 for value in values], "s")
    happened = [unit != "s" or value < NEVER for value in values]
    middle = sorted(value for value, did in zip(values, happened, strict=True) if did)
    if not middle:
        return "/".join("never" for _ in values)
    factor, suffix = _scale(middle[len(middle) // 2], unit)
    numbers = [
        _number(value * factor, unit, suffix) if did else "never"
        for value, did in zip(values, happened, strict=True)
    ]
    return f"{'/'.join(numbers)} {suffix}".rstrip()
