"""The event loop policy, for what makes its loops through asyncio.new_event_loop().

asyncio deprecates policies from 3.14 on, and 3.16 is to be without. Until then ours works, and it
does not warn: whoever uses it has made that choice.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from .loop import EventLoop

__all__ = ("EventLoopPolicy", "install")

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


def install() -> None:
    """Have asyncio make fastaio's loops from now on, wherever it is asked for a new loop."""
    if not _HAS_POLICIES:
        raise RuntimeError(_NO_POLICIES)
    _set_policy(EventLoopPolicy())
