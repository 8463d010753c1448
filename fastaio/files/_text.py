"""Text files: io's own TextIOWrapper, and text that is read ahead of it.

A TextIOWrapper does not know how much it can read without a wait, and cannot be interrupted. So
text is read in larger parts, in a thread or from the page cache, and the position of each part is
noted. Lines are taken from these parts. When the position counts (tell(), a write, text that cannot
be decoded), the TextIOWrapper is moved back to the position of the user.

The output of the TextIOWrapper is gathered below it (GatheringRaw), and written in a thread.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import re
from asyncio import AbstractEventLoop
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import _fastaio
from ._base import NEVER, File, Output
from ._work import breathe, is_breather_due, running_loop

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

__all__ = ("GatheringRaw", "TextFile")

#: Characters of a part that is read ahead: of the first one, and after doubling.
FIRST_PART = 8 * 1024
LAST_PART = 128 * 1024
#: A file of fewer bytes is read whole in the loop's thread, if the page cache has it.
NOW_MAX = 1024 * 1024

#: The most bytes of a character or an end of line, for the encodings where that is known. Text in
#: other encodings is always read in threads.
_WIDTH = {"utf-8": 4, "ascii": 2, "iso8859-1": 2}


#: Masks of a position of tell(): the place in the file, and, above 32 bits of decoder state, the
#: bytes and characters between that place and the reader.
_PLACE = (1 << 64) - 1
_BEYOND = ((1 << 64) - 1) << 96

_ANY_END = re.compile(r"\r\n|\r|\n")


class GatheringRaw(io.RawIOBase):
    """The raw file below io's buffer: gathers what is written, and keeps what is read ahead."""

    def __init__(self, file: io.FileIO, output: Output) -> None:
        self.file = file
        self.output = output
        #: Bytes from the page cache that io has not read yet.
        self.stash = memoryview(b"")
        #: The end of the file follows the stash.
        self.at_end = False

    @property
    def name(self) -> Any:
        return self.file.name

    @property
    def mode(self) -> str:
        return self.file.mode

    @property
    def closefd(self) -> bool:
        return self.file.closefd

    def readable(self) -> bool:
        return self.file.readable()

    def writable(self) -> bool:
        return self.file.writable()

    def seekable(self) -> bool:
        return self.file.seekable()

    def fileno(self) -> int:
        return self.file.fileno()

    def isatty(self) -> bool:
        return self.file.isatty()

    def stash_now(self, size: int) -> bool:
        """Fill the stash to `size` bytes, or up to the end. Return false if a read would block."""
        while len(self.stash) < size and not self.at_end:
            data = _fastaio._read_now(self.file.fileno(), size - len(self.stash))
            if data is None:
                return False
            self.at_end = not data
            self.stash = memoryview(bytes(self.stash) + data)
        return True

    def unstash(self) -> None:
        """Drop the stash, and move the position of the descriptor back by its size."""
        if self.stash:
            self.file.seek(-len(self.stash), os.SEEK_CUR)
        self.stash = memoryview(b"")
        self.at_end = False

    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        if self.stash:
            view = memoryview(buffer).cast("B")
            size = min(len(view), len(self.stash))
            view[:size] = self.stash[:size]
            self.stash = self.stash[size:]
            return size
        if self.at_end:
            self.at_end = False
            return 0
        self.output.write_all()
        return self.file.readinto(buffer)

    def readall(self) -> bytes:
        stash, self.stash = bytes(self.stash), memoryview(b"")
        if self.at_end:
            self.at_end = False
            return stash
        self.output.write_all()
        return stash + (self.file.readall() or b"")

    def write(self, data: ReadableBuffer, /) -> int:
        self.unstash()
        piece = bytes(data)
        self.output.add(piece)
        return len(piece)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self.output.write_all()
        self.unstash()
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        self.output.write_all()
        return self.file.tell() - len(self.stash)

    def truncate(self, size: int | None = None, /) -> int:
        self.output.write_all()
        self.unstash()
        return self.file.truncate(size)

    def close(self) -> None:
        if self.closed:
            return
        try:
            self.output.take_back()  # no writer works: close() waits for the end of it
            self.output.write_all()
        finally:
            try:
                self.file.close()
            finally:
                super().close()

    def _dealloc_warn(self, source: object) -> None:
        # io calls this when an unclosed file is freed.
        self.file._dealloc_warn(source)  # type: ignore[attr-defined]


class _Part(NamedTuple):
    """The start of a part of `_ahead`: its index there, and the TextIOWrapper's tell()."""

    start: int
    position: int


class TextFile(File[str]):
    """A text file; the methods of io.TextIOWrapper as coroutines."""

    __slots__ = (
        "_ahead",
        "_both",
        "_direct",
        "_lower",
        "_newline",
        "_off",
        "_parts",
        "_plain_lines",
        "_seekable",
        "_size",
        "_text",
        "_width",
        "_writing",
    )

    def __init__(
        self,
        raw: io.FileIO,
        loop: AbstractEventLoop,
        executor: Executor | None,
        *,
        buffering: int,
        encoding: str,
        errors: str | None,
        newline: str | None,
        line_buffering: bool,
        mode: str,
    ) -> None:
        output = Output(raw)
        lower = GatheringRaw(raw, output)
        self._both = raw.readable() and raw.writable()
        size = buffering if buffering > 1 else io.DEFAULT_BUFFER_SIZE
        buffer: io.BufferedReader | io.BufferedWriter | io.BufferedRandom
        if self._both:
            buffer = io.BufferedRandom(lower, size)
        elif raw.readable():
            buffer = io.BufferedReader(lower, size)
        else:
            buffer = io.BufferedWriter(lower, size)
        self._text = text = io.TextIOWrapper(
            buffer, encoding=encoding, errors=errors, newline=newline, line_buffering=line_buffering
        )
        text.mode = mode  # type: ignore[misc]  # as the built-in open() does
        super().__init__(text, raw, loop, executor, buffering)
        self._output = output
        self._lower = lower
        self._newline = newline
        self._plain_lines = newline is None or newline == "\n"
        self._seekable = raw.seekable()
        #: Nothing is read ahead: text could not be decoded, or has no positions.
        self._direct = not self._seekable
        #: The last operation was a write, so nothing is read ahead.
        self._writing = not raw.readable()
        inline = self._regular and not self._both and errors != "ignore"
        self._width = _WIDTH.get(codecs.lookup(text.encoding).name, 0) if inline else 0
        self._ahead = ""
        self._off = 0
        self._parts: list[_Part] = []
        self._size = FIRST_PART
        self._update()

    def _update(self) -> None:
        idle = not self._closed and not self._turns.taken
        self._read_loop = self._loop if idle and self._ahead else NEVER
        writes = self._writing and self._output.takes_more and not self._owes_turn
        writes = writes and not self._text.line_buffering
        self._write_loop = self._loop if idle and writes else NEVER

    # The properties of a TextIOWrapper

    @property
    def buffer(self) -> Any:
        """The binary file of io below, whose position counts what is read ahead."""
        self._share()
        return self._text.buffer

    @property
    def encoding(self) -> str:
        """The name of the encoding."""
        return self._text.encoding

    @property
    def errors(self) -> str | None:
        """The name of the error handler for text that cannot be encoded or decoded."""
        return self._text.errors

    @property
    def newlines(self) -> str | tuple[str, ...] | None:
        """The ends of line that have been seen so far, also in text that is read ahead."""
        return self._text.newlines

    @property
    def line_buffering(self) -> bool:
        """True if each line is written immediately."""
        return self._text.line_buffering

    def detach(self) -> Any:
        """Write gathered output without leaving the thread, and give up the binary file below."""
        if self._closed:
            self._refuse("detach")
        self._check_loop()
        if self._turns.taken or self._output.busy:
            raise RuntimeError("the file is being worked with")
        self._go_back()
        buffer = self._text.detach()
        buffer.flush()
        self._output.write_all()
        self._closed = True
        self._update()
        return buffer

    # Reading ahead

    def _take(self, size: int) -> str:
        ahead, off = self._ahead, self._off
        if off + size >= len(ahead):
            self._ahead, self._off = "", 0
            self._parts.clear()
            return ahead[off:] if off else ahead
        self._off = off + size
        return ahead[off : off + size]

    def _go_back(self) -> None:
        """Move the TextIOWrapper to the position of the user, and drop what is read ahead."""
        if self._off < len(self._ahead):
            if not self._parts:
                return  # the text has no positions
            part = self._part_of(self._off)
            self._seek_text(part.position)
            if self._off > part.start:
                self._text.read(self._off - part.start)
        self._forget()

    def _seek_text(self, position: int, whence: int = os.SEEK_SET) -> int:
        """Move the TextIOWrapper, to the start of the file by position 0.

        After a read its tell() includes the state of the decoder at the start. A seek() to such a
        position would make the next write leave out the byte order mark.
        """
        if whence == os.SEEK_SET and isinstance(position, int) and position > 0:
            if not position & (_PLACE | _BEYOND):
                position = 0
        return self._text.seek(position, whence)

    def _forget(self) -> None:
        self._ahead, self._off = "", 0
        self._parts.clear()
        self._size = FIRST_PART

    def _part_of(self, offset: int) -> _Part:
        return next(part for part in reversed(self._parts) if part.start <= offset)

    def _put(self, data: str, position: int) -> None:
        """Append text to `_ahead`, and drop the parts before the position of the user."""
        parts = self._parts
        if self._off >= len(self._ahead):
            self._ahead, self._off = data, 0
            parts[:] = [_Part(0, position)]
            return
        cut = self._part_of(self._off).start if parts else 0
        length = len(self._ahead) - cut
        parts[:] = [_Part(part.start - cut, part.position) for part in parts if part.start >= cut]
        parts.append(_Part(length, position))
        self._ahead, self._off = self._ahead[cut:] + data, self._off - cut

    def _read_ahead(self, size: int) -> bool:
        """Read `size` characters (-1: all) ahead. Return false at the end.

        Text that cannot be decoded is not read ahead: the read of the user raises for it.
        """
        text = self._text
        try:
            position = text.tell()
        except OSError:
            self._direct = True  # an encoding without positions
            return False
        try:
            data = text.read(size)
        except UnicodeError:
            self._seek_text(position)
            self._direct = True
            return False
        if data:
            self._put(data, position)
            self._size = min(self._size * 2, LAST_PART)
        return bool(data)

    async def _more(self, missing: int) -> bool:
        """Read ahead, without a thread if the page cache has the bytes. Return false at the end."""
        if self._direct:
            return False
        lower, width = self._lower, self._width
        size = max(self._size, min(missing, LAST_PART))
        if width and lower.stash_now(size * width + 64):
            if is_breather_due(size * width):
                await breathe()
            return self._read_ahead(size)
        return await self._thread(self._read_ahead, max(size, missing))

    async def _begin_reading(self, name: str, *args: Any) -> None:
        if self._closed or not self._raw.readable():
            self._check_loop()
            self._refuse(name, *args)
        await self._begin(name, *args)
        if self._writing:
            try:
                await self._stop_writing()
            except BaseException:
                self._end()
                raise

    async def _direct_call(self, name: str, size: int) -> str:
        """Read by a method of the TextIOWrapper. A cancelled task leaves the text in `_ahead`."""
        if self._off < len(self._ahead) and not self._parts:
            return self._take(size if size >= 0 else len(self._ahead))
        await self._thread(self._direct_call_blocking, name, size)
        return self._take(len(self._ahead))

    def _direct_call_blocking(self, name: str, size: int) -> None:
        self._go_back()
        try:
            position = self._text.tell() if self._seekable else None
        except OSError:
            position = None
        self._ahead, self._off = getattr(self._text, name)(size), 0
        if position is not None and self._ahead:
            self._parts.append(_Part(0, position))

    async def read(self, size: int | None = -1, /) -> str:
        """Read `size` characters, fewer only at the end. Without a size: read all."""
        if self._read_loop is running_loop() and size.__class__ is int:
            off = self._off
            end = off + size
            if off < end < len(self._ahead):
                self._off = end
                return self._ahead[off:end]
        wanted = self._index("read", size)
        await self._begin_reading("read", size)
        try:
            if wanted < 0:
                return await self._read_all()
            while (missing := wanted - len(self._ahead) + self._off) > 0:
                if not await self._more(missing):
                    break
            if missing > 0 and self._direct:
                return await self._direct_call("read", wanted)
            return self._take(wanted)
        finally:
            self._end()

    async def _read_all(self) -> str:
        if not self._direct:
            lower = self._lower
            # Only small files are read in the loop's thread. The size is known before the read.
            small = self._width and os.fstat(self._fd).st_size - self._raw.tell() < NOW_MAX
            if small and lower.stash_now(NOW_MAX) and lower.at_end:
                self._read_ahead(-1)
                if is_breather_due(len(self._ahead)):
                    await breathe()
            else:
                await self._thread(self._read_ahead, -1)
        if self._direct:
            return await self._direct_call("read", -1)
        return self._take(len(self._ahead))

    def _line_end(self, start: int) -> int:
        """Return the end of the line in `_ahead`, searched from `start`; -1 if it is not there."""
        if self._newline != "":
            eol = self._newline or "\n"
            end = self._ahead.find(eol, start)
            return end + len(eol) if end >= 0 else -1
        found = _ANY_END.search(self._ahead, start)
        if found is None or (found[0] == "\r" and found.end() == len(self._ahead)):
            return -1  # a line feed may follow
        return found.end()

    async def readline(self, size: int = -1, /) -> str:
        """Read a line with its end, or its first `size` characters; empty at the end."""
        if self._read_loop is running_loop() and size == -1 and self._plain_lines:
            off = self._off
            end = self._ahead.find("\n", off) + 1
            if end:
                self._off = end
                return self._ahead[off:end]
        wanted = self._index("readline", size, may_be_none=False)
        await self._begin_reading("readline", size)
        try:
            seen = 0
            while True:
                end = self._line_end(self._off + seen)
                there = len(self._ahead) - self._off
                length = end - self._off if end >= 0 else there
                if wanted >= 0 and length >= wanted:
                    return self._take(wanted)
                if end >= 0:
                    return self._take(length)
                seen = max(there - 1, 0)  # the last character may begin an end of line
                if not await self._more(there):
                    if self._direct:
                        return await self._direct_call("readline", wanted)
                    return self._take(there)
        finally:
            self._end()

    async def readlines(self, hint: int | None = -1, /) -> list[str]:
        """Read all lines, or lines up to a total of `hint` characters."""
        wanted = self._index("readlines", hint)
        if wanted > 0 or self._closed or not self._raw.readable():
            return await self._readlines(wanted)
        text = await self.read()
        if self._newline in ("\r", "\r\n"):  # StringIO would replace each "\n" by it
            lines = [line + self._newline for line in text.split(self._newline)]
            lines[-1] = lines[-1][: -len(self._newline)]
            return lines if lines[-1] else lines[:-1]
        # The ends of line have been translated already.
        return io.StringIO(text, "\n" if self._newline is None else self._newline).readlines()

    # Writing

    async def write(self, text: str, /) -> int:
        """Gather text to write. Return the number of characters.

        While too much output waits, wait before accepting the text. If it cannot be written, a
        later write(), flush(), seek(), read() or close() raises.
        """
        output = self._output
        if self._write_loop is running_loop():
            count = self._text.write(text)
            if output.size >= self._gather:
                self._pass_on()
            return count
        if self._closed or not self._raw.writable():
            self._check_loop()
            self._refuse("write", text)
        await self._begin("write", "")
        try:
            if self._both and (not self._writing or self._text.line_buffering):
                while self._output.busy:
                    await self._wait_for_output()
                count = await self._thread(self._first_write, text)
                self._writing = True
                return count
            await self._make_room(len(text))
            count = self._text.write(text)
            if self._text.line_buffering and ("\n" in text or "\r" in text):
                await self._flush()
            elif output.size >= self._gather:
                self._pass_on()
            return count
        finally:
            self._end()

    def _first_write(self, text: str) -> int:
        self._go_back()
        self._drop_decoded()
        count = self._text.write(text)
        self._text.flush()
        self._output.write_all()
        return count

    def _drop_decoded(self) -> None:
        """Move the buffer below, which has read a whole block, to the position of the user, too."""
        if self._both and self._seekable and not self._writing:
            with contextlib.suppress(OSError):  # an encoding without positions
                self._seek_text(self._text.tell())

    async def _stop_writing(self) -> None:
        """Have all output written before a read or a move of the position."""
        await self._flush()
        self._writing = not self._raw.readable()

    async def _flush(self) -> None:
        if self._both:
            # A flush of io's buffer moves the position, which no writer must be using.
            while self._output.busy:
                await self._wait_for_output()
            await self._thread(self._flush_blocking)
        else:
            self._text.flush()
            await self._write_gathered()

    def _flush_blocking(self) -> None:
        self._text.flush()
        self._output.write_all()

    async def flush(self) -> None:
        """Write gathered output to the kernel. (files.fsync() writes it to the disk.)"""
        await self._begin("flush")
        try:
            if self._writing:
                await self._flush()
        finally:
            self._end()

    # The position

    async def tell(self) -> int:
        """Return the position, an opaque number for seek()."""
        await self._begin("tell")
        try:
            if self._writing:
                await self._stop_writing()
            elif self._off < len(self._ahead):
                await self._thread(self._go_back)
            return self._text.tell()
        finally:
            self._end()

    async def seek(self, cookie: int, whence: int = os.SEEK_SET, /) -> int:
        """Move to a position of tell(), to the start (0), or to the end (0, SEEK_END)."""
        await self._begin("seek", cookie, whence)
        try:
            if self._writing:
                await self._stop_writing()
            return await self._thread(self._seek_blocking, cookie, whence)
        finally:
            self._end()

    def _seek_blocking(self, cookie: int, whence: int) -> int:
        if whence == os.SEEK_CUR:
            self._go_back()
        position = self._seek_text(cookie, whence)
        self._forget()
        self._direct = not self._seekable
        return position

    async def truncate(self, size: int | None = None, /) -> int:
        """Cut the file, by default at the position, or lengthen it with zeros."""
        await self._begin("truncate", size)
        try:
            if self._writing:
                await self._stop_writing()
            return await self._thread(self._truncate_blocking, size)
        finally:
            self._end()

    def _truncate_blocking(self, size: int | None) -> int:
        self._go_back()
        self._drop_decoded()
        return self._text.truncate(size)

    def _finish(self) -> None:
        self._release()  # closing the TextIOWrapper writes, too
