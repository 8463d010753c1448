"""How file work leaves the loop: in a thread of an executor, one job at a time for each file."""

from __future__ import annotations

import asyncio
import types
from asyncio import AbstractEventLoop
from asyncio import _get_running_loop as running_loop
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Executor
from typing import Any, ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")

__all__ = (
    "BRIEF",
    "Turns",
    "breathe",
    "in_thread",
    "is_breather_due",
    "outcome",
    "running_loop",
    "threaded",
)

#: After so many bytes that were at hand the other tasks of the loop get a turn.
BREATHER = 256 * 1024
#: A look-up of a path counts as so many bytes.
BRIEF = 4096


class Spent:
    """Counts the bytes that were at hand since the other tasks last had a turn.

    There is one count for all loops: it only has to end the run of a task that never has to wait.
    """

    size = 0


def is_breather_due(size: int) -> bool:
    """Count `size` bytes more; return true, once, when breathe() is due."""
    Spent.size += size
    if Spent.size < BREATHER:
        return False
    Spent.size = 0
    return True


@types.coroutine
def breathe() -> Generator[None, None, None]:
    """Give the other tasks of the loop a turn."""
    yield


async def outcome(
    loop: AbstractEventLoop, job: asyncio.Future[_T], after: Callable[[], object] | None = None
) -> _T:
    """The outcome of a job of an executor; ``after()`` is called on the loop at its end.

    Who waits may be cancelled, the job may not: what has been begun is brought to its end, and
    only then comes ``after()``. What the job raises then, with nobody left to hear it, is dropped.
    """
    waiter: asyncio.Future[None] = loop.create_future()

    def finished(job: asyncio.Future[_T]) -> None:
        if after is not None:
            after()
        if not waiter.done():
            waiter.set_result(None)
        elif not job.cancelled():
            job.exception()  # heard, so that nobody reports it as unheard

    job.add_done_callback(finished)
    await waiter
    return job.result()


async def in_thread(
    loop: AbstractEventLoop, executor: Executor | None, func: Callable[..., _T], *args: Any
) -> _T:
    """The outcome of ``func(*args)`` in a thread, which who waits cannot cancel."""
    return await outcome(loop, loop.run_in_executor(executor, func, *args))


class Turns:
    """Who may work with a file now: one at a time, in the order in which they came."""

    __slots__ = ("_waiters", "taken")

    def __init__(self) -> None:
        self.taken = False
        self._waiters: deque[asyncio.Future[None]] = deque()

    async def take(self, loop: AbstractEventLoop) -> None:
        """Wait for the turn; give() ends it."""
        if not self.taken:
            self.taken = True
            return
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except BaseException:
            if not waiter.cancelled():
                self.give()  # it had been handed over already
            raise

    def give(self) -> None:
        """Hand the turn to the next who waits, or to nobody."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self.taken = False


def threaded(func: Callable[_P, _T]) -> Callable[_P, Coroutine[Any, Any, _T]]:
    """A coroutine function that runs ``func`` in a thread of the loop's executor.

    It takes ``loop`` and ``executor`` too, as aiofiles' functions do.
    """

    async def run(*args: Any, **kwargs: Any) -> _T:
        loop = kwargs.pop("loop", None) or asyncio.get_running_loop()
        executor = kwargs.pop("executor", None)
        if kwargs:
            return await in_thread(loop, executor, lambda: func(*args, **kwargs))
        return await in_thread(loop, executor, func, *args)

    for name in ("__name__", "__qualname__", "__doc__"):
        setattr(run, name, getattr(func, name, None))
    return run
