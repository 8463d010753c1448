"""Which tasks wait for a task: what asyncio's call graph tells from 3.14 on, on every version.

Before 3.14 nothing notes who awaits whom. The callbacks of a future tell: a waiting task's wake-up
is one of them, and so are the callbacks of TaskGroup, gather(), wait(), wait_for() and shield(),
which lead to the future that the waiting task awaits.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Iterator
from typing import Any

__all__ = ("awaited_by", "describe")

# The variables of asyncio's inner functions that hold the future which others wait for.
_OUTER_NAMES = ("outer", "waiter")


def _targets(callback: Any) -> Iterator[object]:
    """Yield the objects that a done-callback leads to."""
    if isinstance(callback, functools.partial):
        yield from callback.args
        callback = callback.func
    owner = getattr(callback, "__self__", None)
    yield owner
    yield getattr(owner, "_parent_task", None)  # TaskGroup
    code = getattr(callback, "__code__", None)
    for name, cell in zip(
        getattr(code, "co_freevars", ()), getattr(callback, "__closure__", None) or (), strict=False
    ):
        if name in _OUTER_NAMES:
            try:
                yield cell.cell_contents
            except ValueError:
                continue  # not assigned yet


def _waiters(future: Any) -> Iterator[asyncio.Future[Any]]:
    """Yield the futures and tasks that a future's end leads to."""
    yield from getattr(future, "_asyncio_awaited_by", None) or ()
    for callback, _ in list(getattr(future, "_callbacks", None) or ()):
        for target in _targets(callback):
            if asyncio.isfuture(target) and target is not future:
                yield target


def awaited_by(task: asyncio.Future[Any]) -> list[asyncio.Task[Any]]:
    """Return the tasks that wait for a task, directly or through others, the nearest first."""
    seen: set[int] = {id(task)}
    found: list[asyncio.Task[Any]] = []
    left: deque[asyncio.Future[Any]] = deque([task])
    while left:
        for waiter in _waiters(left.popleft()):
            if id(waiter) in seen:
                continue
            seen.add(id(waiter))
            left.append(waiter)
            if isinstance(waiter, asyncio.Task):
                found.append(waiter)
    return found


def describe(task: asyncio.Task[Any]) -> str:
    """Return a task's name and its coroutine's: ``'Task-1' (main)``."""
    coro = task.get_coro()
    name = getattr(coro, "__qualname__", None) or type(coro).__name__
    return f"{task.get_name()!r} ({name})"
