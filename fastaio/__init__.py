"""asyncio with its core as native code.

``fastaio.run(main())`` runs a program, ``fastaio.new_event_loop`` is a loop factory for whatever
takes one, ``fastaio.install()`` makes every new loop of this process a native one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from . import files
from ._fastaio import Future, Task
from .files import open
from .loop import EventLoop
from .policy import EventLoopPolicy, install

__all__ = (
    "EventLoop",
    "EventLoopPolicy",
    "Future",
    "Task",
    "__version__",
    "files",
    "install",
    "new_event_loop",
    "open",
    "run",
)

__version__ = "0.1.0"

_T = TypeVar("_T")


def new_event_loop(*, backend: str = "auto") -> EventLoop:
    """Make a new event loop.

    ``backend`` is "auto", "epoll" or "io_uring"; with "auto" the environment variable
    FASTAIO_BACKEND decides, if it is set. OSError says why where "io_uring" cannot be had.
    """
    return EventLoop(backend=backend)


def run(
    main: Coroutine[Any, Any, _T],
    *,
    debug: bool | None = None,
    backend: str = "auto",
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> _T:
    """Run a coroutine on a new fastaio loop and return its result: asyncio.run() in every respect.

    ``loop_factory``, where it is given, makes the loop, and ``backend`` has no say.
    """
    if asyncio._get_running_loop() is not None:
        # asyncio.Runner would say the same, later and of itself.
        raise RuntimeError("fastaio.run() cannot be called from a running event loop")
    if loop_factory is None:

        def loop_factory() -> asyncio.AbstractEventLoop:
            return EventLoop(backend=backend)

    with asyncio.Runner(debug=debug, loop_factory=loop_factory) as runner:
        return runner.run(main)
