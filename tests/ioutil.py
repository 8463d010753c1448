"""Peers, patterns and recording protocols for the tests of I/O."""

import asyncio
import contextlib
import gc
import logging
import os
import random
import socket
import struct
import weakref

import pytest

from .support import GUARD

CHUNK = 64 * 1024


def has_ipv6():
    """Whether ::1 is an address of this machine."""
    with open("/proc/net/if_inet6") as addresses:
        return any(line.startswith("0" * 31 + "1 ") for line in addresses)


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 loopback")


def pattern(size, seed=1):
    """`size` bytes in which any byte lost, doubled or out of place shows."""
    return random.Random(seed).randbytes(size)


def open_descriptors():
    """The numbers of this process's open descriptors."""
    # The descriptor that lists them is among them, and is closed by now: it is no news.
    return {int(name) for name in os.listdir("/proc/self/fd") if is_open(int(name))}


def is_open(fd):
    """Whether a number is that of an open descriptor."""
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


class no_new_descriptors:
    """What is opened inside is closed at the end; `async with` grants the loop time for it.

    `others`: there may be threads that close some of what was open before.
    """

    def __init__(self, *, others=False):
        self.others = others

    def _settled(self):
        after = open_descriptors()
        return after <= self.before if self.others else after == self.before

    def __enter__(self):
        gc.collect()  # what earlier tests left to the collector goes now
        self.before = open_descriptors()

    def __exit__(self, kind, exc, traceback):
        if kind is None:
            assert self._settled(), (self.before, open_descriptors())

    async def __aenter__(self):
        self.__enter__()

    async def __aexit__(self, kind, exc, traceback):
        if kind is None:
            with contextlib.suppress(TimeoutError):
                await until(self._settled)
            self.__exit__(None, None, None)


async def until(condition, *, guard=GUARD):
    """Let the loop run until `condition()` holds, and return what it gave."""
    async with asyncio.timeout(guard):
        while not (value := condition()):
            await asyncio.sleep(0.001)
    return value


async def turns(count=3):
    """Let the loop make `count` turns."""
    for _ in range(count):
        await asyncio.sleep(0)


@contextlib.contextmanager
def pair(family=socket.AF_UNIX):
    """Two connected sockets that do not block, closed at the end."""
    left, right = tcp_sockets() if family == socket.AF_INET else socket.socketpair(family)
    with left, right:
        left.setblocking(False)
        right.setblocking(False)
        yield left, right


def tcp_sockets():
    """Two connected TCP sockets."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        left = socket.create_connection(listener.getsockname())
        right, _ = listener.accept()
    return left, right


def listening(family=socket.AF_INET, address=("127.0.0.1", 0), backlog=100):
    """A listening socket that does not block."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.bind(address)
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def unused_port():
    """A port on 127.0.0.1 that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def fill(sock, data=b"\0" * CHUNK):
    """Send on a socket that does not block until the kernel takes no more."""
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            sent += sock.send(data)
    return sent


def drain(sock):
    """All that can be received now from a socket that does not block."""
    parts = []
    with contextlib.suppress(BlockingIOError):
        while part := sock.recv(CHUNK):
            parts.append(part)
    return b"".join(parts)


def reset(sock):
    """Close a TCP socket so that its peer sees a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Peer:
    """The other end of a connection: a blocking socket that is used from a thread."""

    def __init__(self, sock):
        sock.settimeout(GUARD)
        self.sock = sock

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.sock.close()

    async def send(self, data):
        await asyncio.to_thread(self.sock.sendall, data)

    async def recv(self, size=CHUNK):
        return await asyncio.to_thread(self.sock.recv, size)

    async def recv_exactly(self, size):
        return await asyncio.to_thread(self._recv_exactly, size)

    def _recv_exactly(self, size):
        data = bytearray()
        while len(data) < size:
            part = self.sock.recv(min(size - len(data), 1 << 20))
            if not part:
                break
            data += part
        return bytes(data)

    async def recv_to_eof(self):
        return await asyncio.to_thread(self._recv_exactly, 1 << 62)

    def shutdown(self):
        self.sock.shutdown(socket.SHUT_WR)

    def close(self):
        self.sock.close()

    def reset(self):
        reset(self.sock)


class Recorder(asyncio.Protocol):
    """Notes every callback; `made`, `eof` and `lost` can be awaited."""

    keep_open = False

    def __init__(self):
        loop = asyncio.get_running_loop()
        self.events = []
        self.data = bytearray()
        self.transport = None
        self.made = loop.create_future()
        self.eof = loop.create_future()
        self.lost = loop.create_future()
        self._change = asyncio.Event()

    def note(self, event):
        self.events.append(event)
        self._change.set()

    async def wait(self, condition):
        """Until `condition()` holds; it is looked at after every callback."""
        async with asyncio.timeout(GUARD):
            while not condition():
                self._change.clear()
                await self._change.wait()

    async def wait_bytes(self, size):
        await self.wait(lambda: len(self.data) >= size)
        return bytes(self.data)

    def connection_made(self, transport):
        assert self.transport is None
        self.transport = transport
        self.note("made")
        self.made.set_result(transport)

    def data_received(self, data):
        assert type(data) is bytes
        assert data
        self.data += data
        self.note("data")

    def eof_received(self):
        self.note("eof")
        self.eof.set_result(None)
        return self.keep_open

    def connection_lost(self, exc):
        self.note("lost")
        self.lost.set_result(exc)

    def pause_writing(self):
        self.note("pause")

    def resume_writing(self):
        self.note("resume")

    @property
    def calls(self):
        """The callbacks in order, a run of the same one counted once."""
        return [
            event
            for index, event in enumerate(self.events)
            if index == 0 or self.events[index - 1] != event
        ]


class HalfOpen(Recorder):
    """Keeps its side open when the peer has ended its own."""

    keep_open = True


class Echo(asyncio.Protocol):
    """Sends back what it gets; stops reading while its peer does not."""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)

    def pause_writing(self):
        self.transport.pause_reading()

    def resume_writing(self):
        self.transport.resume_reading()


@contextlib.asynccontextmanager
async def connected(factory=Recorder, family=socket.AF_INET, make=tcp_sockets, before=None):
    """(transport, protocol, peer): a transport of the loop under test and a plain peer.

    `before(sock, peer)` may change the sockets before the loop gets the first.
    """
    loop = asyncio.get_running_loop()
    ours, theirs = make() if family == socket.AF_INET else socket.socketpair(family)
    if before is not None:
        before(ours, theirs)
    with Peer(theirs) as peer:
        transport, protocol = await loop.create_connection(factory, sock=ours)
        held = weakref.ref(ours)
        del ours  # where others have the socket nothing that is written waits
        try:
            yield transport, protocol, peer
        finally:
            if not is_closed(held):
                transport.abort()
                # connection_lost and the close of the descriptor come a turn later.
                await until(lambda: is_closed(held))


def is_closed(ref):
    """Whether a socket, given by a weak reference, is closed or gone."""
    sock = ref()
    return sock is None or sock.fileno() == -1


def small_buffers(*socks):
    """Make the kernel hold little, so that flow control has something to do."""
    for sock in socks:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)


@contextlib.asynccontextmanager
async def serving(factory=Echo, **kwargs):
    """(server, address): a TCP server of the loop under test on 127.0.0.1."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(factory, "127.0.0.1", 0, **kwargs)
    try:
        yield server, server.sockets[0].getsockname()
    finally:
        server.close()


class Reports(list):
    """What the loop reported to its exception handler."""

    def __init__(self, loop=None):
        super().__init__()
        loop = loop or asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: self.append(context))

    @property
    def messages(self):
        return [context["message"] for context in self]

    @property
    def exceptions(self):
        return [context.get("exception") for context in self]


@contextlib.contextmanager
def asyncio_log(level=logging.WARNING):
    """The records that the logger "asyncio" gets meanwhile."""
    records = []

    class Collector(logging.Handler):
        def emit(self, record):
            records.append(record)

    logger = logging.getLogger("asyncio")
    handler = Collector(level)
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield records
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


@contextlib.contextmanager
def black_hole():
    """An address on 127.0.0.1 where connecting neither succeeds nor fails for a second or more."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(listening(backlog=0))
        address = listener.getsockname()
        for _ in range(50):
            sock = stack.enter_context(socket.socket())
            sock.settimeout(0.1)
            try:
                sock.connect(address)
            except TimeoutError:  # the queue is full
                break
        else:
            raise AssertionError("the listener's queue never fills")
        yield address


def resolving(loop, *addresses):
    """Let the loop resolve every name to these addresses; gives the list of calls."""
    calls = []

    async def getaddrinfo(host, port, *, family=0, type=0, proto=0, flags=0):
        calls.append((host, port, family, type, proto, flags))
        return [
            (
                socket.AF_INET6 if ":" in address[0] else socket.AF_INET,
                socket.SOCK_STREAM,
                socket.IPPROTO_TCP,
                "",
                address,
            )
            for address in addresses
        ]

    loop.getaddrinfo = getaddrinfo
    return calls


async def exchange(transport, protocol):
    """Send through an echo server and get it back."""
    before = len(protocol.data)
    transport.write(b"ping")
    await protocol.wait_bytes(before + 4)
    assert bytes(protocol.data[before:]) == b"ping"


async def ended(transport, protocol):
    transport.close()
    async with asyncio.timeout(GUARD):
        assert await protocol.lost is None
