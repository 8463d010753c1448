"""What every asynchronous file has: its loop, its turn, and output that is gathered."""

from __future__ import annotations

import io
import os
import stat
import types
import weakref
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor
from typing import Any, Generic, NoReturn, Self, TypeVar

from .. import _fastaio
from ._work import Turns, in_thread, outcome, running_loop

_T = TypeVar("_T")
_Data = TypeVar("_Data", str, bytes)

__all__ = ("File", "Flag", "GATHER", "NEVER", "Output")

#: So much output is gathered before it is written, behind the back of who writes on.
GATHER = 256 * 1024
#: With so much waiting while earlier output is still being written, write() waits too.
LIMIT = 4 * 1024 * 1024
#: Pieces of this size are not worth being copied together.
_LARGE = 32 * 1024
#: So many pieces the kernel takes at once.
_MOST = 1024
#: Stands where the loop of a file does, when nothing can be done at once.
NEVER: Any = object()


class Flag(int):
    """A truth that may be awaited: aiofiles has some of these methods plain, some not."""

    def __await__(self) -> Generator[Any, Any, bool]:
        return bool(self)
        yield  # pragma: no cover  # what makes this a generator

    def __repr__(self) -> str:
        return repr(bool(self))


class Output:
    """Bytes on their way to a descriptor: gathered on the loop, written in a thread."""

    __slots__ = ("error", "in_flight", "op", "op_start", "pieces", "raw", "size", "unwritten")

    def __init__(self, raw: io.FileIO) -> None:
        self.raw = raw
        self.pieces: list[bytes] = []
        self.size = 0
        #: What a job has been given to write.
        self.in_flight: list[bytes] | None = None
        #: The operation that writes it, where the loop has an io_uring.
        self.op: _fastaio.FileOp | None = None
        self.op_start = 0
        #: What a failed write has left.
        self.unwritten = b""
        self.error: BaseException | None = None

    def add(self, data: bytes) -> None:
        """Gather one more piece."""
        self.pieces.append(data)
        self.size += len(data)

    def take(self) -> list[bytes]:
        """All that is gathered, to be given to write()."""
        pieces, self.pieces, self.size = self.pieces, [], 0
        return pieces

    def take_one(self) -> bytes:
        """What one request of a ring is to write: a large piece, or all that is gathered."""
        if len(self.pieces) == 1 or len(self.pieces[0]) < _LARGE:
            pieces = self.take()
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self.size -= len(self.pieces[0])
        return self.pieces.pop(0)

    def write(self, pieces: list[bytes]) -> None:
        """Write it, in whatever thread; what cannot be written is kept, and the error raised."""
        parts: list[bytes | memoryview] = list(pieces)
        if len(parts) > 1 and sum(map(len, parts)) < len(parts) * _LARGE:
            parts = [b"".join(parts)]
        try:
            while parts:
                written = os.writev(self.raw.fileno(), parts[:_MOST])
                while parts and written >= len(parts[0]):
                    written -= len(parts.pop(0))
                if written:
                    parts[0] = memoryview(parts[0])[written:]
        except BaseException:
            self.unwritten = b"".join(parts)
            raise
        finally:
            self.in_flight = None

    def restore(self) -> None:
        """Put what has not been written before what has been gathered since.

        Only while no job is writing: one that has never been started leaves what it was given.
        """
        left = self.in_flight or []
        if self.op is not None:
            # The kernel has been told a place, and has left the position of the descriptor alone.
            done = self.op.done
            self.raw.seek(self.op_start + done)
            left = [left[0][done:]] if done < len(left[0]) else []
            self.op = None
        if self.unwritten:
            left = [self.unwritten]
        self.in_flight, self.unwritten = None, b""
        self.pieces[:0] = left
        self.size += sum(map(len, left))

    def drain(self) -> None:
        """Write all, in whatever thread; what fails stays for the next try."""
        if self.in_flight is not None:
            raise RuntimeError("a job is writing")
        self.restore()
        if self.pieces:
            try:
                self.write(self.take())
            finally:
                self.restore()


class File(Generic[_Data]):
    """The base of asynchronous files: see fastaio.open()."""

    # Where _read_loop (_write_loop) is the running loop, what is in the buffer may be read (the
    # buffer may be written to) without looking any further. That is not so while somebody has the
    # turn, once the file is closed, or when the other direction must be settled first.
    __slots__ = (
        "__weakref__",
        "_closed",
        "_deferred",
        "_draining",
        "_drain_waiters",
        "_executor",
        "_fd",
        "_gather",
        "_loop",
        "_on_close",
        "_on_exit",
        "_output",
        "_raw",
        "_read_loop",
        "_regular",
        "_ring",
        "_sync",
        "_turns",
        "_working",
        "_write_loop",
    )

    def __init__(
        self, sync: Any, raw: Any, loop: AbstractEventLoop, executor: Executor | None, gather: int
    ) -> None:
        self._sync = sync
        self._raw = raw
        self._loop = loop
        self._executor = executor
        self._gather = gather if gather > 1 else GATHER
        self._output = Output(raw)
        self._fd = raw.fileno()
        # What is not regular may take for ever, and a ring would wait for it at its end. What is
        # appended goes to a place that only the kernel knows.
        self._regular = stat.S_ISREG(os.fstat(self._fd).st_mode)
        self._ring = executor is None and self._regular and not raw.mode.startswith("a")
        self._turns = Turns()
        self._closed = False
        self._working = False
        self._deferred = False
        self._draining = False
        self._drain_waiters: list[Future[None]] = []
        #: What a temporary file does with its name, in a thread.
        self._on_close: Callable[[], object] | None = None
        self._on_exit: Callable[[], object] | None = None
        self._read_loop = self._write_loop = NEVER

    # Turns

    def _update(self) -> None:
        """Work out what can be done at once."""
        raise NotImplementedError

    def _refuse(self, name: str, *args: Any) -> NoReturn:
        """Raise what the file of io raises for a call that cannot be."""
        getattr(self._sync, name)(*args)
        raise ValueError("I/O operation on closed file.")

    def _check_loop(self) -> None:
        if running_loop() is not self._loop:
            raise RuntimeError(f"{self!r} belongs to another event loop")

    async def _begin(self, name: str, *args: Any) -> None:
        """Take the turn; _end() gives it back."""
        self._check_loop()
        if self._closed:
            self._refuse(name, *args)
        await self._turns.take(self._loop)
        if self._closed:
            self._turns.give()
            self._refuse(name, *args)
        self._read_loop = self._write_loop = NEVER

    def _end(self) -> None:
        if self._working:
            self._deferred = True  # cancelled: the turn lasts until the job is done
        else:
            self._turns.give()
            self._update()

    def _worked(self) -> None:
        self._working = False
        if self._deferred:
            self._deferred = False
            self._end()

    async def _thread(self, func: Callable[..., _T], *args: Any) -> _T:
        """Run a job in a thread, with the turn taken until its end."""
        job = self._loop.run_in_executor(self._executor, func, *args)
        self._working = True
        return await outcome(self._loop, job, self._worked)

    async def _on_ring(self, op: _fastaio.FileOp, then: Callable[[Any], object]) -> Any:
        """The outcome of an operation on a ring, which goes to then() first, whoever waits."""

        def landed() -> None:
            if not op.future.cancelled() and op.future.exception() is None:
                then(op.future.result())
            self._worked()

        self._working = True
        return await outcome(self._loop, op.future, landed)

    # Output

    def _start_drain(self) -> None:
        """Write what is gathered in a thread; nobody waits."""
        output = self._output
        if self._ring:
            output.in_flight = [output.take_one()]
            output.op_start = os.lseek(self._fd, 0, os.SEEK_CUR)
            output.op = _fastaio._ring_write(
                self._loop, self._fd, output.in_flight[0], output.op_start
            )
            if output.op is not None:
                self._draining = True
                # It keeps this file alive until the kernel is done, or the loop is closed.
                output.op.future.add_done_callback(self._written)
                return
            output.restore()
        pieces = output.in_flight = output.take()
        try:
            drain = self._loop.run_in_executor(self._executor, self._write_pieces, pieces)
        except BaseException:
            output.restore()
            raise
        self._draining = True
        # The job keeps this file alive, and nothing else of what waits for it does: what belongs to
        # a cycle might have its descriptor closed before the rest is written.
        me = weakref.ref(self)

        def drained(drain: Future[None]) -> None:
            file = me()
            dropped = drain.cancelled()
            error = RuntimeError("the executor has dropped a job") if dropped else drain.exception()
            if file is not None:
                file._drained(error)

        drain.add_done_callback(drained)

    def _write_pieces(self, pieces: list[bytes]) -> None:
        self._output.write(pieces)

    def _written(self, future: Future[int]) -> None:
        self._drained(future.exception())

    def _drained(self, error: BaseException | None) -> None:
        self._draining = False
        output = self._output
        output.restore()
        output.error = error  # for whoever asks next: nobody may be waiting
        waiters, self._drain_waiters = self._drain_waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
        if output.error is None and output.size >= self._gather:
            self._start_drain()
        if not self._turns.taken:
            self._update()

    async def _drain_end(self) -> None:
        waiter: Future[None] = self._loop.create_future()
        self._drain_waiters.append(waiter)
        await waiter

    async def _settle(self) -> None:
        """Have all output written; errors are raised, once, and what could not be written stays."""
        output = self._output
        while self._draining:
            await self._drain_end()
        while output.pieces:
            output.error = None
            self._start_drain()
            while self._draining:
                await self._drain_end()
            if output.error is not None:
                error, output.error = output.error, None
                try:
                    raise error
                finally:
                    del error  # a traceback that holds itself

    async def _make_room(self, size: int) -> None:
        """Wait until `size` more bytes may be gathered."""
        output = self._output
        if output.error is not None:
            await self._settle()
        while self._draining and output.size and output.size + size > LIMIT:
            await self._drain_end()
            if output.error is not None:
                await self._settle()

    # What needs no waiting

    @property
    def closed(self) -> bool:
        """Whether the file is closed."""
        return self._closed

    @property
    def name(self) -> Any:
        """The path or descriptor that open() was given."""
        return self._sync.name

    @property
    def mode(self) -> str:
        """The mode, as of the file that open() returns."""
        return str(self._sync.mode)

    def fileno(self) -> int:
        """The descriptor."""
        return int(self._sync.fileno())

    def readable(self) -> Flag:
        """Whether it can be read; may be awaited or not."""
        return Flag(self._sync.readable())

    def writable(self) -> Flag:
        """Whether it can be written to; may be awaited or not."""
        return Flag(self._sync.writable())

    def seekable(self) -> Flag:
        """Whether it has a position; may be awaited or not."""
        return Flag(self._sync.seekable())

    def isatty(self) -> Flag:
        """Whether it is a terminal; may be awaited or not."""
        return Flag(self._sync.isatty())

    def __repr__(self) -> str:
        return f"<fastaio {type(self).__name__} wrapping {self._sync!r}>"

    # Reading, writing, closing, in terms of what the subclasses have

    async def readline(self, size: int = -1, /) -> _Data:
        """The next line, with its end; empty at the end of the file."""
        raise NotImplementedError

    async def write(self, data: Any, /) -> int:
        """Write; the number of bytes or characters."""
        raise NotImplementedError

    async def close(self) -> None:
        """Write what is gathered and close the file; an error of that writing is raised.

        The file is closed in any case. Closing it again does nothing.
        """
        self._check_loop()
        if self._closed:
            return
        await self._turns.take(self._loop)
        try:
            while self._draining:
                await self._drain_end()
            if self._closed:
                return
            self._closed = True
            self._read_loop = self._write_loop = NEVER
            if self._sync.writable() or self._on_close is not None:
                await self._thread(self._finish)
            else:
                self._release()  # nothing to write: nothing to wait for
        finally:
            self._end()

    def _finish(self) -> None:
        """Write all and close, in a thread."""
        try:
            self._output.drain()
        finally:
            self._release()

    async def writelines(self, lines: Iterable[Any], /) -> None:
        """Write each of the lines; they bring their own ends."""
        if self._closed:
            self._refuse("writelines", lines)
        for line in lines:
            await self.write(line)

    async def _readlines(self, hint: int | None) -> list[_Data]:
        """readlines(hint), line by line."""
        lines: list[_Data] = []
        size = 0
        while line := await self.readline():
            lines.append(line)
            size += len(line)
            if hint is not None and 0 < hint < size:
                break
        return lines

    def _release(self) -> None:
        """Close the descriptor, in whatever thread, and what else hangs on the file."""
        try:
            self._sync.close()
        finally:
            if self._on_close is not None:
                self._on_close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> _Data:
        line = await self.readline()
        if not line:
            raise StopAsyncIteration
        return line

    async def __aenter__(self) -> Self:
        self._check_loop()
        if self._closed:
            self._refuse("__enter__")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        await self.close()
        if self._on_exit is not None:
            await in_thread(self._loop, self._executor, self._on_exit)
