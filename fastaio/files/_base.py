"""What every asynchronous file has: its loop, its turn, and output that is gathered.

Output passes three places, in this order, and one writer takes it from the second to the third:

    pieces      gathered on the loop; write() returns with its data here
       |  hand_over(), when enough is gathered or somebody waits for it
    handed      waiting for the writer
       |  _next(), by the writer: up to 1024 pieces at a time
    in the kernel's hands: `parts` of write_handed() in a thread, or _op_pieces of a ring

The writer is a job in a thread or an operation on the loop's io_uring. The states of an Output:

    idle    busy is false; handed is empty. _start_output() hands over and starts a writer.
    busy    busy is true; a writer works. A job goes on while handed has something. An operation
            ends in _op_ended(), which starts the next one. Both end in _output_ended().
    failed  as idle, with `error` set. take_back() has put what was not written at the front of
            pieces. The next operation of the file writes it again, and raises what then fails.

_write_gathered() waits until all three places are empty, _make_room() until little enough is in the
first two.
"""

from __future__ import annotations

import fcntl
import io
import operator
import os
import stat
import sys
import types
import weakref
from asyncio import AbstractEventLoop, Future
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor
from typing import Any, Generic, NoReturn, Self, TypeVar

from .. import _fastaio
from ._work import Turns, breathe, in_thread, is_breather_due, outcome, running_loop

_T = TypeVar("_T")
_Data = TypeVar("_Data", str, bytes)

__all__ = ("File", "Flag", "GATHER", "NEVER", "Output")

#: So much output is gathered before it is written, behind the back of who writes on: at first, and
#: where much is written.
GATHER = 256 * 1024
LAST_GATHER = 1024 * 1024
#: With so much waiting while earlier output is still being written, write() waits too.
LIMIT = 4 * 1024 * 1024
#: Pieces of this size are not worth being copied together.
_LARGE = 32 * 1024
#: So many pieces the kernel takes at once.
_MOST = 1024
#: Stands where the loop of a file does, when nothing can be done at once.
NEVER: Any = object()


class _Forks:
    """Counts the forks of this process: a child shares the position of every descriptor."""

    count = 0

    @classmethod
    def add(cls) -> None:
        cls.count += 1


os.register_at_fork(before=_Forks.add)


def reserve(fd: int, size: int) -> int | None:
    """Move the position of a regular file by `size` bytes; return where it was, or None.

    The kernel moves it in one step, so nobody else who uses the position gets the same bytes. None
    means that the position cannot be so large.
    """
    try:
        return os.lseek(fd, size, os.SEEK_CUR) - size
    except OSError:
        return None


class Flag(int):
    """A truth that may be awaited: aiofiles has some of these methods plain, some not."""

    def __await__(self) -> Generator[Any, Any, bool]:
        return bool(self)
        yield  # pragma: no cover  # what makes this a generator

    def __repr__(self) -> str:
        return repr(bool(self))


class Output:
    """Bytes on their way to a descriptor; the module's text shows the places that they pass.

    The loop and a thread that writes share `handed`, at whose ends they work, and two counts, of
    which each side changes one.
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
        #: A job or an operation works on it.
        self.busy = False
        #: Called once by the writer, when it takes what is waiting.
        self.room_wanted: Callable[[], object] | None = None
        self._op: _fastaio.FileOp | None = None
        self._op_pieces: list[bytes] = []
        self._op_start = 0
        self._op_size = 0
        self.error: BaseException | None = None

    def add(self, data: bytes) -> None:
        """Gather one more piece."""
        self.pieces.append(data)
        self.size += len(data)

    @property
    def waiting(self) -> int:
        """The number of bytes that the writer has not taken."""
        return self._handed_size - self._taken_size + self.size

    @property
    def takes_more(self) -> bool:
        """Whether more may be gathered without a wait."""
        return self.error is None and self.waiting < LIMIT

    def hand_over(self) -> None:
        """Move what is gathered to `handed`; join small pieces."""
        pieces, size = self.pieces, self.size
        self.pieces, self.size = [], 0
        self._handed_size += size
        if size < len(pieces) * _LARGE:
            self.handed.append(b"".join(pieces))
        else:
            self.handed.extend(pieces)

    def _next(self) -> list[bytes]:
        """Take from `handed` what the kernel takes in one call."""
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

    # In a thread

    def write_handed(self) -> None:
        """Write until `handed` is empty; on an error what is left goes back there."""
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
        """Return to `handed` what is behind the first `done` bytes of pieces that were taken."""
        if done < sum(map(len, pieces)):
            rest = b"".join(pieces)[done:]
            self.handed.appendleft(rest)
            self._taken_size -= len(rest)

    def write_all(self) -> None:
        """Write all that is gathered, in this thread; what fails stays gathered."""
        if self.busy:
            raise RuntimeError("earlier output is still being written")
        self.take_back()
        if self.pieces:
            self.hand_over()
            try:
                self.write_handed()
            finally:
                self.take_back()

    # By a ring

    def start_op(self, loop: AbstractEventLoop) -> Future[int] | None:
        """Have the ring write what is handed over; None if a thread has to do it.

        The position moves first: it stays true while the kernel writes, also for whoever forks or
        asks for the descriptor meanwhile.
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
        """Take back what the operation has not written, and its part of the position."""
        assert self._op is not None
        done, self._op = self._op.done, None
        pieces, self._op_pieces = self._op_pieces, []
        self._put_back(pieces, done)
        if done < self._op_size:
            fd = self.raw.fileno()
            # Somebody else may have written behind it since: the hole remains then.
            if os.lseek(fd, 0, os.SEEK_CUR) == self._op_start + self._op_size:
                os.lseek(fd, self._op_start + done, os.SEEK_SET)

    def take_back(self) -> None:
        """Return to idle: put what was not written before what has been gathered since.

        Only where no writer works any more.
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
    """The base of asynchronous files: see fastaio.open()."""

    # Where _read_loop (_write_loop) is the running loop, what is in the buffer may be read (the
    # buffer may be written to) without looking any further. That is not so while somebody has the
    # turn, once the file is closed, or when the other direction must be settled first.
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
        # What is not regular may take for ever, and a ring would wait for it at its end. What is
        # appended goes to a place that only the kernel knows.
        self._regular = stat.S_ISREG(os.fstat(self._fd).st_mode)
        appends = raw.writable() and fcntl.fcntl(self._fd, fcntl.F_GETFL) & os.O_APPEND
        self._ring = executor is None and self._regular and not appends
        self._forks = _Forks.count
        self._turns = Turns()
        self._closed = False
        self._working = False
        self._deferred = False
        #: Much has been written without a wait: the next write() lets the other tasks run first.
        self._owes_turn = False
        self._output_waiters: list[Future[None]] = []
        #: What a temporary file does with its name, in a thread.
        self._on_close: Callable[[], object] | None = None
        self._on_exit: Callable[[], object] | None = None
        self._read_loop = self._write_loop = NEVER

    # Who has the descriptor

    def _share(self) -> None:
        """Others may move the position from now on.

        A ring writes and reads at a place that it is told; only write() and read() themselves find
        the place and move the position in one step.
        """
        self._ring = False

    def _may_use_ring(self) -> bool:
        return self._ring and self._forks == _Forks.count

    def _number(self) -> int:
        """The descriptor, for use within this package."""
        return int(self._sync.fileno())

    # Turns

    def _update(self) -> None:
        """Work out what can be done at once."""
        raise NotImplementedError

    def _refuse(self, name: str, *args: Any) -> NoReturn:
        """Raise what the file of io raises for a call that cannot be."""
        getattr(self._sync, name)(*args)
        raise ValueError("I/O operation on closed file.")

    def _index(self, name: str, size: object, *, may_be_none: bool = True) -> int:
        """Return a size as an int, -1 for None; refuse, as io does, what is none or too large."""
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

    async def _on_ring(self, op: _fastaio.FileOp, then: Callable[[bytes], object]) -> bytes:
        """Return the bytes of a read on a ring; call then() with them first, whoever waits.

        A read that has failed gives then() no bytes.
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
        """Have what is gathered written, without a wait."""
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
        """Hand over what is gathered and start a writer, on the ring or in a thread."""
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
        # It keeps this file alive until the kernel is done, or the loop is closed.
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
        # The job keeps this file alive, its callback does not: the collector might close the
        # descriptor of a file in a cycle before the rest is written.
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
        # Kept for the next operation, since nobody may be waiting. Without its traceback, whose
        # frames refer to this file: that would be a cycle.
        output.error = None if error is None else error.with_traceback(None)
        self._wake_output_waiters()
        if output.error is None and output.size >= self._gather:
            self._start_output()
        if not self._turns.taken:
            self._update()

    def _wake_output_waiters(self) -> None:
        waiters, self._output_waiters = self._output_waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _wake_output_waiters_soon(self) -> None:
        """Tell the loop that there is room; called by the thread that writes."""
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
        """Have all output written; raise what fails, once. What was not written stays gathered."""
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
                    del error  # a traceback that holds itself

    async def _make_room(self, size: int) -> None:
        """Wait until `size` more bytes may be gathered."""
        output = self._output
        if self._owes_turn:
            # Before anything is taken: a write() that is cancelled here has taken nothing.
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

    # What needs no waiting

    @property
    def closed(self) -> bool:
        """Whether the file is closed. ValueError if it is detached."""
        return self._closed and (self._sync.closed or True)  # a thread may be closing it still

    @property
    def name(self) -> Any:
        """The path or descriptor that open() was given."""
        return self._sync.name

    @property
    def mode(self) -> str:
        """The mode, as of the file that open() returns."""
        return str(self._sync.mode)

    def fileno(self) -> int:
        """The descriptor. Its position is that of what has been written; flush() comes first."""
        self._share()
        return self._number()

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

        The file is closed in any case. Closing it again does nothing, but waits until it is done.
        ValueError if it is detached.
        """
        self._check_loop()
        if self._closed and not self._turns.taken:
            self._sync.close()  # which is closed, or detached and says so
            return
        await self._turns.take(self._loop)
        if self._output.busy and not self._closed:
            # What it has to wait for first is not its job: it takes a task to go on behind that.
            await outcome(self._loop, self._loop.create_task(self._close()))
        else:
            await self._close()

    async def _close(self) -> None:
        """close(), once it has the turn."""
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
                self._release()  # nothing to write: nothing to wait for
        finally:
            self._end()

    async def _finish_in_thread(self) -> None:
        try:
            await self._thread(self._finish)
        except BaseException:
            if not self._working and not self._sync.closed:
                self._finish()  # the executor has been shut down, and there will be no other time
            raise

    def _finish(self) -> None:
        """Write all and close, in a thread."""
        try:
            self._output.write_all()
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
