"""The default executor: concurrent.futures' own, with a native way for the loop's jobs."""

from __future__ import annotations

import concurrent.futures.thread
from typing import TYPE_CHECKING, Any

from . import _fastaio

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

__all__ = ("DefaultExecutor",)

_thread: Any = concurrent.futures.thread


class DefaultExecutor(concurrent.futures.ThreadPoolExecutor):
    """A ThreadPoolExecutor whose threads also run jobs that the loop gives to its queue.

    Threads, their bound, submit() and shutdown() are those of the base.
    """

    if TYPE_CHECKING:
        _shutdown_lock: Any
        _work_queue: Any
        _idle_semaphore: Any

        def _adjust_thread_count(self) -> None: ...

    def __init__(self) -> None:
        super().__init__(thread_name_prefix="asyncio")
        # The queue knows which threads are idle, so it is the semaphore that counts them as well.
        self._jobs = self._work_queue = self._idle_semaphore = _fastaio.JobQueue()

    def call(
        self,
        loop: _fastaio.Loop,
        future: asyncio.Future[Any],
        func: Callable[..., object],
        args: tuple[object, ...],
    ) -> bool:
        """Have a thread call func(*args), and give the future the outcome.

        Return false where submit() has to do that: after shutdown(), which it reports, in a forked
        child, and where the loop or this class has been changed. Raises RuntimeError if a thread
        cannot be started.
        """
        if getattr(self.submit, "__func__", None) is not _submit:
            return False
        is_served = self._jobs.submit(loop, future, func, args)
        if is_served is None:
            return False
        if not is_served:
            self._start_thread()
        return True

    @property
    def is_inherited(self) -> bool:
        """True in a forked child: the threads are the parent's."""
        return self._jobs.is_inherited

    def _start_thread(self) -> None:
        with self._shutdown_lock:
            if _thread._shutdown:
                raise RuntimeError("cannot schedule new futures after interpreter shutdown")
            self._adjust_thread_count()  # which starts none above the bound

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Like the base's: end the threads once the queue is empty."""
        if cancel_futures:
            self._jobs.cancel_jobs()
        super().shutdown(wait, cancel_futures=cancel_futures)


# What submit() was here, for the comparison with what stands there later.
_submit = concurrent.futures.ThreadPoolExecutor.submit
