"""The event loop policy, for what makes its loops through asyncio.new_event_loop().

asyncio deprecates policies from 3.14 on, and 3.16 is to be without. Until then ours works, and it
does not warn: whoever uses it has made that choice.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from . import doors
from . import primitives as _primitives
from .loop import EventLoop

__all__ = ("EventLoopPolicy", "install", "is_installed", "uninstall")

_NO_POLICIES = (
    "this Python has no event loop policies any more: run coroutines with fastaio.run(), or give "
    "loop_factory=fastaio.new_event_loop to asyncio.run() or asyncio.Runner()"
)

# asyncio.DefaultEventLoopPolicy itself warns from 3.14 on when it is merely looked up.
if TYPE_CHECKING:
    _DefaultPolicy = asyncio.DefaultEventLoopPolicy
else:
    _DefaultPolicy = getattr(
        asyncio.unix_events,
        "_DefaultEventLoopPolicy",
        getattr(asyncio.unix_events, "DefaultEventLoopPolicy", object),
    )

_set_policy: Any = getattr(
    asyncio.events,
    "_set_event_loop_policy",
    # getattr() on a name that merely warns is to be avoided as well
    vars(asyncio.events).get("set_event_loop_policy"),
)
_HAS_POLICIES = _DefaultPolicy is not object and _set_policy is not None


class EventLoopPolicy(_DefaultPolicy):
    """asyncio's default policy, but its loops are fastaio's.

    ``asyncio.set_event_loop_policy(fastaio.EventLoopPolicy())`` is what ``fastaio.install()`` does.
    """

    def __init__(self) -> None:
        if not _HAS_POLICIES:
            raise RuntimeError(_NO_POLICIES)
        super().__init__()

    def new_event_loop(self) -> EventLoop:
        """Make a new loop."""
        return EventLoop()


# The policy that install() has set, and the one that was there before: None if there was none yet.
_installed: EventLoopPolicy | None = None
_previous: Any = None


def _current_policy() -> Any:
    """Return the policy of this process without making one."""
    return getattr(asyncio.events, "_event_loop_policy", None)


def is_installed() -> bool:
    """Return whether the policy that install() has set is still the policy of this process."""
    return _installed is not None and _current_policy() is _installed


def install(*, primitives: bool | None = None) -> None:
    """Let asyncio make fastaio's loops from now on, wherever it is asked for a new loop.

    Servers that choose a loop by themselves (uvicorn, gunicorn's ASGI worker) choose fastaio's.
    Processes that multiprocessing spawns install fastaio, too. If a loop of another kind starts to
    run, one RuntimeWarning in the process says which, who runs it, and what to write instead.

    Args:
        primitives: True lets ``asyncio.Lock``, ``asyncio.Queue``, ``asyncio.sleep`` and so on mean
            the native ones. False gives asyncio its own back. With None they are put there if
            FASTAIO_PRIMITIVES is 1 in the environment; else nothing changes.

    Raises:
        RuntimeError: This Python has no event loop policies (3.16 and newer).
    """
    global _installed, _previous
    if not _HAS_POLICIES:
        raise RuntimeError(_NO_POLICIES)
    asked = _primitives.asked_for() if primitives is None else primitives
    if not is_installed():
        _installed, _previous = EventLoopPolicy(), _current_policy()
        _set_policy(_installed)
    doors.open_doors()
    if asked:
        _primitives.install()
    elif primitives is False:
        _primitives.uninstall()


def uninstall() -> None:
    """Take back what ``install()`` has done.

    The earlier policy is set again, and asyncio has its own primitives. Loops, locks and queues
    that exist already stay what they are. A policy or a name in asyncio that somebody has set
    since ``install()`` stays, too.
    """
    global _installed, _previous
    if is_installed():
        _set_policy(_previous)
    _installed = _previous = None
    doors.close_doors()
    _primitives.uninstall()
