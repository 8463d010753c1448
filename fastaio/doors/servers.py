"""Servers that choose a loop by themselves: what they choose by default becomes fastaio's.

A loop that a user has chosen by name (``--loop uvloop``) is left alone; foreign.py warns of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ..loop import EventLoop
from .imports import Hook
from .patches import Patches

__all__ = ("hooks",)


def hooks(patches: Patches) -> dict[str, Hook]:
    """Return what to call with which module."""
    return {
        "uvicorn.loops.auto": lambda module: _patch_uvicorn(patches, module),
        "gunicorn.workers.gasgi": lambda module: _patch_gunicorn(patches, module),
    }


def _patch_uvicorn(patches: Patches, module: Any) -> None:
    """Replace what uvicorn's ``--loop auto``, its default, chooses."""
    if hasattr(module, "auto_loop_factory"):
        patches.set(module, "auto_loop_factory", _loop_factory)
    else:  # before 0.36 it set a policy; there is one already
        patches.set(module, "auto_loop_setup", _set_up_nothing)


def _loop_factory(use_subprocess: bool = False) -> Callable[[], asyncio.AbstractEventLoop]:
    return EventLoop


def _set_up_nothing(use_subprocess: bool = False) -> None:
    return None


def _patch_gunicorn(patches: Patches, module: Any) -> None:
    """Replace what ``--asgi-loop auto``, the default of gunicorn's own ASGI worker, chooses."""
    set_up = module.ASGIWorker._setup_event_loop

    def _setup_event_loop(self: Any) -> None:
        if self.cfg.asgi_loop != "auto":
            set_up(self)
            return
        self.loop = EventLoop()
        asyncio.set_event_loop(self.loop)

    patches.set(module.ASGIWorker, "_setup_event_loop", _setup_event_loop)
