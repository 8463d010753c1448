"""The event loops that are compared, and how each of them is made."""

from __future__ import annotations

import asyncio
import importlib
from importlib import metadata

#: Names in the order of the tables. Every package but asyncio makes a loop by `new_event_loop()`
#: too, so a name is all that is needed.
LOOPS = ("asyncio", "uvloop", "zuvloop", "rsloop", "rloop", "blazio", "fastaio")


def make(name: str) -> asyncio.AbstractEventLoop:
    """A new event loop of that package."""
    loop: asyncio.AbstractEventLoop = importlib.import_module(name).new_event_loop()
    return loop


def version(name: str) -> str:
    """The version of the package that is installed."""
    if name == "asyncio":
        return "stdlib"
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return str(getattr(importlib.import_module(name), "__version__", "unknown"))
