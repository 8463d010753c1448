"""What is written leaves in time and in order, whatever the program does next.

On asyncio write() is the system call. Here output waits for the end of the turn where nobody can
tell; these programs could.
"""

import asyncio
import contextlib
import ctypes
import functools
import os
import random
import select
import socket
import sys
import threading
import time

import pytest

from .ioutil import (
    Recorder,
    connected,
    drain,
    open_descriptors,
    pattern,
    reset,
    small_buffers,
    tcp_sockets,
    turns,
    until,
)
from .support import GUARD, PYTHON_312, run_python, wait_until
from .tlsutil import both_ends, cipher  # noqa: F401 - a fixture

X86_CLONE, AARCH64_CLONE, CLONE3 = 56, 220, 435


def is_readable(sock, timeout=GUARD):
    """Whether there is something to be read, asked without the loop; the GIL is released."""
    return bool(select.select([sock], [], [], timeout)[0])


class Pollfd(ctypes.Structure):
    _fields_ = [("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short)]


def is_readable_with_gil(sock, timeout=GUARD):
    """The same, but no other thread can run Python meanwhile."""
    entry = Pollfd(sock.fileno(), select.POLLIN, 0)
    return ctypes.PyDLL(None).poll(ctypes.byref(entry), 1, int(timeout * 1000)) == 1


@contextlib.asynccontextmanager
async def plain(family):
    async with connected(family=family) as (transport, _, peer):
        yield transport, peer.sock


@contextlib.asynccontextmanager
async def secure():
    async with both_ends() as (near, near_protocol, far, far_protocol):
        # Tickets and the like have come once a message has.
        far.write(b"ready")
        await near_protocol.wait_bytes(5)
        far.pause_reading()
        await turns()
        sock = far.get_extra_info("socket")
        yield near, sock


@contextlib.asynccontextmanager
async def piped():
    loop = asyncio.get_running_loop()
    read, write = os.pipe()
    with open(read, "rb", 0) as reader:
        transport, _ = await loop.connect_write_pipe(Recorder, open(write, "wb", 0))
        try:
            yield transport, reader
        finally:
            transport.abort()
            await turns()


LINKS = {
    "tcp": functools.partial(plain, socket.AF_INET),
    "unix": functools.partial(plain, socket.AF_UNIX),
    "tls": secure,
    "pipe": piped,
}


@pytest.fixture(params=LINKS)
def link(request):
    return LINKS[request.param]


# A callback that blocks


@pytest.mark.parametrize("waits", [is_readable, is_readable_with_gil])
def test_a_callback_that_waits_for_its_own_output(run, link, waits):
    async def main():
        async with link() as (transport, peer):
            for _ in range(3):
                transport.write(b"x")
                assert waits(peer)
                os.read(peer.fileno(), 1000)

    run(main)


def test_tls_by_either_way(run, cipher):  # noqa: F811
    async def main():
        async with secure() as (transport, peer):
            transport.write(b"x")
            assert is_readable(peer)

    run(main)


def test_every_write_of_a_blocked_callback_leaves(run, link):
    """Also those that find the transport waiting to be sent."""

    async def main():
        async with link() as (transport, peer):
            transport.write(b"x")
            for _ in range(3):
                time.sleep(0.03)
                while is_readable(peer, 0):
                    os.read(peer.fileno(), 1000)
                transport.writelines([b"y", b"z"])
                assert is_readable(peer)

    run(main)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_the_answer_is_waited_for_in_another_thread(run, family):
    """With a lock and an event, as programs do that mix threads and a loop."""

    async def main():
        async with connected(family=family) as (transport, _, peer):
            answered = threading.Event()

            def answer():
                if peer.sock.recv(10) == b"question":
                    answered.set()

            thread = threading.Thread(target=answer)
            thread.start()
            transport.write(b"question")
            assert answered.wait(GUARD)
            thread.join()

    run(main)


@pytest.mark.parametrize("size", [10, 60_000, 300_000])
def test_a_chunk_between_two_computations(run, size):
    async def main():
        async with connected() as (transport, _, peer):
            data = pattern(size)
            received = bytearray()

            def receive():
                while len(received) < 3 * size and (part := peer.sock.recv(1 << 16)):
                    received.extend(part)

            thread = threading.Thread(target=receive)
            thread.start()
            for number in range(1, 4):
                transport.write(data)
                if size <= 60_000:  # no more than the kernel takes at once
                    wait_until(lambda number=number: len(received) == number * size)
            await until(lambda: len(received) == 3 * size)
            thread.join()
            assert received == data * 3

    run(main)


def test_a_thousand_connections(run):
    async def main():
        loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as stack:
            links = []
            for _ in range(400):
                ours, theirs = socket.socketpair()
                stack.callback(theirs.close)
                transport, _ = await loop.create_connection(Recorder, sock=ours)
                stack.callback(transport.abort)
                links.append((transport, theirs))
            for transport, _ in links:
                transport.write(b"x")
            assert all(is_readable(peer) for _, peer in links)
        await turns()

    run(main)


def test_several_loops_block_at_once(loop_factory):
    failures = []

    def work():
        async def main():
            async with connected(family=socket.AF_UNIX) as (transport, _, peer):
                for _ in range(5):
                    transport.write(b"x")
                    if not is_readable(peer.sock):
                        failures.append("late")
                    peer.sock.recv(10)
                    await turns(1)

        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(main())

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_nested_callback_of_a_timer(run):
    async def main():
        async with connected(family=socket.AF_UNIX) as (transport, _, peer):
            done = asyncio.get_running_loop().create_future()

            def late():
                transport.write(b"x")
                done.set_result(is_readable(peer.sock))

            asyncio.get_running_loop().call_later(0.001, late)
            assert await done

    run(main)


# drain(), and what ends the process behind it

LEAVE = {
    "exit": "os._exit(0)",
    "exec": "os.execv(sys.executable, [sys.executable, '-c', ''])",
    "kill": "os.kill(os.getpid(), signal.SIGKILL)",
}

DRAIN = """
import asyncio, os, signal, socket, ssl, sys
sys.path[:0] = sys.argv[3:]

async def main():
    loop = asyncio.get_running_loop()
    fd = int(sys.argv[1])
    if sys.argv[2] == "pipe":
        transport, protocol = await loop.connect_write_pipe(
            asyncio.streams.FlowControlMixin, open(fd, "wb", 0))
        writer = asyncio.StreamWriter(transport, protocol, None, loop)
    else:
        sock = socket.socket(fileno=fd)
        tls = {}
        if sys.argv[2] == "tls":
            tls = {"ssl": ssl._create_unverified_context(), "server_hostname": ""}
        reader, writer = first = await asyncio.open_connection(sock=sock, **tls)
        if sys.argv[2] == "foreign reader":
            protocol = asyncio.StreamReaderProtocol(asyncio.StreamReader())
            writer.transport.set_protocol(protocol)
            writer = asyncio.StreamWriter(writer.transport, protocol, asyncio.StreamReader(), loop)
        elif sys.argv[2] == "no reader":
            writer = asyncio.StreamWriter(
                writer.transport, writer.transport.get_protocol(), None, loop)
    for _ in range(2):
        writer.write(b"bye")
        await writer.drain()
    LEAVE

asyncio.Runner(loop_factory=LOOP).run(main())
"""


@pytest.mark.parametrize("how", LEAVE)
@pytest.mark.parametrize("channel", ["socket", "no reader", "foreign reader", "pipe"])
def test_drain_and_gone(loop_factory_source, channel, how):
    source = DRAIN.replace("LEAVE", LEAVE[how]).replace("LOOP", loop_factory_source)
    if channel == "pipe":
        read, write = os.pipe()
    else:
        ours, theirs = socket.socketpair()
        read, write = ours.detach(), theirs.detach()
    try:
        run_python(source, str(write), channel, pass_fds=[write], check=False)
    finally:
        os.close(write)
    with open(read, "rb", 0) as stream:
        assert stream.read() == b"byebye"


def test_drain_over_tls_and_gone(loop_factory_source):
    from .tlsutil import server_context

    source = DRAIN.replace("LEAVE", LEAVE["exit"]).replace("LOOP", loop_factory_source)
    ours, theirs = socket.socketpair()
    received = []

    def serve():
        with server_context().wrap_socket(
            ours, server_side=True, suppress_ragged_eofs=True
        ) as peer:
            with contextlib.suppress(ConnectionResetError):  # it has not read our tickets
                while data := peer.recv(100):
                    received.append(data)

    thread = threading.Thread(target=serve)
    thread.start()
    with theirs:
        run_python(source, str(theirs.fileno()), "tls", pass_fds=[theirs.fileno()])
    thread.join()
    assert b"".join(received) == b"byebye"


def test_drain_tells_that_the_peer_has_gone(same_outcome):
    def scenario(env):
        async def main():
            ours, theirs = tcp_sockets()
            reader, writer = await asyncio.open_connection(sock=ours)
            reset(theirs)
            outcomes = []
            for _ in range(3):
                writer.write(b"x")
                try:
                    await writer.drain()
                    outcomes.append("drained")
                except ConnectionError as exc:
                    outcomes.append(type(exc).__name__)
            writer.transport.abort()
            await turns()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()  # the collector could find its future before its owner
            return outcomes

        return env.run(main())

    same_outcome(scenario)


# Order

CHILD = """
import os, select, signal, sys
def look(*_):
    ready, _, _ = select.select([0], [], [], 0)
    os.write(1, b"there" if ready else b"nothing")
    os._exit(0)
signal.signal(signal.SIGUSR1, look)
os.write(1, b"R")
while True:
    signal.pause()
"""


@pytest.mark.parametrize("drains", [True, False])
def test_a_signal_comes_after_what_was_written(run, drains):
    import signal

    async def main():
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            CHILD,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        await process.stdout.readexactly(1)
        process.stdin.write(b"config")
        if drains:
            await process.stdin.drain()
        process.send_signal(signal.SIGUSR1)
        time.sleep(0)
        assert await process.stdout.read() == b"there"
        await process.wait()

    run(main)


async def by_datagram(loop, stack):
    receiver = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    receiver.bind(("127.0.0.1", 0))
    endpoint, _ = await loop.create_datagram_endpoint(
        asyncio.DatagramProtocol, remote_addr=receiver.getsockname()
    )
    stack.callback(endpoint.close)
    return lambda: endpoint.sendto(b"x")


async def by_pipe(loop, stack):
    transport, reader = await stack.enter_async_context(piped())
    return lambda: transport.write(b"x")


async def by_another_connection(loop, stack):
    transport, _, _ = await stack.enter_async_context(connected())
    return lambda: transport.write_eof()


async def by_a_large_write(loop, stack):
    transport, _, _ = await stack.enter_async_context(connected())
    return lambda: transport.write(bytearray(100_000))


async def by_thread(loop, stack):
    return lambda: loop.run_in_executor(None, int)


async def by_limits(loop, stack):
    transport, _, _ = await stack.enter_async_context(connected())
    transport.set_write_buffer_limits(0)
    return lambda: transport.write(b"x")


SENDERS = [
    by_datagram,
    by_pipe,
    by_another_connection,
    by_a_large_write,
    by_thread,
    by_limits,
]


@pytest.mark.parametrize("sender", SENDERS)
@pytest.mark.parametrize("secured", [False, True])
def test_the_order_of_channels(run, sender, secured):
    """Once the second channel has sent, what the first was given before has left."""

    async def main():
        async with contextlib.AsyncExitStack() as stack:
            send = await sender(asyncio.get_running_loop(), stack)
            way = secure() if secured else plain(socket.AF_UNIX)
            first, peer = await stack.enter_async_context(way)
            first.write(b"header")
            send()
            assert is_readable(peer, 0)
        await asyncio.sleep(0.01)

    run(main)


@pytest.mark.parametrize("name", ["sock_sendall", "sock_sendto", "sock_connect"])
def test_the_order_of_operations_on_sockets(run, name):
    async def main():
        loop = asyncio.get_running_loop()
        async with plain(socket.AF_UNIX) as (first, peer):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as to:
                to.bind(("127.0.0.1", 0))
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                    sock.setblocking(False)
                    if name == "sock_sendall":
                        sock.connect(to.getsockname())
                    args = {
                        "sock_sendall": (b"x",),
                        "sock_sendto": (b"x", to.getsockname()),
                        "sock_connect": (to.getsockname(),),
                    }[name]
                    first.write(b"header")
                    await getattr(loop, name)(sock, *args)
                    assert is_readable(peer, 0)

    run(main)


def test_the_order_of_children(run):
    async def main():
        async with plain(socket.AF_UNIX) as (first, peer):
            first.write(b"header")
            starting = asyncio.ensure_future(
                asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=-1)
            )
            process = await starting
            peer.recv(100)
            for act in (process.terminate, process.kill):
                first.write(b"header")
                act()
                assert is_readable(peer, 0)
                peer.recv(100)
            await process.wait()
            process.stdin.close()

    run(main)


def test_a_later_write_to_the_first_connection_waits_for_the_second(run):
    async def main():
        async with (
            plain(socket.AF_UNIX) as (first, first_peer),
            plain(socket.AF_UNIX) as (second, second_peer),
        ):
            first.write(b"1")
            second.write(b"2")
            first.write(b"3")
            assert is_readable(second_peer, 0)
            assert first_peer.recv(10).startswith(b"1")

    run(main)


@pytest.mark.parametrize("seed", range(5))
def test_an_observer_of_all_connections(run, seed):
    """Whoever has seen a message finds every earlier one, on whatever connection."""

    async def main():
        rng = random.Random(seed)
        async with contextlib.AsyncExitStack() as stack:
            links = [await stack.enter_async_context(plain(socket.AF_UNIX)) for _ in range(4)]
            for _, peer in links:
                peer.setblocking(False)
            messages = 300
            seen = set()
            faults = []

            def look(index):
                data = drain(links[index][1])
                return [int.from_bytes(data[i : i + 2]) for i in range(0, len(data), 2)]

            def observe():
                others = random.Random(seed)
                while len(seen) < messages and not faults:
                    first = others.randrange(4)
                    new = look(first)
                    for index in range(4):
                        seen.update(look(index))
                    seen.update(new)
                    if new and not seen.issuperset(range(max(new))):
                        faults.append((max(new), sorted(set(range(max(new))) - seen)))

            thread = threading.Thread(target=observe)
            thread.start()
            for number in range(messages):
                links[rng.randrange(4)][0].write(number.to_bytes(2))
                if rng.random() < 0.05:
                    time.sleep(rng.choice([0, 0.004, 0.008]))
                if rng.random() < 0.1:
                    await turns(1)
            await asyncio.to_thread(thread.join)
            assert not faults

    run(main)


# What may happen while a blocked callback's output is on its way


def test_what_the_kernel_does_not_take_comes_later(run):
    """In order, and counted."""

    async def main():
        async with connected(
            family=socket.AF_INET, before=lambda ours, theirs: small_buffers(ours, theirs)
        ) as (transport, protocol, peer):
            transport.set_write_buffer_limits(1_000_000)
            data = pattern(500_000)
            for start in range(0, len(data), 50_000):
                transport.write(data[start : start + 50_000])
                time.sleep(0.005)
            assert is_readable(peer.sock)
            assert 0 < transport.get_write_buffer_size() < len(data)
            assert protocol.events == ["made"]
            assert await peer.recv_exactly(len(data)) == data
            await until(lambda: transport.get_write_buffer_size() == 0)

    run(main)


def test_the_marks_count_what_the_kernel_refuses(run):
    async def main():
        async with connected(family=socket.AF_UNIX) as (transport, protocol, peer):
            for _ in range(10):  # all of it together is more than the mark
                transport.write(b"x" * 30_000)
                time.sleep(0.02)
                drain_blocking(peer.sock)
            assert protocol.events == ["made"]

    def drain_blocking(sock):
        while is_readable(sock, 0):
            sock.recv(1 << 20)

    run(main)


def test_a_reset_while_the_callback_blocks(same_outcome):
    def scenario(env):
        async def main():
            ours, theirs = tcp_sockets()
            transport, protocol = await env.loop.create_connection(Recorder, sock=ours)
            transport.pause_reading()
            await turns()
            reset(theirs)
            transport.write(b"x")
            time.sleep(0.05)
            await turns(5)
            async with asyncio.timeout(GUARD):
                exc = await protocol.lost
            return type(exc).__name__, protocol.events, transport.is_closing()

        return env.run(main())

    same_outcome(scenario)


@pytest.mark.parametrize("action", ["close", "abort", "write_eof", "set_protocol", "buffer_size"])
def test_actions_at_any_moment(run, action):
    async def main():
        for delay in (0, 0.001, 0.003, 0.004, 0.005, 0.008):
            for _ in range(5):
                async with connected() as (transport, protocol, peer):
                    data = pattern(50_000)
                    transport.write(data)
                    time.sleep(delay)
                    if action == "set_protocol":
                        transport.set_protocol(Recorder())
                    elif action == "buffer_size":
                        assert transport.get_write_buffer_size() == 0
                    else:
                        getattr(transport, action)()
                    if action in ("set_protocol", "buffer_size"):
                        transport.close()
                    assert await peer.recv_to_eof() == data

    run(main)


def test_a_socket_that_is_taken_away(run):
    """Its number goes to a stranger, who gets nothing."""

    async def main():
        loop = asyncio.get_running_loop()
        for number in range(150):
            ours, theirs = socket.socketpair()
            transport, _ = await loop.create_connection(Recorder, sock=ours)
            transport.get_extra_info("socket")
            loop.set_exception_handler(lambda *_: None)
            transport.write(b"stray")
            deadline = time.perf_counter() + 0.0028 + number * 2e-5
            while time.perf_counter() < deadline:
                pass
            fd = ours.detach()
            os.close(fd)
            left, right = socket.socketpair()
            with left, right:
                moved = left if left.fileno() == fd else right
                other = right if moved is left else left
                assert moved.fileno() == fd
                time.sleep(0.002)
                other.setblocking(False)
                with pytest.raises(BlockingIOError):
                    other.recv(10)
                transport.abort()
                await turns()
                with pytest.raises(BlockingIOError):
                    other.recv(10)
            theirs.close()

    run(main)


async def connection_by(run_loop, keep):
    """A transport over one half of a socketpair, the peer, and the socket as `keep` says."""
    ours, peer = socket.socketpair()
    ours.setblocking(False)
    transport, _ = await run_loop.create_connection(asyncio.Protocol, sock=ours)
    kept = {"given": ours, "extra": transport.get_extra_info("socket"), "nobody": None}[keep]
    return transport, peer, kept


@pytest.mark.parametrize("how", [socket.SHUT_WR, socket.SHUT_RDWR])
@pytest.mark.parametrize("keep", ["given", "extra"])
def test_a_socket_that_somebody_kept_is_shut_down(run, keep, how):
    async def main():
        transport, peer, kept = await connection_by(asyncio.get_running_loop(), keep)
        with peer:
            transport.write(b"bye")
            kept.shutdown(how)
            peer.settimeout(GUARD)
            seen = [peer.recv(100), peer.recv(100)]
            transport.abort()
            await asyncio.sleep(0)
        return seen

    assert run(main) == [b"bye", b""]


def test_a_socket_that_somebody_kept_is_sent_by(run):
    async def main():
        transport, peer, kept = await connection_by(asyncio.get_running_loop(), "given")
        with peer:
            transport.write(b"a")
            kept.send(b"b")
            transport.write(b"c")
            kept.send(b"d")
            seen = peer.recv(100)
            transport.abort()
            await asyncio.sleep(0)
        return seen

    assert run(main) == b"abcd"


@pytest.mark.fastaio_only
def test_output_is_gathered_where_nobody_else_has_the_socket(run):
    async def main():
        transport, peer, _ = await connection_by(asyncio.get_running_loop(), "nobody")
        with peer:
            transport.write(b"a")
            with pytest.raises(BlockingIOError):
                peer.recv(100, socket.MSG_DONTWAIT)
            transport.write(b"b")
            await asyncio.sleep(0)
            seen = peer.recv(100, socket.MSG_DONTWAIT)
            transport.abort()
            await asyncio.sleep(0)
        return seen

    assert run(main) == b"ab"


def test_the_loop_ends_while_output_is_on_its_way(loop_factory):
    for delay in (0, 0.002, 0.003, 0.004, 0.005):
        for _ in range(10):
            ours, theirs = socket.socketpair()
            loop = loop_factory()

            async def main(ours=ours, delay=delay):
                loop = asyncio.get_running_loop()
                transport, _ = await loop.create_connection(Recorder, sock=ours)
                transport.write(b"data")
                time.sleep(delay)
                return transport

            transport = loop.run_until_complete(main())
            with theirs:
                assert theirs.recv(100) == b"data"
                transport.abort()
                loop.run_until_complete(asyncio.sleep(0))
            loop.close()


@pytest.mark.parametrize("delay", [0, 0.001, 0.003, 0.004, 0.006])
def test_fork_at_any_moment(run, delay):
    """The child sends nothing of its parent's, the parent all of it, once."""

    async def main():
        async with connected() as (transport, _, peer):
            for _ in range(10):
                transport.write(b"data")
                time.sleep(delay)
                pid = os.fork()
                if not pid:
                    time.sleep(0.01)
                    os._exit(0)
                assert is_readable(peer.sock)
                os.waitpid(pid, 0)
                await turns(1)
                assert peer.sock.recv(100) == b"data"
                assert not is_readable(peer.sock, 0)

    run(main)


def test_a_child_has_prompt_output_of_its_own(run, loop_factory):
    async def main():
        async with connected() as (transport, _, peer):
            transport.write(b"parent")
            time.sleep(0.01)
            pid = os.fork()
            if not pid:
                status = 1
                try:
                    asyncio._set_running_loop(None)
                    with asyncio.Runner(loop_factory=loop_factory) as runner:
                        status = runner.run(child())
                finally:
                    os._exit(status)
            _, status = await asyncio.to_thread(os.waitpid, pid, 0)
            assert os.waitstatus_to_exitcode(status) == 0
            assert peer.sock.recv(100) == b"parent"

    async def child():
        async with connected(family=socket.AF_UNIX) as (transport, _, peer):
            transport.write(b"child")
            return 0 if is_readable(peer.sock) else 1

    run(main)


def test_nothing_leaks(run):
    async def main():
        for _ in range(20):
            async with connected(family=socket.AF_UNIX) as (transport, _, peer):
                transport.write(b"x")
                assert is_readable(peer.sock)

    run(main)
    before = open_descriptors()
    run(main)
    assert open_descriptors() == before


# The keeper


def keepers():
    """The kernel's numbers of this process's keepers."""
    found = []
    for tid in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError), open(f"/proc/self/task/{tid}/comm") as file:
            if file.read() == "fastaio-keeper\n":
                found.append(tid)
    return found


def switches(tid):
    with open(f"/proc/self/task/{tid}/status") as file:
        fields = dict(line.split(":\t") for line in file if ":\t" in line)
    return int(fields["voluntary_ctxt_switches"]) + int(fields["nonvoluntary_ctxt_switches"])


@pytest.mark.fastaio_only
def test_the_keeper_is_counted_and_no_thread_of_python(run):
    async def main():
        metrics = asyncio.get_running_loop().metrics
        async with connected(family=socket.AF_UNIX) as (transport, _, peer):
            transport.write(b"x")
            await turns()
            assert metrics()["keeper_sends"] == 0
            transport.write(b"x")
            time.sleep(0.1)
            await turns()
            assert metrics()["keeper_sends"] >= 1
            assert metrics()["bytes_sent"] == 2
            assert threading.active_count() == 1
            assert len(keepers()) == 1

    assert threading.active_count() == 1
    run(main)


@pytest.mark.fastaio_only
def test_the_keeper_sleeps_while_nothing_is_written(run):
    async def main():
        async with connected(family=socket.AF_UNIX) as (transport, _, peer):
            transport.write(b"x")
            await turns()
            [tid] = keepers()
            deadline = time.monotonic() + GUARD
            before = None
            while (now := switches(tid)) != before:
                assert time.monotonic() < deadline
                before = now
                await asyncio.sleep(0.3)
            for _ in range(3):  # it wakes again
                transport.write(b"y")
                assert is_readable(peer.sock)
                peer.sock.recv(10)
                await asyncio.sleep(0.1)

    run(main)


@pytest.mark.fastaio_only
def test_the_keeper_handles_no_signal(run):
    async def main():
        async with connected(family=socket.AF_UNIX) as (transport, _, peer):
            transport.write(b"x")
            await turns()
            [tid] = keepers()
            with open(f"/proc/self/task/{tid}/status") as file:
                fields = dict(line.split(":\t") for line in file if ":\t" in line)
            blocked = int(fields["SigBlk"], 16)
            for sig in (1, 2, 10, 13, 14, 15, 17):
                assert blocked >> (sig - 1) & 1

    run(main)


@pytest.mark.fastaio_only
@pytest.mark.skipif(not PYTHON_312, reason="older ones do not warn")
def test_fork_does_not_warn_of_the_keeper(loop_factory_source):
    source = """
import asyncio, os, socket, time

async def main():
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
    for number in range(30):
        transport.write(b"x")
        time.sleep(0.0002 * number)
        pid = os.fork()
        if not pid:
            os._exit(len(os.listdir("/proc/self/task")) - 1)
        assert os.waitpid(pid, 0)[1] == 0
        await asyncio.sleep(0)
    transport.abort()
    theirs.close()

with asyncio.Runner(loop_factory=LOOP) as runner:
    runner.run(main())
"""
    source = source.replace("LOOP", loop_factory_source)
    # To make it an error would hide it: os.fork() ignores that.
    done = run_python("import warnings; warnings.simplefilter('always')\n" + source)
    assert done.stderr == ""


WRITE_AT_FORK = """
import os, sys, threading

def others_write():
    # Registered first, so called last: the hooks of others have run.
    if about_to_fork is not None:
        about_to_fork.set()
        assert written.wait(30)
        keepers = 0
        for tid in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{tid}/comm") as file:
                keepers += file.read().startswith("fastaio")
        print("threads of the keeper:", keepers, flush=True)

about_to_fork = None
os.register_at_fork(before=others_write)

import asyncio, select, socket

written, forked = threading.Event(), threading.Event()
ready, about_to_fork_event = threading.Event(), threading.Event()

async def main():
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
    ready.set()
    assert about_to_fork_event.wait(30)
    transport.write(b"x")
    written.set()
    assert forked.wait(30)
    # All of it is sent though the callback blocks, also what comes after the fork.
    assert select.select([theirs], [], [], 30)[0]
    assert theirs.recv(10) == b"x"
    transport.write(b"y")
    assert select.select([theirs], [], [], 30)[0]
    transport.abort()
    theirs.close()

def run():
    with asyncio.Runner(loop_factory=LOOP) as runner:
        runner.run(main())

thread = threading.Thread(target=run)
thread.start()
assert ready.wait(30)
about_to_fork = about_to_fork_event
pid = os.fork()
if not pid:
    os._exit(0)
about_to_fork = None
assert os.waitpid(pid, 0)[1] == 0
forked.set()
thread.join()
"""


def test_a_write_between_the_hooks_of_a_fork_starts_no_thread(loop_factory_source):
    source = "import warnings; warnings.simplefilter('ignore')\n" + WRITE_AT_FORK
    done = run_python(source.replace("LOOP", loop_factory_source))
    assert done.stdout == "threads of the keeper: 0\n"


NO_THREADS = """
import asyncio, errno, importlib.util, os, select, socket, sys, threading
spec = importlib.util.spec_from_file_location("seccomp", sys.argv[1])
seccomp = importlib.util.module_from_spec(spec)
spec.loader.exec_module(seccomp)
loop = LOOP()
for number in map(int, sys.argv[2:]):
    seccomp.make_fail(number, errno.EAGAIN)

async def main():
    ours, theirs = socket.socketpair()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
    for _ in range(3):
        transport.write(b"x")
        assert select.select([theirs], [], [], 30)[0], "late"
        theirs.recv(10)
    transport.abort()
    theirs.close()
    await asyncio.sleep(0)
    try:
        threading.Thread(target=int).start()
    except RuntimeError:
        print("no threads")

loop.run_until_complete(main())
loop.close()
"""


@pytest.mark.fastaio_only
def test_where_no_thread_can_be_made_writes_send(loop_factory_source):
    from . import seccomp

    clone = AARCH64_CLONE if os.uname().machine == "aarch64" else X86_CLONE
    source = NO_THREADS.replace("LOOP", loop_factory_source)
    done = run_python(source, seccomp.__file__, str(clone), str(CLONE3))
    assert done.stdout == "no threads\n"


@pytest.mark.fastaio_only
def test_without_a_free_descriptor_it_tries_again(run):
    import resource

    async def main():
        async with connected(family=socket.AF_UNIX) as (transport, _, peer):
            transport.write(b"warm up")
            assert is_readable(peer.sock)
            peer.sock.recv(10)
            await turns()
            before = resource.getrlimit(resource.RLIMIT_NOFILE)
            transport.write(b"x")
            resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
            try:
                assert not select.select([], [], [], 0.05)[0]
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, before)
            assert is_readable(peer.sock)

    run(main)


@pytest.mark.fastaio_only
def test_output_of_finalizers_at_the_end(loop_factory_source):
    """The keeper has ended by then, so it is sent at once."""
    source = """
import asyncio, atexit, select, socket

def late():
    loop = LOOP()
    async def main():
        ours, theirs = socket.socketpair()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        transport.write(b"x")
        assert select.select([theirs], [], [], 30)[0]
        transport.abort()
        theirs.close()
    loop.run_until_complete(main())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    print("done")

atexit.register(late)
loop = LOOP()
loop.close()
"""
    done = run_python(source.replace("LOOP", loop_factory_source))
    assert done.stdout == "done\n"
    assert done.stderr == ""
