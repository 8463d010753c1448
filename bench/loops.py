"""The event loops that are compared, and how each of them is made."""

from __future__ import annotations

import asyncio
import importlib
from importlib import metadata

#: Names in the order of the tables. Every package but asyncio makes a loop by `new_event_loop()`
#: too, so a name is all that is needed; what follows a hyphen is the backend, or NO_SPIN.
LOOPS = ("asyncio", "uvloop", "zuvloop", "rsloop", "rloop", "blazio", "fastaio", "fastaio-io_uring")

#: Added to the name of a loop that can spin, it names the same loop with spinning off.
NO_SPIN = "-spin0"


def can_spin(name: str) -> bool:
    """Whether the loop may look for events again and again before it blocks."""
    return name.partition("-")[0] == "fastaio" and not name.endswith(NO_SPIN)


def make(name: str) -> asyncio.AbstractEventLoop:
    """Make a new event loop of that name."""
    plain = name.removesuffix(NO_SPIN)
    package, _, backend = plain.partition("-")
    options = {"backend": backend} if backend else {}
    loop: asyncio.AbstractEventLoop = importlib.import_module(package).new_event_loop(**options)
    if plain != name:
        loop.spin_us = 0  # type: ignore[attr-defined]
    return loop


def version(name: str) -> str:
    """The version of the package that is installed."""
    name = name.partition("-")[0]
    if name == "asyncio":
        return "stdlib"
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return str(getattr(importlib.import_module(name), "__version__", "unknown"))
