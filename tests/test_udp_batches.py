"""Datagrams that are received together are delivered as asyncio delivers them, one by one."""

import asyncio
import contextlib
import errno
import fcntl
import os
import socket
import struct
import termios

import pytest

from .ioutil import Reports, needs_ipv6, pattern, until
from .support import GUARD, run_python

BURST = 12
# More bursts than fastaio needs to find out that datagrams come together.
WARM_UP = 40


def waiting(fd):
    """The size of the first datagram that the kernel holds; 0: none."""
    return struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, b"\0" * 4))[0]


class Server(asyncio.DatagramProtocol):
    """Notes every event; `on_data(data)` is what a test does in the callback."""

    def __init__(self):
        self.events = []
        self.on_data = lambda data: None
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        self.fd = transport.get_extra_info("socket").fileno()

    def datagram_received(self, data, addr):
        self.events.append(data)
        self.on_data(data)

    def error_received(self, exc):
        self.events.append(exc)

    def connection_lost(self, exc):
        self.events.append("lost")
        self.lost.set_result(exc)


class Burst:
    """Sends datagrams that are all in the kernel before the loop can look."""

    def __init__(self, server, sock):
        self.server = server
        self.sock = sock
        self.address = server.transport.get_extra_info("sockname")[:2]

    def send(self, *items):
        for data in items:
            self.sock.sendto(data, self.address)

    async def warm_up(self):
        """Let the loop see that datagrams come together; forget what was noted."""
        items = [b"w%d" % i for i in range(BURST)]
        for _ in range(WARM_UP):
            self.send(*items)
            await until(lambda: len(self.server.events) == BURST)
            assert self.server.events == items
            self.server.events.clear()


@contextlib.asynccontextmanager
async def bursts(host="127.0.0.1", **options):
    """A Burst to a server that is used to bursts."""
    loop = asyncio.get_running_loop()
    if not options:
        options = {"local_addr": (host, 0)}
    transport, server = await loop.create_datagram_endpoint(Server, **options)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            burst = Burst(server, sock)
            await burst.warm_up()
            yield burst
        finally:
            transport.abort()
            async with asyncio.timeout(GUARD):
                await server.lost


NUMBERS = [b"%d" % i for i in range(BURST)]


@pytest.mark.fastaio_only
def test_a_burst_is_received_by_one_call(run):
    async def main():
        async with bursts() as burst:
            left = []
            burst.server.on_data = lambda data: left.append(waiting(burst.server.fd))
            burst.send(*NUMBERS)
            await until(lambda: len(left) == BURST)
            assert left == [0] * BURST  # the kernel had handed over all before the first callback

    run(main)


def test_a_task_that_a_datagram_wakes_runs_before_the_next_datagram(run):
    """A protocol with one future at a time loses nothing, as on asyncio."""

    async def main():
        async with bursts() as burst:
            loop = asyncio.get_running_loop()
            answer = loop.create_future()
            got = []

            def on_data(data):
                answer.set_result(data)  # fails if the task has not made a new one

            burst.server.on_data = on_data
            burst.send(*NUMBERS)
            for _ in range(BURST):
                got.append(await answer)
                answer = loop.create_future()
            assert got == NUMBERS

    run(main)


def test_callbacks_run_between_datagrams(run):
    async def main():
        async with bursts() as burst:
            loop = asyncio.get_running_loop()
            events = burst.server.events
            burst.server.on_data = lambda data: loop.call_soon(events.append, b"after " + data)
            burst.send(*NUMBERS)
            await until(lambda: len(events) == 2 * BURST)
            assert events == [each for data in NUMBERS for each in (data, b"after " + data)]

    run(main)


def test_stop_within_a_burst(loop_factory):
    """The datagrams behind wait for the next run."""
    loop = loop_factory()
    try:

        async def begin():
            stack = contextlib.AsyncExitStack()
            return stack, await stack.enter_async_context(bursts())

        stack, burst = loop.run_until_complete(begin())
        events = burst.server.events
        burst.server.on_data = lambda data: loop.stop()
        burst.send(*NUMBERS)
        for count in range(1, BURST + 1):
            loop.run_forever()
            assert events == NUMBERS[:count]
        loop.run_until_complete(stack.aclose())
    finally:
        loop.close()


@pytest.mark.parametrize("end", ["close", "abort"])
@pytest.mark.parametrize("last", [0, 5])
def test_an_end_within_a_burst(run, end, last):
    """Nothing is delivered after close() and abort()."""

    async def main():
        async with bursts() as burst:
            server = burst.server

            def on_data(data):
                if data == NUMBERS[last]:
                    getattr(server.transport, end)()

            server.on_data = on_data
            burst.send(*NUMBERS)
            assert await server.lost is None
            await asyncio.sleep(0.01)
            assert server.events == [*NUMBERS[: last + 1], "lost"]

    run(main)


def test_pauses_within_a_burst(run):
    """What is received already comes after resume_reading(), one after the other and in order."""

    async def main():
        async with bursts() as burst:
            server = burst.server
            server.on_data = lambda data: server.transport.pause_reading()
            burst.send(*NUMBERS)
            for count in range(1, BURST + 1):
                await until(lambda count=count: len(server.events) == count)
                await asyncio.sleep(0.002)
                assert server.events == NUMBERS[:count]
                server.transport.resume_reading()
                assert len(server.events) == count  # never within the call
            # Datagrams that come during a pause are behind those that came before.
            server.on_data = lambda data: data == b"0" and server.transport.pause_reading()
            server.events.clear()
            burst.send(*NUMBERS)
            await until(lambda: server.events)
            burst.send(b"later")
            await asyncio.sleep(0.002)
            server.transport.resume_reading()
            await until(lambda: server.events[-1:] == [b"later"])
            assert server.events == [*NUMBERS, b"later"]

    run(main)


def test_pause_and_resume_within_one_callback(run):
    async def main():
        async with bursts() as burst:
            server = burst.server

            def on_data(data):
                server.transport.pause_reading()
                server.transport.resume_reading()

            server.on_data = on_data
            burst.send(*NUMBERS)
            await until(lambda: len(server.events) == BURST)
            assert server.events == NUMBERS

    run(main)


def test_another_protocol_within_a_burst(run):
    async def main():
        async with bursts() as burst:
            server, successor = burst.server, Server()
            server.on_data = lambda data: server.transport.set_protocol(successor)
            burst.send(*NUMBERS)
            await until(lambda: len(successor.events) == BURST - 1)
            assert (server.events, successor.events) == (NUMBERS[:1], NUMBERS[1:])
            server.transport.set_protocol(server)

    run(main)


def test_callbacks_that_raise_within_a_burst(run):
    async def main():
        reports = Reports()
        async with bursts() as burst:

            def on_data(data):
                raise ZeroDivisionError(data)

            burst.server.on_data = on_data
            burst.send(*NUMBERS)
            await until(lambda: len(reports) == BURST)
            assert burst.server.events == NUMBERS
            assert [exc.args[0] for exc in reports.exceptions] == NUMBERS
            assert all("_read_ready" in message for message in reports.messages)

    run(main)


def test_interrupts_within_a_burst(loop_factory):
    """KeyboardInterrupt leaves the loop; the rest of the burst comes in the next run."""
    loop = loop_factory()
    try:

        async def begin():
            stack = contextlib.AsyncExitStack()
            return stack, await stack.enter_async_context(bursts())

        stack, burst = loop.run_until_complete(begin())

        def on_data(data):
            if data == b"3":
                raise KeyboardInterrupt

        burst.server.on_data = on_data
        burst.send(*NUMBERS)
        with pytest.raises(KeyboardInterrupt):
            loop.run_forever()
        assert burst.server.events == NUMBERS[:4]
        loop.run_until_complete(until(lambda: len(burst.server.events) == BURST))
        assert burst.server.events == NUMBERS
        loop.run_until_complete(stack.aclose())
    finally:
        loop.close()


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)])
def test_sizes_and_peers_within_a_burst(run, host):
    """Large and empty datagrams, each with its own address."""

    async def main():
        async with bursts(host) as burst:
            sock = burst.server.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            received = []
            burst.server.datagram_received = lambda data, addr: received.append((data, addr))
            largest = 65507 if host == "127.0.0.1" else 65487
            for sizes in ([1, 20000, 0, 1500] * 3, [1, 2, 3], [largest, 0]):
                received.clear()
                expected = []
                with contextlib.ExitStack() as stack:
                    for number, size in enumerate(sizes):
                        peer = stack.enter_context(socket.socket(burst.sock.family, 2))
                        peer.bind((host, 0))
                        data = pattern(size, number)
                        peer.sendto(data, burst.address)
                        expected.append((data, peer.getsockname()))
                    await until(lambda: len(received) == len(expected))  # noqa: B023
                assert received == expected

    run(main)


def test_a_socket_that_others_share_is_read_one_by_one(run):
    """Its owner may have duplicated it: what a closed transport has not delivered is theirs."""

    async def main():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            sock.setblocking(False)
            with socket.socket(fileno=os.dup(sock.fileno())) as other:
                async with bursts(sock=sock) as burst:
                    server = burst.server
                    server.on_data = lambda data: server.transport.close()
                    burst.send(*NUMBERS)
                    await server.lost
                    assert server.events == [NUMBERS[0], "lost"]
                    assert [other.recv(10) for _ in NUMBERS[1:]] == NUMBERS[1:]

    run(main)


def test_a_socket_that_a_fork_has_shared_is_read_one_by_one(run):
    async def main():
        async with bursts() as burst:
            server = burst.server
            answers, answer = os.pipe()
            proceed, go = os.pipe()
            child = os.fork()
            if child == 0:
                try:
                    os.read(proceed, 1)
                    with socket.socket(fileno=os.dup(server.fd)) as sock:
                        sock.setblocking(False)
                        os.write(answer, b" ".join(sock.recv(10) for _ in NUMBERS[1:]))
                finally:
                    os._exit(0)
            server.on_data = lambda data: server.transport.close()
            burst.send(*NUMBERS)
            await server.lost
            os.write(go, b"x")
            os.waitpid(child, 0)
            os.set_blocking(answers, False)
            assert os.read(answers, 1000).split() == NUMBERS[1:]
            for fd in (answers, answer, proceed, go):
                os.close(fd)

    run(main)


def test_a_fork_within_a_burst(run):
    """What the parent has received is delivered by the parent, once."""

    async def main():
        async with bursts() as burst:
            server = burst.server
            children = []

            def on_data(data):
                if data == b"2":
                    child = os.fork()
                    if child == 0:
                        os._exit(7)
                    children.append(child)

            server.on_data = on_data
            burst.send(*NUMBERS)
            await until(lambda: len(server.events) == BURST)
            assert server.events == NUMBERS
            assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 7

    run(main)


def test_read_ready_by_hand_within_a_burst(run):
    """A meddler calls the private method: no datagram comes twice, and none is lost."""

    async def main():
        async with bursts() as burst:
            server = burst.server
            depth = 0

            def on_data(data):
                nonlocal depth
                if depth < 3:
                    depth += 1
                    server.transport._read_ready()
                    depth -= 1

            server.on_data = on_data
            burst.send(*NUMBERS)
            await until(lambda: len(server.events) == BURST)
            assert sorted(server.events) == sorted(NUMBERS)

    run(main)


def test_a_closed_transport_keeps_no_data(run):
    async def main():
        async with bursts() as burst:
            server = burst.server
            server.on_data = lambda data: server.transport.pause_reading()
            data = [pattern(1000, i) for i in range(BURST)]
            burst.send(*data)
            await until(lambda: server.events)
            server.transport.abort()
            await server.lost
            server.transport.resume_reading()
            await asyncio.sleep(0.002)
            assert server.events == [data[0], "lost"]

    run(main)


def test_a_flood_leaves_turns_to_others(run):
    """Endless datagrams: other callbacks and timers go on."""

    async def main():
        async with bursts() as burst:
            loop = asyncio.get_running_loop()
            count = 0

            def on_data(data):
                nonlocal count
                count += 1
                if count < 3000:
                    burst.send(b"again", b"and again") if count < 50 else burst.send(b"again")

            burst.server.on_data = on_data
            burst.send(*NUMBERS)
            ticks = 0
            end = loop.time() + GUARD
            while count < 3000:
                await asyncio.sleep(0)
                ticks += 1
                assert loop.time() < end
            assert ticks > 3000 / 64

    run(main)


_WITHOUT_RECVMMSG = """
import asyncio, importlib.util, sys
spec = importlib.util.spec_from_file_location("seccomp", sys.argv[1])
seccomp = importlib.util.module_from_spec(spec)
spec.loader.exec_module(seccomp)
import fastaio, socket

class Server(asyncio.DatagramProtocol):
    got = []
    def datagram_received(self, data, addr):
        self.got.append(data)

async def main():
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        Server, local_addr=("127.0.0.1", 0))
    address = transport.get_extra_info("sockname")
    sent = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for turn in range(40):
            for i in range(12):
                sent.append(b"%d %d" % (turn, i))
                sock.sendto(sent[-1], address)
            async with asyncio.timeout(10):
                while len(server.got) < len(sent):
                    await asyncio.sleep(0.001)
            if turn == 20:
                seccomp.make_fail(int(sys.argv[2]), int(sys.argv[3]))
    assert server.got == sent
    transport.close()
    print("all there")

fastaio.run(main())
"""

_RECVMMSG = {"x86_64": 299, "aarch64": 243}


@pytest.mark.fastaio_only
@pytest.mark.skipif(os.uname().machine not in _RECVMMSG, reason="another number of recvmmsg()")
@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EPERM])
def test_a_sandbox_without_recvmmsg(error):
    from . import seccomp

    number = _RECVMMSG[os.uname().machine]
    done = run_python(_WITHOUT_RECVMMSG, seccomp.__file__, str(number), str(int(error)))
    assert (done.returncode, done.stdout.strip()) == (0, "all there"), done.stderr


def test_arguments_of_create_datagram_endpoint(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(TypeError, match="protocol_factory"):
            await loop.create_datagram_endpoint()
        with pytest.raises(TypeError, match="unexpected keyword argument 'nonsense'"):
            await loop.create_datagram_endpoint(Server, nonsense=1)
        with pytest.raises(ValueError, match="unexpected address family"):
            await loop.create_datagram_endpoint(Server)

    run(main)
