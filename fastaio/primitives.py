"""The native primitives in asyncio's place, where the program asks for that.

``fastaio.Lock``, ``fastaio.sleep`` and the others can be used by name, and then nothing is patched.
A program whose code and libraries say ``asyncio.Lock`` can have the native ones under asyncio's
names: by ``fastaio.install(primitives=True)``, ``python -m fastaio --primitives``, or
``FASTAIO_PRIMITIVES=1`` in the environment.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from . import _fastaio, environment

__all__ = ("ENVIRONMENT_VARIABLE", "NAMES", "asked_for", "install", "uninstall")

ENVIRONMENT_VARIABLE = "FASTAIO_PRIMITIVES"

#: The names of the primitives, by the module of asyncio that defines them.
NAMES = {
    "asyncio.locks": ("Barrier", "BoundedSemaphore", "Condition", "Event", "Lock", "Semaphore"),
    "asyncio.queues": ("LifoQueue", "PriorityQueue", "Queue"),
    "asyncio.taskgroups": ("TaskGroup",),
    "asyncio.tasks": ("as_completed", "gather", "shield", "sleep", "wait", "wait_for"),
    "asyncio.timeouts": ("timeout", "timeout_at"),
}

# What has been replaced: the dict of a module, the name in it, asyncio's own, the native one.
_replaced: list[tuple[dict[str, Any], str, Any, Any]] = []


def asked_for() -> bool:
    """Return whether FASTAIO_PRIMITIVES asks for the native primitives.

    "1" does, "0" does not; unset or empty it does not either. Another value gives a RuntimeWarning.
    """
    return environment.read_switch(ENVIRONMENT_VARIABLE, "asyncio keeps its own primitives")


def _modules() -> Iterator[ModuleType]:
    """Yield asyncio and those of its modules that have been imported."""
    for name, module in list(sys.modules.items()):
        if isinstance(module, ModuleType) and (name == "asyncio" or name.startswith("asyncio.")):
            yield module


def _pairs() -> Iterator[tuple[Any, Any]]:
    """Yield asyncio's own objects, each with the native one that can stand in its place.

    A name that somebody else has replaced is left out: what stands there is not asyncio's.
    """
    for home, names in NAMES.items():
        for name in names:
            original = vars(sys.modules[home]).get(name)
            if getattr(original, "__module__", None) == home:
                yield original, getattr(_fastaio, name)


def install() -> None:
    """Put the native primitives in the place of asyncio's, in each module of asyncio that has them.

    Modules of others that have run ``from asyncio import Lock`` before keep asyncio's own. A second
    call replaces what has been imported since the first one.
    """
    natives = {id(original): (original, native) for original, native in _pairs()}
    for *_, original, native in _replaced:
        natives.setdefault(id(original), (original, native))
    for module in _modules():
        namespace = vars(module)
        for name, value in list(namespace.items()):
            original, native = natives.get(id(value), (None, None))
            if native is not None:
                namespace[name] = native
                _replaced.append((namespace, name, original, native))


def uninstall() -> None:
    """Put asyncio's own primitives back. A name that somebody has replaced since stays theirs."""
    while _replaced:
        namespace, name, original, native = _replaced.pop()
        if namespace.get(name) is native:
            namespace[name] = original
