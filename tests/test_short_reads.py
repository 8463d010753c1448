"""A read may return less than there is: at descriptors that come along, at another writer's bytes,
at urgent data, at the end of a message. What lies behind comes although nothing new arrives."""

import asyncio
import contextlib
import os
import socket
import ssl
import subprocess
import sys

import pytest

from .ioutil import Recorder, ended, tcp_sockets, turns, until
from .tlsutil import HOST, cipher, client_context, server_context  # noqa: F401 - a fixture

LARGE = 100_000


class Buffered(Recorder, asyncio.BufferedProtocol):
    """A Recorder that is read into a buffer of its own."""

    data_received = None
    room = 65536

    def get_buffer(self, sizehint):
        self.buffer = bytearray(self.room)
        return self.buffer

    def buffer_updated(self, count):
        self.data += self.buffer[:count]
        self.note("data")


# Where a read is cut. Each function sends `parts` so that one recv() cannot get past the first.


def with_descriptors(sock, parts):
    """Descriptors come along with each part but the last."""
    for part in parts[:-1]:
        socket.send_fds(sock, [part], [sock.fileno()])
    sock.send(parts[-1])


def by_two_writers(sock, parts):
    """Each part but the first is another process's."""
    sock.send(parts[0])
    for part in parts[1:]:
        program = f"import os, sys; os.write({sock.fileno()}, sys.stdin.buffer.read())"
        subprocess.run(
            [sys.executable, "-S", "-c", program], input=part, pass_fds=[sock.fileno()], check=True
        )


def around_urgent_data(sock, parts):
    """A byte out of band is between the parts."""
    for part in parts[:-1]:
        sock.send(part)
        sock.send(b"!", socket.MSG_OOB)
    sock.send(parts[-1])


def plainly(sock, parts):
    for part in parts:
        sock.send(part)


def unix_sockets():
    return socket.socketpair()


def unix_sockets_that_tell_the_writer():
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    return ours, theirs


def unix_sockets_with_urgent_data():
    ours, theirs = socket.socketpair()
    try:
        theirs.send(b"!", socket.MSG_OOB)
        ours.recv(1, socket.MSG_OOB)
    except OSError:
        ours.close()
        theirs.close()
        pytest.skip("Unix sockets have no urgent data here")
    return ours, theirs


def tcp_sockets_reversed():
    """The other end, whose Python object does not name the protocol."""
    return tcp_sockets()[::-1]


def tcp_sockets_with_inline_data():
    ours, theirs = tcp_sockets()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    return ours, theirs


CUTS = {
    "descriptors": (unix_sockets, with_descriptors, b""),
    "two writers": (unix_sockets_that_tell_the_writer, by_two_writers, b""),
    "urgent, Unix": (unix_sockets_with_urgent_data, around_urgent_data, b""),
    "urgent": (tcp_sockets, around_urgent_data, b""),
    "urgent, reversed": (tcp_sockets_reversed, around_urgent_data, b""),
    "urgent, inline": (tcp_sockets_with_inline_data, around_urgent_data, b"!"),
}


@pytest.fixture(params=CUTS)
def cut(request):
    """(sockets, send, between): how to make a pair, to send; what stands between parts."""
    return CUTS[request.param]


@contextlib.asynccontextmanager
async def reading(cut, factory):
    """(transport, protocol, send, between), with a transport that reads."""
    make, send, between = cut
    ours, theirs = make()
    with theirs:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_connection(factory, sock=ours)
        await turns()  # no event is left from before
        try:
            yield transport, protocol, lambda *parts: send(theirs, parts), between
        finally:
            transport.abort()
            await until(lambda: ours.fileno() == -1)


# Ways to read


@pytest.mark.parametrize("factory", [Recorder, Buffered])
def test_protocols(run, cut, factory):
    async def main():
        async with reading(cut, factory) as (_, protocol, send, between):
            for number in range(1, 4):
                send(b"abc", b"def")
                await protocol.wait_bytes(number * len(b"abc" + between + b"def"))
            assert bytes(protocol.data) == (b"abc" + between + b"def") * 3

    run(main)


def test_several_cuts_at_once(run, cut):
    async def main():
        async with reading(cut, Recorder) as (_, protocol, send, between):
            parts = [b"%d" % number for number in range(5)]
            if cut[1] is around_urgent_data:
                parts = parts[:2]  # a later mark replaces an earlier one
            send(*parts)
            expected = between.join(parts)
            assert await protocol.wait_bytes(len(expected)) == expected

    run(main)


@pytest.mark.parametrize("factory", [Recorder, Buffered])
def test_after_large_reads(run, cut, factory):
    """A connection that brings much at a time is read in another way."""

    async def main():
        async with reading(cut, factory) as (_, protocol, send, between):
            protocol.room = 1 << 20
            for number in range(1, 4):
                send(b"a" * LARGE, b"b" * LARGE)
                await protocol.wait_bytes(number * (2 * LARGE + len(between)))
            assert bytes(protocol.data) == (b"a" * LARGE + between + b"b" * LARGE) * 3

    run(main)


def test_stream_readers(run, cut):
    async def main():
        make, send, between = cut
        ours, theirs = make()
        with theirs:
            reader, writer = await asyncio.open_connection(sock=ours)
            await turns()
            for _ in range(3):
                send(theirs, [b"abc", b"def\n"])
                assert await reader.readline() == b"abc" + between + b"def\n"
            send(theirs, [b"a" * LARGE, b"b" * LARGE])
            expected = b"a" * LARGE + between + b"b" * LARGE
            assert await reader.readexactly(len(expected)) == expected
            writer.close()
            await writer.wait_closed()

    run(main)


def test_paused_meanwhile(run, cut):
    async def main():
        async with reading(cut, Recorder) as (transport, protocol, send, between):
            transport.pause_reading()
            send(b"abc", b"def")
            await turns()
            transport.resume_reading()
            expected = b"abc" + between + b"def"
            assert await protocol.wait_bytes(len(expected)) == expected

    run(main)


def test_the_peer_has_gone(run, cut):
    """Everything comes before the end."""

    async def main():
        make, send, between = cut
        ours, theirs = make()
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_connection(Recorder, sock=ours)
        await turns()
        with theirs:
            send(theirs, [b"abc", b"def"])
        assert await protocol.lost is None
        assert bytes(protocol.data) == b"abc" + between + b"def"
        assert protocol.calls == ["made", "data", "eof", "lost"]

    run(main)


def test_sock_recv(run, cut):
    async def main():
        make, send, between = cut
        ours, theirs = make()
        loop = asyncio.get_running_loop()
        with ours, theirs:
            ours.setblocking(False)
            expected = b"abc" + between + b"def"
            for into in (False, True):
                data, buffer = b"", bytearray(100)
                send(theirs, [b"abc", b"def"])
                while len(data) < len(expected):
                    if into:
                        count = await loop.sock_recv_into(ours, buffer)
                        data += buffer[:count]
                    else:
                        data += await loop.sock_recv(ours, 100)
                assert data == expected

    run(main)


@pytest.mark.parametrize("name", ["descriptors", "urgent, Unix", "urgent", "urgent, inline"])
def test_while_the_loop_reads(run, name):
    """The parts arrive one by one, while the loop is about to read or reads."""

    async def main():
        async with reading(CUTS[name], Recorder) as (_, protocol, send, between):
            expected = b""
            for number in range(300):
                part = b"%d" % number
                expected += part + between + part
                await asyncio.to_thread(send, part, part)
                await protocol.wait_bytes(len(expected))
            assert bytes(protocol.data) == expected

    run(main)


# TLS


class Wire:
    """The other end of a TLS connection, whose records are sent by hand."""

    def __init__(self, sock):
        sock.setblocking(False)
        self.sock = sock
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.ssl = server_context().wrap_bio(self.incoming, self.outgoing, server_side=True)

    async def shake_hands(self):
        loop = asyncio.get_running_loop()
        done = False
        while not done:
            try:
                self.ssl.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                pass
            if self.outgoing.pending:
                await loop.sock_sendall(self.sock, self.outgoing.read())
            if not done:
                self.incoming.write(await loop.sock_recv(self.sock, 65536))

    def record(self, data):
        self.ssl.write(data)
        return self.outgoing.read()


@pytest.mark.parametrize("factory", [Recorder, Buffered])
def test_tls(run, cut, cipher, factory):  # noqa: F811
    make, send, between = cut
    if between:
        pytest.skip("a byte among the records is no TLS")

    async def main():
        ours, theirs = make()
        loop = asyncio.get_running_loop()
        with theirs:
            wire = Wire(theirs)
            shaking = asyncio.create_task(wire.shake_hands())
            transport, protocol = await loop.create_connection(
                factory, sock=ours, ssl=client_context(), server_hostname=HOST
            )
            await shaking
            await turns(10)
            for number in range(1, 4):
                send(theirs, [wire.record(b"abc"), wire.record(b"def")])
                await protocol.wait_bytes(6 * number)
            assert bytes(protocol.data) == b"abcdef" * 3
            transport.abort()
            await protocol.lost

    run(main)


# Pipes


@pytest.mark.parametrize("size", [3, 2 * LARGE // 3])
def test_a_socket_that_is_read_as_a_pipe(run, cut, size):
    async def main():
        make, send, between = cut
        ours, theirs = make()
        loop = asyncio.get_running_loop()
        with theirs:
            transport, protocol = await loop.connect_read_pipe(Recorder, ours)
            for number in range(1, 4):
                send(theirs, [b"a" * size, b"b" * size])
                await protocol.wait_bytes(number * (2 * size + len(between)))
            assert bytes(protocol.data) == (b"a" * size + between + b"b" * size) * 3
            transport.close()
            await protocol.lost

    run(main)


def test_a_pipe_of_packets(run):
    """Where each read() ends with a packet."""

    async def main():
        loop = asyncio.get_running_loop()
        reader, writer = os.pipe2(os.O_DIRECT | os.O_CLOEXEC)
        with os.fdopen(reader, "rb", 0) as pipe:
            transport, protocol = await loop.connect_read_pipe(Recorder, pipe)
            expected = b""
            for packets in ((1, 2, 3), (1, 4096, 2), (4096, 4096), (1, 4096)):
                for size in packets:
                    os.write(writer, b"%d" % (size % 10) * size)
                    expected += b"%d" % (size % 10) * size
                assert await protocol.wait_bytes(len(expected)) == expected
            os.close(writer)
            assert await protocol.lost is None
            transport.close()

    run(main)


# Messages


def test_messages(run):
    """A socket that keeps the bounds of messages gives one message a read, and all of them."""

    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        with theirs:
            messages = []

            class Noting(Recorder):
                def data_received(self, data):
                    super().data_received(data)
                    messages.append(data)

            protocol = Noting()
            waiter = loop.create_future()
            transport = loop._make_socket_transport(ours, protocol, waiter)
            await waiter
            await turns()
            sent = [b"1", b"22", b"333", b"4" * 70_000, b"5" * 70_000, b"6"]
            for message in sent:
                theirs.send(message)
            await protocol.wait(lambda: len(messages) == len(sent))
            assert messages == sent
            await ended(transport, protocol)

    run(main)


# The cost


@pytest.mark.fastaio_only
@pytest.mark.parametrize("sockets", [tcp_sockets, tcp_sockets_reversed, unix_sockets])
def test_a_short_read_is_not_followed_by_another(run, sockets):
    """Where nothing but the end of the data can have cut it."""

    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = sockets()
        with theirs:
            transport, protocol = await loop.create_connection(Recorder, sock=ours)
            await turns(10)
            for number in range(1, 6):
                before = loop.metrics()["callbacks"]
                theirs.send(b"x")
                steps = 0
                while len(protocol.data) < number:
                    await asyncio.sleep(0)
                    steps += 1
                await turns(10)
                # The steps of this task, and one entry for the event.
                assert loop.metrics()["callbacks"] - before == steps + 10 + 1
            await ended(transport, protocol)

    run(main)
