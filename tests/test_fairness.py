"""Nobody is held back by others being fast: each test has greedy and modest parties and counts what
each gets, by turns and bytes, never by the clock."""

import asyncio
import concurrent.futures
import contextlib
import os
import socket

import pytest

from .ioutil import Echo, reset, serving, tcp_sockets, turns, until
from .support import ASYNCIO
from .tlsutil import both_ends

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


# One modest party, asked once a turn


class Modest:
    """An echo connection of the loop; ask() counts whether the last question was answered."""

    def __init__(self):
        self.answers = 0

    async def __aenter__(self):
        loop = asyncio.get_running_loop()
        ours, self.sock = socket.socketpair()
        self.sock.setblocking(False)
        self.transport, _ = await loop.create_connection(Echo, sock=ours)
        self.sock.send(b"?")
        return self

    async def __aexit__(self, *exc):
        self.transport.abort()
        self.sock.close()
        await turns(2)

    def ask(self):
        with contextlib.suppress(BlockingIOError):
            self.sock.recv(100)
            self.answers += 1
            self.sock.send(b"?")


@contextlib.asynccontextmanager
async def greedy_streams(parties):
    """What keeps `parties` stream readers busy, when it is called."""

    async def swallow(reader):
        while await reader.read(1 << 20):
            pass

    pairs = [greedy_pair(socket.AF_INET) for _ in range(parties)]
    ends = [await asyncio.open_connection(sock=ours) for ours, _ in pairs]
    tasks = [asyncio.create_task(swallow(reader)) for reader, _ in ends]
    yield lambda: [sender.refill() for _, sender in pairs]
    for _, writer in ends:
        writer.transport.abort()
    await asyncio.gather(*tasks)
    for _, sender in pairs:
        sender.sock.close()


@contextlib.asynccontextmanager
async def greedy_protocols(parties):
    loop = asyncio.get_running_loop()
    pairs = [greedy_pair(socket.AF_INET) for _ in range(parties)]
    made = [await loop.create_connection(Counting, sock=ours) for ours, _ in pairs]
    yield lambda: [sender.refill() for _, sender in pairs]
    for transport, _ in made:
        transport.abort()
    for _, sender in pairs:
        sender.sock.close()


@contextlib.asynccontextmanager
async def greedy_pipes(parties):
    async with read_pipes(parties, Counting) as (_, refill):
        yield refill


@contextlib.asynccontextmanager
async def flooded_datagrams(parties):
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_datagram_endpoint(CountingDatagrams, ("127.0.0.1", 0))
        for _ in range(parties)
    ]
    addresses = [transport.get_extra_info("sockname") for transport, _ in made]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:

        def flood():
            for address in addresses:
                for _ in range(100):
                    sender.sendto(b"x" * 100, address)

        yield flood
    for transport, _ in made:
        transport.abort()


@contextlib.asynccontextmanager
async def storm_of_connections(parties):
    """`parties` new connections in each turn, which their clients close in the next."""
    made = []
    async with serving(Counting) as (_, address):
        clients = []

        def storm():
            for client in clients:
                reset(client)
            clients.clear()
            for _ in range(parties):
                client = socket.socket()
                client.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    client.connect(address)
                clients.append(client)
                made.append(client)

        yield storm
        for client in clients:
            reset(client)
        await turns(20)
    assert made


@contextlib.asynccontextmanager
async def flood_of_calls(parties):
    """Callbacks that post themselves again, as another thread would."""
    loop = asyncio.get_running_loop()
    going_on = True

    def call():
        if going_on:
            loop.call_soon_threadsafe(call)

    for _ in range(parties):
        call()
    yield lambda: None
    going_on = False


@contextlib.asynccontextmanager
async def flood_from_a_thread(parties):
    """The same from other threads, `parties` calls of each in a turn."""
    loop = asyncio.get_running_loop()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:

        def post():
            for _ in range(parties):
                loop.call_soon_threadsafe(int)

        yield lambda: [pool.submit(post).result() for _ in range(2)]


@contextlib.asynccontextmanager
async def many_timers(parties):
    """Timers that are due at once and set themselves again."""
    loop = asyncio.get_running_loop()
    going_on = True

    def fire():
        if going_on:
            loop.call_later(0, fire)

    for _ in range(parties):
        fire()
    yield lambda: None
    going_on = False


@contextlib.asynccontextmanager
async def many_tasks(parties):
    async def spin():
        while True:
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(spin()) for _ in range(parties)]
    yield lambda: None
    for task in tasks:
        task.cancel()


GREEDY = {
    "one stream": (greedy_streams, 1),
    "streams": (greedy_streams, 8),
    "one protocol": (greedy_protocols, 1),
    "protocols": (greedy_protocols, 8),
    "pipes": (greedy_pipes, 8),
    "one datagram endpoint": (flooded_datagrams, 1),
    "datagram endpoints": (flooded_datagrams, 4),
    "connections": (storm_of_connections, 20),
    "calls": (flood_of_calls, 500),
    "threads": (flood_from_a_thread, 200),
    "timers": (many_timers, 500),
    "tasks": (many_tasks, 500),
}


async def answers_beside(greedy, parties, count=200):
    """(answers, timers fired) in `count` turns of a modest connection and a chain of timers."""
    loop = asyncio.get_running_loop()
    fired = 0

    def fire():
        nonlocal fired, timer
        fired += 1
        timer = loop.call_later(0, fire)

    async with greedy(parties) as refill, Modest() as modest:
        for _ in range(20):
            refill()
            await asyncio.sleep(0)
        timer = loop.call_later(0, fire)
        modest.answers = fired = 0
        for _ in range(count):
            refill()
            modest.ask()
            await asyncio.sleep(0)
        timer.cancel()
        return modest.answers, fired


@pytest.mark.parametrize("name", GREEDY)
def test_a_modest_party_beside_greedy_ones(run, name):
    """It and timers have their turn as often as on asyncio."""
    answers, fired = run(answers_beside(*GREEDY[name]))
    expected_answers, expected_fired = on_asyncio(answers_beside(*GREEDY[name]))
    assert answers >= SHARE * expected_answers
    assert fired >= SHARE * expected_fired


def test_threads_that_call_without_end_do_not_outrun_the_loop(run):
    """They would queue more and more for the next turn, until nobody else has one."""

    async def main():
        loop = asyncio.get_running_loop()
        going_on = True
        turns = 0

        def call():
            while going_on:
                loop.call_soon_threadsafe(int)

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for _ in range(4):
                pool.submit(call)
            end = loop.time() + 1
            while loop.time() < end:
                await asyncio.sleep(0)
                turns += 1
            going_on = False
        return turns

    assert run(main) > 200


# Equal parties of other kinds


@contextlib.asynccontextmanager
async def read_pipes(parties, factory):
    """(protocols, refill) of pipes that are read."""
    loop = asyncio.get_running_loop()
    made, writers = [], []
    for _ in range(parties):
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        writers.append(writer)
        made.append(await loop.connect_read_pipe(factory, os.fdopen(reader, "rb", 0)))

    def refill():
        for writer in writers:
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(writer, b"x" * 65536)

    yield [protocol for _, protocol in made], refill
    for transport, _ in made:
        transport.close()
    await turns(3)
    for writer in writers:
        os.close(writer)


def test_equal_pipes(run):
    async def main():
        async with read_pipes(PARTIES, Counting) as (protocols, refill):
            for _ in range(200):
                refill()
                await asyncio.sleep(0)
            return share([protocol.count for protocol in protocols])

    assert run(main) >= SHARE


def test_equal_pipes_of_stream_readers(run):
    async def main():
        readers = []

        def factory():
            readers.append(asyncio.StreamReader())
            return asyncio.StreamReaderProtocol(readers[-1])

        counts = [0] * PARTIES

        async def read(number):
            while data := await readers[number].read(1 << 20):
                counts[number] += len(data)

        async with read_pipes(PARTIES, factory) as (_, refill):
            tasks = [asyncio.create_task(read(number)) for number in range(PARTIES)]
            for _ in range(200):
                refill()
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            return share(counts)

    assert run(main) >= SHARE


class CountingDatagrams(asyncio.DatagramProtocol):
    def __init__(self):
        self.count = 0

    def datagram_received(self, data, addr):
        self.count += 1


def test_equal_datagram_endpoints(run):
    async def main():
        loop = asyncio.get_running_loop()
        made = [
            await loop.create_datagram_endpoint(CountingDatagrams, ("127.0.0.1", 0))
            for _ in range(PARTIES)
        ]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(200):
                for transport, _ in made:
                    for _ in range(20):
                        sender.sendto(b"x", transport.get_extra_info("sockname"))
                await asyncio.sleep(0)
        for transport, _ in made:
            transport.abort()
        return share([protocol.count for _, protocol in made])

    assert run(main) >= SHARE


class AskingMuch(asyncio.Protocol):
    """Sends 100 KiB, waits until they have come back, and starts again."""

    MESSAGE = b"x" * 102400

    def connection_made(self, transport):
        self.transport = transport
        self.answers = self.waiting = 0

    def start(self):
        self.waiting = len(self.MESSAGE)
        self.transport.write(self.MESSAGE)

    def data_received(self, data):
        self.waiting -= len(data)
        if self.waiting == 0:
            self.answers += 1
            self.start()


@pytest.mark.parametrize("server", ["protocols", "streams"])
def test_equal_connections_over_tls(run, server):
    """Large messages on ten connections: each has its turn."""

    async def echo(reader, writer):
        while data := await reader.read(1 << 18):
            writer.write(data)
            await writer.drain()

    def factory():
        if server == "protocols":
            return Echo()
        reader = asyncio.StreamReader()
        return asyncio.StreamReaderProtocol(reader, echo)

    async def main():
        async with contextlib.AsyncExitStack() as stack:
            ends = [
                await stack.enter_async_context(both_ends(AskingMuch, factory)) for _ in range(10)
            ]
            protocols = [end[1] for end in ends]
            for protocol in protocols:
                protocol.start()
            await until(lambda: sum(protocol.answers for protocol in protocols) >= 300)
            return share([protocol.answers for protocol in protocols])

    assert run(main) >= SHARE


# Operations that always succeed at once


async def others_meanwhile(operation):
    """How many turns others have while a task awaits 300 operations that need not wait."""
    loop = asyncio.get_running_loop()
    turns_of_others = 0

    async def others():
        nonlocal turns_of_others
        while True:
            await asyncio.sleep(0)
            turns_of_others += 1

    task = asyncio.create_task(others())
    await turns(2)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        turns_of_others = 0
        for _ in range(300):
            if operation == "sock_recv":
                theirs.send(b"x")
                await loop.sock_recv(ours, 1)
            elif operation == "sock_recv_into":
                theirs.send(b"x")
                await loop.sock_recv_into(ours, bytearray(1))
            elif operation == "sock_sendall":
                await loop.sock_sendall(ours, b"x")
                theirs.recv(1)
        seen = turns_of_others
    task.cancel()
    return seen


@pytest.mark.parametrize("operation", ["sock_recv", "sock_recv_into", "sock_sendall"])
def test_socket_operations_that_need_not_wait(run, operation):
    """asyncio's give nobody else a turn either; ours give no fewer."""
    assert run(others_meanwhile(operation)) >= on_asyncio(others_meanwhile(operation))


# Bounds of a turn


@pytest.mark.fastaio_only
def test_a_turn_accepts_a_bounded_number_of_connections(run):
    """However many have come: at most as many as asyncio accepts at a time."""

    async def main():
        made = 0

        class Server(asyncio.Protocol):
            def connection_made(self, transport):
                nonlocal made
                made += 1
                transport.abort()

        async with serving(Server, backlog=1000) as (_, address):
            clients = []
            for _ in range(400):
                client = socket.socket()
                client.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    client.connect(address)
                clients.append(client)
            most = 0
            while made < len(clients):
                before = made
                await asyncio.sleep(0)
                most = max(most, made - before)
            for client in clients:
                client.close()
        return most

    assert run(main) <= 128
