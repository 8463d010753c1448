"""Every descriptor is closed exactly once, and no byte reaches a stranger."""

import asyncio
import contextlib
import errno
import gc
import os
import random
import socket
import sys

import pytest

from .ioutil import (
    Echo,
    Recorder,
    Reports,
    asyncio_log,
    black_hole,
    drain,
    ended,
    exchange,
    no_new_descriptors,
    open_descriptors,
    pattern,
    resolving,
    serving,
    tcp_sockets,
    turns,
    until,
    unused_port,
)
from .support import GUARD

LOCALHOST = "127.0.0.1"


class Counted(socket.socket):
    """A socket that counts how often its descriptor is closed, and keeps its number in mind."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.number = self.fileno()
        self.closes = 0

    def _real_close(self, *args, **kwargs):
        if self.fileno() != -1:
            self.closes += 1
        super()._real_close(*args, **kwargs)


def counted_pair(family=socket.AF_UNIX, kind=Counted):
    """A socket of `kind` and its peer."""
    a, b = tcp_sockets() if family == socket.AF_INET else socket.socketpair(family)
    b.setblocking(False)
    return kind(fileno=a.detach()), b


class Stranger:
    """Takes the lowest free numbers, and finds out whether somebody else touches them."""

    def __init__(self):
        self.pairs = [socket.socketpair() for _ in range(3)]
        for a, b in self.pairs:
            a.setblocking(False)
            b.setblocking(False)
        self.inodes = [self._inodes(pair) for pair in self.pairs]

    @staticmethod
    def _inodes(pair):
        return [os.fstat(sock.fileno()).st_ino for sock in pair]

    def numbers(self):
        return {sock.fileno() for pair in self.pairs for sock in pair}

    def bait(self):
        """Make every one of them readable."""
        for a, b in self.pairs:
            a.send(b"secret")
            b.send(b"secret")

    def check(self):
        """Nothing was written, taken or closed by anybody else."""
        assert [self._inodes(pair) for pair in self.pairs] == self.inodes
        for a, b in self.pairs:
            assert drain(a) == b"secret"
            assert drain(b) == b"secret"

    def close(self):
        for a, b in self.pairs:
            a.close()
            b.close()


def let_go(sock, how):
    """What a user does who thinks that the socket is still his."""
    if how == "close":
        sock.close()
    else:
        os.close(sock.detach())


LET_GO = pytest.mark.parametrize("how", ["close", "detach"])


# The user closes a socket that a transport has


@LET_GO
@pytest.mark.parametrize(
    "traffic",
    # With bytes that wait asyncio's abort() raises FileNotFoundError.
    ["idle", "writing", "paused", pytest.param("backlog", marks=pytest.mark.fastaio_only)],
)
def test_the_users_socket_closed_under_a_transport(run, how, traffic):
    async def main():
        loop = asyncio.get_running_loop()
        Reports(loop)
        a, b = socket.socketpair()
        b.setblocking(False)
        with b:
            number = a.fileno()
            transport, protocol = await loop.create_connection(Recorder, sock=a)
            await turns()
            if traffic == "paused":
                transport.pause_reading()
            elif traffic == "backlog":
                transport.write(b"mine" * 1_000_000)
                await turns()
            elif traffic == "writing":
                transport.write(b"mine")
            let_go(a, how)
            stranger = Stranger()
            if how == "detach":
                assert number in stranger.numbers()
            stranger.bait()
            for _ in range(5):
                if traffic != "idle":
                    transport.write(b"mine")
                await turns()
                drain(b)
            if traffic == "paused":
                transport.resume_reading()
                await turns(5)
            assert b"secret" not in protocol.data
            transport.abort()
            await protocol.lost
            await turns(3)
            stranger.check()
            stranger.close()

    with asyncio_log():
        run(main)


@LET_GO
@pytest.mark.parametrize("operation", ["recv", "sendall", "accept"])
def test_the_users_socket_closed_under_a_sock_call(run, how, operation):
    async def main():
        loop = asyncio.get_running_loop()
        if operation == "accept":
            a = socket.create_server((LOCALHOST, 0))
            b = socket.socket()
        else:
            a, b = socket.socketpair()
        a.setblocking(False)
        with b:
            if operation == "recv":
                call = loop.sock_recv(a, 100)
            elif operation == "accept":
                call = loop.sock_accept(a)
            else:
                call = loop.sock_sendall(a, b"mine" * 1_000_000)
            task = asyncio.create_task(call)
            await turns(3)
            let_go(a, how)
            stranger = Stranger()
            stranger.bait()
            b.setblocking(False)
            if operation != "accept":
                drain(b)
            await turns(5)
            task.cancel()
            await asyncio.wait([task], timeout=GUARD)
            assert task.done()
            if not task.cancelled() and task.exception() is None:
                assert task.result() != b"secret"
            await turns(3)
            stranger.check()
            stranger.close()

    run(main)


@LET_GO
def test_a_listening_socket_closed_under_a_server(run, how):
    async def main():
        loop = asyncio.get_running_loop()
        sock = socket.create_server((LOCALHOST, 0))
        server = await loop.create_server(Echo, sock=sock)
        let_go(sock, how)
        stranger = Stranger()
        stranger.bait()
        await turns(5)
        with contextlib.suppress(ValueError):  # asyncio's complaint about descriptor -1
            server.close()
        await turns(5)
        stranger.check()
        stranger.close()

    run(main)


def test_detach_mid_traffic_between_two_connections(run):
    """A connection that lost its number to another one: neither gets the other's bytes."""

    async def main():
        loop = asyncio.get_running_loop()
        Reports(loop)
        a, b = socket.socketpair()
        b.setblocking(False)
        first, first_protocol = await loop.create_connection(Recorder, sock=a)
        first.write(b"first")
        await turns()
        os.close(a.detach())
        c, d = socket.socketpair()
        d.setblocking(False)
        for _ in range(3):
            first.write(b"first")
            d.send(b"for the second")
            await turns(3)
        assert b"second" not in first_protocol.data
        assert drain(d) == b""
        first.abort()
        await until(lambda: first_protocol.lost.done())
        await turns(3)
        assert drain(d) == b""
        with c, d, b:
            assert c.fileno() != -1
            assert drain_blocking(c) == b"for the second" * 3

    with asyncio_log():
        run(main)


@pytest.mark.fastaio_only
@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
def test_the_end_of_a_detached_transport_may_close_the_loop(loop_factory):
    """Who comes with its number finds that out, and then that the loop is closed."""
    loop = loop_factory()

    class Last(asyncio.Protocol):
        def __del__(self):
            loop.close()

    async def connect():
        await loop.create_connection(Last, sock=ours)
        await turns(3)

    ours, theirs = socket.socketpair()
    loop.run_until_complete(connect())
    gc.collect()
    with theirs, socket.socket(fileno=ours.detach()) as sock:
        assert not loop.is_closed()
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            loop._add_reader(sock.fileno(), int)
        assert loop.is_closed()


@contextlib.asynccontextmanager
async def taken_number(first):
    """(sock, peer): a connection under the number that a transport or server believes to have."""
    loop = asyncio.get_running_loop()
    if first == "transport":
        ours, theirs = tcp_sockets()
        transport, protocol = await loop.create_connection(Recorder, sock=ours)
        number = ours.detach()
    else:
        ours = theirs = socket.create_server((LOCALHOST, 0))
        server = await loop.create_server(Recorder, sock=ours)
        number = ours.detach()
    sock, peer = socket.socketpair()
    with sock, theirs, peer:
        os.dup2(sock.fileno(), number)
        with socket.socket(fileno=number) as second:
            second.setblocking(False)
            yield second, peer
            await until(lambda: second.fileno() == -1)
    if first == "transport":
        transport.abort()
        await until(protocol.lost.done)
    else:
        with contextlib.suppress(ValueError):  # asyncio's Server: the socket has no number
            server.close()
    await turns(3)


@pytest.mark.fastaio_only
@pytest.mark.parametrize("first", ["transport", "server"])
@pytest.mark.parametrize("use", ["transport", "reader", "writer", "sock_recv"])
def test_a_number_that_was_taken_away_serves_its_next_owner(run, first, use):
    """Who has lost a descriptor without knowing it does not keep the number from others."""

    async def main():
        loop = asyncio.get_running_loop()
        reports = Reports(loop)
        async with taken_number(first) as (sock, peer):
            peer.send(b"for the second")
            if use == "transport":
                transport, protocol = await loop.create_connection(Recorder, sock=sock)
                await protocol.wait_bytes(14)
                transport.abort()
                return
            if use == "sock_recv":
                assert await loop.sock_recv(sock, 100) == b"for the second"
                reading = asyncio.create_task(loop.sock_recv(sock, 100))
                await turns()
                peer.send(b"more")
                assert await reading == b"more"
            else:
                ready = asyncio.Event()
                getattr(loop, f"add_{use}")(sock, ready.set)
                await ready.wait()
                assert getattr(loop, f"remove_{use}")(sock)
            sock.close()
        assert not list(reports)

    run(main)


def drain_blocking(sock):
    sock.setblocking(False)
    return drain(sock)


# create_connection(sock=) that is cancelled


@pytest.mark.parametrize("steps", range(6))
def test_a_cancelled_connection_over_a_socket_closes_it_once(run, steps):
    async def main():
        loop = asyncio.get_running_loop()
        sock, peer = counted_pair()
        with peer:
            task = asyncio.create_task(loop.create_connection(Recorder, sock=sock))
            await turns(steps)
            task.cancel()
            try:
                transport, protocol = await task
            except asyncio.CancelledError:
                if steps == 0:  # it had not begun: the socket is still the caller's
                    assert sock.closes == 0
                    sock.close()
            else:
                await ended(transport, protocol)
            await until(lambda: sock.closes)
            stranger = Stranger()
            assert sock.number in stranger.numbers()
            stranger.bait()
            del task
            gc.collect()
            await turns(5)
            sock.close()
            await turns()
            assert sock.closes == 1
            stranger.check()
            stranger.close()

    run(main)


@pytest.mark.parametrize("method", ["create_connection", "create_unix_connection", "accepted"])
def test_a_factory_that_raises(run, method):
    """Newer releases of asyncio close the socket, older ones leave it: never twice."""

    async def main():
        loop = asyncio.get_running_loop()
        sock, peer = counted_pair()

        def factory():
            raise ZeroDivisionError

        with peer:
            with pytest.raises(ZeroDivisionError):
                if method == "accepted":
                    await loop.connect_accepted_socket(factory, sock)
                else:
                    await getattr(loop, method)(factory, sock=sock)
            await turns()
            if sys.version_info >= (3, 14, 10):
                assert sock.closes == 1
            stranger = Stranger()
            stranger.bait()
            sock.close()
            await turns(3)
            assert sock.closes == 1
            stranger.check()
            stranger.close()

    run(main)


# Sockets that the loop makes


class Made(Counted):
    """Stands in for socket.socket: remembers its instances, and fails where it is told to."""

    all = []
    fault = None

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        Made.all.append(self)

    def _call(self, name, *args):
        if Made.fault == name:
            raise OSError(errno.EIO, name)
        return getattr(super(), name)(*args)

    def setblocking(self, *args):
        return self._call("setblocking", *args)

    def setsockopt(self, *args):
        return self._call("setsockopt", *args)

    def bind(self, *args):
        return self._call("bind", *args)

    def listen(self, *args):
        return self._call("listen", *args)

    def connect(self, *args):
        return self._call("connect", *args)


@pytest.fixture
def made(monkeypatch):
    """The sockets that are made meanwhile."""
    monkeypatch.setattr(Made, "all", [])
    monkeypatch.setattr(Made, "fault", None)
    monkeypatch.setattr(socket, "socket", Made)
    return Made


def test_failed_attempts_close_once(run, made):
    async def main():
        loop = asyncio.get_running_loop()
        resolving(loop, (LOCALHOST, unused_port()), ("127.0.0.2", unused_port()))
        made.all.clear()
        with pytest.raises(OSError, match="Multiple exceptions"):
            await loop.create_connection(Recorder, "name", 80)
        assert [sock.closes for sock in made.all] == [1, 1]

    run(main)


@pytest.mark.parametrize("fault", ["setblocking", "bind", "connect"])
def test_faults_while_connecting(run, made, fault):
    async def main():
        loop = asyncio.get_running_loop()
        async with serving() as (_, address):
            made.all.clear()
            made.fault = fault
            with pytest.raises(OSError, match=fault):
                await loop.create_connection(Recorder, *address, local_addr=(LOCALHOST, 0))
            made.fault = None
            assert [sock.closes for sock in made.all] == [1]

    run(main)


def test_a_fault_while_the_transport_is_made(run, made):
    """TCP_NODELAY fails on a connected socket: the caller gets the error, no descriptor stays."""

    async def main():
        loop = asyncio.get_running_loop()
        async with serving() as (_, address):
            made.all.clear()
            made.fault = "setsockopt"
            with pytest.raises(OSError, match="setsockopt"):
                await loop.create_connection(Recorder, *address)
            made.fault = None
            gc.collect()
            await turns(5)
            (sock,) = made.all[:1]
            sock.close()
            assert sock.closes == 1

    run(main)


@pytest.mark.parametrize("fault", ["setsockopt", "bind", "setblocking", "listen"])
def test_faults_while_serving(run, made, fault):
    async def main():
        loop = asyncio.get_running_loop()
        made.all.clear()
        made.fault = fault
        with pytest.raises(OSError, match=fault):
            await loop.create_server(Echo, [LOCALHOST, "127.0.0.2"], 0)
        made.fault = None
        await turns()
        assert all(sock.closes <= 1 for sock in made.all)
        if fault in ("setsockopt", "bind"):
            assert made.all
            assert all(sock.closes == 1 for sock in made.all)
        for sock in made.all:
            sock.close()
            assert sock.closes == 1

    run(main)


def test_a_port_in_use_closes_all(run, made):
    async def main():
        loop = asyncio.get_running_loop()
        async with serving() as (_, address):
            made.all.clear()
            with pytest.raises(OSError, match="address already in use"):
                await loop.create_server(Echo, [LOCALHOST, "127.0.0.2"], address[1])
            assert made.all
            assert all(sock.closes == 1 for sock in made.all)

    run(main)


def test_a_cancelled_attempt_closes_once(run, made):
    async def main():
        loop = asyncio.get_running_loop()
        with black_hole() as silent:
            for delay in (None, 0.01):
                made.all.clear()
                resolving(loop, silent, silent)
                task = asyncio.create_task(
                    loop.create_connection(Recorder, "name", 80, happy_eyeballs_delay=delay)
                )
                count = 1 if delay is None else 2
                await until(lambda count=count: len(made.all) == count)
                await turns(3)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                await until(lambda: all(sock.closes for sock in made.all))
                await turns(3)
                assert [sock.closes for sock in made.all] == [1] * count

    run(main)


def test_the_losers_of_a_race_close_once(run, made):
    async def main():
        loop = asyncio.get_running_loop()
        async with serving() as (_, address):
            with black_hole() as silent:
                made.all.clear()
                resolving(loop, silent, address)
                transport, protocol = await loop.create_connection(
                    Recorder, "name", 80, happy_eyeballs_delay=0.01
                )
                attempts = made.all[:2]
                await until(lambda: attempts[0].closes)
                assert attempts[1].closes == 0
                await exchange(transport, protocol)
                await ended(transport, protocol)
                await until(lambda: attempts[1].closes)
                await turns(3)
                assert [sock.closes for sock in attempts] == [1, 1]

    run(main)


def test_a_unix_attempt_that_fails(run, made, tmp_path):
    async def main():
        loop = asyncio.get_running_loop()
        path = str(tmp_path / "socket")
        made.all.clear()
        with pytest.raises(FileNotFoundError):
            await loop.create_unix_connection(Recorder, path)
        with pytest.raises(FileNotFoundError):
            await loop.create_unix_server(Recorder, path + "/deeper")
        assert [sock.closes for sock in made.all] == [1, 1]

    run(main)


# System calls that fail under a transport


class Faulty(Counted):
    """Its receiving and sending do what `plan` says, call by call; then they are a socket's."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.receiving = []
        self.sending = []
        self.calls = {"recv": 0, "send": 0}

    def recv(self, size, *args):
        self.calls["recv"] += 1
        if self.receiving:
            step = self.receiving.pop(0)
            if isinstance(step, BaseException):
                raise step
            size = min(size, step)
        return super().recv(size, *args)

    def recv_into(self, buffer, *args):
        self.calls["recv"] += 1
        if self.receiving:
            step = self.receiving.pop(0)
            if isinstance(step, BaseException):
                raise step
            buffer = memoryview(buffer)[:step]
        return super().recv_into(buffer, *args)

    def send(self, data, *args):
        self.calls["send"] += 1
        if self.sending:
            step = self.sending.pop(0)
            if isinstance(step, BaseException):
                raise step
            data = memoryview(data)[:step]
        return super().send(data, *args)

    def sendmsg(self, buffers, *args):
        return self.send(b"".join(buffers), *args)


class Faults:
    """A transport over a Faulty socket, its protocol, the peer, and what was reported."""

    def __init__(self, factory=Recorder, **plan):
        self.factory = factory
        self.plan = plan

    async def __aenter__(self):
        self.reports = Reports()
        self.sock, self.peer = counted_pair(kind=Faulty)
        self.sock.__dict__.update(self.plan)
        loop = asyncio.get_running_loop()
        self.transport, self.protocol = await loop.create_connection(self.factory, sock=self.sock)
        return self

    async def __aexit__(self, kind, exc, traceback):
        if not self.sock.closes:
            self.transport.abort()
            await until(lambda: self.sock.closes)
        self.peer.close()
        await turns(3)
        if kind is None:
            assert self.sock.closes == 1
            assert self.protocol.events.count("lost") == 1


OS_ERRORS = [
    ConnectionResetError(errno.ECONNRESET, "reset"),
    ConnectionAbortedError(errno.ECONNABORTED, "aborted"),
    TimeoutError(errno.ETIMEDOUT, "timed out"),
    OSError(errno.EHOSTUNREACH, "no route"),
    OSError(errno.ENOBUFS, "no buffers"),
    OSError(errno.EIO, "input/output"),
]
OTHER_ERRORS = [ZeroDivisionError("x"), MemoryError("x"), ValueError("x")]


def fresh(error):
    """An error of its own for each test: a raised one keeps its traceback and the frames."""
    return type(error)(*error.args)


def names(errors):
    return [f"{type(error).__name__}-{getattr(error, 'errno', '')}" for error in errors]


@pytest.mark.parametrize("error", OS_ERRORS + OTHER_ERRORS, ids=names(OS_ERRORS + OTHER_ERRORS))
def test_a_recv_that_fails(run, error):
    error = fresh(error)

    async def main():
        async with Faults(receiving=[error]) as faults:
            faults.peer.send(b"x")
            assert await faults.protocol.lost is error
            assert faults.protocol.events == ["made", "lost"]
            check_reports(faults, error, "Fatal read error on socket transport")

    run(main)


def check_reports(faults, error, message):
    if isinstance(error, OSError):
        assert faults.reports == []
    else:
        assert [dict(report) for report in faults.reports] == [
            {
                "message": message,
                "exception": error,
                "transport": faults.transport,
                "protocol": faults.protocol,
            }
        ]


@pytest.mark.parametrize("error", OS_ERRORS + OTHER_ERRORS, ids=names(OS_ERRORS + OTHER_ERRORS))
def test_a_send_that_fails(run, error):
    error = fresh(error)

    async def main():
        async with Faults(sending=[error]) as faults:
            faults.transport.write(b"x")
            assert await faults.protocol.lost is error
            assert faults.protocol.events == ["made", "lost"]
            check_reports(faults, error, "Fatal write error on socket transport")

    run(main)


@pytest.mark.parametrize("error", [OS_ERRORS[0], OTHER_ERRORS[0]], ids=["os", "other"])
def test_a_send_that_fails_later(run, error):
    """The rest of a write that the kernel did not take at once."""

    error = fresh(error)

    async def main():
        async with Faults(sending=[3, error]) as faults:
            faults.transport.write(b"x" * 100)
            assert await faults.protocol.lost is error
            assert faults.protocol.events == ["made", "lost"]
            assert faults.transport.get_write_buffer_size() == 0
            assert drain(faults.peer) == b"xxx"
            check_reports(faults, error, "Fatal write error on socket transport")

    run(main)


def test_a_fault_while_close_waits(run):
    async def main():
        error = OSError(errno.EIO, "input/output")
        async with Faults(sending=[3, error]) as faults:
            faults.transport.write(b"x" * 100)
            faults.transport.close()
            assert await faults.protocol.lost is error
            assert faults.reports == []

    run(main)


@pytest.mark.parametrize("error", [BlockingIOError, InterruptedError])
def test_not_now_is_no_fault(run, error):
    """A call that is told to try again is tried again, and nothing is lost."""

    async def main():
        plan = {"receiving": [error(), error(), 2, error(), 1], "sending": [error(), error(), 2]}
        async with Faults(**plan) as faults:
            faults.peer.send(b"received")
            assert await faults.protocol.wait_bytes(8) == b"received"
            faults.transport.write(b"sent")
            got = bytearray()
            async with asyncio.timeout(GUARD):
                while len(got) < 4:
                    got += drain(faults.peer)
                    await asyncio.sleep(0)
            assert got == b"sent"
            assert faults.reports == []

    run(main)


def test_short_sends_and_receives(run):
    """A kernel that takes and gives as little as it may."""

    async def main():
        choice = random.Random(5)
        data = pattern(5000)
        plan = {
            "receiving": [choice.randint(1, 9) for _ in range(500)],
            "sending": [choice.randint(1, 9) for _ in range(500)],
        }
        async with Faults(**plan) as faults:
            for position in range(0, len(data), 100):
                faults.transport.write(data[position : position + 100])
            faults.transport.writelines([b"a", b"b" * 10, b"c"])
            got = bytearray()
            async with asyncio.timeout(GUARD):
                while len(got) < len(data) + 12:
                    got += drain(faults.peer)
                    await asyncio.sleep(0)
            assert got == data + b"a" + b"b" * 10 + b"c"
            faults.peer.send(data)
            assert await faults.protocol.wait_bytes(len(data)) == data
            assert faults.sock.calls["recv"] > 500
            assert faults.sock.calls["send"] > 500

    run(main)


def test_a_buffered_protocol_over_a_faulty_socket(run):
    async def main():
        error = OSError(errno.EIO, "input/output")

        class Buffered(Recorder, asyncio.BufferedProtocol):
            def get_buffer(self, sizehint):
                self.buffer = bytearray(100)
                return self.buffer

            def buffer_updated(self, nbytes):
                self.data += self.buffer[:nbytes]
                self.note("data")

        async with Faults(Buffered, receiving=[2, BlockingIOError(), 3]) as faults:
            faults.peer.send(b"abcdef")
            assert await faults.protocol.wait_bytes(6) == b"abcdef"
            faults.sock.receiving.append(error)
            faults.peer.send(b"x")
            assert await faults.protocol.lost is error
            assert faults.reports == []

    run(main)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_recv_leaves_the_loop(loop, error):
    async def make(sock):
        return await loop.create_connection(Recorder, sock=sock)

    sock, peer = counted_pair(kind=Faulty)
    with peer:
        transport, protocol = loop.run_until_complete(make(sock))
        sock.receiving = [error("out")]
        peer.send(b"x")
        with pytest.raises(error, match="^out$"):
            loop.run_until_complete(asyncio.sleep(GUARD))
        assert loop.run_until_complete(protocol.wait_bytes(1)) == b"x"
        loop.run_until_complete(ended(transport, protocol))
        assert sock.closes == 1


@pytest.mark.parametrize("name", ["getsockname", "getpeername"])
def test_a_socket_that_does_not_know_its_names(run, name):
    class Nameless(Counted):
        def getsockname(self):
            if name == "getsockname":
                raise OSError(errno.ENOBUFS, "no")
            return super().getsockname()

        def getpeername(self):
            if name == "getpeername":
                raise OSError(errno.ENOTCONN, "no")
            return super().getpeername()

    async def main():
        loop = asyncio.get_running_loop()
        sock, peer = counted_pair(kind=Nameless)
        with peer:
            transport, protocol = await loop.create_connection(Recorder, sock=sock)
            key = {"getsockname": "sockname", "getpeername": "peername"}[name]
            assert transport.get_extra_info(key, "default") is None
            await ended(transport, protocol)

    run(main)


# accept() that fails


class Accepting(Counted):
    """A listening socket whose accept() fails as planned."""

    faults = ()

    def accept(self):
        if self.faults:
            raise self.faults.pop(0)
        return super().accept()


@pytest.mark.parametrize(
    ("faults", "reported"),
    [
        ([ConnectionAbortedError(errno.ECONNABORTED, "aborted")], []),
        ([BlockingIOError(), InterruptedError()], []),
        ([OSError(errno.EPERM, "firewall")], ["Exception in callback"]),
        ([ZeroDivisionError()], ["Exception in callback"]),
    ],
    ids=["aborted", "blocking", "os", "other"],
)
def test_an_accept_that_fails(run, faults, reported):
    """The server goes on listening, and the client that waits is served."""

    async def main():
        loop = asyncio.get_running_loop()
        reports = Reports(loop)
        plain = socket.create_server((LOCALHOST, 0))
        sock = Accepting(fileno=plain.detach())
        sock.faults = [fresh(fault) for fault in faults]
        server = await loop.create_server(Echo, sock=sock)
        transport, protocol = await loop.create_connection(Recorder, *sock.getsockname())
        await exchange(transport, protocol)
        assert sock.faults == []
        assert [message[: len("Exception in callback")] for message in reports.messages] == reported
        await ended(transport, protocol)
        server.close()
        assert sock.closes == 1

    run(main)


# The end of a loop


def test_a_loop_that_is_closed_after_connections(loop_factory):
    def live():
        loop = loop_factory()

        async def main():
            server = await loop.create_server(Echo, LOCALHOST, 0)
            address = server.sockets[0].getsockname()
            made = [await loop.create_connection(Recorder, *address) for _ in range(5)]
            for connection in made:
                await exchange(*connection)
            server.close()
            for connection in made:
                await ended(*connection)
            await turns(3)

        loop.run_until_complete(main())
        loop.close()

    with no_new_descriptors():
        live()
        gc.collect()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_loop_that_is_abandoned_with_connections(loop_factory):
    def abandon():
        loop = loop_factory()

        async def main():
            server = await loop.create_server(Echo, LOCALHOST, 0)
            address = server.sockets[0].getsockname()
            made = [await loop.create_connection(Recorder, *address) for _ in range(5)]
            for connection in made:
                await exchange(*connection)
            server.close()

        loop.run_until_complete(main())
        loop.close()

    with no_new_descriptors():
        abandon()
        for _ in range(3):
            gc.collect()


def test_a_fresh_loop_leaves_nothing(loop_factory):
    with no_new_descriptors():
        for _ in range(5):
            loop = loop_factory()
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()
        del loop
        gc.collect()


# Chaos


def test_connections_cancelled_at_random(run):
    """Hundreds of attempts, given up at any moment, beside a connection that must not notice."""

    async def main():
        loop = asyncio.get_running_loop()
        choice = random.Random(7)

        async def attempt(address):
            transport, protocol = await loop.create_connection(Recorder, *address)
            try:
                for _ in range(3):
                    await exchange(transport, protocol)
            finally:
                if choice.random() < 0.5:
                    transport.close()
                else:
                    transport.abort()

        async with serving() as (_, address):
            canary, canary_protocol = await loop.create_connection(Recorder, *address)
            await exchange(canary, canary_protocol)  # the server has its end too
            before = open_descriptors()
            stranger = None
            for round_number in range(30):
                tasks = [asyncio.create_task(attempt(address)) for _ in range(10)]
                for task in tasks:
                    await turns(choice.randrange(4))
                    if choice.random() < 0.7:
                        task.cancel()
                await exchange(canary, canary_protocol)
                if round_number == 15:
                    stranger = Stranger()
                    stranger.bait()
                async with asyncio.timeout(GUARD):
                    results = await asyncio.gather(*tasks, return_exceptions=True)
                assert all(
                    result is None or isinstance(result, asyncio.CancelledError)
                    for result in results
                )
            stranger.check()
            stranger.close()
            await until(lambda: open_descriptors() <= before)
            await exchange(canary, canary_protocol)
            await ended(canary, canary_protocol)

    run(main)
