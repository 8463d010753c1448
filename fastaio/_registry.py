"""Shared knowledge of native tasks and asyncio, set up before the first task is made.

On Python 3.11 to 3.13 asyncio keeps every task in a Python WeakSet, which costs more than all the
rest of making a task. Native tasks are kept in a list of their own instead, and the set's inner set
is exchanged, once per interpreter, for one that also knows them. From 3.14 on a native task is in
asyncio's own list, like any other.

Tasks without a name are numbered by one counter, asyncio's.

Onlookers also read fields of asyncio's own task type that native tasks have as a base: where those
lie is learned from a probe task and, from 3.14 on, from the debug section that asyncio ships for
`python -m asyncio ps`.
"""

from __future__ import annotations

import asyncio
import contextvars
import struct
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import _fastaio

__all__ = ("prepare",)

# The C type, whatever may have been put in the place of asyncio.Task.
_AsyncioTask: Any = sys.modules["_asyncio"].Task

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


def _show() -> None:
    """Make asyncio.all_tasks() of this interpreter see native tasks."""
    known: Any = getattr(asyncio.tasks, "_scheduled_tasks", None)  # from 3.12
    if known is None:
        known = asyncio.tasks._all_tasks  # type: ignore[attr-defined]
    others = known.data
    if isinstance(others, _TaskRefs):
        return
    known.data = refs = _TaskRefs(others)
    # Another thread may have added one in between.
    refs.update(others)


class _NoLoop:
    """The part of a loop that making a task needs. It never runs one."""

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return False

    def call_soon(self, *args: Any, **kwargs: Any) -> None:
        """Scheduling is what a probe does not need."""


def _debug_section(path: Path) -> bytes | None:
    """The contents of an ELF file's `.AsyncioDebug` section (64 bit, the machine's byte order)."""
    with path.open("rb") as file:
        header = file.read(64)
        if header[:5] != b"\x7fELF\x02":
            return None
        (table,) = struct.unpack_from("=Q", header, 0x28)
        entry_size, count, names_index = struct.unpack_from("=HHH", header, 0x3A)

        def section(index: int) -> tuple[int, int, int]:
            file.seek(table + index * entry_size)
            name, _, _, _, offset, size = struct.unpack("=IIQQQQ", file.read(40))
            return name, offset, size

        _, names_at, names_size = section(names_index)
        file.seek(names_at)
        names = file.read(names_size)
        for index in range(count):
            name, offset, size = section(index)
            if names.startswith(b".AsyncioDebug\0", name):
                file.seek(offset)
                return file.read(size)
    return None


def _debug_offsets() -> tuple[int, ...] | None:
    """Return the offsets of fields, as asyncio's debug section has them.

    Of a task: its size, and its name, awaited_by, is_task, coro and node; of a thread state:
    running_loop, running_task and the head of its list of tasks.
    """
    if sys.version_info < (3, 14):
        return None
    import _asyncio

    file = getattr(_asyncio, "__file__", None)
    try:
        section = _debug_section(Path(file or "/proc/self/exe"))
    except OSError:
        return None  # an unreadable file: `ps` from outside is all that is lost
    if section is None or len(section) < 13 * 8:
        return None
    size, name, awaited_by, is_task, _, coro, node, _, _, _, loop, task, head = struct.unpack_from(
        "=13Q", section
    )
    return size, name, awaited_by, is_task, coro, node, loop, task, head


def _learn_layout() -> None:
    async def nothing() -> None:
        """Never runs."""

    loop: Any = _NoLoop()
    coro, context, name = nothing(), contextvars.Context(), "fastaio's probe"
    probe = _AsyncioTask(coro, loop=loop, name=name, context=context)
    probe._log_destroy_pending = False
    try:
        waiter: _fastaio.Future[None] = _fastaio.Future(loop=loop)
        _fastaio._adopt_layout(probe, coro, context, name, waiter, _debug_offsets())
    finally:
        coro.close()


def _share_numbers() -> None:
    """Have native tasks without a name numbered by asyncio's own counter.

    From 3.12 on it is in the state of the module `_asyncio`. 3.11 has it where nobody finds it:
    there a native task and one of asyncio's may both be "Task-1".
    """

    async def nothing() -> None:
        """Never runs."""

    loop: Any = _NoLoop()

    def number() -> int:
        coro = nothing()
        try:
            probe = _AsyncioTask(coro, loop=loop)
            probe._log_destroy_pending = False
            return int(probe.get_name().removeprefix("Task-"))
        finally:
            coro.close()

    _fastaio._adopt_task_numbers(sys.modules["_asyncio"], number)


def prepare() -> None:
    """Called by the first native task of an interpreter."""
    if sys.version_info < (3, 14):
        _show()
    _learn_layout()
    if sys.version_info >= (3, 12):
        _share_numbers()
