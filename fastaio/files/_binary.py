"""Binary files: with a buffer, and without one (buffering=0)."""

from __future__ import annotations

import functools
import io
import operator
import os
import sys
from asyncio import AbstractEventLoop
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

from .. import _fastaio
from ._base import NEVER, File, reserve
from ._work import breathe, is_breather_due, running_loop

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ("BinaryFile", "RawFile")

_read_now = _fastaio._read_now
_ring_read = _fastaio._ring_read

#: Bytes of a read ahead of a buffered file: at first, and after doubling in a sequential read.
FIRST_BLOCK = io.DEFAULT_BUFFER_SIZE
LAST_BLOCK = 256 * 1024
#: The most bytes that _read_now() returns.
NOW_MAX = 1024 * 1024
#: Bytes that the kernel is asked to read ahead after a wait for the disk.
READ_AHEAD = 4 * 1024 * 1024


class BinaryFile(File[bytes]):
    """A binary file with a buffer; the methods of io.BufferedRandom as coroutines."""

    __slots__ = (
        "_ahead",
        "_appends",
        "_block",
        "_fixed",
        "_off",
        "_readable",
        "_since_seek",
        "_writable",
    )

    def __init__(
        self,
        sync: Any,
        raw: io.FileIO,
        loop: AbstractEventLoop,
        executor: Executor | None,
        buffering: int = -1,
    ) -> None:
        super().__init__(sync, raw, loop, executor, buffering)
        self._readable = bool(sync.readable())
        self._writable = bool(sync.writable())
        self._appends = self._writable and raw.mode.startswith("a")
        self._fixed = buffering > 1
        self._block = buffering if self._fixed else FIRST_BLOCK
        #: _ahead[_off:] has been read from the file, and not yet by the user.
        self._ahead = b""
        self._off = 0
        self._since_seek = 0
        self._update()

    def _update(self) -> None:
        idle = not self._closed and not self._turns.taken
        output = self._output
        quiet = not output.busy and not output.pieces
        self._read_loop = self._loop if idle and self._readable and quiet else NEVER
        writes = self._writable and not self._ahead and output.takes_more and not self._owes_turn
        self._write_loop = self._loop if idle and writes else NEVER

    @property
    def raw(self) -> io.FileIO:
        """The io.FileIO below, without what is buffered here.

        Gathered output is written first, unless a writer works.
        """
        self._flush_blocking()
        self._share()
        raw = self._raw
        assert isinstance(raw, io.FileIO)
        return raw

    def _flush_blocking(self) -> None:
        if not self._closed and not self._output.busy:
            self._output.write_all()

    def detach(self) -> io.FileIO:
        """Write gathered output without leaving the thread, and give up the io.FileIO below."""
        if self._closed:
            self._refuse("detach")
        self._check_loop()
        if self._turns.taken or self._output.busy:
            raise RuntimeError("the file is being worked with")
        self._unread()
        raw = self.raw
        self._closed = True
        self._update()
        self._sync.detach()
        return raw

    # Reading

    def _take(self, size: int) -> bytes:
        """Take up to `size` bytes from the buffer."""
        ahead, off = self._ahead, self._off
        if off + size >= len(ahead):
            self._ahead, self._off = b"", 0
            return ahead[off:] if off else ahead
        self._off = off + size
        return ahead[off : off + size]

    def _put(self, data: bytes) -> None:
        """Append data to the buffer."""
        rest = self._ahead[self._off :]
        self._ahead, self._off = rest + data if rest else data, 0
        self._since_seek += len(data)
        if not self._fixed and self._block < LAST_BLOCK:
            self._block *= 2

    def _put_from_ring(self, size: int, data: bytes) -> None:
        """Append what the ring has read. The position, moved by `size`, moves back by the rest."""
        if len(data) < size:
            os.lseek(self._fd, len(data) - size, os.SEEK_CUR)
        if data:
            self._put(data)

    async def _fill_from_ring(self, size: int) -> int | None:
        """Do _fill() by the ring. Return None if a thread has to do it."""
        start = reserve(self._fd, size)
        if start is None:
            return None
        op = None
        try:
            op = _ring_read(self._loop, self._fd, size, start)
        finally:
            if op is None:
                os.lseek(self._fd, -size, os.SEEK_CUR)
        if op is None:
            return None
        return len(await self._on_ring(op, functools.partial(self._put_from_ring, size)))

    def _fill_blocking(self, size: int) -> int:
        """Do _fill() in a thread."""
        data = self._raw.read(size)
        if data is None:
            return -1
        if data:
            self._put(data)
            if self._regular and self._since_seek > LAST_BLOCK:
                here = os.lseek(self._fd, 0, os.SEEK_CUR)
                os.posix_fadvise(self._fd, here, READ_AHEAD, os.POSIX_FADV_WILLNEED)
        return len(data)

    async def _fill(self, size: int) -> int:
        """Read up to `size` bytes into the buffer. Return their number: 0 at the end.

        Return -1 if a non-blocking file has no data yet. The bytes stay in the buffer if the
        waiting task is cancelled.
        """
        data = _read_now(self._fd, size) if size <= NOW_MAX else None
        if data is None:
            if self._ring_for(size):
                got = await self._fill_from_ring(size)
                if got is not None:
                    return got
            return await self._thread(self._fill_blocking, size)
        if data:
            self._put(data)
            if is_breather_due(len(data)):
                await breathe()
        return len(data)

    def _ring_for(self, size: int) -> bool:
        # A thread copies more than one request without the loop.
        return size <= NOW_MAX and self._may_use_ring()

    async def _begin_reading(self, name: str, *args: Any) -> None:
        if not self._readable:
            self._refuse(name, *args)
        await self._begin(name, *args)
        if self._output.pieces or self._output.busy:
            try:
                await self._write_gathered()
            except BaseException:
                self._end()
                raise

    def _index(self, name: str, size: object, *, may_be_none: bool = True) -> int:
        value = super()._index(name, size, may_be_none=may_be_none)
        if value < -1 and name == "read":
            self._refuse(name, size)
        return value

    async def read(self, size: int | None = -1, /) -> bytes:
        """Read `size` bytes, fewer only at the end of the file. Without a size: read all."""
        if self._read_loop is running_loop() and size.__class__ is int:
            off = self._off
            end = off + size
            if off < end <= len(self._ahead):
                self._off = end
                return self._ahead[off:end]
        wanted = self._index("read", size)
        await self._begin_reading("read", size)
        try:
            if wanted < 0:
                return await self._read_all()
            while (missing := wanted - len(self._ahead) + self._off) > 0:
                if (got := await self._fill(max(missing, self._block))) <= 0:
                    if got < 0 and self._off == len(self._ahead):
                        return None  # type: ignore[return-value]  # as in io
                    break
            return self._take(wanted)
        finally:
            self._end()

    async def _read_all(self) -> bytes:
        if self._regular:
            rest = os.fstat(self._fd).st_size - os.lseek(self._fd, 0, os.SEEK_CUR)
            if 0 < rest < NOW_MAX:
                data = _read_now(self._fd, rest + 1)
                if data:
                    self._put(data)
                    if is_breather_due(len(data)):
                        await breathe()
                    if len(data) == rest:
                        return self._take(len(self._ahead))
        await self._thread(self._read_all_blocking)
        return self._take(len(self._ahead))

    def _read_all_blocking(self) -> None:
        data = self._raw.readall()
        if data:
            self._put(data)

    async def read1(self, size: int = -1, /) -> bytes:
        """Read up to `size` bytes with at most one read of the file."""
        wanted = self._index("read1", size, may_be_none=False)
        await self._begin_reading("read1", size)
        try:
            if self._off == len(self._ahead) and wanted:
                await self._fill(wanted if wanted > 0 else self._block)
            return self._take(wanted if wanted >= 0 else len(self._ahead))
        finally:
            self._end()

    async def peek(self, size: int = 0, /) -> bytes:
        """Return bytes without moving the position, after at most one read of the file."""
        self._index("peek", size, may_be_none=False)
        await self._begin_reading("peek", size)
        try:
            if self._off == len(self._ahead):
                await self._fill(self._block)
            return self._ahead[self._off :]
        finally:
            self._end()

    async def readinto(self, buffer: Buffer, /) -> int:
        """Fill a buffer, or its start at the end of the file. Return the number of bytes."""
        return await self._readinto("readinto", buffer, once=False)

    async def readinto1(self, buffer: Buffer, /) -> int:
        """Fill the start of a buffer with at most one read of the file."""
        return await self._readinto("readinto1", buffer, once=True)

    async def _readinto(self, name: str, buffer: Buffer, *, once: bool) -> int:
        try:
            view = memoryview(buffer).cast("B")
            view[:0] = b""  # raises for a read-only buffer
        except (TypeError, ValueError):
            self._refuse(name, buffer)
        await self._begin_reading(name, buffer)
        try:
            done = 0
            while done < len(view):
                if self._off == len(self._ahead):
                    if done and once:
                        break
                    if is_breather_due(min(len(view) - done, NOW_MAX)):
                        await breathe()
                    got = self._into_now(view[done:])
                    if got < 0:
                        got = await self._fill(max(len(view) - done, self._block))
                        if got < 0 and not done:
                            return None  # type: ignore[return-value]
                        if got <= 0:
                            break
                        continue
                    if got == 0:
                        break
                    done += got
                else:
                    data = self._take(len(view) - done)
                    view[done : done + len(data)] = data
                    done += len(data)
            return done
        finally:
            self._end()

    def _into_now(self, view: memoryview) -> int:
        """Copy from the page cache into a large buffer. Return the number of bytes, or -1."""
        if len(view) < self._block:
            return -1
        got = _fastaio._readinto_now(self._fd, view)
        return -1 if got is None else got

    async def readline(self, size: int | None = -1, /) -> bytes:
        """Read a line with its end, or its first `size` bytes; empty at the end of the file."""
        if self._read_loop is running_loop() and size == -1:
            end = self._ahead.find(b"\n", self._off) + 1
            if end:
                off, self._off = self._off, end
                return self._ahead[off:end]
        wanted = self._index("readline", size)
        if wanted == 0 and (self._closed or not self._readable):
            return bytes(self._sync.readline(0))  # io checks nothing then
        await self._begin_reading("readline", size)
        try:
            seen = 0  # bytes that have no end of line
            while True:
                end = self._ahead.find(b"\n", self._off + seen)
                seen = len(self._ahead) - self._off
                length = end + 1 - self._off if end >= 0 else seen
                if wanted >= 0 and length >= wanted:
                    return self._take(wanted)
                if end >= 0:
                    return self._take(length)
                if await self._fill(max(self._block, min(seen, NOW_MAX))) <= 0:
                    return self._take(length)
        finally:
            self._end()

    async def readlines(self, hint: int | None = -1, /) -> list[bytes]:
        """Read all lines, or lines up to a total of `hint` bytes."""
        wanted = self._index("readlines", hint)
        if self._closed:
            self._refuse("readlines", hint)
        if wanted > 0 or not self._readable:
            return await self._readlines(wanted)
        return io.BytesIO(await self.read()).readlines()

    # Writing

    async def write(self, data: Buffer, /) -> int:
        """Gather bytes to write. Return their number.

        While too much output waits, wait before accepting the bytes. If they cannot be written, a
        later write(), flush(), seek(), read() or close() raises.
        """
        output = self._output
        if self._write_loop is running_loop() and data.__class__ is bytes:
            size = len(data)
            if size:
                output.pieces.append(data)
                output.size += size
                self._read_loop = NEVER
                if output.size >= self._gather:
                    self._pass_on()
            return size
        piece = self._bytes(data)
        await self._begin("write", b"")
        try:
            if self._ahead:
                self._unread()  # the write changes what has been read ahead
            await self._make_room(len(piece))
            if piece:
                output.add(piece)
            if output.size >= self._gather:
                self._pass_on()
            return len(piece)
        finally:
            self._end()

    def _bytes(self, data: Any) -> bytes:
        """Return data as bytes. Raise as io does if it is no contiguous buffer."""
        if self._closed or not self._writable:
            self._refuse("write", data)
        if data.__class__ is bytes:
            return data
        try:
            view = memoryview(data)
        except TypeError:
            self._refuse("write", data)
        if not view.c_contiguous:
            self._refuse("write", data)
        return bytes(view)

    def _unread(self) -> None:
        """Move the position of the descriptor back by the buffered bytes, and drop them."""
        rest = len(self._ahead) - self._off
        if rest:
            os.lseek(self._fd, -rest, os.SEEK_CUR)
        self._ahead, self._off = b"", 0

    async def flush(self) -> None:
        """Write gathered output to the kernel. (files.fsync() writes it to the disk.)"""
        await self._begin("flush")
        try:
            await self._write_gathered()
            if isinstance(self._sync, io.BufferedRandom):
                self._unread()  # as io does, for other users of the descriptor
        finally:
            self._end()

    # The position

    async def tell(self) -> int:
        """Return the position."""
        await self._begin("tell")
        try:
            while self._output.busy:
                await self._wait_for_output()
            if self._appends:
                await self._write_gathered()  # the kernel chooses where appended output goes
            here = self._raw.tell() if self._raw.seekable() else self._sync.tell()
            return int(here) - len(self._ahead) + self._off + self._output.size
        finally:
            self._end()

    async def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move the position. Return the new one."""
        await self._begin("seek", offset, whence)
        try:
            if not self._raw.seekable():
                self._refuse("seek", offset, whence)
            offset, whence = operator.index(offset), operator.index(whence)
            if not 0 <= whence <= 4 or not -sys.maxsize <= offset <= sys.maxsize:
                self._refuse("seek", offset, whence)
            await self._write_gathered()
            if whence == os.SEEK_CUR:
                offset += self._raw.tell() - len(self._ahead) + self._off
            elif whence != os.SEEK_SET:
                end = await self._thread(self._raw.seek, offset, whence)
                self._forget()
                return int(end)
            if self._ahead:
                start = self._raw.tell() - len(self._ahead)
                if start <= offset <= start + len(self._ahead):
                    self._off = offset - start
                    return offset
            here = self._raw.seek(offset)
            self._forget()
            return int(here)
        finally:
            self._end()

    def _forget(self) -> None:
        self._ahead, self._off = b"", 0
        self._since_seek = 0
        if not self._fixed:
            self._block = FIRST_BLOCK

    async def truncate(self, size: int | None = None, /) -> int:
        """Cut the file, by default at the position, or lengthen it with zeros. Return the size."""
        await self._begin("truncate", size)
        try:
            if not self._writable:
                self._refuse("truncate", size)
            await self._write_gathered()
            self._unread()
            return int(await self._thread(self._raw.truncate, size))
        finally:
            self._end()

    def __del__(self) -> None:
        # The file of io in _sync warns that it was not closed, and closes the descriptor.
        if not getattr(self, "_closed", True):
            self._output.take_back()
            self._output.write_all()


class RawFile(BinaryFile):
    """A binary file without a buffer; the methods of io.FileIO as coroutines."""

    __slots__ = ()

    def _update(self) -> None:
        self._read_loop = self._write_loop = NEVER

    def _index(self, name: str, size: object, *, may_be_none: bool = True) -> int:
        return File._index(self, name, size, may_be_none=may_be_none)

    async def read(self, size: int | None = -1, /) -> bytes:
        """Read up to `size` bytes with one read of the file. Without a size: read all."""
        wanted = self._index("read", size)
        await self._begin_reading("read", size)
        try:
            if wanted < 0:
                return await self._read_all()
            if self._off == len(self._ahead) and wanted and await self._fill(wanted) < 0:
                return None  # type: ignore[return-value]  # no data yet, as in io
            return self._take(wanted)
        finally:
            self._end()

    async def readall(self) -> bytes:
        """Read all bytes up to the end."""
        if self._closed or not self._readable:
            self._check_loop()
            self._refuse("readall")  # its message differs from that of read()
        return await self.read()

    async def readinto(self, buffer: Buffer, /) -> int:
        """Fill the start of a buffer with one read of the file. Return the number of bytes."""
        return await self._readinto("readinto", buffer, once=True)

    def _into_now(self, view: memoryview) -> int:
        got = _fastaio._readinto_now(self._fd, view)
        return -1 if got is None else got

    async def _readinto(self, name: str, buffer: Buffer, *, once: bool) -> int:
        # No more than fits into the buffer is read: the position counts.
        self._block = (
            memoryview(buffer).nbytes if isinstance(buffer, (bytearray, memoryview)) else 1
        )
        return await super()._readinto(name, buffer, once=once)

    async def readline(self, size: int | None = -1, /) -> bytes:
        """Read a line byte by byte, so that nothing behind it is read. Slow: use a buffer."""
        wanted = self._index("readline", size)
        if wanted == 0 and (self._closed or not self._readable):
            return bytes(self._sync.readline(0))  # io checks nothing then
        await self._begin_reading("readline", size)
        try:
            self._unread()
            await self._thread(self._readline_blocking, wanted)
            return self._take(len(self._ahead))
        finally:
            self._end()

    def _readline_blocking(self, size: int) -> None:
        self._put(self._sync.readline(size))

    def _put(self, data: bytes) -> None:
        self._ahead, self._off = self._ahead[self._off :] + data, 0

    async def write(self, data: Buffer, /) -> int:
        """Write with one system call. Return the number of bytes that the file has taken."""
        piece = self._bytes(data)
        await self._begin("write", b"")
        try:
            self._unread()
            return await self._thread(self._raw.write, piece)
        finally:
            self._end()

    def detach(self) -> io.FileIO:
        """Raise AttributeError: such a file has no buffer."""
        raise AttributeError("a file without a buffer has nothing to detach")
