"""Pipes: both ends as transports, flow control, what they refuse, how they end."""

import asyncio
import contextlib
import errno
import gc
import os
import pty
import signal
import socket
import tty
import weakref

import pytest

from .hardship import survives
from .ioutil import Recorder, Reports, asyncio_log, no_new_descriptors, pattern, turns, until
from .support import GUARD


class Writer(asyncio.BaseProtocol):
    """Notes every callback."""

    def __init__(self):
        self.calls = []
        self.transport = None
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        self.calls.append("made")

    def connection_lost(self, exc):
        self.calls.append("lost")
        self.lost.set_result(exc)

    def pause_writing(self):
        self.calls.append("pause")

    def resume_writing(self):
        self.calls.append("resume")


@contextlib.asynccontextmanager
async def reading(factory=Recorder, make=os.pipe):
    """(transport, protocol, fd): reads what is written to fd."""
    loop = asyncio.get_running_loop()
    out, into = make()
    file = os.fdopen(out, "rb", 0)
    transport, protocol = await loop.connect_read_pipe(factory, file)
    try:
        yield transport, protocol, into
    finally:
        with contextlib.suppress(OSError):
            os.close(into)
        transport.close()
        await until(lambda: file.closed)


@contextlib.asynccontextmanager
async def writing(factory=Writer, make=os.pipe):
    """(transport, protocol, fd): what is written can be read from fd."""
    loop = asyncio.get_running_loop()
    out, into = make()
    file = os.fdopen(into, "wb", 0)
    transport, protocol = await loop.connect_write_pipe(factory, file)
    try:
        yield transport, protocol, out
    finally:
        if not file.closed:
            transport.abort()
            await until(lambda: file.closed)
        with contextlib.suppress(OSError):
            os.close(out)


def read_exactly(fd, size):
    data = bytearray()
    while len(data) < size:
        part = os.read(fd, min(size - len(data), 1 << 20))
        if not part:
            break
        data += part
    return bytes(data)


# Reading


@pytest.mark.parametrize("size", [1, 1000, 65536, 3_000_000])
def test_reading(run, size):
    async def main():
        data = pattern(size)

        def write_all(fd):
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]

        async with no_new_descriptors(), reading() as (transport, protocol, fd):
            await asyncio.gather(asyncio.to_thread(write_all, fd), protocol.wait_bytes(size))
            assert protocol.data == data
            assert transport.get_extra_info("pipe").fileno() == transport._fileno
            os.close(fd)
            async with asyncio.timeout(GUARD):
                assert await protocol.lost is None
            assert protocol.calls == ["made", "data", "eof", "lost"]

    run(main)


def test_pause_and_resume_reading(run):
    async def main():
        async with reading() as (transport, protocol, fd):
            transport.pause_reading()
            assert not transport.is_reading()
            os.write(fd, b"later")
            await asyncio.sleep(0.02)
            assert protocol.data == b""
            transport.resume_reading()
            await protocol.wait_bytes(5)

    run(main)


def test_another_protocol(run):
    async def main():
        async with reading() as (transport, protocol, fd):
            successor = Recorder()
            transport.set_protocol(successor)
            assert transport.get_protocol() is successor
            os.write(fd, b"x")
            await successor.wait_bytes(1)
            assert protocol.data == b""
            transport.set_protocol(protocol)

    run(main)


def test_a_stream_reader(run):
    async def main():
        reader = asyncio.StreamReader(limit=1000)
        async with reading(lambda: asyncio.StreamReaderProtocol(reader)) as (transport, _, fd):
            os.write(fd, b"line 1\nline 2\nrest")
            assert await reader.readline() == b"line 1\n"
            assert await reader.readuntil(b"2\n") == b"line 2\n"
            # More than twice the limit makes it pause the transport.
            os.write(fd, bytes(3000))
            await until(lambda: not transport.is_reading())
            os.write(fd, b"end")
            os.close(fd)
            assert await reader.read(-1) == b"rest" + bytes(3000) + b"end"
            assert reader.at_eof()

    run(main)


def test_a_callback_that_raises(run):
    async def main():
        reports = Reports()

        class Failing(Recorder):
            def data_received(self, data):
                super().data_received(data)
                raise ZeroDivisionError

        async with reading(Failing) as (_, protocol, fd):
            os.write(fd, b"1")
            await protocol.wait_bytes(1)
            os.write(fd, b"2")
            await protocol.wait_bytes(2)
            await turns()
            assert [type(exc) for exc in reports.exceptions] == [ZeroDivisionError] * 2

    run(main)


def test_a_terminal(run):
    async def main():
        async with reading(make=pty.openpty) as (_, protocol, fd):
            tty.setraw(fd)
            os.write(fd, b"typed")
            await protocol.wait_bytes(5)
            os.close(fd)  # reading fails with EIO then: no error to report
            async with asyncio.timeout(GUARD):
                exc = await protocol.lost
            assert exc is None or exc.errno == errno.EIO

    run(main)


def test_the_end_of_a_terminal_is_read_once(run):
    """Ctrl-D: the next read would wait for more."""

    async def main():
        async with reading(make=lambda: pty.openpty()[::-1]) as (_, protocol, fd):
            os.write(fd, b"line\n\x04")
            async with asyncio.timeout(GUARD):
                assert await protocol.lost is None
            assert protocol.data == b"line\n"
            assert "eof" in protocol.calls

    run(main)


def test_a_view_with_gaps_ends_the_pipe(same_outcome):
    """Or is refused, where output waits."""

    def scenario(env):
        async def main():
            reports = []
            env.loop.set_exception_handler(
                lambda loop, context: reports.append((context["message"], context["exception"]))
            )
            gaps = memoryview(b"a-b-c-")[::2]
            async with writing() as (transport, protocol, fd):
                transport.write(b"before")
                transport.write(gaps)
                transport.write(b"after")
                lost = await protocol.lost
                got = os.read(fd, 100)
            async with writing() as (transport, protocol, fd):
                transport.write(bytes(1_000_000))
                with pytest.raises(TypeError) as caught:
                    transport.write(gaps)
                refused = caught.value, transport.get_write_buffer_size() > 0
            return reports, lost, got, refused

        return env.run(main())

    same_outcome(scenario)


@pytest.mark.parametrize("method", ["connect_read_pipe", "connect_write_pipe"])
def test_regular_files_are_refused(run, tmp_path, method):
    async def main():
        path = tmp_path / "regular"
        path.write_bytes(b"data")
        factory = Recorder if method == "connect_read_pipe" else Writer
        with path.open("r+b", 0) as file:
            with pytest.raises(ValueError, match="Pipe transport is (only )?for"):
                await getattr(asyncio.get_running_loop(), method)(factory, file)
            gc.collect()
            assert not file.closed

    run(main)


# asyncio's finalizer then fails on the attributes that its constructor has not come to.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_closed_file(run):
    async def main():
        loop = asyncio.get_running_loop()
        out, into = os.pipe()
        os.close(into)
        file = os.fdopen(out, "rb", 0)
        file.close()
        with pytest.raises(ValueError, match="closed file"):
            await loop.connect_read_pipe(Recorder, file)

    run(main)


# Writing


@pytest.mark.parametrize("size", [1, 1000, 65536, 3_000_000])
def test_writing(run, size):
    async def main():
        data = pattern(size)
        async with no_new_descriptors(), writing() as (transport, protocol, fd):
            transport.write(data)
            assert await asyncio.to_thread(read_exactly, fd, size) == data
            transport.close()
            async with asyncio.timeout(GUARD):
                assert await protocol.lost is None
            assert os.read(fd, 1) == b""

    run(main)


def test_many_writes_arrive_in_order(run):
    async def main():
        async with writing() as (transport, _, fd):
            expected = bytearray()
            for i in range(3000):
                piece = b"%d;" % i * (i % 50)
                expected += piece
                transport.write((bytes, bytearray, memoryview)[i % 3](piece))
                if i % 7 == 0:
                    await asyncio.sleep(0)
            reading = asyncio.to_thread(read_exactly, fd, len(expected))
            assert await reading == expected
            await until(lambda: transport.get_write_buffer_size() == 0)

    run(main)


def test_what_is_written_can_change_afterwards(run):
    async def main():
        async with writing() as (transport, _, fd):
            data = bytearray(b"before")
            transport.write(data)
            data[:] = b"after!"
            assert await asyncio.to_thread(read_exactly, fd, 6) == b"before"

    run(main)


def never_blocks(fd):
    """Return whether this kernel can write to a pipe in blocking mode without blocking."""
    try:
        return os.pwritev(fd, [b"."], -1, os.RWF_NOWAIT) == 1
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            return False
        raise


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_pipe_in_blocking_mode(loop_factory):
    """A child that shares the open file may have changed it.

    In a forked child of ours: a thread that blocks may hold the GIL.
    """

    async def main():
        async with writing() as (transport, _, fd):
            os.set_blocking(transport.get_extra_info("pipe").fileno(), True)
            if not never_blocks(transport.get_extra_info("pipe").fileno()):
                return
            reading = asyncio.create_task(asyncio.to_thread(read_exactly, fd, 1_000_001))
            await turns()
            transport.write(bytes(1_000_000))
            assert len(await reading) == 1_000_001

    def child():
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(main())

    survives(child)


def test_writes_are_there_when_somebody_looks(run):
    """They are written at once."""

    async def main():
        async with writing() as (transport, _, fd):
            os.set_blocking(fd, False)
            transport.write(b"1")
            assert transport.get_write_buffer_size() == 0
            assert os.read(fd, 10) == b"1"
            transport.write(b"2")
            os.write(transport.get_extra_info("pipe").fileno(), b"3")
            assert os.read(fd, 10) == b"23"
            transport.write(b"4")
            repr(transport)
            assert os.read(fd, 10) == b"4"
            transport.write(b"5")
            transport.abort()
            assert os.read(fd, 10) == b"5"

    run(main)


def test_small_limits_write_at_once(run):
    async def main():
        async with writing() as (transport, _, fd):
            os.set_blocking(fd, False)
            transport.set_write_buffer_limits(0)
            transport.write(b"x")
            assert os.read(fd, 10) == b"x"

    run(main)


@pytest.mark.parametrize("data", ["text", None, 5])
def test_wrong_data(run, data):
    async def main():
        async with writing() as (transport, _, _):
            with pytest.raises(AssertionError):
                transport.write(data)
            transport.write(b"")
            assert transport.get_write_buffer_size() == 0

    run(main)


def test_flow_control(run):
    async def main():
        async with writing() as (transport, protocol, fd):
            assert transport.get_write_buffer_limits() == (16384, 65536)
            transport.set_write_buffer_limits(high=10_000)
            total = 0
            while "pause" not in protocol.calls:
                transport.write(bytes(5000))
                total += 5000
            assert 10_000 < transport.get_write_buffer_size() <= 15_000
            assert protocol.calls == ["made", "pause"]
            await asyncio.to_thread(read_exactly, fd, total)
            await until(lambda: protocol.calls == ["made", "pause", "resume"])

    run(main)


@pytest.mark.parametrize("how", ["close", "write_eof"])
def test_closing_writes_what_is_queued(run, how):
    async def main():
        data = pattern(500_000)
        async with writing() as (transport, protocol, fd):
            assert transport.can_write_eof()
            for start in range(0, len(data), 1000):
                transport.write(data[start : start + 1000])
            getattr(transport, how)()
            assert transport.is_closing()
            transport.write(b"ignored")
            assert await asyncio.to_thread(read_exactly, fd, len(data) + 1) == data
            async with asyncio.timeout(GUARD):
                assert await protocol.lost is None

    run(main)


def test_abort_drops_what_is_queued(run):
    async def main():
        async with writing() as (transport, protocol, fd):
            transport.write(bytes(500_000))
            transport.abort()
            async with asyncio.timeout(GUARD):
                assert await protocol.lost is None
            assert len(await asyncio.to_thread(read_exactly, fd, 500_000)) <= 65536

    run(main)


@pytest.mark.fastaio_only
def test_aborting_twice(run):
    async def main():
        reports = Reports()
        async with writing() as (transport, protocol, _):
            transport.close()
            transport.abort()
            transport.abort()
            async with asyncio.timeout(GUARD):
                await protocol.lost
            transport.abort()
            await turns()
        assert protocol.calls == ["made", "lost"]
        assert reports == []

    run(main)


@pytest.mark.parametrize("queued", [False, True])
def test_the_reader_goes_away(run, queued):
    async def main():
        async with writing() as (transport, protocol, fd):
            if queued:
                transport.write(bytes(500_000))
            os.close(fd)
            async with asyncio.timeout(GUARD):
                exc = await protocol.lost
            assert isinstance(exc, BrokenPipeError) if queued else exc is None

    run(main)


def test_writing_to_nobody(run):
    """The error ends the transport as on asyncio, once."""

    async def main():
        reports = Reports()
        async with writing() as (transport, protocol, fd):
            os.close(fd)
            transport.write(b"x")
            async with asyncio.timeout(GUARD):
                assert isinstance(await protocol.lost, BrokenPipeError)
            with asyncio_log() as records:
                for _ in range(10):
                    transport.write(b"x")
            assert {record.getMessage() for record in records} == {
                "pipe closed by peer or os.write(pipe, data) raised exception."
            }
            assert protocol.calls == ["made", "lost"]
        assert reports == []

    run(main)


def test_a_socket_as_a_pipe(run):
    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with theirs:
            transport, protocol = await loop.connect_write_pipe(Writer, ours)
            transport.write(b"x")
            theirs.settimeout(GUARD)
            assert await asyncio.to_thread(theirs.recv, 10) == b"x"
            transport.close()
            async with asyncio.timeout(GUARD):
                await protocol.lost
            assert ours.fileno() == -1

    run(main)


# What is forgotten


def test_forgotten_writers_have_written(run):
    async def main():
        loop = asyncio.get_running_loop()
        out, into = os.pipe()
        file = os.fdopen(into, "wb", 0)
        transport, protocol = await loop.connect_write_pipe(Writer, file)
        await turns()
        loop._remove_reader(into)  # which holds it
        transport.write(b"last words")
        ref = weakref.ref(transport)
        with pytest.warns(ResourceWarning, match="unclosed transport"):
            protocol.transport = None
            del transport
            gc.collect()
        assert ref() is None
        assert file.closed
        assert read_exactly(out, 100) == b"last words"
        os.close(out)

    run(main)


def test_forgotten_readers_warn(run):
    async def main():
        loop = asyncio.get_running_loop()
        out, into = os.pipe()
        file = os.fdopen(out, "rb", 0)
        transport, protocol = await loop.connect_read_pipe(Recorder, file)
        await turns()
        transport.pause_reading()
        with pytest.warns(ResourceWarning, match="unclosed transport"):
            protocol.transport = protocol.made = None
            del transport
            gc.collect()
        assert file.closed
        os.close(into)

    run(main)


def test_attributes(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with writing() as (transport, protocol, _), reading() as (source, recorder, _):
            assert isinstance(transport, asyncio.Transport)
            assert isinstance(source, asyncio.ReadTransport)
            for one, other in ((transport, protocol), (source, recorder)):
                assert one._loop is loop
                assert one._protocol is other
                assert one._pipe.fileno() == one._fileno
                assert one._extra["pipe"] is one._pipe
                assert f"fd={one._fileno}" in repr(one)
                one.attribute = 1
            assert transport._buffer == bytearray()
            assert source.max_size == 256 * 1024

    run(main)
