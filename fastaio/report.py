"""which(): what a program runs on."""

from __future__ import annotations

import asyncio
import os
import platform
import sys
from typing import NamedTuple

from .loop import EventLoop
from .tls import describe_tls

__all__ = ("Which", "which")


class Which(NamedTuple):
    """The answer of ``which()``. Its ``str()`` has one line for each field."""

    loop: str
    """The loop's class, as "fastaio.loop.EventLoop"."""
    is_fastaio: bool
    """True if the loop is one of fastaio's."""
    backend: str | None
    """The name, "epoll" or "io_uring"; None if the loop is not fastaio's."""
    backend_reason: str | None
    """The reason for this backend."""
    tls: str
    """The library that encrypts, and how it is called."""
    primitives: str
    """Whose locks, queues and so on asyncio's names mean: "asyncio's" or "fastaio's"."""
    gil: bool
    """True if this interpreter runs with a GIL."""
    python: str
    """The interpreter's version."""
    kernel: str
    """The kernel's release."""

    def __str__(self) -> str:
        backend = f"{self.backend} ({self.backend_reason})" if self.is_fastaio else "not fastaio's"
        rows = {
            "loop": self.loop,
            "backend": backend,
            "TLS": self.tls,
            "primitives": self.primitives,
            "Python": f"{self.python}, {'with' if self.gil else 'without'} a GIL",
            "kernel": self.kernel,
        }
        return "\n".join(f"{name + ':':<12}{value}" for name, value in rows.items())


def which(loop: asyncio.AbstractEventLoop | None = None) -> Which:
    """Tell what a loop runs on: which class, which backend and why, which TLS, and so on.

    Args:
        loop: Without one it is the running loop. If none runs, ``asyncio.new_event_loop()`` makes
            one for this purpose.

    Returns:
        A named tuple, whose ``str()`` has one line for each field.
    """
    if loop is None:
        loop = asyncio._get_running_loop()
    if loop is not None:
        return _describe(loop)
    loop = asyncio.new_event_loop()
    try:
        return _describe(loop)
    finally:
        loop.close()


def _describe(loop: asyncio.AbstractEventLoop) -> Which:
    native = loop if isinstance(loop, EventLoop) else None
    return Which(
        loop=f"{type(loop).__module__}.{type(loop).__qualname__}",
        is_fastaio=native is not None,
        backend=native.backend if native else None,
        backend_reason=native.backend_reason if native else None,
        tls=describe_tls(native) if native else "the foreign loop's",
        primitives=f"{asyncio.Lock.__module__.partition('.')[0]}'s",
        gil=getattr(sys, "_is_gil_enabled", lambda: True)(),
        python=platform.python_version(),
        kernel=os.uname().release,
    )
