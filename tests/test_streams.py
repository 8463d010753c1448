"""asyncio's streams, unchanged, over the transports of the loop under test."""

import asyncio
import socket

import pytest

from .ioutil import (
    Reports,
    asyncio_log,
    no_new_descriptors,
    pattern,
    reset,
    tcp_sockets,
    turns,
    until,
)
from .support import GUARD, PYTHON_313

LOCALHOST = "127.0.0.1"


class Link:
    """A StreamReader and StreamWriter of the loop under test, and a plain socket."""

    def __init__(self, family=socket.AF_UNIX, **kwargs):
        self.family = family
        self.kwargs = kwargs

    async def __aenter__(self):
        self.ours, self.peer = socket.socketpair(self.family)
        self.reader, self.writer = await asyncio.open_connection(sock=self.ours, **self.kwargs)
        self.peer.settimeout(GUARD)
        return self

    async def __aexit__(self, kind, exc, traceback):
        self.peer.close()
        if self.ours.fileno() != -1:
            self.writer.transport.abort()
            await until(lambda: self.ours.fileno() == -1)

    def send(self, data):
        self.peer.sendall(data)

    async def send_all(self, data, *, end=False):
        await asyncio.to_thread(self.peer.sendall, data)
        if end:
            self.end()

    def end(self):
        self.peer.shutdown(socket.SHUT_WR)

    def _receive(self, size):
        data = bytearray()
        while len(data) < size and (part := self.peer.recv(min(size - len(data), 1 << 20))):
            data += part
        return bytes(data)

    async def receive(self, size):
        return await asyncio.to_thread(self._receive, size)


async def echo(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


# Connections


def test_open_connection_and_start_server(run):
    async def main():
        async with no_new_descriptors():
            server = await asyncio.start_server(echo, LOCALHOST, 0)
            address = server.sockets[0].getsockname()
            reader, writer = await asyncio.open_connection(*address)
            assert isinstance(reader, asyncio.StreamReader)
            assert isinstance(writer, asyncio.StreamWriter)
            assert writer.get_extra_info("peername") == address
            writer.write(b"hello\n")
            await writer.drain()
            assert await reader.readline() == b"hello\n"
            assert writer.can_write_eof()
            writer.write_eof()
            assert await reader.read() == b""
            assert reader.at_eof()
            writer.close()
            assert writer.is_closing()
            await writer.wait_closed()
            server.close()
            await server.wait_closed()

    run(main)


def test_unix_connection_and_server(run, tmp_path):
    async def main():
        path = str(tmp_path / "socket")
        async with no_new_descriptors():
            server = await asyncio.start_unix_server(echo, path)
            reader, writer = await asyncio.open_unix_connection(path)
            writer.writelines([b"a", b"b\n"])
            assert await reader.readline() == b"ab\n"
            writer.close()
            await writer.wait_closed()
            server.close()
            await server.wait_closed()

    run(main)


def test_a_callback_that_is_no_coroutine(run):
    async def main():
        got = []

        def callback(reader, writer):
            got.append((reader, writer))
            writer.close()

        server = await asyncio.start_server(callback, LOCALHOST, 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        assert await reader.read() == b""
        assert len(got) == 1
        writer.close()
        server.close()

    run(main)


def test_a_handler_that_raises(run):
    async def main():
        reports = Reports()

        async def fail(reader, writer):
            raise ZeroDivisionError

        server = await asyncio.start_server(fail, LOCALHOST, 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        await until(lambda: reports)
        assert reports.messages == ["Unhandled exception in client_connected_cb"]
        assert isinstance(reports[0]["exception"], ZeroDivisionError)
        writer.close()
        server.close()

    run(main)


def test_many_clients(run):
    async def main():
        async def client(address, number):
            reader, writer = await asyncio.open_connection(*address)
            for turn in range(5):
                line = b"client %d turn %d\n" % (number, turn)
                writer.write(line)
                assert await reader.readline() == line
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(echo, LOCALHOST, 0)
        async with no_new_descriptors(), asyncio.timeout(GUARD):
            address = server.sockets[0].getsockname()
            await asyncio.gather(*(client(address, number) for number in range(100)))
        server.close()

    run(main)


# Reading


def test_read(run):
    async def main():
        async with Link() as link:
            link.send(b"0123456789")
            assert await link.reader.read(4) == b"0123"
            assert await link.reader.read(0) == b""
            data = await link.reader.read(100)
            assert type(data) is bytes
            assert data == b"456789"
            task = asyncio.create_task(link.reader.read(100))
            await turns(5)
            assert not task.done()
            link.send(b"late")
            assert await task == b"late"
            assert not link.reader.at_eof()
            link.end()
            assert await link.reader.read(100) == b""
            assert link.reader.at_eof()
            assert await link.reader.read(100) == b""
            assert await link.reader.read() == b""

    run(main)


@pytest.mark.parametrize("size", [0, 1, 70_000, 5_000_000])
def test_read_to_the_end(run, size):
    async def main():
        data = pattern(size)
        async with Link() as link:
            sending = asyncio.create_task(link.send_all(data, end=True))
            assert await link.reader.read() == data
            await sending
            assert link.reader.at_eof()

    run(main)


def test_readexactly(run):
    async def main():
        data = pattern(1_000_000)
        async with Link() as link:
            sending = asyncio.create_task(link.send_all(data, end=True))
            position = 0
            for size in (0, 1, 100, 65_536, 65_537, 300_000):
                piece = await link.reader.readexactly(size)
                assert type(piece) is bytes
                assert piece == data[position : position + size]
                position += size
            with pytest.raises(asyncio.IncompleteReadError) as caught:
                await link.reader.readexactly(1_000_000)
            assert caught.value.partial == data[position:]
            assert caught.value.expected == 1_000_000
            assert str(caught.value) == (
                f"{len(data) - position} bytes read on a total of 1000000 expected bytes"
            )
            with pytest.raises(asyncio.IncompleteReadError) as caught:
                await link.reader.readexactly(1)
            assert caught.value.partial == b""
            await sending

    run(main)


def test_readexactly_of_less_than_nothing(run):
    async def main():
        async with Link() as link:
            with pytest.raises(ValueError, match="^readexactly size can not be less than zero$"):
                await link.reader.readexactly(-1)

    run(main)


def test_readline(run):
    async def main():
        async with Link() as link:
            link.send(b"one\ntwo\n\nthr")
            assert await link.reader.readline() == b"one\n"
            assert await link.reader.readline() == b"two\n"
            assert await link.reader.readline() == b"\n"
            task = asyncio.create_task(link.reader.readline())
            await turns(5)
            assert not task.done()
            link.send(b"ee\nrest")
            assert await task == b"three\n"
            link.end()
            assert await link.reader.readline() == b"rest"
            assert await link.reader.readline() == b""

    run(main)


def test_iteration(run):
    async def main():
        lines = [b"line %d\n" % number for number in range(1000)]
        async with Link() as link:
            sending = asyncio.create_task(link.send_all(b"".join(lines) + b"tail", end=True))
            assert [line async for line in link.reader] == [*lines, b"tail"]
            await sending

    run(main)


def test_readuntil(run):
    async def main():
        async with Link() as link:
            link.send(b"key: value\r\nkey2")
            assert await link.reader.readuntil(b": ") == b"key: "
            assert await link.reader.readuntil(b"\r\n") == b"value\r\n"
            task = asyncio.create_task(link.reader.readuntil(b"\r\n"))
            await turns()
            link.send(b"=2\r")  # the separator in two packets
            await turns(5)
            assert not task.done()
            link.send(b"\nmore")
            assert await task == b"key2=2\r\n"
            link.end()
            with pytest.raises(asyncio.IncompleteReadError) as caught:
                await link.reader.readuntil(b"\r\n")
            assert caught.value.partial == b"more"
            assert caught.value.expected is None
            assert str(caught.value) == "4 bytes read on a total of undefined expected bytes"
            assert await link.reader.read() == b""

    run(main)


def test_readuntil_without_separator(run):
    async def main():
        async with Link() as link:
            with pytest.raises(ValueError, match="at least one-byte string"):
                await link.reader.readuntil(b"")

    run(main)


@pytest.mark.skipif(not PYTHON_313, reason="several separators are new in 3.13")
def test_readuntil_any_of_several(run):
    async def main():
        async with Link() as link:
            link.send(b"a;b,c;;d")
            assert await link.reader.readuntil((b";", b",")) == b"a;"
            assert await link.reader.readuntil((b";", b",")) == b"b,"
            assert await link.reader.readuntil((b";;", b"d")) == b"c;;"
            with pytest.raises(ValueError, match="at least one element"):
                await link.reader.readuntil(())

    run(main)


# Limits


def test_a_line_longer_than_the_limit(run):
    async def main():
        async with Link(limit=10) as link:
            link.send(b"0123456789abcdef\nshort\n")
            with pytest.raises(
                ValueError, match="^Separator is found, but chunk is longer than limit$"
            ):
                await link.reader.readline()
            # The line was dropped, and the rest is fine.
            assert await link.reader.readline() == b"short\n"

    run(main)


def test_a_line_without_end(run):
    async def main():
        async with Link(limit=10) as link:
            link.send(b"x" * 50)
            with pytest.raises(
                ValueError, match="^Separator is not found, and chunk exceed the limit$"
            ):
                await link.reader.readline()

    run(main)


def test_readuntil_over_the_limit_keeps_the_bytes(run):
    async def main():
        async with Link(limit=10) as link:
            link.send(b"0123456789abcdef\n")
            with pytest.raises(asyncio.LimitOverrunError) as caught:
                await link.reader.readuntil(b"\n")
            assert str(caught.value) == "Separator is found, but chunk is longer than limit"
            assert caught.value.consumed == 16
            assert await link.reader.readexactly(17) == b"0123456789abcdef\n"

            link.send(b"y" * 30)
            with pytest.raises(asyncio.LimitOverrunError) as caught:
                await link.reader.readuntil(b"\n")
            assert str(caught.value) == "Separator is not found, and chunk exceed the limit"
            assert caught.value.consumed == 30
            assert await link.reader.readexactly(30) == b"y" * 30

    run(main)


def test_a_reader_that_lags_stops_the_sender(run):
    """More than twice the limit is not buffered, and nothing of it is lost."""

    async def main():
        data = pattern(3_000_000)
        async with Link(limit=1000) as link:
            sending = asyncio.create_task(link.send_all(data, end=True))
            await until(lambda: not link.writer.transport.is_reading())
            assert not sending.done()
            assert len(link.reader._buffer) < 600_000
            got = bytearray()
            while part := await link.reader.read(50_000):
                got += part
            assert got == data
            await sending

    run(main)


def test_readexactly_of_more_than_the_limit(run):
    async def main():
        data = pattern(1_000_000)
        async with Link(limit=1000) as link:
            sending = asyncio.create_task(link.send_all(data))
            assert await link.reader.readexactly(len(data)) == data
            await sending

    run(main)


# Cancelled and concurrent reads


@pytest.mark.parametrize("method", ["read", "readline", "readexactly", "readuntil"])
def test_a_cancelled_read_loses_no_byte(run, method):
    calls = {
        "read": lambda reader: reader.read(4),
        "readline": lambda reader: reader.readline(),
        "readexactly": lambda reader: reader.readexactly(4),
        "readuntil": lambda reader: reader.readuntil(b"\n"),
    }

    async def main():
        data = b"".join(b"%03d\n" % number for number in range(300))
        async with Link() as link:
            got = bytearray()
            position = 0
            step = 0
            while len(got) < len(data):
                task = asyncio.create_task(calls[method](link.reader))
                await turns(step % 4)
                if position < len(data):
                    size = 1 + step % 3
                    link.send(data[position : position + size])
                    position += size
                await turns(step % 5)
                task.cancel()
                try:
                    got += await task
                except asyncio.CancelledError:
                    pass
                step += 1
            assert got == data

    run(main)


def test_two_readers_at_once(run):
    async def main():
        async with Link() as link:
            first = asyncio.create_task(link.reader.read(10))
            await turns()
            for method in ("read", "readline"):
                with pytest.raises(
                    RuntimeError,
                    match=f"^{method if method == 'read' else 'readuntil'}"
                    r"\(\) called while another coroutine is already waiting for incoming data$",
                ):
                    await getattr(link.reader, method)()
            link.send(b"for the first")
            assert await first == b"for the fi"
            assert await link.reader.read(10) == b"rst"

    run(main)


def test_timeouts(run):
    async def main():
        async with Link() as link:
            link.send(b"par")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(link.reader.readexactly(6), 0.01)
            link.send(b"tial")
            async with asyncio.timeout(GUARD):
                assert await link.reader.readexactly(6) == b"partia"

    run(main)


def test_reads_in_tasks_groups_and_gather(run):
    async def main():
        async with Link() as link:
            link.send(b"a\nb\nc\nd\n")
            assert await asyncio.create_task(link.reader.readline()) == b"a\n"
            assert await asyncio.gather(link.reader.readline()) == [b"b\n"]
            assert await asyncio.wait_for(link.reader.readline(), GUARD) == b"c\n"
            async with asyncio.TaskGroup() as group:
                task = group.create_task(link.reader.readline())
            assert task.result() == b"d\n"
            coro = link.reader.read(1)
            assert asyncio.iscoroutine(coro)
            coro.close()

    run(main)


# The reader's inside, which libraries touch


def test_the_buffer_is_there(run):
    async def main():
        async with Link() as link:
            link.send(b"0123456789")
            await until(lambda: len(link.reader._buffer) == 10)
            assert link.reader._buffer == b"0123456789"
            del link.reader._buffer[:2]
            link.reader._buffer.extend(b"!")
            assert await link.reader.read(100) == b"23456789!"
            assert repr(link.reader).startswith("<StreamReader transport=<")
            assert link.reader.exception() is None

    run(main)


def test_feed_data_by_hand(run):
    async def main():
        async with Link() as link:
            task = asyncio.create_task(link.reader.readline())
            await turns()
            link.reader.feed_data(b"fed\n")
            assert await task == b"fed\n"
            link.send(b"received\n")
            assert await link.reader.readline() == b"received\n"
            link.reader.feed_eof()
            assert await link.reader.read() == b""

    run(main)


def test_set_exception(run):
    async def main():
        async with Link() as link:
            task = asyncio.create_task(link.reader.read(1))
            await turns()
            link.reader.set_exception(ZeroDivisionError())
            with pytest.raises(ZeroDivisionError):
                await task
            for call in (link.reader.read, link.reader.readline):
                with pytest.raises(ZeroDivisionError):
                    await call()
            assert isinstance(link.reader.exception(), ZeroDivisionError)

    run(main)


def test_a_subclass_of_the_reader(run):
    """Its methods are called as they were defined."""

    class Shouting(asyncio.StreamReader):
        async def readline(self):
            return (await super().readline()).upper()

        def feed_data(self, data):
            super().feed_data(data.replace(b"-", b"+"))

    async def main():
        loop = asyncio.get_running_loop()
        a, b = socket.socketpair()
        with b:
            reader = Shouting()
            protocol = asyncio.StreamReaderProtocol(reader)
            transport, _ = await loop.create_connection(lambda: protocol, sock=a)
            b.send(b"one-two\n")
            assert await reader.readline() == b"ONE+TWO\n"
            transport.abort()
            await turns()

    run(main)


# Writing


def test_drain_waits_for_room(run):
    async def main():
        async with Link() as link:
            await link.writer.drain()
            link.writer.write(b"x" * 1_000_000)
            draining = asyncio.create_task(link.writer.drain())
            await turns(5)
            assert not draining.done()
            assert len(await link.receive(1_000_000)) == 1_000_000
            async with asyncio.timeout(GUARD):
                assert await draining is None

    run(main)


def test_several_drains_at_once(run):
    async def main():
        async with Link() as link:
            link.writer.write(b"x" * 1_000_000)
            drains = [asyncio.create_task(link.writer.drain()) for _ in range(3)]
            await turns()
            drains[1].cancel()
            await link.receive(1_000_000)
            async with asyncio.timeout(GUARD):
                results = await asyncio.gather(*drains, return_exceptions=True)
            assert results[0] is None
            assert isinstance(results[1], asyncio.CancelledError)
            assert results[2] is None

    run(main)


def test_drain_when_the_peer_leaves(run):
    async def main():
        async with Link() as link:
            link.writer.write(b"x" * 1_000_000)
            draining = asyncio.create_task(link.writer.drain())
            await turns()
            link.peer.close()
            with pytest.raises(ConnectionError):
                async with asyncio.timeout(GUARD):
                    await draining
            with pytest.raises(ConnectionError):
                link.writer.write(b"x")
                await link.writer.drain()

    run(main)


def test_a_producer_with_drain_uses_little_memory(run):
    async def main():
        async with Link() as link:
            total = 5_000_000
            highest = 0

            async def produce():
                nonlocal highest
                for _ in range(0, total, 10_000):
                    link.writer.write(b"x" * 10_000)
                    size = link.writer.transport.get_write_buffer_size()
                    highest = max(highest, size)
                    await link.writer.drain()

            _, got = await asyncio.gather(produce(), link.receive(total))
            assert len(got) == total
            assert highest <= 65_536 + 10_000

    run(main)


def test_writelines_and_write_eof(run):
    async def main():
        async with Link() as link:
            link.writer.writelines([b"a", b"b"])
            link.writer.write(b"c")
            link.writer.write_eof()
            assert await link.receive(10) == b"abc"
            link.send(b"still open this way\n")
            assert await link.reader.readline() == b"still open this way\n"

    run(main)


def test_close_sends_what_waits(run):
    async def main():
        data = pattern(3_000_000)
        async with Link() as link:
            link.writer.write(data)
            link.writer.close()
            waiting = asyncio.create_task(link.writer.wait_closed())
            await turns(5)
            assert not waiting.done()
            assert await link.receive(len(data) + 1) == data
            async with asyncio.timeout(GUARD):
                await waiting

    run(main)


def test_wait_closed_gives_the_reason(run):
    async def main():
        async with Link() as link:
            link.writer.write(b"x" * 5_000_000)
            link.peer.close()
            with pytest.raises(ConnectionError):
                async with asyncio.timeout(GUARD):
                    await link.writer.wait_closed()

    run(main)


def test_a_connection_that_is_reset(run):
    async def main():
        ours, theirs = tcp_sockets()
        reader, writer = await asyncio.open_connection(sock=ours)
        task = asyncio.create_task(reader.read(10))
        await turns()
        reset(theirs)
        with pytest.raises(ConnectionResetError):
            async with asyncio.timeout(GUARD):
                await task
        with pytest.raises(ConnectionResetError):
            await reader.readline()
        with pytest.raises(ConnectionResetError):
            await writer.drain()
        writer.close()
        with pytest.raises(ConnectionResetError):
            await writer.wait_closed()

    run(main)


def test_no_warning_and_no_report_from_ordinary_use(run):
    async def main():
        reports = Reports()
        with asyncio_log() as records:
            server = await asyncio.start_server(echo, LOCALHOST, 0)
            for _ in range(3):
                reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
                writer.write(b"x\n")
                assert await reader.readline() == b"x\n"
                writer.close()
                await writer.wait_closed()
            server.close()
            await server.wait_closed()
        assert reports == []
        assert records == []

    run(main)


# A protocol of one's own in front of the reader


def test_pipelined_lines(run):
    """Requests sent in one go are answered in order, whatever the packets are."""

    async def main():
        async def handler(reader, writer):
            while line := await reader.readline():
                writer.write(line[:-1])
                writer.write(b"!\n")
            writer.close()

        server = await asyncio.start_server(handler, LOCALHOST, 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        for _ in range(20):
            writer.write(b"".join(b"%d\n" % number for number in range(16)))
            for number in range(16):
                assert await reader.readline() == b"%d!\n" % number
        writer.close()
        await writer.wait_closed()
        server.close()

    run(main)


@pytest.mark.parametrize("size", [1024, 102_400, 10 * 1024 * 1024])
def test_both_ways_with_streams(run, size):
    async def main():
        data = pattern(size)
        server = await asyncio.start_server(echo, LOCALHOST, 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())

        async def send():
            for position in range(0, size, 100_003):
                writer.write(data[position : position + 100_003])
                await writer.drain()

        async with asyncio.timeout(GUARD):
            _, got = await asyncio.gather(send(), reader.readexactly(size))
        assert got == data
        writer.close()
        await writer.wait_closed()
        server.close()

    run(main)
