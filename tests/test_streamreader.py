"""Stream readers that a native transport feeds: what they give, and what others may do to them.

What asyncio promises runs on either loop; how readers become native is fastaio's alone.
"""

import asyncio
import collections.abc
import contextlib
import gc
import socket
import sys
import warnings
import weakref
from unittest import mock

import pytest

from .ioutil import pattern, turns, until
from .support import GUARD, PYTHON_313, collect


@contextlib.asynccontextmanager
async def linked(**kwargs):
    """reader, writer and the plain socket at the other end."""
    ours, peer = socket.socketpair()
    peer.settimeout(GUARD)
    reader, writer = await asyncio.open_connection(sock=ours, **kwargs)
    try:
        yield reader, writer, peer
    finally:
        peer.close()
        writer.transport.abort()
        await until(lambda: ours.fileno() == -1)


async def arrived(reader, size):
    """Until as much is in the reader's buffer."""
    await until(lambda: len(reader._buffer) >= size)


async def begun(awaitable):
    """A task that has taken its first step."""
    task = asyncio.ensure_future(awaitable)
    await turns()
    assert not task.done()
    return task


# Adoption


@pytest.mark.fastaio_only
def test_readers_of_both_sides_become_native(run):
    from fastaio import _fastaio

    async def main():
        readers = []

        async def serve(reader, writer):
            readers.append(reader)
            writer.write(await reader.readline())
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"line\n")
            assert await reader.read() == b"line\n"
            readers.append(reader)
            writer.close()
            await writer.wait_closed()
        return readers

    for reader in run(main):
        assert type(reader) is _fastaio.StreamReader
        assert isinstance(reader, asyncio.StreamReader)
        assert issubclass(type(reader), asyncio.StreamReader)


@pytest.mark.fastaio_only
def test_asyncio_is_not_patched(run):
    before = {name: vars(asyncio.StreamReader)[name] for name in ("read", "feed_data", "readline")}

    async def main():
        async with linked() as (reader, _, peer):
            peer.send(b"data")
            assert await reader.read(10) == b"data"

    run(main)
    assert {name: vars(asyncio.StreamReader)[name] for name in before} == before
    assert type(asyncio.StreamReader(loop=mock.Mock())) is asyncio.StreamReader


@pytest.mark.fastaio_only
def test_data_does_not_pass_through_python(run):
    async def main():
        async with linked() as (reader, _, peer):
            task = await begun(reader.read(100))
            called = []
            sys.setprofile(
                lambda frame, event, _: event == "call" and called.append(frame.f_code.co_name)
            )
            try:
                peer.send(b"data")
                assert await task == b"data"
            finally:
                sys.setprofile(None)
            assert not {"data_received", "feed_data", "read", "_wait_for_data"} & set(called)

    run(main)


def test_a_subclass_is_left_alone(run):
    class Shouting(asyncio.StreamReader):
        def feed_data(self, data):
            super().feed_data(data.upper())

    async def main():
        loop = asyncio.get_running_loop()
        ours, peer = socket.socketpair()
        reader = Shouting(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport, _ = await loop.create_connection(lambda: protocol, sock=ours)
        with peer:
            peer.send(b"data")
            assert await reader.readexactly(4) == b"DATA"
            assert type(reader) is Shouting
            transport.abort()
            await until(lambda: ours.fileno() == -1)

    run(main)


def test_methods_set_on_an_instance_are_called(run):
    async def main():
        async with linked() as (reader, _, peer):
            fed = []
            original = reader.feed_data

            def feed_data(data):
                fed.append(data)
                original(data)

            reader.feed_data = feed_data
            peer.send(b"one")
            assert await reader.readexactly(3) == b"one"
            assert fed == [b"one"]
            del reader.feed_data
            peer.send(b"two")
            assert await reader.readexactly(3) == b"two"
            assert fed == [b"one"]

            async def readuntil(separator=b"\n"):
                return b"mine"

            reader.readuntil = readuntil
            assert await reader.readline() == b"mine"

    run(main)


def test_a_protocols_data_received_set_on_the_instance_is_called(run):
    async def main():
        async with linked() as (reader, writer, peer):
            protocol = writer.transport.get_protocol()
            original = protocol.data_received
            protocol.data_received = lambda data: original(data[::-1])
            peer.send(b"abc")
            assert await reader.readexactly(3) == b"cba"
            del protocol.data_received
            peer.send(b"abc")
            assert await reader.readexactly(3) == b"abc"

    run(main)


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (asyncio.StreamReader, "feed_data"),
        (asyncio.StreamReaderProtocol, "data_received"),
    ],
)
def test_patched_feeding_is_called(run, owner, name):
    async def main():
        async with linked() as (reader, _, peer):
            peer.send(b"one")
            assert await reader.readexactly(3) == b"one"
            original = getattr(owner, name)
            with mock.patch.object(owner, name, lambda self, data: original(self, data * 2)):
                peer.send(b"two")
                assert await reader.readexactly(6) == b"twotwo"
            peer.send(b"three")
            assert await reader.readexactly(5) == b"three"

    run(main)


@pytest.mark.parametrize("name", ["read", "readexactly", "readuntil", "readline"])
def test_patched_reading_is_called(run, name):
    async def main():
        async with linked() as (reader, _, peer):
            peer.send(b"1234\n1234\n")
            arguments = {"read": [5], "readexactly": [5], "readuntil": [b"\n"]}.get(name, [])
            assert await getattr(reader, name)(*arguments) == b"1234\n"

            async def patched(self, *args):
                return b"patched"

            with mock.patch.object(asyncio.StreamReader, name, patched):
                assert await getattr(reader, name)(*arguments) == b"patched"
            assert await getattr(reader, name)(*arguments) == b"1234\n"

    run(main)


# Reading


def test_the_buffer_is_truthful(run):
    async def main():
        async with linked() as (reader, _, peer):
            peer.send(b"abc")
            await arrived(reader, 3)
            buffer = reader._buffer
            assert type(buffer) is bytearray and buffer == b"abc"
            peer.send(b"def")
            await until(lambda: len(buffer) == 6)  # seen by who keeps the object
            assert await reader.readexactly(2) == b"ab"
            assert buffer == b"cdef"
            del reader._buffer[:1]
            assert await reader.read(2) == b"de"
            reader._buffer.extend(b"xyz")
            assert await reader.read(100) == b"fxyz"
            assert buffer is reader._buffer and not buffer
            reader._buffer = bytearray(b"other")
            assert await reader.read(100) == b"other"

    run(main)


def test_the_buffer_between_wake_up_and_step(run):
    async def main():
        async with linked() as (reader, _, peer):
            coro = reader.read(100)
            waiter = coro.send(None)
            waiter._asyncio_future_blocking = False
            assert reader._waiter is waiter
            peer.send(b"data")
            await until(waiter.done)
            assert reader._waiter is None
            assert reader._buffer == b"data"
            with pytest.raises(StopIteration) as stopped:
                coro.send(None)
            assert stopped.value.value == b"data"
            assert reader._buffer == b""

    run(main)


def test_fields_are_attributes(run):
    async def main():
        async with linked(limit=100) as (reader, writer, _):
            assert reader._limit == 100
            assert reader._loop is asyncio.get_running_loop()
            assert reader._transport is writer.transport
            assert (reader._eof, reader._waiter, reader._exception) == (False, None, None)
            assert reader._paused is False
            assert repr(reader) == f"<StreamReader limit=100 transport={writer.transport!r}>"
            reader.anything = 1
            assert reader.anything == 1
            with pytest.raises(AttributeError):
                reader.nothing  # noqa: B018

    run(main)


@pytest.mark.parametrize("size", [1, 1000, 65536, 300_000])
def test_sizes_in_pieces(run, size):
    data = pattern(size)

    async def main():
        async with linked() as (reader, _, peer):
            sending = asyncio.create_task(asyncio.to_thread(peer.sendall, data * 3))
            received = await reader.readexactly(size)
            received += await reader.readexactly(size - 1)
            while len(received) < 3 * size:
                received += await reader.read(7000)
            await sending
            return received

    assert run(main) == data * 3


def test_reads_of_a_part_leave_the_rest(run):
    async def main():
        async with linked() as (reader, _, peer):
            peer.send(b"0123456789")
            await arrived(reader, 10)
            assert await reader.read(0) == b""
            assert await reader.read(3) == b"012"
            assert await reader.readexactly(0) == b""
            assert await reader.readexactly(n=2) == b"34"
            peer.send(b"a\nb|c")
            await arrived(reader, 10)
            assert await reader.readline() == b"56789a\n"
            assert await reader.readuntil(separator=b"|") == b"b|"
            peer.shutdown(socket.SHUT_WR)
            assert await reader.read(n=-1) == b"c"
            assert reader.at_eof()
            assert await reader.read(5) == b""
            assert await reader.readline() == b""
            with pytest.raises(asyncio.IncompleteReadError) as caught:
                await reader.readexactly(4)
            assert (caught.value.partial, caught.value.expected) == (b"", 4)

    run(main)


def test_the_end_in_the_middle(run):
    async def main(method, *args):
        async with linked() as (reader, _, peer):
            task = await begun(getattr(reader, method)(*args))
            peer.send(b"part")
            peer.shutdown(socket.SHUT_WR)
            try:
                return await task
            except asyncio.IncompleteReadError as exc:
                return exc.partial, exc.expected, str(exc)

    text = "4 bytes read on a total of "
    assert run(main("readexactly", 9)) == (b"part", 9, text + "9 expected bytes")
    assert run(main("readuntil", b"--")) == (b"part", None, text + "undefined expected bytes")
    assert run(main("readline")) == b"part"
    assert run(main("read")) == b"part"


def test_a_separator_in_two_pieces(run):
    async def main():
        async with linked() as (reader, _, peer):
            task = await begun(reader.readuntil(b"END"))
            peer.send(b"data EN")
            await arrived(reader, 7)
            assert not task.done()
            peer.send(b"D rest")
            assert await task == b"data END"
            assert await reader.readexactly(5) == b" rest"

    run(main)


@pytest.mark.skipif(not PYTHON_313, reason="tuples of separators came with 3.13")
def test_several_separators(run):
    async def main():
        async with linked() as (reader, _, peer):
            peer.send(b"one\r\ntwo\nthree\r")
            assert await reader.readuntil((b"\r\n", b"\n", b"\r")) == b"one\r"
            assert await reader.readuntil((b"two", b"\n")) == b"\n"
            assert await reader.readuntil((b"\n", b"\r")) == b"two\n"
            with pytest.raises(ValueError, match="at least one element"):
                await reader.readuntil(())

    run(main)


def test_wrong_arguments(run):
    async def main():
        async with linked() as (reader, _, _):
            with pytest.raises(ValueError, match="readexactly size can not be less than zero"):
                await reader.readexactly(-1)
            with pytest.raises(ValueError, match="at least one-byte string"):
                await reader.readuntil(b"")
            with pytest.raises(TypeError, match="positional argument"):
                reader.read(1, 2)
            with pytest.raises(TypeError, match="unexpected keyword argument"):
                reader.readexactly(m=1)
            with pytest.raises(TypeError):
                reader.readexactly()
            with pytest.raises(TypeError):
                await reader.read("1")

    run(main)


def test_over_the_limit(run):
    async def main():
        async with linked(limit=8) as (reader, _, peer):
            peer.send(b"0123456789\nab\n")
            await arrived(reader, 14)
            with pytest.raises(asyncio.LimitOverrunError) as caught:
                await reader.readuntil(b"\n")
            assert str(caught.value) == "Separator is found, but chunk is longer than limit"
            assert caught.value.consumed == 10
            assert reader._buffer == b"0123456789\nab\n"
            with pytest.raises(ValueError, match="Separator is found, but") as caught:
                await reader.readline()
            assert isinstance(caught.value.__context__, asyncio.LimitOverrunError)
            assert await reader.readline() == b"ab\n"
            peer.send(b"0123456789")
            await arrived(reader, 10)
            with pytest.raises(asyncio.LimitOverrunError) as caught:
                await reader.readuntil(b"--")
            assert str(caught.value) == "Separator is not found, and chunk exceed the limit"
            assert caught.value.consumed == 9
            with pytest.raises(ValueError, match="Separator is not found, and chunk exceed"):
                await reader.readline()
            assert reader._buffer == b""

    run(main)


def test_reading_is_paused_and_resumed(run):
    async def main():
        async with linked(limit=1000) as (reader, writer, peer):
            peer.send(bytes(2000))
            await arrived(reader, 2000)
            assert not reader._paused
            peer.send(b"1")
            await arrived(reader, 2001)
            assert reader._paused and not writer.transport.is_reading()
            await reader.readexactly(1000)
            assert reader._paused
            await reader.read(1)
            assert not reader._paused and writer.transport.is_reading()
            # What needs more than fits while paused has to resume.
            peer.send(bytes(2000))
            await until(lambda: reader._paused)
            task = asyncio.create_task(reader.readexactly(5000))
            await asyncio.to_thread(peer.sendall, bytes(5000))
            assert len(await task) == 5000

    run(main)


def test_a_second_reader_is_refused(run):
    async def main():
        async with linked() as (reader, _, peer):
            task = await begun(reader.readline())
            for method, name, args in (
                ("read", "read", [1]),
                ("readexactly", "readexactly", [1]),
                ("readuntil", "readuntil", [b"x"]),
                ("readline", "readuntil", []),
            ):
                text = rf"{name}\(\) called while another coroutine is already waiting for incoming"
                with pytest.raises(RuntimeError, match=text):
                    await getattr(reader, method)(*args)
            peer.send(b"line\n")
            assert await task == b"line\n"

    run(main)


def test_an_exception_ends_reading(run):
    async def main():
        async with linked() as (reader, _, peer):
            task = await begun(reader.read(1))
            reader.set_exception(ZeroDivisionError("first"))
            with pytest.raises(ZeroDivisionError, match="first"):
                await task
            assert repr(reader.exception()) == "ZeroDivisionError('first')"
            for coro in (reader.read(1), reader.readline(), reader.readexactly(1), reader.read(0)):
                with pytest.raises(ZeroDivisionError, match="first"):
                    await coro

    run(main)


def test_fed_by_hand(run):
    async def main():
        async with linked() as (reader, _, peer):
            task = await begun(reader.readexactly(8))
            peer.send(b"wire")
            await arrived(reader, 4)
            reader.feed_data(b"hand")
            assert await task == b"wirehand"
            reader.feed_data(b"last")
            reader.feed_eof()
            assert not reader.at_eof()
            assert await reader.read() == b"last"
            assert reader.at_eof()

    run(main)


def test_lines_of_a_loop(run):
    async def main():
        async with linked() as (reader, _, peer):
            peer.send(b"a\nbb\n\nlast")
            peer.shutdown(socket.SHUT_WR)
            return [line async for line in reader]

    assert run(main) == [b"a\n", b"bb\n", b"\n", b"last"]


def test_a_new_protocol_gets_the_data(run):
    class Taker(asyncio.Protocol):
        def __init__(self):
            self.data = b""

        def data_received(self, data):
            self.data += data

    async def main():
        async with linked() as (reader, writer, peer):
            first = writer.transport.get_protocol()
            peer.send(b"one")
            await arrived(reader, 3)
            taker = Taker()
            writer.transport.set_protocol(taker)
            peer.send(b"two")
            await until(lambda: taker.data == b"two")
            writer.transport.set_protocol(first)
            peer.send(b"three")
            assert await reader.readexactly(8) == b"onethree"

    run(main)


def test_data_for_a_forgotten_reader_is_dropped(run):
    async def main():
        ours, peer = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=ours)
        transport = writer.transport
        alive = weakref.ref(reader)
        with peer:
            # The writer holds the reader; without both, the protocol is all that is left.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)
                writer._reader = None
                del reader
                collect()
            assert alive() is None
            peer.send(b"nobody reads this")
            await turns(5)
            peer.close()
            transport.abort()
            await until(lambda: ours.fileno() == -1)
        del writer

    run(main)


# The coroutines


def test_reads_are_coroutines(run):
    async def main():
        async with linked() as (reader, _, peer):
            coros = [reader.read(1), reader.readline(), reader.readexactly(2), reader.readuntil()]
            for coro, name in zip(
                coros, ("read", "readline", "readexactly", "readuntil"), strict=True
            ):
                assert asyncio.iscoroutine(coro)
                assert isinstance(coro, collections.abc.Coroutine)
                assert coro.__qualname__ == f"StreamReader.{name}"
                assert coro.__name__ == name
                assert repr(coro).startswith(f"<coroutine object StreamReader.{name} at 0x")
            peer.send(b"1line\n22until\n")
            await arrived(reader, 14)
            assert await asyncio.create_task(coros[0]) == b"1"
            assert await asyncio.wait_for(coros[1], GUARD) == b"line\n"
            assert await asyncio.gather(coros[2], coros[3]) == [b"22", b"until\n"]
            for coro in coros:
                with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
                    await coro

    run(main)


def test_nothing_is_taken_before_the_first_step(run):
    async def main():
        async with linked() as (reader, _, peer):
            peer.send(b"abc")
            await arrived(reader, 3)
            first, second = reader.read(1), reader.read(1)
            assert reader._buffer == b"abc"
            assert await second == b"a"
            assert await first == b"b"
            first = reader.read(1)
            first.close()
            first.close()
            assert await reader.read(10) == b"c"

    run(main)


def test_a_loop_that_is_none_of_ours(run):
    """What a reader is given as its loop is what makes its futures."""
    made = []

    class Other:
        def create_future(self):
            made.append(asyncio.get_running_loop().create_future())
            return made[-1]

        def get_debug(self):
            return False

    async def main():
        async with linked() as (reader, _, peer):
            reader._loop = Other()
            reading = await begun(reader.readexactly(4))
            assert reader._waiter is made[0]
            peer.send(b"data")
            assert await reading == b"data"

    run(main)


def test_a_read_that_is_never_awaited_warns(run):
    async def main():
        async with linked() as (reader, _, _):
            for method, args in (("read", [1]), ("readline", []), ("readexactly", [1])):
                text = rf"coroutine 'StreamReader\.{method}' was never awaited"
                with pytest.warns(RuntimeWarning, match=text):
                    getattr(reader, method)(*args)
                    collect()

    run(main)


def test_the_steps_of_a_read(run):
    async def main():
        async with linked() as (reader, _, peer):
            coro = reader.read(4)
            with pytest.raises(TypeError, match="can't send non-None value to a just-started"):
                coro.send(1)
            waiter = coro.send(None)
            assert waiter is reader._waiter and not waiter.done()
            assert coro.cr_running is False and coro.cr_suspended is True
            waiter._asyncio_future_blocking = False
            peer.send(b"data")
            await until(waiter.done)
            with pytest.raises(StopIteration) as stopped:
                coro.send(None)
            assert stopped.value.value == b"data"
            coro = reader.read(4)
            coro.send(None)
            with pytest.raises(ZeroDivisionError):
                coro.throw(ZeroDivisionError())
            assert reader._waiter is None
            coro = reader.read(4)
            coro.send(None)
            coro.close()
            assert reader._waiter is None
            coro = reader.read(4)
            coro.send(None)
            del coro
            collect()
            assert reader._waiter is None

    run(main)


@pytest.mark.parametrize(
    ("method", "args"), [("read", [10]), ("readline", []), ("readexactly", [4])]
)
def test_a_cancelled_read_loses_nothing(run, method, args):
    async def main():
        loop = asyncio.get_running_loop()
        async with linked() as (reader, _, peer):
            task = await begun(getattr(reader, method)(*args))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            # Cancelled once more, between the arrival of the data and the step that would take it.
            waiter = loop.create_future()
            waiter.add_done_callback(lambda _: task.cancel())
            with mock.patch.object(loop, "create_future", lambda: waiter):
                task = await begun(getattr(reader, method)(*args))
            peer.send(b"123\n")
            with pytest.raises(asyncio.CancelledError):
                await task
            assert reader._buffer == b"123\n"
            assert await getattr(reader, method)(*args) == b"123\n"

    run(main)


def test_a_read_resumed_too_early(run):
    async def main():
        async with linked() as (reader, _, peer):
            read = reader.read(10)
            future = read.send(None)
            future._asyncio_future_blocking = False
            assert read.send(None) is future
            future._asyncio_future_blocking = False
            peer.send(b"data")
            await until(future.done)
            with pytest.raises(StopIteration) as caught:
                read.send(None)
            assert caught.value.value == b"data"

    run(main)


def test_time_limits_between_messages(run):
    async def main():
        async with linked() as (reader, _, peer):
            for round_ in range(20):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(reader.readexactly(4), 0.001)
                peer.send(b"%04d" % round_)
                assert await asyncio.wait_for(reader.readexactly(4), GUARD) == b"%04d" % round_

    run(main)


@pytest.mark.fastaio_only
def test_a_future_of_another_library(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with linked() as (reader, _, peer):
            with mock.patch.object(
                loop, "create_future", lambda: asyncio.futures._PyFuture(loop=loop)
            ):
                task = await begun(reader.read(10))
            assert type(reader._waiter) is asyncio.futures._PyFuture
            peer.send(b"data")
            assert await task == b"data"

    run(main)


# Memory


@pytest.mark.fastaio_only
def test_reads_leave_nothing(run):
    from fastaio import _fastaio

    async def main():
        async with linked(limit=64) as (reader, _, peer):

            async def use():
                peer.send(b"line\nmore|12345")
                assert await reader.readline() == b"line\n"
                assert await reader.readuntil(b"|") == b"more|"
                assert await reader.readexactly(3) == b"123"
                assert await reader.read(100) == b"45"
                task = asyncio.ensure_future(reader.read(10))
                await asyncio.sleep(0)
                peer.send(b"data")
                assert await task == b"data"
                task = asyncio.ensure_future(reader.readexactly(10))
                await asyncio.sleep(0)
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
                reader.read(5).close()
                peer.send(b"x" * 100)
                await arrived(reader, 100)
                with contextlib.suppress(ValueError):
                    await reader.readline()

            async def rounds(count):
                for _ in range(count):
                    await use()
                collect()
                return len(gc.get_objects()), sys.getallocatedblocks()

            await rounds(50)
            smallest = None
            for _ in range(4):
                objects, blocks = await rounds(1)
                more_objects, more_blocks = await rounds(200)
                smallest = (more_objects - objects, more_blocks - blocks)
                if smallest[0] < 50 and smallest[1] < 100:
                    break
            else:
                raise AssertionError(f"{smallest} objects and blocks in 200 rounds")
            assert not [obj for obj in gc.get_objects() if type(obj) is _fastaio.ReadOp]

    run(main)


@pytest.mark.fastaio_only
def test_connections_leave_no_reader(run):
    from fastaio import _fastaio

    async def main():
        for _ in range(50):
            async with linked() as (reader, _, peer):
                task = await begun(reader.read(10))
                peer.send(b"data")
                assert await task == b"data"
                peer.send(b"unread")
                await arrived(reader, 6)
        del reader, task

    run(main)
    collect()
    ours = (_fastaio.StreamReader, _fastaio.ReaderCore, _fastaio.ReadOp)
    assert not [obj for obj in gc.get_objects() if type(obj) in ours]


@pytest.mark.fastaio_only
def test_a_cycle_through_a_waiting_read_is_collected(run):
    async def main():
        async with linked() as (reader, _, _):
            coro = reader.read(1)
            coro.send(None)
            alive = weakref.ref(coro)
            cycle = [coro]
            cycle.append(cycle)
            reader._waiter.cycle = cycle if hasattr(reader._waiter, "__dict__") else None
            del coro, cycle
            collect()
            return alive() is None, reader._waiter

    assert run(main) == (True, None)
