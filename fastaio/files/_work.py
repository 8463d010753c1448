"""Jobs in threads of an executor, turns at a file, and breathers for the other tasks."""

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

#: Bytes. After so much data that was cached the other tasks of the loop get a turn.
BREATHER = 256 * 1024
#: Bytes that a look-up of a path counts for.
BRIEF = 4096


class Spent:
    """The count of cached bytes since the other tasks last had a turn.

    All loops share one count, whose only purpose is to end the run of a task that never waits.
    """

    size = 0


def is_breather_due(size: int) -> bool:
    """Add `size` bytes to the count. Return true, and reset it, once it reaches BREATHER."""
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
    """Return the result of a job of an executor, or raise its exception.

    after: called in the loop at the end of the job, also if the waiting task has been cancelled.
    The job itself is never cancelled. After a cancellation of the waiting task its exception is
    dropped.
    """
    waiter: asyncio.Future[None] = loop.create_future()

    def finished(job: asyncio.Future[_T]) -> None:
        if after is not None:
            after()
        try:
            waiter.set_result(None)
        except asyncio.InvalidStateError:  # cancelled, maybe by another thread at this moment
            if not job.cancelled():
                job.exception()  # retrieved, so that the loop does not report it

    job.add_done_callback(finished)
    await waiter
    return job.result()


async def in_thread(
    loop: AbstractEventLoop, executor: Executor | None, func: Callable[..., _T], *args: Any
) -> _T:
    """Return ``func(*args)``, called in a thread. Cancellation does not end the call."""
    return await outcome(loop, loop.run_in_executor(executor, func, *args))


class Turns:
    """A lock of a file: one holder at a time, in the order of the calls of take()."""

    __slots__ = ("_waiters", "taken")

    def __init__(self) -> None:
        self.taken = False
        self._waiters: deque[asyncio.Future[None]] = deque()

    async def take(self, loop: AbstractEventLoop) -> None:
        """Wait for the turn, which lasts until give()."""
        if not self.taken:
            self.taken = True
            return
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except BaseException:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            elif not waiter.cancelled():
                self.give()  # the turn had been given to this waiter
            raise

    def give(self) -> None:
        """End the turn; the next waiter, if there is one, has it then."""
        while self._waiters:
            waiter = self._waiters.popleft()
            try:
                waiter.set_result(None)
            except asyncio.InvalidStateError:  # cancelled, maybe by another thread at this moment
                continue
            return
        self.taken = False


def threaded(func: Callable[_P, _T]) -> Callable[_P, Coroutine[Any, Any, _T]]:
    """Return a coroutine function that calls ``func`` in a thread of the loop's executor.

    The coroutine function also takes ``loop`` and ``executor``, like the functions of aiofiles.
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
