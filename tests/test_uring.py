"""What is particular to the io_uring poller: who owns the ring, what an armed poll holds on to, and
what happens when the kernel refuses something.

Whatever holds on both backends is tested by the rest of the suite: FASTAIO_BACKEND=io_uring.
"""

import asyncio
import errno
import gc
import os
import resource
import select
import socket
import threading
import time

import pytest

from .ringutil import needs_io_uring, ring_loop
from .support import GUARD, wait_until

pytestmark = [
    pytest.mark.fastaio_only,
    needs_io_uring,
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


@pytest.fixture
def loop():
    with ring_loop() as loop:
        yield loop


class Recorder(asyncio.Protocol):
    """Keeps what comes, and answers in capitals."""

    def __init__(self):
        self.data = bytearray()
        self.ended = False
        self.error = None

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.data += data
        self.transport.write(data.upper())

    def connection_lost(self, exc):
        self.ended = True
        self.error = exc


async def connected():
    """A transport's protocol and the blocking socket at the other end."""
    mine, peer = socket.socketpair()
    mine.setblocking(False)
    peer.settimeout(GUARD)
    loop = asyncio.get_running_loop()
    _, protocol = await loop.create_connection(Recorder, sock=mine)
    return protocol, peer


async def until(condition):
    """Turn until the condition is true."""
    deadline = time.monotonic() + GUARD
    while not condition():
        assert time.monotonic() < deadline, condition
        await asyncio.sleep(0.001)


async def exchange(protocol, peer, text):
    """A message there and back."""
    peer.sendall(text)
    await until(lambda: bytes(protocol.data).endswith(text))
    loop = asyncio.get_running_loop()
    answer = await loop.run_in_executor(None, peer.recv, 1000)
    assert answer == text.upper()


def in_thread(function, *args):
    """What `function` returns in a thread that ends with it."""
    results = []
    thread = threading.Thread(target=lambda: results.append(function(*args)))
    thread.start()
    thread.join(GUARD)
    assert results, "the thread raised"
    return results[0]


class Worker:
    """A thread that stays alive and does what it is told, one thing at a time."""

    def __enter__(self):
        import concurrent.futures

        self.pool = concurrent.futures.ThreadPoolExecutor(1)
        return self

    def __call__(self, function, *args):
        return self.pool.submit(function, *args).result(GUARD)

    def __exit__(self, *exc):
        self.pool.shutdown()


# An armed poll keeps its file open: no peer may notice.


def sees_the_end(peer):
    return select.select([peer], [], [], 0)[0] == [peer] and peer.recv(1) == b""


def test_a_closed_transport_sends_fin(loop):
    async def main():
        protocol, peer = await connected()
        await exchange(protocol, peer, b"text")
        protocol.transport.abort()
        await until(lambda: protocol.ended)
        # In the very turn, before the loop asks the kernel for anything more.
        assert sees_the_end(peer)
        peer.close()

    loop.run_until_complete(main())


def test_a_cancelled_wait_lets_go_of_the_socket(loop):
    async def main():
        mine, peer = socket.socketpair()
        mine.setblocking(False)
        waiting = asyncio.create_task(loop.sock_recv(mine, 10))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        mine.close()
        assert sees_the_end(peer)
        peer.close()

    loop.run_until_complete(main())


@pytest.mark.parametrize("forget", [False, True])
def test_a_watched_socket_closed_by_its_user(loop, forget):
    async def main():
        mine, peer = socket.socketpair()
        loop.add_reader(mine, print)
        await asyncio.sleep(0.01)
        if not forget:
            loop.remove_reader(mine)
        mine.close()
        assert sees_the_end(peer)
        peer.close()

    loop.run_until_complete(main())


def test_a_listening_port_is_free_at_once(loop):
    async def main():
        server = await loop.create_server(Recorder, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        await asyncio.sleep(0.01)
        server.close()
        with socket.socket() as again:
            again.bind(("127.0.0.1", port))

    loop.run_until_complete(main())


def test_a_paused_transport_that_is_collected_in_another_thread(loop):
    peers = []

    async def main():
        protocol, peer = await connected()
        await exchange(protocol, peer, b"text")
        protocol.transport.pause_reading()
        peers.append(peer)
        del protocol.transport, protocol
        # Nothing but a cycle is left of it now. The loop waits while another thread collects.
        await loop.run_in_executor(None, gc.collect)
        await until(lambda: sees_the_end(peers[0]))

    with pytest.warns(ResourceWarning, match="unclosed transport"):
        loop.run_until_complete(main())
    peers[0].close()


# Completions that do not fit


@pytest.mark.parametrize("room", [None, 256])
def test_more_completions_than_the_queue_holds(loop, request, room):
    """With little room (builds with assertions only) the kernel ends the polls that do not fit."""
    fail = request.getfixturevalue("fail") if room else None
    pairs = 4500
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * pairs + 200
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"needs {wanted} descriptors, {hard} are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    connections = []

    async def connect():
        for _ in range(pairs):
            connections.append(await connected())

    async def answer(text):
        await until(lambda: all(protocol.data.endswith(text) for protocol, _ in connections))
        for _, peer in connections:
            assert peer.recv(100) == text.upper()

    async def send(text):
        for _, peer in connections:
            peer.send(text)

    async def answer_twice(text, again):
        await answer(text)
        await send(again)  # heard by polls that have been armed again
        await answer(again)

    try:
        loop.run_until_complete(connect())
        loop.run_until_complete(asyncio.wait_for(send(b"one"), GUARD))
        loop.run_until_complete(answer(b"one"))
        # All are ready before the next thread's ring polls them: each completes as it is armed,
        # and all are armed before the first completion is looked at.
        for _, peer in connections:
            peer.send(b"two")
        if room:
            fail("queue", room, 1)
        in_thread(loop.run_until_complete, answer_twice(b"two", b"three"))
    finally:
        for protocol, peer in connections:
            protocol.transport.abort()
            peer.close()
        loop.run_until_complete(asyncio.sleep(0))
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# A ring belongs to a thread


def test_a_loop_that_moves_between_living_threads(loop):
    with Worker() as first, Worker() as second:
        protocol, peer = first(loop.run_until_complete, connected())
        for turn in range(3):
            for run in (first, second, lambda run, *args: run(*args)):
                run(loop.run_until_complete, exchange(protocol, peer, b"text %d" % turn))
        protocol.transport.abort()
        second(loop.run_until_complete, asyncio.sleep(0))
        # The poll is in the ring of yet another thread: the kernel ends it in its own time.
        wait_until(lambda: sees_the_end(peer))
        first(loop.close)
    peer.close()


def test_a_loop_whose_thread_has_ended(loop):
    protocol, peer = in_thread(loop.run_until_complete, connected())
    in_thread(loop.run_until_complete, exchange(protocol, peer, b"one"))
    peer.send(b"two")  # while nobody runs the loop
    in_thread(loop.run_until_complete, until(lambda: protocol.data.endswith(b"two")))
    assert peer.recv(100) == b"TWO"
    loop.run_until_complete(exchange(protocol, peer, b"three"))
    protocol.transport.abort()
    in_thread(loop.run_until_complete, asyncio.sleep(0))
    in_thread(loop.close)
    peer.close()


def test_what_waits_moves_along(loop):
    """One-shot waits, readers, a listening socket and timers, all armed in another thread."""
    reader, writer = socket.socketpair()
    mine, peer = socket.socketpair()
    mine.setblocking(False)
    seen = []

    async def arm():
        loop.add_reader(reader, lambda: seen.append(reader.recv(10)))
        waiting = asyncio.ensure_future(loop.sock_recv(mine, 10))
        server = await loop.create_server(Recorder, "127.0.0.1", 0)
        loop.call_later(0.01, seen.append, "timer")
        await asyncio.sleep(0)
        return waiting, server

    async def see(waiting, server):
        writer.send(b"reader")
        peer.send(b"waiter")
        address = server.sockets[0].getsockname()
        with socket.socket() as client:
            client.setblocking(False)
            await loop.sock_connect(client, address)
            await loop.sock_sendall(client, b"server")
            assert await loop.sock_recv(client, 10) == b"SERVER"
        assert await waiting == b"waiter"
        await until(lambda: len(seen) == 2)
        loop.remove_reader(reader)
        server.close()

    waiting, server = in_thread(loop.run_until_complete, arm())
    loop.run_until_complete(asyncio.wait_for(see(waiting, server), GUARD))
    assert sorted(seen, key=str) == [b"reader", "timer"]
    for sock in (reader, writer, mine, peer):
        sock.close()


def test_unwatching_after_the_thread_has_ended(loop):
    protocol, peer = in_thread(loop.run_until_complete, connected())
    in_thread(loop.run_until_complete, exchange(protocol, peer, b"text"))
    protocol.transport.abort()
    loop.run_until_complete(until(lambda: protocol.ended))
    peer.settimeout(GUARD)
    assert peer.recv(1) == b""
    peer.close()


def test_wake_ups_from_other_threads_after_a_move(loop):
    async def main():
        future = loop.create_future()
        threading.Timer(0.02, loop.call_soon_threadsafe, (future.set_result, "woken")).start()
        return await asyncio.wait_for(future, GUARD)

    assert in_thread(loop.run_until_complete, main()) == "woken"
    assert loop.run_until_complete(main()) == "woken"
    assert in_thread(loop.run_until_complete, main()) == "woken"


def test_blocking_calls_after_a_close():
    """The end of a ring may interrupt its thread's next system call: Python's resume."""
    for _ in range(5):
        with ring_loop() as loop:
            protocol, peer = loop.run_until_complete(connected())
            loop.run_until_complete(exchange(protocol, peer, b"text"))
            protocol.transport.abort()
        begin = time.monotonic()
        time.sleep(0.02)
        assert time.monotonic() - begin >= 0.02
        assert select.select([], [], [], 0.01) == ([], [], [])
        peer.close()


# A forked child


def rings_of(pid):
    found = [
        os.readlink(f"/proc/{pid}/fd/{name}")
        for name in os.listdir(f"/proc/{pid}/fd")
        if os.path.islink(f"/proc/{pid}/fd/{name}")
    ]
    with open(f"/proc/{pid}/maps") as maps:
        found += maps.read().split()
    return [name for name in found if name == "anon_inode:[io_uring]"]


def forked(action):
    """A child that does `action()`, then waits; its number, and what lets it go."""
    ready, done = os.pipe()
    hold, let_go = os.pipe()
    pid = os.fork()
    if not pid:
        status = 1
        try:
            os.close(let_go)
            action()
            os.write(done, b"!")
            os.read(hold, 1)
            status = 0
        finally:
            os._exit(status)
    os.close(done)
    os.close(hold)
    with os.fdopen(ready, "rb") as stream:
        assert stream.read(1) == b"!", "the child has failed"

    def end():
        os.close(let_go)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

    return pid, end


def test_a_child_does_not_keep_its_parents_ring(loop):
    protocol, peer = loop.run_until_complete(connected())
    loop.run_until_complete(exchange(protocol, peer, b"text"))
    mine = protocol.transport.get_extra_info("socket").fileno()
    assert rings_of(os.getpid())
    pid, end = forked(lambda: os.close(mine))
    assert rings_of(pid) == []
    protocol.transport.abort()
    loop.run_until_complete(until(lambda: protocol.ended))
    loop.close()
    assert peer.recv(1) == b""  # while the child lives
    end()
    peer.close()


def test_a_child_uses_its_copy_and_the_parents_goes_on(loop):
    protocol, peer = loop.run_until_complete(connected())
    reader, writer = socket.socketpair()
    seen = []
    loop.add_reader(reader, lambda: seen.append(reader.recv(10)))
    loop.run_until_complete(exchange(protocol, peer, b"one"))

    def child():
        async def main():
            assert await asyncio.sleep(0.001, "slept") == "slept"
            writer.send(b"child")
            await until(lambda: seen)

        loop.run_until_complete(main())
        assert len(rings_of("self")) > 0
        loop.remove_reader(reader)
        loop.close()
        assert seen == [b"child"]

    _, end = forked(child)
    end()
    loop.run_until_complete(exchange(protocol, peer, b"two"))
    writer.send(b"parent")
    loop.run_until_complete(until(lambda: seen == [b"parent"]))
    loop.remove_reader(reader)
    protocol.transport.abort()
    loop.run_until_complete(asyncio.sleep(0))
    for sock in (reader, writer, peer):
        sock.close()


def test_a_child_that_closes_or_drops_its_copy(loop):
    protocol, peer = loop.run_until_complete(connected())
    holder = [loop]

    def child():
        holder[0].close()
        holder.clear()
        gc.collect()

    _, end = forked(child)
    end()
    loop.run_until_complete(exchange(protocol, peer, b"text"))
    protocol.transport.abort()
    loop.run_until_complete(asyncio.sleep(0))
    peer.close()


def test_a_ring_is_closed_on_exec(loop):
    import subprocess
    import sys

    loop.run_until_complete(asyncio.sleep(0))
    source = "import subprocess; print(subprocess.getoutput('ls -l /proc/self/fd/'))"
    command = [sys.executable, "-c", source]
    done = subprocess.run(command, capture_output=True, text=True, check=True, close_fds=False)
    names = done.stdout
    assert "/proc/" in names
    assert "io_uring" not in names


# An idle loop


def test_an_idle_loop_asks_the_kernel_nothing(loop):
    async def main():
        protocol, peer = await connected()
        await exchange(protocol, peer, b"text")
        await asyncio.sleep(0.05)
        before = loop.metrics()["polls"]
        await asyncio.sleep(0.3)
        polls = loop.metrics()["polls"] - before
        protocol.transport.abort()
        await asyncio.sleep(0)
        peer.close()
        return polls

    assert loop.run_until_complete(main()) < 10


# What the kernel refuses: in builds with assertions, calls can be made to fail.


@pytest.fixture
def fail(loop):
    if not hasattr(loop, "_fail_ring_calls"):
        pytest.skip("this build has no switch for it: FASTAIO_DEBUG=1 or FASTAIO_SANITIZE=1")
    return loop._fail_ring_calls


TRANSIENT = [errno.ENOMEM, errno.EAGAIN, errno.EBUSY, errno.EINTR]


@pytest.mark.parametrize("error", TRANSIENT)
@pytest.mark.parametrize("times", [1, 7])
def test_enter_fails_for_a_while(loop, fail, error, times):
    async def main():
        protocol, peer = await connected()
        for turn in range(20):
            fail("enter", error, times)
            await exchange(protocol, peer, b"text %d" % turn)
        reader, writer = socket.socketpair()
        with reader, writer:
            reader.setblocking(False)
            fail("enter", error, times)
            waiting = asyncio.ensure_future(loop.sock_recv(reader, 10))
            await asyncio.sleep(0)
            writer.send(b"data")
            assert await asyncio.wait_for(waiting, GUARD) == b"data"
        fail("enter", error, times)
        protocol.transport.abort()
        await until(lambda: protocol.ended)
        await until(lambda: sees_the_end(peer))
        peer.close()

    loop.run_until_complete(main())


@pytest.mark.parametrize("most", [0, 1])
def test_short_submits(loop, fail, most):
    async def main():
        connections = [await connected() for _ in range(20)]
        fail("submit", most, 15)
        for _, peer in connections:
            peer.send(b"text")
        await until(lambda: all(protocol.data for protocol, _ in connections))
        fail("submit", most, 15)
        for protocol, _ in connections:
            protocol.transport.abort()
        await until(lambda: all(protocol.ended for protocol, _ in connections))
        for _, peer in connections:
            assert await loop.run_in_executor(None, peer.recv, 100) == b"TEXT"
            await until(lambda peer=peer: sees_the_end(peer))
            peer.close()

    loop.run_until_complete(main())


def test_enter_fails_for_good(loop, fail):
    async def main():
        fail("enter", errno.EIO, 1)
        await asyncio.sleep(10)

    with pytest.raises(OSError) as caught:
        loop.run_until_complete(main())
    assert caught.value.errno == errno.EIO
    assert loop.run_until_complete(asyncio.sleep(0.01, "again")) == "again"
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))


@pytest.mark.parametrize("kind", ["setup", "register"])
@pytest.mark.parametrize("error", [errno.ENOMEM, errno.EMFILE, errno.EPERM])
def test_a_new_ring_is_refused(loop, fail, kind, error):
    """The loop moves to another thread, where there is no ring to be had at first."""
    protocol, peer = loop.run_until_complete(connected())
    loop.run_until_complete(exchange(protocol, peer, b"one"))
    peer.send(b"two")

    def run():
        fail(kind, error, 2)
        failures = 0
        while True:
            try:
                loop.run_until_complete(until(lambda: protocol.data == b"onetwo"))
                return failures
            except OSError as exc:
                assert exc.errno == error
                failures += 1
                for task in asyncio.all_tasks(loop):
                    task.cancel()

    # Where memory is short it is tried again; whatever else is said, the run ends with it.
    assert in_thread(run) == (0 if error == errno.ENOMEM else 2)
    protocol.transport.abort()
    in_thread(loop.run_until_complete, asyncio.sleep(0))
    peer.close()


def test_close_when_nothing_can_be_cancelled(loop, fail):
    protocol, peer = loop.run_until_complete(connected())
    fail("enter", errno.EAGAIN, 1000)
    loop.close()
    with pytest.warns(ResourceWarning, match="unclosed transport"):
        del protocol
        gc.collect()
    wait_until(lambda: sees_the_end(peer))
    peer.close()
