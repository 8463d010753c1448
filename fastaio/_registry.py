"""How asyncio.all_tasks() finds native tasks on Python 3.11 to 3.13.

There asyncio keeps every task in a Python WeakSet, which costs more than all the rest of making a
task. Native tasks are kept in a list of their own instead, and the set's inner set is exchanged,
once per interpreter, for one that also knows them. From 3.14 on a native task is in asyncio's own
list, like any other.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterator
from typing import Any

from . import _fastaio

__all__ = ("show",)

_TaskRef = weakref.ReferenceType["asyncio.Task[Any]"]


class _TaskRefs(set[_TaskRef]):
    """The references to other tasks, which it holds, and to native ones, which it looks up."""

    def __iter__(self) -> Iterator[_TaskRef]:
        yield from super().__iter__()
        for task in _fastaio._live_tasks():
            yield weakref.ref(task)

    def __len__(self) -> int:
        return super().__len__() + len(_fastaio._live_tasks())

    def __contains__(self, ref: object) -> bool:
        if super().__contains__(ref):
            return True
        task = ref() if isinstance(ref, weakref.ReferenceType) else None
        return task is not None and any(task is other for other in _fastaio._live_tasks())


def show() -> None:
    """Make asyncio.all_tasks() of this interpreter see native tasks; called with the first one."""
    known: Any = getattr(asyncio.tasks, "_scheduled_tasks", None)  # from 3.12
    if known is None:
        known = asyncio.tasks._all_tasks  # type: ignore[attr-defined]
    others = known.data
    if isinstance(others, _TaskRefs):
        return
    known.data = refs = _TaskRefs(others)
    # Another thread may have added one in between.
    refs.update(others)
