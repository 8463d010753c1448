"""The event loops that are compared, and how each of them is made."""

from __future__ import annotations

import asyncio
import importlib
from importlib import metadata

#: Names in the order of the tables. Every package but asyncio makes a loop by `new_event_loop()`
#: too, so a name is all that is needed; what follows a hyphen is the backend.
LOOPS = ("asyncio", "uvloop", "zuvloop", "rsloop", "rloop", "blazio", "fastaio", "fastaio-io_uring")


def make(name: str) -> asyncio.AbstractEventLoop:
    """A new event loop of that package."""
    package, _, backend = name.partition("-")
    options = {"backend": backend} if backend else {}
    loop: asyncio.AbstractEventLoop = importlib.import_module(package).new_event_loop(**options)
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
