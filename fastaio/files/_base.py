"""The base of asynchronous files: the loop, the turn, and the gathering of output.

Output passes three places, in this order. One writer takes it from the second place to the third:

    pieces      gathered in the loop's thread; the data is here when write() returns
       |  hand_over(), when enough is gathered or somebody waits for it
    handed      waiting for the writer
       |  _next(), by the writer: up to 1024 pieces at a time
    in flight   `parts` of write_handed() in a thread, or _op_pieces of an operation

The writer is a job in a thread, or an operation on the loop's io_uring. The states of an Output:

    idle    `busy` is false, `handed` is empty. _start_output() hands over and starts a writer.
    busy    `busy` is true, a writer works. A job writes until `handed` is empty. An operation ends
            in _op_ended(), which starts the next one. Both writers end in _output_ended().
    failed  like idle, with `error` set. take_back() has returned the unwritten data to the front of
            `pieces`. The next operation of the file writes it again, and raises if it fails.

_write_gathered() waits until all three places are empty. _make_room() waits until the first two
have room.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import operator
import os
import stat
import sys
import types
import weakref
from asyncio import AbstractEventLoop, Future, InvalidStateError
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor
from typing import Any, Generic, NoReturn, Self, TypeVar

from .. import _fastaio
from ._work import Turns, breathe, in_thread, is_breather_due, outcome, running_loop

_T = TypeVar("_T")
_Data = TypeVar("_Data", str, bytes)

__all__ = ("File", "Flag", "GATHER", "NEVER", "Output")

#: Bytes that are gathered before a writer starts: at first, and after much output.
GATHER = 256 * 1024
LAST_GATHER = 1024 * 1024
#: write() waits while a writer works and so many bytes wait for it.
LIMIT = 4 * 1024 * 1024
#: Pieces are joined if their mean size is less than this, in bytes.
_LARGE = 32 * 1024
#: The most pieces of one system call.
_MOST = 1024
#: In the place of a loop in _read_loop and _write_loop: nothing can be done without a wait.
NEVER: Any = object()


class _Forks:
    """The count of forks of this process. A child shares the position of every open file."""

    count = 0

    @classmethod
    def add(cls) -> None:
        cls.count += 1


os.register_at_fork(before=_Forks.add)


def reserve(fd: int, size: int) -> int | None:
    """Move the position of a regular file forward by `size` bytes; return the former position.

    The kernel moves it in one step, so no other user of the position gets the same bytes. Return
    None if the position would be too large.
    """
    try:
        return os.lseek(fd, size, os.SEEK_CUR) - size
    except OSError:
        return None


class Flag(int):
    """A bool that may be awaited, since some of these methods of aiofiles are coroutines."""

    def __await__(self) -> Generator[Any, Any, bool]:
        return bool(self)
        yield  # pragma: no cover  # what makes this a generator

    def __repr__(self) -> str:
        return repr(bool(self))


class Output:
    """The output of a file; the docstring of the module shows the places that it passes.

    The loop and a writing thread share only `handed` and two counts. The loop appends to `handed`
    and changes `_handed_size`, the thread takes from the front and changes `_taken_size`.
    """

    __slots__ = (
        "_handed_size",
        "_op",
        "_op_pieces",
        "_op_size",
        "_op_start",
        "_taken_size",
        "busy",
        "error",
        "handed",
        "pieces",
        "raw",
        "room_wanted",
        "size",
    )

    def __init__(self, raw: io.FileIO) -> None:
        self.raw = raw
        self.pieces: list[bytes] = []
        self.size = 0
        self.handed: deque[bytes] = deque()
        self._handed_size = 0
        self._taken_size = 0
        #: A writer works.
        self.busy = False
        #: Called once by the writer, when it takes pieces.
        self.room_wanted: Callable[[], object] | None = None
        self._op: _fastaio.FileOp | None = None
        self._op_pieces: list[bytes] = []
        self._op_start = 0
        self._op_size = 0
        self.error: BaseException | None = None

    def add(self, data: bytes) -> None:
        """Append a piece to `pieces`."""
        self.pieces.append(data)
        self.size += len(data)

    @property
    def waiting(self) -> int:
        """The number of bytes that the writer has not taken."""
        return self._handed_size - self._taken_size + self.size

    @property
    def takes_more(self) -> bool:
        """True if more may be gathered without a wait."""
        return self.error is None and self.waiting < LIMIT

    def hand_over(self) -> None:
        """Move `pieces` to `handed`; join small ones."""
        pieces, size = self.pieces, self.size
        self.pieces, self.size = [], 0
        self._handed_size += size
        if size < len(pieces) * _LARGE:
            self.handed.append(b"".join(pieces))
        else:
            self.handed.extend(pieces)

    def _next(self) -> list[bytes]:
        """Take the pieces for one system call from `handed`."""
        pieces: list[bytes] = []
        while self.handed and len(pieces) < _MOST:
            piece = self.handed.popleft()
            self._taken_size += len(piece)
            pieces.append(piece)
        return pieces

    def _tell_of_room(self) -> None:
        room_wanted = self.room_wanted
        if room_wanted is not None:
            self.room_wanted = None
            room_wanted()

    # A thread as the writer

    def write_handed(self) -> None:
        """Write until `handed` is empty. After an error return the unwritten rest to `handed`."""
        while pieces := self._next():
            done = 0
            try:
                self._tell_of_room()
                while pieces:
                    parts: list[bytes | memoryview] = list(pieces)
                    parts[0] = memoryview(parts[0])[done:]
                    done += os.writev(self.raw.fileno(), parts)
                    while pieces and done >= len(pieces[0]):
                        done -= len(pieces.pop(0))
            except BaseException:
                self._put_back(pieces, done)
                raise

    def _put_back(self, pieces: list[bytes], done: int) -> None:
        """Return pieces that were taken, without their first `done` bytes, to `handed`."""
        if done < sum(map(len, pieces)):
            rest = b"".join(pieces)[done:]
            self.handed.appendleft(rest)
            self._taken_size -= len(rest)

    def write_all(self) -> None:
        """Write all gathered output in this thread. After an error the unwritten rest stays."""
        if self.busy:
            raise RuntimeError("earlier output is still being written")
        self.take_back()
        if self.pieces:
            self.hand_over()
            try:
                self.write_handed()
            finally:
                self.take_back()

    # A ring as the writer

    def start_op(self, loop: AbstractEventLoop) -> Future[int] | None:
        """Submit a write of pieces of `handed`. Return its future; None if a thread is to write.

        The position moves first, so that it is right for a forked child and for users of the
        descriptor while the kernel writes.
        """
        fd = self.raw.fileno()
        taken_size = self._taken_size
        pieces = self._next()
        size = self._taken_size - taken_size
        op = start = None
        try:
            start = reserve(fd, size)
            if start is not None:
                op = _fastaio._ring_write(loop, fd, pieces, start)
        finally:
            if op is None:
                self._put_back(pieces, 0)
                if start is not None:
                    os.lseek(fd, -size, os.SEEK_CUR)
        if op is None or start is None:
            return None
        self._op, self._op_pieces, self._op_start, self._op_size = op, pieces, start, size
        self._tell_of_room()
        return op.future

    def end_op(self) -> None:
        """End the operation: take back unwritten pieces, and their part of the position."""
        assert self._op is not None
        done, self._op = self._op.done, None
        pieces, self._op_pieces = self._op_pieces, []
        self._put_back(pieces, done)
        if done < self._op_size:
            fd = self.raw.fileno()
            # If others have moved the position since, a hole remains in the file.
            if os.lseek(fd, 0, os.SEEK_CUR) == self._op_start + self._op_size:
                os.lseek(fd, self._op_start + done, os.SEEK_SET)

    def take_back(self) -> None:
        """Become idle: put unwritten output in front of `pieces`.

        Call it only when no writer works.
        """
        if self._op is not None:
            self.end_op()
        self.busy = False
        left = list(self.handed)
        self.handed.clear()
        self._handed_size = self._taken_size = 0
        self.pieces[:0] = left
        self.size += sum(map(len, left))


class File(Generic[_Data]):
    """The base of asynchronous files, which fastaio.open() makes."""

    # If _read_loop is the running loop, buffered data may be read without further checks. If
    # _write_loop is, output may be gathered without further checks. Both are NEVER while somebody
    # has the turn, once the file is closed, and when the other direction has to be ended first.
    __slots__ = (
        "__weakref__",
        "_closed",
        "_deferred",
        "_output_waiters",
        "_executor",
        "_fd",
        "_forks",
        "_gather",
        "_last_gather",
        "_loop",
        "_on_close",
        "_on_exit",
        "_output",
        "_owes_turn",
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
        self._last_gather = gather if gather > 1 else LAST_GATHER
        self._output = Output(raw)
        self._fd = raw.fileno()
        # A ring gets only regular files: other operations may never end, and the loop would wait
        # for them when it closes. A ring writes at an offset, but an appending file has none.
        self._regular = stat.S_ISREG(os.fstat(self._fd).st_mode)
        appends = raw.writable() and fcntl.fcntl(self._fd, fcntl.F_GETFL) & os.O_APPEND
        self._ring = executor is None and self._regular and not appends
        self._forks = _Forks.count
        self._turns = Turns()
        self._closed = False
        self._working = False
        self._deferred = False
        #: Much has been written without a wait: the next write() lets other tasks run first.
        self._owes_turn = False
        self._output_waiters: list[Future[None]] = []
        #: Remove the name of a temporary file; called in a thread.
        self._on_close: Callable[[], object] | None = None
        self._on_exit: Callable[[], object] | None = None
        self._read_loop = self._write_loop = NEVER

    # The descriptor

    def _share(self) -> None:
        """Note that others may move the position from now on, so that no ring is used.

        A ring reads and writes at a given offset. Only read() and write() use and move the position
        in one step.
        """
        self._ring = False

    def _may_use_ring(self) -> bool:
        return self._ring and self._forks == _Forks.count

    def _number(self) -> int:
        """Return the descriptor, for use within this package."""
        return int(self._sync.fileno())

    # Turns

    def _update(self) -> None:
        """Set _read_loop and _write_loop."""
        raise NotImplementedError

    def _refuse(self, name: str, *args: Any) -> NoReturn:
        """Call the method of the file of io, which raises for these arguments or this state."""
        getattr(self._sync, name)(*args)
        raise ValueError("I/O operation on closed file.")

    def _index(self, name: str, size: object, *, may_be_none: bool = True) -> int:
        """Return a size as an int, -1 for None. Raise as io does if it is no int or too large."""
        if size is None and may_be_none:
            return -1
        try:
            value = operator.index(size)  # type: ignore[arg-type]
        except TypeError:
            self._refuse(name, size)
        if not -sys.maxsize <= value <= sys.maxsize:
            self._refuse(name, size)
        return value

    def _check_loop(self) -> None:
        if running_loop() is not self._loop:
            raise RuntimeError(f"{self!r} belongs to another event loop")

    async def _begin(self, name: str, *args: Any) -> None:
        """Take the turn, which lasts until _end(). Raise what method `name` raises if closed."""
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
            self._deferred = True  # cancelled: the turn ends with the job
        else:
            self._turns.give()
            self._update()

    def _worked(self) -> None:
        self._working = False
        if self._deferred:
            self._deferred = False
            self._end()

    async def _thread(self, func: Callable[..., _T], *args: Any) -> _T:
        """Return ``func(*args)``, called in a thread. The turn does not end before the call."""
        job = self._loop.run_in_executor(self._executor, func, *args)
        self._working = True
        return await outcome(self._loop, job, self._worked)

    async def _on_ring(self, op: _fastaio.FileOp, then: Callable[[bytes], object]) -> bytes:
        """Return the bytes of a read on a ring, or raise its error.

        then: called first with the bytes, also if the waiting task has been cancelled; with b""
        after an error.
        """

        def landed() -> None:
            done = not op.future.cancelled() and op.future.exception() is None
            then(op.future.result() if done else b"")
            self._worked()

        self._working = True
        data: bytes = await outcome(self._loop, op.future, landed)
        return data

    # Output

    def _pass_on(self) -> None:
        """Have gathered output written, without a wait."""
        output = self._output
        self._owes_turn = self._owes_turn or is_breather_due(output.size)
        if output.busy:
            output.hand_over()
        else:
            self._start_output()
        if self._owes_turn or not output.takes_more:
            self._write_loop = NEVER
        if self._gather < self._last_gather:
            self._gather *= 2

    def _start_output(self) -> None:
        """Hand over and start a writer, on the ring or in a thread."""
        output = self._output
        output.hand_over()
        try:
            if not self._start_op():
                self._start_job()
        except BaseException:
            output.take_back()
            raise

    def _start_op(self) -> bool:
        future = self._output.start_op(self._loop) if self._may_use_ring() else None
        if future is None:
            return False
        self._output.busy = True
        # The callback keeps this file alive until the kernel is done, or the loop is closed.
        future.add_done_callback(self._op_ended)
        return True

    def _op_ended(self, future: Future[int]) -> None:
        error = future.exception()
        try:
            self._output.end_op()
            if error is None and self._output.handed and self._start_op():
                return
        except Exception as exc:
            error = exc
        self._output_ended(error)

    def _start_job(self) -> None:
        job = self._loop.run_in_executor(self._executor, self._write_in_thread)
        self._output.busy = True
        # The job keeps this file alive, the callback must not: as part of a cycle the file could be
        # closed by the collector before the rest is written.
        me = weakref.ref(self)

        def job_ended(job: Future[BaseException | None]) -> None:
            file = me()
            if job.cancelled():
                error: BaseException | None = RuntimeError("the executor has dropped a job")
            else:
                error = job.exception() or job.result()
            if file is not None:
                file._output_ended(error)

        job.add_done_callback(job_ended)

    def _write_in_thread(self) -> BaseException | None:
        # The exception is returned, not raised: its frames refer to this file, and an executor that
        # keeps the outcome would keep the file open.
        try:
            self._output.write_handed()
        except BaseException as exc:
            return exc.with_traceback(None)
        return None

    def _output_ended(self, error: BaseException | None) -> None:
        output = self._output
        output.take_back()
        # The next operation of the file raises the error, since nobody may be waiting. The frames
        # of a traceback would refer to this file, which would be a cycle.
        output.error = None if error is None else error.with_traceback(None)
        self._wake_output_waiters()
        if output.error is None and output.size >= self._gather:
            self._start_output()
        if not self._turns.taken:
            self._update()

    def _wake_output_waiters(self) -> None:
        waiters, self._output_waiters = self._output_waiters, []
        for waiter in waiters:
            with contextlib.suppress(InvalidStateError):  # it was cancelled
                waiter.set_result(None)

    def _wake_output_waiters_soon(self) -> None:
        """Tell the loop that there is room. The writing thread calls this."""
        try:
            self._loop.call_soon_threadsafe(self._wake_output_waiters)
        except RuntimeError:
            if not self._loop.is_closed():  # nobody waits on a closed loop
                raise

    async def _wait_for_output(self) -> None:
        """Wait until the writer has ended, or there is room."""
        waiter: Future[None] = self._loop.create_future()
        self._output_waiters.append(waiter)
        await waiter

    async def _write_gathered(self) -> None:
        """Have all output written. Raise an error of it once; the unwritten rest stays gathered."""
        output = self._output
        while output.busy:
            await self._wait_for_output()
        while output.pieces:
            output.error = None
            self._start_output()
            while output.busy:
                await self._wait_for_output()
            if output.error is not None:
                error, output.error = output.error, None
                try:
                    raise error
                finally:
                    del error  # its traceback refers to this frame: a cycle

    async def _make_room(self, size: int) -> None:
        """Wait until `size` more bytes may be gathered."""
        output = self._output
        if self._owes_turn:
            # First, so that a write() that is cancelled here has accepted no data.
            self._owes_turn = False
            await breathe()
        if output.error is not None:
            await self._write_gathered()
        while output.busy and output.waiting and output.waiting + size > LIMIT:
            output.room_wanted = self._wake_output_waiters_soon
            try:
                await self._wait_for_output()
            finally:
                output.room_wanted = None
            if output.error is not None:
                await self._write_gathered()

    # Methods and properties that never wait

    @property
    def closed(self) -> bool:
        """True if the file is closed. ValueError if it is detached."""
        return self._closed and (self._sync.closed or True)  # a thread may be closing it still

    @property
    def name(self) -> Any:
        """The path or descriptor that was given to open()."""
        return self._sync.name

    @property
    def mode(self) -> str:
        """The mode, as a file of the built-in open() has it."""
        return str(self._sync.mode)

    def fileno(self) -> int:
        """Return the descriptor. Its position does not count gathered output: flush() first."""
        self._share()
        return self._number()

    def readable(self) -> Flag:
        """Return whether the file can be read. The result may be awaited."""
        return Flag(self._sync.readable())

    def writable(self) -> Flag:
        """Return whether the file can be written. The result may be awaited."""
        return Flag(self._sync.writable())

    def seekable(self) -> Flag:
        """Return whether the file has a position. The result may be awaited."""
        return Flag(self._sync.seekable())

    def isatty(self) -> Flag:
        """Return whether the file is a terminal. The result may be awaited."""
        return Flag(self._sync.isatty())

    def __repr__(self) -> str:
        return f"<fastaio {type(self).__name__} wrapping {self._sync!r}>"

    # Reading, writing and closing by the methods of the subclasses

    async def readline(self, size: int = -1, /) -> _Data:
        """Return the next line with its end; empty at the end of the file."""
        raise NotImplementedError

    async def write(self, data: Any, /) -> int:
        """Write data. Return the number of bytes or characters."""
        raise NotImplementedError

    async def close(self) -> None:
        """Write gathered output and close the file.

        The file is closed even if the writing raises. A second call waits for the end of the first
        one, and does nothing else. ValueError if the file is detached.
        """
        self._check_loop()
        if self._closed and not self._turns.taken:
            self._sync.close()  # raises if it is detached
            return
        await self._turns.take(self._loop)
        if self._output.busy and not self._closed:
            # Only a task can wait for earlier output after this one is cancelled.
            await outcome(self._loop, self._loop.create_task(self._close()))
        else:
            await self._close()

    async def _close(self) -> None:
        """Close the file. The caller has the turn, which ends here."""
        try:
            while self._output.busy:
                await self._wait_for_output()
            if self._closed:
                return
            self._closed = True
            self._read_loop = self._write_loop = NEVER
            if self._sync.writable() or self._on_close is not None:
                await self._finish_in_thread()
            else:
                self._release()  # nothing to write, so nothing to wait for
        finally:
            self._end()

    async def _finish_in_thread(self) -> None:
        try:
            await self._thread(self._finish)
        except BaseException:
            if not self._working and not self._sync.closed:
                self._finish()  # the executor is shut down: no later call could do it
            raise

    def _finish(self) -> None:
        """Write all output and close the file, in a thread."""
        try:
            self._output.write_all()
        finally:
            self._release()

    async def writelines(self, lines: Iterable[Any], /) -> None:
        """Write each of the lines. No line ends are added."""
        if self._closed:
            self._refuse("writelines", lines)
        for line in lines:
            await self.write(line)

    async def _readlines(self, hint: int | None) -> list[_Data]:
        """Do readlines(hint) line by line."""
        lines: list[_Data] = []
        size = 0
        while line := await self.readline():
            lines.append(line)
            size += len(line)
            if hint is not None and 0 < hint < size:
                break
        return lines

    def _release(self) -> None:
        """Close the file of io, then call _on_close(). May run in any thread."""
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
