"""open(): a file of the built-in open() with an asynchronous file around it."""

from __future__ import annotations

import asyncio
import builtins
import io
import os
import types
from asyncio import AbstractEventLoop
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar, overload

from .. import _fastaio
from ._binary import BinaryFile, RawFile
from ._text import TextFile
from ._work import BRIEF, breathe, is_breather_due

if TYPE_CHECKING:
    from _typeshed import FileDescriptorOrPath, OpenBinaryMode, OpenTextMode

__all__ = ("Opening", "make_in_thread", "open", "wrap")


class _Closable(Protocol):
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None: ...


_F = TypeVar("_F", bound=_Closable)
_Opener = Callable[[str, int], int]


class _NotCached(Exception):
    """The path is not in the kernel's cache."""


def _cached_opener(path: str, flags: int) -> int:
    fd = _fastaio._open_now(path, flags)
    if fd is None:
        raise _NotCached
    return fd


class Opening(Generic[_F]):
    """The result of open(), for ``await`` or ``async with``."""

    __slots__ = ("_coro", "_file")

    def __init__(self, coro: Coroutine[Any, Any, _F]) -> None:
        self._coro = coro
        self._file: _F | None = None

    def __await__(self) -> Generator[Any, Any, _F]:
        if self._file is None:
            self._file = yield from self._coro.__await__()
        return self._file

    async def __aenter__(self) -> _F:
        return await self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        if self._file is not None:
            await self._file.__aexit__(exc_type, exc, traceback)


def wrap(
    sync: Any,
    loop: AbstractEventLoop,
    executor: Executor | None = None,
    *,
    mode: str,
    buffering: int = -1,
    newline: str | None = None,
) -> BinaryFile | TextFile:
    """Return the asynchronous file for a new file of the built-in open()."""
    if isinstance(sync, io.FileIO):
        return RawFile(sync, sync, loop, executor)
    if not isinstance(sync, io.TextIOWrapper):
        return BinaryFile(sync, sync.raw, loop, executor, buffering)
    encoding, errors, line_buffering = sync.encoding, sync.errors, sync.line_buffering
    raw = sync.detach().detach()
    assert isinstance(raw, io.FileIO)
    return TextFile(
        raw,
        loop,
        executor,
        buffering=buffering,
        encoding=encoding,
        errors=errors,
        newline=newline,
        line_buffering=line_buffering,
        mode=mode,
    )


def _close_late(loop: AbstractEventLoop, job: asyncio.Future[Any]) -> None:
    """Close the file of a job whose waiting task has been cancelled."""
    if not job.cancelled() and job.exception() is None:
        sync = job.result().pop()
        if loop.is_closed():
            sync.close()
        else:
            loop.run_in_executor(None, sync.close)


async def make_in_thread(
    loop: AbstractEventLoop, executor: Executor | None, make: Callable[[], Any]
) -> Any:
    """Return make(), called in a thread. After a cancellation close its result."""
    # The result is in a list, which is emptied here: the thread drops its reference some time
    # later, and must not be the last owner of a file.
    job = loop.run_in_executor(executor, lambda: [make()])
    waiter: asyncio.Future[None] = loop.create_future()

    def finished(job: asyncio.Future[Any]) -> None:
        try:
            waiter.set_result(None)
        except asyncio.InvalidStateError:  # cancelled, maybe by another thread at this moment
            _close_late(loop, job)

    job.add_done_callback(finished)
    try:
        await waiter
    except asyncio.CancelledError:
        if not waiter.cancelled():
            _close_late(loop, job)
        raise
    return job.result().pop()


async def _open(
    path: Any,
    mode: str,
    buffering: int,
    encoding: str | None,
    errors: str | None,
    newline: str | None,
    closefd: bool,
    opener: _Opener | None,
    loop: AbstractEventLoop | None,
    executor: Executor | None,
) -> Any:
    running = asyncio.get_running_loop()
    if loop is not None and loop is not running:
        raise RuntimeError("open() with the loop of another thread or program")
    sync: Any = None
    reads = isinstance(mode, str) and not set(mode) & set("wax+")
    # First find out whether the path is cached: each built-in open() raises an audit event.
    if opener is None and reads and _fastaio._size_now(path) >= 0:
        try:
            sync = builtins.open(
                path, mode, buffering, encoding, errors, newline, closefd, _cached_opener
            )
        except _NotCached:
            pass  # it is not cached any more
        else:
            if is_breather_due(BRIEF):
                try:
                    await breathe()
                except BaseException:
                    sync.close()
                    raise
    if sync is None:

        def make() -> Any:
            return builtins.open(path, mode, buffering, encoding, errors, newline, closefd, opener)

        sync = await make_in_thread(running, executor, make)
    file = wrap(sync, running, executor, mode=mode, buffering=buffering, newline=newline)
    if opener is not None or not isinstance(path, str | bytes | os.PathLike):
        file._share()  # others have the descriptor
    return file


@overload
def open(
    path: FileDescriptorOrPath,
    mode: OpenTextMode = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: _Opener | None = None,
    *,
    loop: AbstractEventLoop | None = None,
    executor: Executor | None = None,
) -> Opening[TextFile]: ...
@overload
def open(
    path: FileDescriptorOrPath,
    mode: OpenBinaryMode,
    buffering: Literal[0],
    encoding: None = None,
    errors: None = None,
    newline: None = None,
    closefd: bool = True,
    opener: _Opener | None = None,
    *,
    loop: AbstractEventLoop | None = None,
    executor: Executor | None = None,
) -> Opening[RawFile]: ...
@overload
def open(
    path: FileDescriptorOrPath,
    mode: OpenBinaryMode,
    buffering: int = -1,
    encoding: None = None,
    errors: None = None,
    newline: None = None,
    closefd: bool = True,
    opener: _Opener | None = None,
    *,
    loop: AbstractEventLoop | None = None,
    executor: Executor | None = None,
) -> Opening[BinaryFile]: ...
@overload
def open(
    path: FileDescriptorOrPath,
    mode: str,
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: _Opener | None = None,
    *,
    loop: AbstractEventLoop | None = None,
    executor: Executor | None = None,
) -> Opening[Any]: ...
def open(
    path: FileDescriptorOrPath,
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: _Opener | None = None,
    *,
    loop: AbstractEventLoop | None = None,
    executor: Executor | None = None,
) -> Opening[Any]:
    """Open a file without blocking the loop: ``async with open(...) as f`` or ``await open(...)``.

    The methods of the file are those of the built-in ``open()``. Methods that may block are
    coroutines. A file belongs to the running loop.

    Args:
        path: As in the built-in ``open()``, and so are the arguments that follow.
        loop: For callers of aiofiles: None, or the running loop.
        executor: Runs calls that may block. By default it is that of the loop.

    Returns:
        An object that is awaited, or entered by ``async with``; either gives the file.

    Raises:
        OSError: The file cannot be opened. This error and the others, those of the built-in
            ``open()``, come when the object is awaited.
    """
    return Opening(
        _open(path, mode, buffering, encoding, errors, newline, closefd, opener, loop, executor)
    )
