"""asyncio with its core as native code.

``fastaio.run(main())`` runs a program, ``fastaio.new_event_loop`` is a loop factory for whatever
takes one, ``fastaio.install()`` makes every new loop of this process a native one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

try:
    from ._fastaio import (
        Barrier,
        BoundedSemaphore,
        Condition,
        Event,
        Future,
        LifoQueue,
        Lock,
        PriorityQueue,
        Queue,
        Semaphore,
        Task,
        TaskGroup,
        as_completed,
        gather,
        shield,
        sleep,
        timeout,
        timeout_at,
        wait,
        wait_for,
    )
except ModuleNotFoundError as _error:
    if _error.name != f"{__name__}._fastaio":
        raise
    from ._missing import explain

    raise ImportError(explain(), name=__name__) from None

from . import files, primitives
from .files import open
from .loop import EventLoop
from .metrics import Metrics
from .policy import EventLoopPolicy, install, uninstall
from .recorder import check_seconds
from .report import Which, which

__all__ = (
    "Barrier",
    "BoundedSemaphore",
    "Condition",
    "Event",
    "EventLoop",
    "EventLoopPolicy",
    "Future",
    "LifoQueue",
    "Lock",
    "Metrics",
    "PriorityQueue",
    "Queue",
    "Semaphore",
    "Task",
    "TaskGroup",
    "Which",
    "__version__",
    "as_completed",
    "files",
    "gather",
    "install",
    "new_event_loop",
    "open",
    "primitives",
    "run",
    "shield",
    "sleep",
    "timeout",
    "timeout_at",
    "uninstall",
    "wait",
    "wait_for",
    "which",
)

__version__ = "0.1.0"

_T = TypeVar("_T")


def new_event_loop(*, backend: str = "auto") -> EventLoop:
    """Make a new event loop: the loop factory for whatever takes one.

    Args:
        backend: "auto", "epoll" or "io_uring". With "auto" the environment variable
            FASTAIO_BACKEND decides if it is set and can be used; else it is epoll.

    Returns:
        A new loop. The caller closes it.

    Raises:
        ValueError: There is no such backend.
        OSError: This system does not let io_uring be used; the message says why.
    """
    return EventLoop(backend=backend)


def _watch(loop: asyncio.AbstractEventLoop, seconds: float) -> None:
    if not isinstance(loop, EventLoop):
        raise TypeError(f"watch needs a fastaio loop, and loop_factory made {loop!r}")
    loop.watch(seconds)


def run(
    main: Coroutine[Any, Any, _T],
    *,
    debug: bool | None = None,
    backend: str = "auto",
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
    watch: float | None = None,
) -> _T:
    """Run a coroutine on a new loop and return its result, as ``asyncio.run()`` does.

    Args:
        main: The coroutine.
        debug: Whether asyncio's debug mode is on. None leaves it to PYTHONASYNCIODEBUG.
        backend: See ``new_event_loop()``. It counts only without a ``loop_factory``.
        loop_factory: Makes the loop.
        watch: Report callbacks that block the loop for longer than this many seconds: see
            ``EventLoop.watch()``.

    Returns:
        The result of ``main``.

    Raises:
        RuntimeError: Another loop runs in this thread.
        ValueError: ``backend`` or ``watch`` is wrong.
        OSError: This system does not let io_uring be used.
    """
    if watch is not None:
        check_seconds(watch)
    if asyncio._get_running_loop() is not None:
        # asyncio.Runner would say the same, later and of itself.
        raise RuntimeError("fastaio.run() cannot be called from a running event loop")
    if loop_factory is None:

        def loop_factory() -> asyncio.AbstractEventLoop:
            return EventLoop(backend=backend)

    with asyncio.Runner(debug=debug, loop_factory=loop_factory) as runner:
        if watch is not None:
            _watch(runner.get_loop(), watch)
        return runner.run(main)


if primitives.asked_for():
    primitives.install()
