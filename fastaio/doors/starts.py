"""Tells of each event loop that starts to run, of whatever kind.

Every event loop calls ``asyncio._set_running_loop()``. Loops in C keep that function when they are
imported, so install() should come before such imports; uvloop's is watched later, too.
"""

from __future__ import annotations

import asyncio
import asyncio.events
import sys
from collections.abc import Callable
from typing import Any

from .patches import Patches

__all__ = ("OnStart", "watch")

OnStart = Callable[[asyncio.AbstractEventLoop], None]

_NAME = "_set_running_loop"


def watch(patches: Patches, on_start: OnStart) -> None:
    """Call ``on_start`` with each loop before it runs, in the thread that runs it."""
    original = getattr(asyncio.events, _NAME)

    def _set_running_loop(loop: Any, /) -> None:
        if loop is not None:
            on_start(loop)
        original(loop)

    for module in list(sys.modules.values()):
        # asyncio, asyncio.events, and loops in Python that have imported it by name
        if getattr(module, "__dict__", {}).get(_NAME) is original:
            patches.set(module, _NAME, _set_running_loop)
    uvloop: Any = sys.modules.get("uvloop")
    if uvloop is not None:
        run_forever = uvloop.Loop.run_forever

        def watched(loop: Any) -> None:
            on_start(loop)
            run_forever(loop)

        patches.set(uvloop.Loop, "run_forever", watched)
