"""``python -m tests.descriptor_stress --connections 200000``: does a byte ever reach a stranger?

Every connection has a number, and all that it carries is this number again and again, eight bytes
at a time. Servers return what they get, and both ends look at every byte. Connections are made in
all the ways that there are (by name, over a socket handed over, by sock_*() calls, with streams,
with TLS begun in the middle), cancelled at any moment, closed, aborted, and taken away from under
their transports. Meanwhile other code opens and closes descriptors of its own and looks whether
they are still what they were. In the end nothing may be left open.
"""

import argparse
import asyncio
import collections
import contextlib
import functools
import gc
import json
import os
import random
import socket
import ssl
import sys
import threading
import time

from .tlsutil import HOST, client_context, server_context

GUARD = 40.0
ADDRESSES = [f"127.0.0.{number}" for number in range(1, 5)]
WORD = 8
LARGEST = 4096

# How a connection may end for the other end, or for one whose socket is taken away.
BROKEN = (ConnectionError, EOFError, ssl.SSLError)


class Words:
    """What a connection carries in one direction: its number, over and over."""

    def __init__(self, number, found):
        self.word = number.to_bytes(WORD, "big")
        self.found = found
        self.sent = self.received = 0

    def _part(self, position, size):
        start = position % WORD
        return (self.word * (size // WORD + 2))[start : start + size]

    def next(self, size):
        """The next bytes to send."""
        data = self._part(self.sent, size)
        self.sent += size
        return data

    def check(self, data):
        """Look at every byte that came in."""
        if data != self._part(self.received, len(data)):
            self.found.stray(f"{bytes(data[:64])!r} on connection {self.word!r}")
        self.received += len(data)


class Returned:
    """The server's view: the first word tells the number. The other end knows if that is wrong."""

    def __init__(self, found):
        self.found = found
        self.words = None
        self.begin = b""

    def check(self, data):
        if self.words is None:
            self.begin += data
            if len(self.begin) < WORD:
                return
            data = self.begin
            self.words = Words(int.from_bytes(data[:WORD], "big"), self.found)
        self.words.check(data)


class Found:
    """What has been seen, by all connections."""

    def __init__(self):
        self.strays = []
        self.errors = collections.Counter()
        self.outcomes = collections.Counter()
        self.octets = 0

    def stray(self, text):
        if len(self.strays) < 100:
            self.strays.append(text)

    def report(self, loop, context):
        """The loop's exception handler."""
        self.errors[f"{context['message']}: {context.get('exception')!r}"] += 1


# The other code


class Belonging:
    """Some descriptors of the other code's own, with bytes in them that nobody else is to take."""

    def __init__(self, choice):
        kind = choice.randrange(3)
        if kind == 0:
            ours, theirs = socket.socketpair()
            self.numbers = ours.detach(), theirs.detach()
            self.ways = [self.numbers, self.numbers[::-1]]
        elif kind == 1:
            self.numbers = os.pipe()
            self.ways = [self.numbers[::-1]]
        else:
            self.numbers = (os.open("/dev/null", os.O_RDWR),)
            self.ways = []
        self.identities = [self.identity(number) for number in self.numbers]
        for source, _ in self.ways:
            os.write(source, b"noise")

    @staticmethod
    def identity(number):
        stat = os.fstat(number)
        return stat.st_dev, stat.st_ino

    def close(self, found):
        """Look whether they are what they were, and close them."""
        try:
            if [self.identity(number) for number in self.numbers] != self.identities:
                found.stray(f"descriptors {self.numbers} are others by now")
            for source, target in self.ways:
                os.set_blocking(target, False)
                if (data := os.read(target, 100)) != b"noise":
                    found.stray(f"{data!r} instead of noise, from {source}")
            for number in self.numbers:
                os.close(number)
        except OSError as exc:
            found.stray(f"descriptors {self.numbers} of the other code: {exc}")


class Noise:
    """Code that opens and closes descriptors of its own, in a thread and wherever it is asked."""

    def __init__(self, found, choice):
        self.found = found
        self.choice = choice
        self.open = collections.deque()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def burst(self, keep=30):
        """Open some more, which takes the lowest free numbers, and close the oldest."""
        self.open.extend(Belonging(self.choice) for _ in range(3))
        with contextlib.suppress(IndexError):  # the other thread was quicker
            while len(self.open) > keep:
                self.open.popleft().close(self.found)

    def work(self):
        while not self.ended.wait(0.002):
            self.burst()

    def end(self):
        self.ended.set()
        self.thread.join()
        self.burst(keep=0)


# Servers


class Returning(asyncio.Protocol):
    """Sends back what comes."""

    def __init__(self, found):
        self.found = found
        self.words = Returned(found)
        self.transport = None

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.words.check(data)
        self.transport.write(data)


class ReturningBuffered(Returning, asyncio.BufferedProtocol):
    def __init__(self, found):
        super().__init__(found)
        self.buffer = bytearray(3000)

    def get_buffer(self, size):
        return self.buffer

    def buffer_updated(self, count):
        self.data_received(bytes(self.buffer[:count]))


class Servers:
    """Everything that can be connected to."""

    def __init__(self, stress):
        self.stress = stress
        self.found = stress.found
        self.opened = []
        self.addresses = {"protocol": [], "accepted": [], "secured": []}
        self.context = server_context()
        self.tasks = set()

    async def open(self):
        loop = asyncio.get_running_loop()
        for address in ADDRESSES:
            for kind in (Returning, ReturningBuffered):
                factory = functools.partial(kind, self.found)
                self.add("protocol", await loop.create_server(factory, address, 0))
            self.add("secured", await asyncio.start_server(self.secure, address, 0))
            listening = socket.create_server((address, 0), backlog=1000)
            listening.setblocking(False)
            self.addresses["accepted"].append(listening.getsockname())
            self.start(self.accept(listening))

    def add(self, kind, server):
        self.opened.append(server)
        self.addresses[kind] += [sock.getsockname() for sock in server.sockets]

    def start(self, coro):
        task = asyncio.create_task(coro)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def accept(self, listening):
        """A server by sock_*() calls, which hands some of its connections over."""
        loop = asyncio.get_running_loop()
        with listening:
            while True:
                sock, _ = await loop.sock_accept(listening)
                self.start(self.serve(sock))

    async def serve(self, sock):
        loop = asyncio.get_running_loop()
        if self.stress.choice.random() < 0.5:
            await loop.connect_accepted_socket(lambda: Returning(self.found), sock)
            return
        words = Returned(self.found)
        with sock, contextlib.suppress(*BROKEN):
            sock.setblocking(False)
            while data := await loop.sock_recv(sock, LARGEST):
                words.check(data)
                await loop.sock_sendall(sock, data)

    async def secure(self, reader, writer):
        """One exchange in plain text, then TLS."""
        with contextlib.suppress(*BROKEN):
            words = Returned(self.found)
            data = await reader.readexactly(10 * WORD)
            words.check(data)
            writer.write(data)
            await writer.start_tls(self.context)
            while data := await reader.read(LARGEST):
                words.check(data)
                writer.write(data)
                await writer.drain()
        writer.transport.abort()

    async def close(self):
        for server in self.opened:
            server.close()
        while self.tasks:
            for task in list(self.tasks):
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)


# Clients


class Client(asyncio.Protocol):
    """Sends, and waits until as much has come back."""

    def __init__(self, words):
        self.words = words
        self.waiter = None
        self.transport = None
        self.lost = False

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.words.check(data)
        if self.words.received >= self.words.sent:
            self.wake()

    def connection_lost(self, exc):
        self.lost = True
        self.wake()

    def wake(self):
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    async def exchange(self, size):
        self.waiter = asyncio.get_running_loop().create_future()
        self.transport.write(self.words.next(size))
        if not self.lost:
            await self.waiter
        if self.lost:
            raise ConnectionResetError


class Stress:
    def __init__(self, seed, *, take_away):
        self.choice = random.Random(seed)
        self.found = Found()
        self.noise = None
        self.servers = Servers(self)
        self.context = client_context()
        self.kinds = [self.by_name, self.handed_over, self.by_calls, self.by_streams, self.watched]
        if take_away:
            self.kinds.append(self.taken_away)

    def address(self, kind=None):
        return self.choice.choice(
            self.servers.addresses[kind or self.choice.choice(("protocol", "accepted"))]
        )

    def sizes(self):
        return [self.choice.randint(1, LARGEST) for _ in range(self.choice.randint(1, 4))]

    async def talk(self, transport, client):
        try:
            for size in self.sizes():
                await client.exchange(size)
        finally:
            if self.choice.random() < 0.5:
                transport.close()
            else:
                transport.abort()
            self.noise.burst()

    async def by_name(self, words):
        loop = asyncio.get_running_loop()
        await self.talk(*await loop.create_connection(lambda: Client(words), *self.address()))

    async def connected(self):
        sock = socket.socket()
        try:
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, self.address())
        except BaseException:
            sock.close()
            self.noise.burst()
            raise
        return sock

    async def handed_over(self, words):
        loop = asyncio.get_running_loop()
        sock = await self.connected()
        await self.talk(*await loop.create_connection(lambda: Client(words), sock=sock))

    async def taken_away(self, words):
        """The user closes the socket that a transport has; its number is taken at once."""
        loop = asyncio.get_running_loop()
        sock = await self.connected()
        try:
            transport, client = await loop.create_connection(lambda: Client(words), sock=sock)
        except BaseException:
            sock.close()
            raise
        exchanging = asyncio.create_task(client.exchange(self.choice.randint(1, 100_000)))
        exchanging.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            await asyncio.sleep(self.choice.choice((0, 0, 0.001)))
        finally:
            if self.choice.random() < 0.5:
                sock.close()
            else:
                os.close(sock.detach())
            self.noise.burst()
            if self.choice.random() < 0.5:
                transport.write(words.next(self.choice.randint(1, LARGEST)))
            loop.call_soon(transport.abort)
            exchanging.cancel()

    async def by_calls(self, words):
        loop = asyncio.get_running_loop()
        sock = await self.connected()
        try:
            for size in self.sizes():
                await loop.sock_sendall(sock, words.next(size))
                while words.received < words.sent:
                    data = await loop.sock_recv(sock, LARGEST)
                    if not data:
                        raise EOFError
                    words.check(data)
        finally:
            sock.close()
            self.noise.burst()

    async def watched(self, words):
        """add_reader(), and a socket that is closed as soon as nobody watches it."""
        loop = asyncio.get_running_loop()
        sock = await self.connected()
        done = loop.create_future()

        def read():
            try:
                data = sock.recv(LARGEST)
            except OSError as exc:
                done.set_exception(exc)
                loop.remove_reader(sock)
                return
            words.check(data)
            if not data or words.received >= words.sent:
                loop.remove_reader(sock)
                if not done.done():
                    done.set_result(None)

        try:
            sock.send(words.next(self.choice.randint(1, LARGEST)))
            loop.add_reader(sock, read)
            await done
        finally:
            loop.remove_reader(sock)
            sock.close()
            self.noise.burst()

    async def by_streams(self, words):
        secured = self.choice.random() < 0.25
        reader, writer = await asyncio.open_connection(
            *self.address("secured" if secured else None)
        )
        try:
            for size in [10 * WORD, *self.sizes()]:
                writer.write(words.next(size))
                words.check(await reader.readexactly(size))
                if secured and words.sent == 10 * WORD:
                    await writer.start_tls(self.context, server_hostname=HOST)
        finally:
            if self.choice.random() < 0.5:
                writer.close()
            else:
                writer.transport.abort()
            self.noise.burst()

    # One after another, many at a time

    async def connect(self, number):
        """One connection, which may be given up at any moment."""
        loop = asyncio.get_running_loop()
        kind = self.choice.choice(self.kinds)
        words = Words(number, self.found)
        task = asyncio.create_task(kind(words))
        cancelling = None
        if self.choice.random() < 0.3:
            cancelling = loop.call_later(self.choice.expovariate(500), task.cancel)
        try:
            await asyncio.wait_for(asyncio.wait([task]), GUARD)
        except TimeoutError:
            self.found.errors[f"{kind.__name__} hangs"] += 1
            task.cancel()
            await asyncio.wait([task])
        if cancelling is not None:
            cancelling.cancel()
        self.found.octets += words.received
        if task.cancelled():
            outcome = "cancelled"
        elif isinstance(task.exception(), BROKEN + (OSError,)):
            outcome = "broken"
        elif task.exception() is not None:
            outcome = "failed"
            self.found.errors[f"{kind.__name__}: {task.exception()!r}"] += 1
        else:
            outcome = "done"
        self.found.outcomes[f"{kind.__name__} {outcome}"] += 1

    async def worker(self, numbers):
        for number in numbers:
            await self.connect(number)

    async def main(self, connections, concurrency):
        asyncio.get_running_loop().set_exception_handler(self.found.report)
        before = open_descriptors()
        await self.servers.open()
        self.noise = Noise(self.found, random.Random(self.choice.random()))
        try:
            numbers = iter(self.choice.sample(range(2**40, 2**41), connections))
            await asyncio.gather(*(self.worker(numbers) for _ in range(concurrency)))
        finally:
            self.noise.end()
            await self.servers.close()
        deadline = time.monotonic() + GUARD
        while open_descriptors() > before and time.monotonic() < deadline:
            await asyncio.sleep(0.01)


def open_descriptors():
    return len(os.listdir("/proc/self/fd"))


def run(connections, *, loop_factory, concurrency=200, seed=1, take_away=True):
    """Make so many connections; return what came of it."""
    gc.collect()
    before = open_descriptors()
    stress = Stress(seed, take_away=take_away)
    begun = time.monotonic()
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(stress.main(connections, concurrency))
    seconds = time.monotonic() - begun
    gc.collect()
    return {
        "connections": sum(stress.found.outcomes.values()),
        "seconds": round(seconds, 1),
        "strays": stress.found.strays,
        "leaked descriptors": open_descriptors() - before,
        "bytes returned": stress.found.octets,
        "errors": dict(stress.found.errors),
        "outcomes": dict(sorted(stress.found.outcomes.items())),
    }


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.descriptor_stress", description=__doc__)
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--concurrency", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--loop", choices=("fastaio", "asyncio"), default="fastaio")
    options = parser.parse_args()
    loop_factory = asyncio.SelectorEventLoop
    if options.loop == "fastaio":
        import fastaio

        loop_factory = fastaio.new_event_loop
    result = run(
        options.connections,
        loop_factory=loop_factory,
        concurrency=options.concurrency,
        seed=options.seed,
        take_away=options.loop == "fastaio",  # asyncio's transports do not stand it
    )
    print(json.dumps(result, indent=2))
    return 1 if result["strays"] or result["errors"] or result["leaked descriptors"] else 0


if __name__ == "__main__":
    sys.exit(main())
