"""The hooks that install() sets besides the event loop policy.

Some programs do not ask the policy for a loop: servers bring a loop factory of their own, and
spawned processes begin without a policy. ``open_doors()`` leads these to fastaio, and warns once if
a foreign loop starts to run all the same. ``close_doors()`` takes all of it back.
"""

from __future__ import annotations

import os

from .. import environment
from . import foreign, servers, spawn, starts
from .imports import ImportHooks
from .patches import Patches

__all__ = ("close_doors", "open_doors")

_patches = Patches()
_hooks = ImportHooks()


def open_doors() -> None:
    """Lead servers and spawned processes to fastaio, and watch the loops that start. Idempotent."""
    if _hooks.are_set:
        return
    starts.watch(_patches, _what_to_do())
    _hooks.set({**servers.hooks(_patches), **spawn.hooks(_patches)})
    if not os.environ.get(spawn.ENVIRONMENT_VARIABLE):
        os.environ[spawn.ENVIRONMENT_VARIABLE] = "1"
    environment.read_switch(spawn.ENVIRONMENT_VARIABLE, "spawned processes do not install fastaio")


def _what_to_do() -> starts.OnStart:
    """Return what is called with each loop that starts."""
    if os.environ.get("FASTAIO_CHECK"):
        from .check import answer

        return answer
    return foreign.warn_once


def close_doors() -> None:
    """Take back what open_doors() has set, except a name that somebody has replaced since."""
    if not _hooks.are_set:
        return
    _hooks.remove()
    _patches.undo()
    if os.environ.get(spawn.ENVIRONMENT_VARIABLE) == "1":
        del os.environ[spawn.ENVIRONMENT_VARIABLE]
