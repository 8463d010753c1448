"""Context variables, on an interpreter without a GIL.

A new thread begins with a copy of its parent's context. A copy has a reference to the same map of
variables, and so has the context of each task and each callback in each of these threads. So all
threads count their references in one word, and each change of that word takes it away from the
other processors. A map of the thread's own ends that.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar

__all__ = ("own_variables",)

_FREE_THREADED = "t" in sys.abiflags
_NOTHING: ContextVar[None] = ContextVar("fastaio_nothing")


def own_variables() -> None:
    """Without a GIL, give the current context a map that only this thread has made; with a GIL do
    nothing. The variables and their values stay."""
    if _FREE_THREADED:
        _NOTHING.reset(_NOTHING.set(None))
