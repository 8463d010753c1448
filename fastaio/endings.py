"""The end of an object of a loop, on an interpreter without a GIL.

There the last reference to an object may be dropped in any thread, and the collector runs in any
thread. A native object finds the way to its loop by itself. So does an object with a __del__() in
Python whose class is decorated here.
"""

from __future__ import annotations

from typing import Any, TypeVar

__all__ = ("ends_in_its_loop",)

_T = TypeVar("_T", bound=type)


def ends_in_its_loop(cls: _T) -> _T:
    """Have __del__() called by the thread that uses the loop; with a GIL change nothing."""
    if not hasattr(cls, "_end"):
        return cls
    plain: Any = cls
    end = plain.__del__

    def __del__(self: Any) -> None:
        self._end(end)  # not now, if another thread has the loop

    plain.__del__ = __del__
    return cls
