"""Nobody is held back by others being fast: each test has greedy and modest parties and counts what
each gets, by turns and bytes, never by the clock."""

import asyncio
import contextlib
import socket

import pytest

from .ioutil import tcp_sockets
from .support import ASYNCIO

PARTIES = 4
#: The least share that equal parties must have of each other's, unless asyncio gives less.
SHARE = 0.6


def share(counts):
    assert max(counts) > 0
    return min(counts) / max(counts)


def on_asyncio(coro):
    """What `coro` gives on asyncio's own loop."""
    with asyncio.Runner(loop_factory=ASYNCIO.loop_factory) as runner:
        return runner.run(coro)


# Equal senders


class Greedy:
    """Refills a socket from the loop's own turns, so that there is always something to be read."""

    DATA = b"x" * (256 * 1024)

    def __init__(self, sock):
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self.sock = sock

    def refill(self):
        with contextlib.suppress(BlockingIOError):
            while True:
                self.sock.send(self.DATA)


def greedy_pair(family):
    ours, theirs = tcp_sockets() if family == socket.AF_INET else socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    return ours, Greedy(theirs)


async def turns_among(senders, count=400):
    """Let the loop make turns, with all senders always ahead of it."""
    for _ in range(count):
        for sender in senders:
            sender.refill()
        await asyncio.sleep(0)


class Counting(asyncio.Protocol):
    def __init__(self):
        self.count = 0

    def data_received(self, data):
        self.count += len(data)


class CountingBuffered(asyncio.BufferedProtocol):
    buffer = bytearray(256 * 1024)

    def __init__(self):
        self.count = 0

    def get_buffer(self, sizehint):
        return self.buffer

    def buffer_updated(self, count):
        self.count += count


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
@pytest.mark.parametrize("factory", [Counting, CountingBuffered])
def test_equal_senders_to_protocols(run, factory, family):
    async def main():
        loop = asyncio.get_running_loop()
        pairs = [greedy_pair(family) for _ in range(PARTIES)]
        made = [await loop.create_connection(factory, sock=ours) for ours, _ in pairs]
        await turns_among([sender for _, sender in pairs])
        counts = [protocol.count for _, protocol in made]
        for transport, _ in made:
            transport.abort()
        for _, sender in pairs:
            sender.sock.close()
        assert share(counts) >= SHARE

    run(main)


async def counted_readers(senders, readers, sizes, count=400):
    """Bytes that a task behind each reader gets, reading at most sizes[i] at a time."""
    counts = [0] * len(readers)

    async def read(number):
        while data := await readers[number].read(sizes[number]):
            counts[number] += len(data)

    tasks = [asyncio.create_task(read(number)) for number in range(len(readers))]
    await turns_among(senders, count)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return counts


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
@pytest.mark.parametrize("parties", [2, 4, 9])
def test_equal_senders_to_stream_readers(run, parties, family):
    async def main():
        pairs = [greedy_pair(family) for _ in range(parties)]
        ends = [await asyncio.open_connection(sock=ours) for ours, _ in pairs]
        senders = [sender for _, sender in pairs]
        counts = await counted_readers(senders, [end[0] for end in ends], [1 << 20] * parties)
        for _, writer in ends:
            writer.transport.abort()
        for sender in senders:
            sender.sock.close()
        assert share(counts) >= SHARE

    run(main)


@pytest.mark.parametrize("greedy", [Counting, CountingBuffered])
def test_stream_readers_beside_protocols(run, greedy):
    """Stream readers get as many bytes as asyncio gives them, in proportion to the protocols'."""

    async def main():
        loop = asyncio.get_running_loop()
        pairs = [greedy_pair(socket.AF_INET) for _ in range(4)]
        made = [await loop.create_connection(greedy, sock=ours) for ours, _ in pairs[:2]]
        ends = [await asyncio.open_connection(sock=ours) for ours, _ in pairs[2:]]
        senders = [sender for _, sender in pairs]
        counts = await counted_readers(senders, [end[0] for end in ends], [1 << 20] * 2)
        for _, writer in ends:
            writer.transport.abort()
        for transport, _ in made:
            transport.abort()
        for sender in senders:
            sender.sock.close()
        return share(counts), sum(counts) / sum(protocol.count for _, protocol in made)

    among_readers, beside_protocols = run(main)
    _, on_asyncio_beside = on_asyncio(main())
    assert among_readers >= SHARE
    assert beside_protocols >= SHARE * min(on_asyncio_beside, 1)


async def answers_meanwhile(greedy_parties, kind, count=400):
    """How often a modest party is answered while greedy ones are read, and in how many turns."""
    loop = asyncio.get_running_loop()
    pairs = [greedy_pair(socket.AF_INET) for _ in range(greedy_parties)]
    senders = [sender for _, sender in pairs]
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    transports, writers, tasks = [], [], []

    async def swallow(reader):
        while await reader.read(1 << 20):
            pass

    async def echo(reader, writer):
        while data := await reader.read(100):
            writer.write(data)

    for sock, _ in pairs:
        if kind == "streams":
            reader, writer = await asyncio.open_connection(sock=sock)
            writers.append(writer)
            tasks.append(asyncio.create_task(swallow(reader)))
        else:
            transports.append((await loop.create_connection(Counting, sock=sock))[0])
    reader, writer = await asyncio.open_connection(sock=ours)
    writers.append(writer)
    tasks.append(asyncio.create_task(echo(reader, writer)))
    await turns_among(senders, 50)
    answers = 0
    theirs.send(b"?")
    for _ in range(count):
        for sender in senders:
            sender.refill()
        with contextlib.suppress(BlockingIOError):
            theirs.recv(100)
            answers += 1
            theirs.send(b"?")
        await asyncio.sleep(0)
    for transport in transports + [writer.transport for writer in writers]:
        transport.abort()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for sock in (theirs, *(sender.sock for sender in senders)):
        sock.close()
    return answers


@pytest.mark.parametrize("kind", ["streams", "protocols"])
@pytest.mark.parametrize("greedy_parties", [1, 8])
def test_a_modest_stream_beside_greedy_ones(run, greedy_parties, kind):
    answers = run(answers_meanwhile(greedy_parties, kind))
    assert answers >= SHARE * on_asyncio(answers_meanwhile(greedy_parties, kind))
