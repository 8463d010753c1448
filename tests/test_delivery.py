"""When bytes and callbacks come: turns, order, what one callback does to the next, forks."""

import asyncio
import gc
import os
import resource
import socket
import threading

import pytest

from .ioutil import (
    Echo,
    Peer,
    Recorder,
    connected,
    ended,
    exchange,
    pair,
    pattern,
    serving,
    turns,
    until,
)
from .support import GUARD, run_python

UNIX = {"family": socket.AF_UNIX}


# Turns


def test_two_turns_deliver_what_was_written(run):
    """Even while the loop has other work: many tests of real programs rely on it."""

    async def main():
        loop = asyncio.get_running_loop()
        a, b = socket.socketpair()
        left, left_protocol = await loop.create_connection(Recorder, sock=a)
        right, right_protocol = await loop.create_connection(Recorder, sock=b)
        for number in range(50):
            left.write(b"x")
            await turns(2)
            assert len(right_protocol.data) == number + 1
            right.write(b"y")
            await turns(2)
            assert len(left_protocol.data) == number + 1
        await ended(left, left_protocol)
        await right_protocol.lost

    run(main)


def test_three_turns_end_a_connection(run):
    async def main():
        loop = asyncio.get_running_loop()
        for _ in range(20):
            a, b = socket.socketpair()
            left, left_protocol = await loop.create_connection(Recorder, sock=a)
            right, right_protocol = await loop.create_connection(Recorder, sock=b)
            left.close()
            await turns(1)
            assert left_protocol.events == ["made", "lost"]
            await turns(3)
            assert right_protocol.events == ["made", "eof", "lost"]

    run(main)


def test_what_was_queued_runs_before_what_is_polled(run):
    async def main():
        loop = asyncio.get_running_loop()
        order = []

        class Noting(Recorder):
            def data_received(self, data):
                order.append("data")

        async with connected(Noting, **UNIX) as (_, _, peer):
            peer.sock.send(b"x")
            for number in range(3):
                loop.call_soon(order.append, number)
            await until(lambda: "data" in order)
        assert order == [0, 1, 2, "data"]

    run(main)


def test_writes_of_one_turn_arrive_together(run):
    """Whether in one packet or several, after the turn they are there."""

    async def main():
        async with connected(**UNIX) as (transport, _, peer):
            peer.sock.setblocking(False)
            for _ in range(10):
                for part in (b"a", b"b", b"c"):
                    transport.write(part)
                await turns(1)
                assert peer.sock.recv(100) == b"abc"

    run(main)


def test_the_order_between_connections(run):
    """What was written first, to whomever, can be read first."""

    async def main():
        async with (
            connected(**UNIX) as (first, _, first_peer),
            connected(**UNIX) as (second, _, second_peer),
        ):
            first.write(b"1")
            second.write(b"2")
            first.write(b"3")
            await turns(1)
            assert first_peer.sock.recv(10) == b"13"
            assert second_peer.sock.recv(10) == b"2"

    run(main)


def test_a_write_and_the_users_own_send_keep_their_order(run):
    """The socket asked for: what was written before is in the kernel."""

    async def main():
        async with connected(**UNIX) as (transport, _, peer):
            for _ in range(5):
                transport.write(b"a")
                os.write(transport.get_extra_info("socket").fileno(), b"b")
                transport.write(b"c")
                assert transport.get_write_buffer_size() == 0
                os.write(transport.get_extra_info("socket").fileno(), b"d")
            assert await peer.recv_exactly(20) == b"abcd" * 5

    run(main)


def test_a_write_before_work_in_a_thread(run):
    """A turn that ends in waiting has sent what it wrote."""

    async def main():
        async with connected(**UNIX) as (transport, _, peer):
            for number in range(20):
                transport.write(b"%03d" % number)
                assert await asyncio.to_thread(peer.sock.recv, 3) == b"%03d" % number

    run(main)


# What one callback does to another connection


@pytest.mark.parametrize("method", ["abort", "close"])
def test_a_connection_ended_by_another_ones_callback(run, method):
    """Both are readable in the same turn; the one that is ended hears no more."""

    async def main():
        loop = asyncio.get_running_loop()
        protocols = []

        class Killer(Recorder):
            def data_received(self, data):
                super().data_received(data)
                for other in protocols:
                    if other is not self:
                        getattr(other.transport, method)()

        peers = []
        for _ in range(2):
            a, b = socket.socketpair()
            peers.append(b)
            protocols.append((await loop.create_connection(Killer, sock=a))[1])
        for peer in peers:
            peer.send(b"x")
        await until(lambda: any("lost" in protocol.events for protocol in protocols))
        await turns(3)
        events = sorted(protocol.events for protocol in protocols)
        assert events == [["made", "data"], ["made", "lost"]]
        for protocol, peer in zip(protocols, peers, strict=True):
            protocol.transport.abort()
            peer.close()
        await turns(3)

    run(main)


def test_a_connection_paused_by_another_ones_callback(run):
    async def main():
        loop = asyncio.get_running_loop()
        protocols = []

        class Pauser(Recorder):
            def data_received(self, data):
                super().data_received(data)
                for other in protocols:
                    if other is not self:
                        other.transport.pause_reading()

        peers = []
        for _ in range(2):
            a, b = socket.socketpair()
            peers.append(b)
            protocols.append((await loop.create_connection(Pauser, sock=a))[1])
        for peer in peers:
            peer.send(b"x")
        await until(lambda: any(protocol.data for protocol in protocols))
        await turns(5)
        # asyncio had both callbacks in its queue already: paused, but this one chunk came.
        quiet = [protocol for protocol in protocols if not protocol.data]
        for protocol in quiet:
            protocol.transport.resume_reading()
        await until(lambda: all(protocol.data == b"x" for protocol in protocols))
        for protocol, peer in zip(protocols, peers, strict=True):
            protocol.transport.abort()
            peer.close()
        await turns(3)

    run(main)


def test_a_stale_event_does_not_reach_the_numbers_new_owner(run):
    """Two descriptors are ready; the first one's callback closes and replaces the second."""

    async def main():
        loop = asyncio.get_running_loop()
        for _ in range(20):
            strays = []
            made = []
            pairs = [socket.socketpair() for _ in range(2)]

            def replace(mine, pairs=pairs, made=made, strays=strays):
                if made:
                    return
                other = pairs[1 - mine][0]
                number = other.fileno()
                loop.remove_reader(other)
                other.close()
                new = socket.socketpair()
                made.append(new)
                assert new[0].fileno() == number
                loop.add_reader(new[0], strays.append, "stray")

            for index, (a, _) in enumerate(pairs):
                loop.add_reader(a, replace, index)
            for _, b in pairs:
                b.send(b"x")
            await until(lambda made=made: made)
            await turns(5)
            assert strays == []
            made[0][1].send(b"real")
            await until(lambda strays=strays: strays)
            loop.remove_reader(made[0][0])
            for a, b in [*pairs, *made]:
                if a.fileno() != -1:
                    loop.remove_reader(a)
                a.close()
                b.close()

    run(main)


def test_a_new_connection_under_a_number_just_freed(run):
    """Connections come and go under the same numbers; nobody hears another one's end."""

    async def main():
        loop = asyncio.get_running_loop()
        async with serving() as (_, address):
            numbers = set()
            for _ in range(100):
                transport, protocol = await loop.create_connection(Recorder, *address)
                numbers.add(transport.get_extra_info("socket").fileno())
                await exchange(transport, protocol)
                await ended(transport, protocol)
                assert protocol.calls == ["made", "data", "lost"]
            assert len(numbers) < 50

    run(main)


# Stopping and going on


def test_stop_inside_data_received(loop):
    class Stopping(Recorder):
        def data_received(self, data):
            super().data_received(data)
            loop.stop()

    async def make(sock):
        return await loop.create_connection(Stopping, sock=sock)

    data = pattern(1_000_000)
    a, b = socket.socketpair()
    with a, b:
        transport, protocol = loop.run_until_complete(make(a))
        thread = threading.Thread(target=b.sendall, args=(data,))
        thread.start()
        while len(protocol.data) < len(data):
            loop.run_forever()
        thread.join()
        assert protocol.data == data
        transport.abort()
        loop.run_until_complete(turns(3))


def test_a_connection_made_in_one_thread_and_used_in_another(loop_factory):
    """A loop may run in a thread other than the one that made it."""
    loop = loop_factory()
    a, b = socket.socketpair()
    with a, b:
        b.settimeout(GUARD)

        async def make():
            return await loop.create_connection(Echo, sock=a)

        transport, _ = loop.run_until_complete(make())
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        for number in range(20):
            b.sendall(b"%03d" % number)
            assert b.recv(3) == b"%03d" % number
        loop.call_soon_threadsafe(transport.close)
        assert b.recv(3) == b""
        loop.call_soon_threadsafe(loop.stop)
        thread.join(GUARD)
        loop.run_until_complete(turns(2))
    loop.close()


# Who keeps whom alive


def test_a_connection_that_nobody_holds(run):
    """The loop keeps it, as long as the other side may still say something."""

    async def main():
        loop = asyncio.get_running_loop()
        got = []

        class Listening(asyncio.Protocol):
            def data_received(self, data):
                got.append(data)

            def connection_lost(self, exc):
                got.append("lost")

        a, b = socket.socketpair()
        with b:
            await loop.create_connection(Listening, sock=a)
            del a
            gc.collect()
            await turns(3)
            gc.collect()
            b.send(b"hello")
            await until(lambda: got)
            assert got == [b"hello"]
            gc.collect()
            b.close()
            await until(lambda: len(got) == 2)
            assert got == [b"hello", "lost"]

    run(main)


def test_bytes_that_wait_keep_the_connection(run):
    """A writer that is dropped after close() still delivers."""

    async def main():
        loop = asyncio.get_running_loop()
        data = pattern(2_000_000)
        a, b = socket.socketpair()
        with b:
            b.settimeout(GUARD)

            async def write():
                transport, _ = await loop.create_connection(asyncio.Protocol, sock=a)
                transport.write(data)
                transport.close()

            await write()
            gc.collect()

            def receive():
                got = bytearray()
                while part := b.recv(65536):
                    got += part
                return bytes(got)

            assert await asyncio.to_thread(receive) == data

    run(main)


@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
def test_many_writes_to_a_connection_that_is_dropped(run):
    async def main():
        loop = asyncio.get_running_loop()
        pieces = [b"%04d" % number for number in range(500)]
        a, b = socket.socketpair()
        with b:
            b.settimeout(GUARD)

            async def write():
                nonlocal a
                transport, _ = await loop.create_connection(asyncio.Protocol, sock=a)
                a = None
                transport.pause_reading()  # so that the loop does not keep it
                for piece in pieces:
                    transport.write(piece)

            await write()
            gc.collect()
            data = b"".join(pieces)
            assert await Peer(b).recv_exactly(len(data)) == data

    run(main)


def test_a_waiting_sock_call_is_kept_by_its_task_alone(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            future = loop.create_future()

            async def receive():
                future.set_result(await loop.sock_recv(a, 10))

            task = asyncio.create_task(receive())
            await turns(3)
            gc.collect()
            b.send(b"x")
            assert await future == b"x"
            await task

    run(main)


# Odd things that sockets do


def test_urgent_data(run):
    """A byte out of band disturbs nobody."""

    async def main():
        async with connected() as (_, protocol, peer):
            for number in range(3):
                await peer.send(b"before")
                await protocol.wait_bytes(12 * number + 6)
                peer.sock.send(b"!", socket.MSG_OOB)
                await peer.send(b"after.")
                await protocol.wait_bytes(12 * number + 12)
            assert bytes(protocol.data) == b"beforeafter." * 3

    run(main)


def test_accepted_sockets_are_not_inherited(run):
    async def main():
        loop = asyncio.get_running_loop()
        made = []

        class Server(asyncio.Protocol):
            def connection_made(self, transport):
                made.append(transport)

        async with serving(Server) as (_, address):
            transport, protocol = await loop.create_connection(Recorder, *address)
            await until(lambda: made)
            for end in (transport, made[0]):
                sock = end.get_extra_info("socket")
                assert os.get_inheritable(sock.fileno()) is False
                assert os.get_blocking(sock.fileno()) is False
            await ended(transport, protocol)

    run(main)


THOUSANDS = """
import asyncio, resource, socket, sys

hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
COUNT = int(sys.argv[1])

class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        self.transport.write(data)

async def main():
    loop = asyncio.get_running_loop()
    peers = []
    for _ in range(COUNT):
        a, b = socket.socketpair()
        b.setblocking(False)
        peers.append(b)
        await loop.create_connection(Echo, sock=a)
    for number, peer in enumerate(peers):
        peer.send(b"%d" % number)
    answers = await asyncio.gather(*(loop.sock_recv(peer, 100) for peer in peers))
    assert answers == [b"%d" % number for number in range(COUNT)]
    for peer in peers:
        peer.close()
    await asyncio.sleep(0.01)

with asyncio.Runner(loop_factory=lambda: {factory}()) as runner:
    runner.run(main())
print("fine")
"""


def test_thousands_of_descriptors(loop_factory_source):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    count = min(3000, (hard - 100) // 2)
    source = THOUSANDS.format(factory=loop_factory_source)
    assert run_python(source, str(count)).stdout == "fine\n"


# Forks


FORK = """
import asyncio, gc, os, socket, sys, warnings

warnings.simplefilter("ignore")  # forking beside threads is what this is about

async def main():
    loop = asyncio.get_running_loop()
    a, b = socket.socketpair()
    b.settimeout(30)
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=a)
    transport.write(b"once")
    pid = os.fork()
    if not pid:
        if sys.argv[1] == "drop":
            del transport, _
            gc.collect()
        elif sys.argv[1] == "run":
            with asyncio.Runner(loop_factory=lambda: {factory}()) as runner:
                runner.run(asyncio.sleep(0.01))
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    transport.close()
    await asyncio.sleep(0)
    got = b""
    while part := await asyncio.to_thread(b.recv, 100):
        got += part
    print(got)

with asyncio.Runner(loop_factory=lambda: {factory}()) as runner:
    runner.run(main())
"""


@pytest.mark.parametrize("how", ["exit", "drop", "run"])
def test_a_forked_child_does_not_send_what_its_parent_wrote(loop_factory_source, how):
    done = run_python(FORK.format(factory=loop_factory_source), how)
    assert done.stdout == "b'once'\n"
