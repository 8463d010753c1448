"""The part of a selector that asyncio's own transports use."""

from __future__ import annotations

import selectors
import weakref

from . import _fastaio

__all__ = ("EpollSelector",)


class EpollSelector:
    """Tells which descriptors a loop watches; the watching itself is native.

    asyncio's UDP and pipe transports show in their repr() whether their selector polls them. The
    name is the one of asyncio's selector here, since a new loop logs it.
    """

    def __init__(self, loop: _fastaio.Loop) -> None:
        self._loop = weakref.ref(loop)

    def get_key(self, fd: int) -> selectors.SelectorKey:
        """Return the key of a watched file; KeyError for other files, as in selectors."""
        loop = self._loop()
        events = 0 if loop is None else loop._watched(fd)
        if not events:
            raise KeyError(f"{fd!r} is not registered")
        return selectors.SelectorKey(fd, fd, events, None)

    def close(self) -> None:
        """asyncio's close() calls this; the loop closes its poller itself."""
