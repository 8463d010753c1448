"""FASTAIO_* environment variables: a value that makes no sense is warned of, and counts as unset.

So a program that is started with a wrong value still serves. An argument with a wrong value raises.
"""

from __future__ import annotations

import os
import warnings

__all__ = ("read_switch", "warn")


def warn(problem: str, consequence: str) -> None:
    """Warn that a variable has a wrong value, and say what happens instead."""
    warnings.warn(f"{problem}: {consequence}", RuntimeWarning, stacklevel=3)


def read_switch(name: str, off: str) -> bool:
    """Return whether a variable is 1; 0, empty and unset mean no.

    off: what a wrong value, which counts as unset, leads to.
    """
    value = os.environ.get(name) or "0"
    if value not in ("0", "1"):
        warn(f"{name} must be '0' or '1', not {value!r}", off)
    return value == "1"
