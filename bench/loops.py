"""The event loops that are compared, and how each of them is made."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from importlib import metadata
from typing import Any

#: Names in the order of the tables. Every package but asyncio makes a loop by `new_event_loop()`
#: too, so a name is all that is needed; what follows a hyphen is the backend, or a variant.
LOOPS = ("asyncio", "uvloop", "zuvloop", "rsloop", "rloop", "blazio", "fastaio", "fastaio-io_uring")

#: Added to the name of one of our loops, these name the same loop: with spinning off, watched by
#: the recorder, with accounts.
NO_SPIN = "-spin0"
WATCHED = "-watched"
ACCOUNTS = "-accounts"

VARIANTS: dict[str, Callable[[Any], object]] = {
    NO_SPIN: lambda loop: setattr(loop, "spin_us", 0),
    WATCHED: lambda loop: loop.watch(0.1),
    ACCOUNTS: lambda loop: loop.account(),
}


def _split(name: str) -> tuple[str, str]:
    """Split the name of a loop from its variant, which may be empty."""
    variant = next((suffix for suffix in VARIANTS if name.endswith(suffix)), "")
    return name.removesuffix(variant), variant


def has_variants(name: str) -> bool:
    """Return whether the loop is one of ours, as it comes."""
    return name.partition("-")[0] == "fastaio" and not _split(name)[1]


def make(name: str) -> asyncio.AbstractEventLoop:
    """Make a new event loop of that name."""
    plain, variant = _split(name)
    package, _, backend = plain.partition("-")
    options = {"backend": backend} if backend else {}
    loop: asyncio.AbstractEventLoop = importlib.import_module(package).new_event_loop(**options)
    if variant:
        VARIANTS[variant](loop)
    return loop


def primitives() -> Any:
    """Return the module whose locks, queues, sleep() and so on a program on the running loop uses:
    fastaio on its own loop, else asyncio, since no other loop has any."""
    loop = asyncio._get_running_loop()
    name = type(loop).__module__.partition(".")[0]
    return importlib.import_module(name) if name == "fastaio" else asyncio


def version(name: str) -> str:
    """The version of the package that is installed."""
    name = name.partition("-")[0]
    if name == "asyncio":
        return "stdlib"
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return str(getattr(importlib.import_module(name), "__version__", "unknown"))
