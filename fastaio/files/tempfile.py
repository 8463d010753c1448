"""Temporary files and folders: those of the module tempfile, without blocking the loop."""

from __future__ import annotations

import asyncio
import io
import tempfile as _tempfile
import types
from asyncio import AbstractEventLoop
from collections.abc import Callable, Coroutine, Generator, Iterable
from concurrent.futures import Executor
from typing import Any, Self

from ._binary import BinaryFile, RawFile
from ._open import Opening, make_in_thread
from ._text import TextFile
from ._work import Turns, in_thread, outcome

__all__ = (
    "NamedTemporaryFile",
    "SpooledTemporaryFile",
    "TemporaryDirectory",
    "TemporaryFile",
)


def _layers(
    raw: io.FileIO,
    loop: AbstractEventLoop,
    executor: Executor | None,
    mode: str,
    buffering: int,
    encoding: str | None,
    newline: str | None,
    errors: str | None,
) -> BinaryFile | TextFile:
    """Return the asynchronous file for a new descriptor."""
    if "b" not in mode:
        return TextFile(
            raw,
            loop,
            executor,
            buffering=buffering,
            encoding=encoding or io.text_encoding(encoding),
            errors=errors,
            newline=newline,
            line_buffering=buffering == 1,
            mode=mode,
        )
    if buffering == 0:
        return RawFile(raw, raw, loop, executor)
    sync: Any
    if "+" in mode:
        sync = io.BufferedRandom(raw)
    elif "r" in mode:
        sync = io.BufferedReader(raw)
    else:
        sync = io.BufferedWriter(raw)
    return BinaryFile(sync, raw, loop, executor, buffering)


def _running(loop: AbstractEventLoop | None) -> AbstractEventLoop:
    running = asyncio.get_running_loop()
    if loop is not None and loop is not running:
        raise RuntimeError("a temporary file for the loop of another thread or program")
    return running


def _raw_mode(mode: str, buffering: int, encoding: str | None, newline: str | None) -> str:
    """Return the mode for the descriptor. Raise like open() for arguments that do not fit."""
    if "b" in mode and (encoding is not None or newline is not None):
        what = "an encoding" if encoding is not None else "a newline"
        raise ValueError(f"binary mode doesn't take {what} argument")
    if "b" not in mode and buffering == 0:
        raise ValueError("can't have unbuffered text I/O")
    return mode if "b" in mode else mode.replace("t", "") + "b"


async def _temporary_file(
    make: Callable[[str], Any],
    mode: str,
    buffering: int,
    encoding: str | None,
    newline: str | None,
    errors: str | None,
    loop: AbstractEventLoop | None,
    executor: Executor | None,
) -> Any:
    running = _running(loop)
    raw_mode = _raw_mode(mode, buffering, encoding, newline)
    made = await make_in_thread(running, executor, lambda: make(raw_mode))
    raw = getattr(made, "file", made)  # TemporaryFile() gives the file itself
    file = _layers(raw, running, executor, mode, buffering, encoding, newline, errors)
    if made is not raw:
        file._on_close = made.close
        file._on_exit = lambda: made.__exit__(None, None, None)
    return file


def NamedTemporaryFile(
    mode: str = "w+b",
    buffering: int = -1,
    encoding: str | None = None,
    newline: str | None = None,
    suffix: str | None = None,
    prefix: str | None = None,
    dir: str | None = None,
    delete: bool = True,
    delete_on_close: bool = True,
    loop: AbstractEventLoop | None = None,
    executor: Executor | None = None,
    *,
    errors: str | None = None,
) -> Opening[Any]:
    """Do tempfile.NamedTemporaryFile(): open a file with a name, which is removed at its close.

    With ``delete_on_close=False`` (from Python 3.12 on) the end of ``async with`` removes it.
    """
    more: dict[str, Any] = {"suffix": suffix, "prefix": prefix, "dir": dir, "delete": delete}
    if not delete_on_close:
        more["delete_on_close"] = False

    def make(raw_mode: str) -> Any:
        return _tempfile.NamedTemporaryFile(raw_mode, 0, **more)

    return Opening(
        _temporary_file(make, mode, buffering, encoding, newline, errors, loop, executor)
    )


def TemporaryFile(
    mode: str = "w+b",
    buffering: int = -1,
    encoding: str | None = None,
    newline: str | None = None,
    suffix: str | None = None,
    prefix: str | None = None,
    dir: str | None = None,
    loop: AbstractEventLoop | None = None,
    executor: Executor | None = None,
    *,
    errors: str | None = None,
) -> Opening[Any]:
    """Do tempfile.TemporaryFile(): open a file without a name, which is lost at its close."""

    def make(raw_mode: str) -> Any:
        return _tempfile.TemporaryFile(raw_mode, 0, suffix=suffix, prefix=prefix, dir=dir)

    return Opening(
        _temporary_file(make, mode, buffering, encoding, newline, errors, loop, executor)
    )


class SpooledFile:
    """tempfile.SpooledTemporaryFile: in memory up to ``max_size`` bytes, then on the disk.

    Operations in memory run in the loop's thread, others in a thread of the executor.
    """

    def __init__(
        self,
        sync: _tempfile.SpooledTemporaryFile[Any],
        loop: AbstractEventLoop,
        executor: Executor | None,
        max_size: int,
    ) -> None:
        self._sync = sync
        self._loop = loop
        self._executor = executor
        self._max_size = max_size
        self._turns = Turns()

    async def _call(self, name: str, *args: Any) -> Any:
        turns = self._turns
        await turns.take(self._loop)
        job = None
        try:
            call = getattr(self._sync, name)
            if not self._rolled and not self._would_roll(name, args):
                return call(*args)
            job = self._loop.run_in_executor(self._executor, call, *args)
        finally:
            if job is None:
                turns.give()
        return await outcome(self._loop, job, turns.give)

    @property
    def _rolled(self) -> bool:
        return bool(self._sync._rolled)  # type: ignore[attr-defined]

    def _would_roll(self, name: str, args: tuple[Any, ...]) -> bool:
        if name in ("fileno", "rollover", "truncate"):
            return True
        if name != "write" or not self._max_size or not hasattr(args[0], "__len__"):
            return False
        # A character takes four bytes at most.
        return int(self._sync.tell()) + 4 * len(args[0]) > self._max_size

    @property
    def closed(self) -> bool:
        """True if the file is closed."""
        return self._sync.closed

    @property
    def name(self) -> Any:
        """The name; None while the file is in memory."""
        return self._sync.name

    @property
    def mode(self) -> str:
        """The mode."""
        return str(self._sync.mode)

    @property
    def encoding(self) -> str:
        """The encoding of a text file."""
        return str(self._sync.encoding)

    @property
    def newlines(self) -> Any:
        """The ends of line that have been seen."""
        return self._sync.newlines

    async def close(self) -> None:
        """Close the file, which is lost then."""
        await self._call("close")

    async def fileno(self) -> int:
        """Move the file to the disk. Return its descriptor."""
        return int(await self._call("fileno"))

    async def flush(self) -> None:
        """Write buffered output."""
        await self._call("flush")

    async def isatty(self) -> bool:
        """Return whether the file is a terminal: false."""
        return bool(await self._call("isatty"))

    async def read(self, size: int = -1, /) -> Any:
        """Read up to `size` bytes or characters."""
        return await self._call("read", size)

    async def readline(self, size: int = -1, /) -> Any:
        """Read a line."""
        return await self._call("readline", size)

    async def readlines(self, hint: int = -1, /) -> list[Any]:
        """Read lines."""
        lines: list[Any] = await self._call("readlines", hint)
        return lines

    async def rollover(self) -> None:
        """Move the file to the disk."""
        await self._call("rollover")

    async def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move the position. Return the new one."""
        return int(await self._call("seek", offset, whence))

    async def tell(self) -> int:
        """Return the position."""
        return int(await self._call("tell"))

    async def truncate(self, size: int | None = None, /) -> int:
        """Cut or lengthen the file. Return the size."""
        return int(await self._call("truncate", size))

    async def write(self, data: Any, /) -> int:
        """Write data, in memory if it fits there. Return its length."""
        return int(await self._call("write", data))

    async def writelines(self, lines: Iterable[Any], /) -> None:
        """Write each of the lines."""
        for line in lines:
            await self.write(line)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        await self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        line = await self.readline()
        if not line:
            raise StopAsyncIteration
        return line


def SpooledTemporaryFile(
    max_size: int = 0,
    mode: str = "w+b",
    buffering: int = -1,
    encoding: str | None = None,
    newline: str | None = None,
    suffix: str | None = None,
    prefix: str | None = None,
    dir: str | None = None,
    loop: AbstractEventLoop | None = None,
    executor: Executor | None = None,
    *,
    errors: str | None = None,
) -> Opening[SpooledFile]:
    """Do tempfile.SpooledTemporaryFile(): open a file in memory, or on the disk if it grows."""

    async def make() -> SpooledFile:
        running = _running(loop)
        kind: Any = _tempfile.SpooledTemporaryFile
        sync = kind(
            max_size,
            mode,
            buffering,
            encoding,
            newline,
            suffix,
            prefix,
            dir,
            errors=errors,
        )
        return SpooledFile(sync, running, executor, max_size)

    return Opening(make())


class _Folder:
    """The result of TemporaryDirectory(): ``async with`` gives its name, ``await`` the folder."""

    def __init__(self, coro: Coroutine[Any, Any, TemporaryFolder]) -> None:
        self._opening = coro
        self._folder: TemporaryFolder | None = None

    def __await__(self) -> Generator[Any, Any, TemporaryFolder]:
        if self._folder is None:
            self._folder = yield from self._opening.__await__()
        return self._folder

    async def __aenter__(self) -> str:
        return (await self).name

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        if self._folder is not None:
            await self._folder.cleanup()


class TemporaryFolder:
    """A temporary folder."""

    def __init__(
        self,
        sync: _tempfile.TemporaryDirectory[str],
        loop: AbstractEventLoop,
        executor: Executor | None,
    ) -> None:
        self._sync = sync
        self._loop = loop
        self._executor = executor

    @property
    def name(self) -> str:
        """The path."""
        return self._sync.name

    async def cleanup(self) -> None:
        """Remove the folder and its content."""
        await in_thread(self._loop, self._executor, self._sync.cleanup)

    async def close(self) -> None:
        """Do cleanup()."""
        await self.cleanup()


def TemporaryDirectory(
    suffix: str | None = None,
    prefix: str | None = None,
    dir: str | None = None,
    loop: AbstractEventLoop | None = None,
    executor: Executor | None = None,
) -> _Folder:
    """Do tempfile.TemporaryDirectory(): make a folder that is removed with its content."""

    async def make() -> TemporaryFolder:
        running = _running(loop)
        sync = await in_thread(running, executor, _tempfile.TemporaryDirectory, suffix, prefix, dir)
        return TemporaryFolder(sync, running, executor)

    return _Folder(make())
