"""Stream transports: flow control in both directions, buffered protocols, protocols that change."""

import asyncio
import itertools
import re
import socket
import time

import pytest

from .ioutil import (
    HalfOpen,
    Recorder,
    Reports,
    connected,
    drain,
    ended,
    exchange,
    pattern,
    serving,
    turns,
    until,
)
from .support import GUARD

UNIX = {"family": socket.AF_UNIX}


# The marks


def test_default_limits(run):
    async def main():
        async with connected() as (transport, _, _):
            assert transport.get_write_buffer_limits() == (16384, 65536)
            assert transport.get_write_buffer_size() == 0

    run(main)


@pytest.mark.parametrize(
    ("kwargs", "limits"),
    [
        ({}, (16384, 65536)),
        ({"high": 1000}, (250, 1000)),
        ({"low": 100}, (100, 400)),
        ({"high": 1000, "low": 10}, (10, 1000)),
        ({"high": 5, "low": 5}, (5, 5)),
        ({"high": 0}, (0, 0)),
        ({"high": 0, "low": 0}, (0, 0)),
        ({"low": 0}, (0, 0)),
        ({"high": 2**40}, (2**38, 2**40)),
    ],
)
def test_set_limits(run, kwargs, limits):
    async def main():
        async with connected() as (transport, _, _):
            assert transport.set_write_buffer_limits(**kwargs) is None
            assert transport.get_write_buffer_limits() == limits

    run(main)


@pytest.mark.parametrize(
    ("kwargs", "high", "low"),
    [
        ({"high": 1, "low": 2}, 1, 2),
        ({"high": -1}, -1, -1),
        ({"low": -1}, -4, -1),
        ({"high": 5, "low": -1}, 5, -1),
    ],
)
def test_limits_that_make_no_sense(run, kwargs, high, low):
    async def main():
        async with connected() as (transport, _, _):
            message = f"high ({high!r}) must be >= low ({low!r}) must be >= 0"
            with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
                transport.set_write_buffer_limits(**kwargs)
            assert transport.get_write_buffer_limits() == (16384, 65536)

    run(main)


# Pausing the writer


def test_the_buffer_holds_what_the_kernel_has_not(run):
    async def main():
        data = pattern(1_000_000)
        async with connected(**UNIX) as (transport, _, peer):
            transport.write(data)
            size = transport.get_write_buffer_size()
            assert 0 < size < len(data)
            peer.sock.setblocking(False)
            # The loop has not run since: the kernel holds exactly the rest.
            got = drain(peer.sock)
            assert len(got) + size == len(data)
            transport.write(b"x" * 10)
            assert transport.get_write_buffer_size() <= size + 10
            got += await read(peer.sock, len(data) + 10 - len(got))
            assert got == data + b"x" * 10
            assert transport.get_write_buffer_size() == 0

    run(main)


async def read(sock, size):
    """Read on a socket that does not block, while the loop runs."""
    data = bytearray()
    async with asyncio.timeout(GUARD):
        while len(data) < size:
            data += drain(sock)
            await asyncio.sleep(0)
    return bytes(data)


def test_pause_and_resume(run):
    async def main():
        async with connected(**UNIX) as (transport, protocol, peer):
            peer.sock.setblocking(False)
            for round_number in range(3):
                protocol.events.clear()
                written = 0
                while not protocol.events:
                    transport.write(b"x" * 10_000)
                    written += 10_000
                    assert bool(protocol.events) is (transport.get_write_buffer_size() > 65536)
                # At once, from within write(), and only once.
                assert protocol.events == ["pause"]
                transport.write(b"x" * 10_000)
                written += 10_000
                await turns(5)
                assert protocol.events == ["pause"]
                received = 0
                while protocol.events == ["pause"]:
                    assert transport.get_write_buffer_size() > 16384
                    received += len(await read(peer.sock, 1))
                    await turns()
                assert protocol.events == ["pause", "resume"], round_number
                assert transport.get_write_buffer_size() <= 16384
                await read(peer.sock, written - received)
                await turns()
                assert protocol.events == ["pause", "resume"]

    run(main)


def test_one_big_write_pauses(run):
    async def main():
        async with connected(**UNIX) as (transport, protocol, peer):
            transport.write(b"x" * 2_000_000)
            assert protocol.events == ["made", "pause"]
            assert len(await peer.recv_exactly(2_000_000)) == 2_000_000
            await protocol.wait(lambda: "resume" in protocol.events)
            assert protocol.events == ["made", "pause", "resume"]

    run(main)


def test_writelines_pauses(run, on_fastaio):
    async def main():
        async with connected(**UNIX) as (transport, protocol, peer):
            transport.writelines([b"x" * 1_000_000, b"y" * 1_000_000])
            transport.write(b"z")  # 3.12 and 3.13 looked at the mark only here
            assert protocol.events == ["made", "pause"]
            await peer.recv_exactly(2_000_001)
            await protocol.wait(lambda: "resume" in protocol.events)

    run(main)


def test_what_the_kernel_takes_does_not_pause(run):
    """A limit of zero means: pause on whatever the kernel leaves, not on every write."""

    async def main():
        async with connected(**UNIX) as (transport, protocol, peer):
            transport.set_write_buffer_limits(high=0)
            for number in range(10):
                transport.write(b"%d" % number)
                transport.writelines([b"a", b"b"])
                assert transport.get_write_buffer_size() == 0
            assert protocol.events == ["made"]
            assert len(await peer.recv_exactly(30)) == 30
            transport.write(b"x" * 1_000_000)
            assert transport.get_write_buffer_size() > 0
            assert protocol.events == ["made", "pause"]
            await peer.recv_exactly(1_000_000)
            await protocol.wait(lambda: "resume" in protocol.events)
            assert transport.get_write_buffer_size() == 0

    run(main)


def test_many_small_writes_below_the_mark_do_not_pause(run):
    async def main():
        async with connected(**UNIX) as (transport, protocol, peer):
            for _ in range(100):
                transport.write(b"x" * 100)
            assert protocol.events == ["made"]
            await peer.recv_exactly(10_000)
            assert protocol.events == ["made"]

    run(main)


def test_limits_set_below_what_waits(run):
    async def main():
        async with connected(**UNIX) as (transport, protocol, peer):
            transport.set_write_buffer_limits(high=10_000_000)
            transport.write(b"x" * 1_000_000)
            size = transport.get_write_buffer_size()
            assert 0 < size < 10_000_000
            assert protocol.events == ["made"]
            transport.set_write_buffer_limits(high=size)
            assert protocol.events == ["made"]
            transport.set_write_buffer_limits(high=size - 1)
            assert protocol.events == ["made", "pause"]
            transport.set_write_buffer_limits(high=10_000_000)
            await peer.recv_exactly(1_000_000)
            await protocol.wait(lambda: "resume" in protocol.events)

    run(main)


def test_protocol_paused_is_visible(run):
    async def main():
        async with connected(**UNIX) as (transport, protocol, peer):
            assert transport._protocol_paused is False
            transport.write(b"x" * 1_000_000)
            assert transport._protocol_paused is True
            await peer.recv_exactly(1_000_000)
            await protocol.wait(lambda: "resume" in protocol.events)
            assert transport._protocol_paused is False

    run(main)


def test_writing_from_within_resume_writing(run):
    """A producer that is driven by nothing else."""

    async def main():
        total = 3_000_000
        data = pattern(total)

        class Producer(Recorder):
            position = 0
            running = True

            def connection_made(self, transport):
                super().connection_made(transport)
                self.produce()

            def produce(self):
                while self.running and self.position < total:
                    self.transport.write(data[self.position : self.position + 5000])
                    self.position += 5000

            def pause_writing(self):
                super().pause_writing()
                self.running = False

            def resume_writing(self):
                super().resume_writing()
                self.running = True
                self.produce()

        async with connected(Producer, **UNIX) as (_, protocol, peer):
            # In two halves: a peer that reads on and on may keep pace, and nothing is paused again.
            await protocol.wait(lambda: protocol.events.count("pause") == 1)
            received = await peer.recv_exactly(total // 2)
            await protocol.wait(lambda: protocol.events.count("pause") > 1)
            assert received + await peer.recv_exactly(total - total // 2) == data

    run(main)


def test_no_resume_after_the_end(run):
    async def main():
        for method in ("abort", "close"):
            async with connected(**UNIX) as (transport, protocol, peer):
                transport.write(b"x" * 1_000_000)
                getattr(transport, method)()
                if method == "close":
                    await turns()
                    peer.close()
                await protocol.lost
                await turns(5)
                assert protocol.events == ["made", "pause", "lost"]

    run(main)


def test_resume_while_close_waits(run):
    """Closing sends what is left, and the protocol hears that the way is free as usual."""

    async def main():
        async with connected(**UNIX) as (transport, protocol, peer):
            transport.write(b"x" * 1_000_000)
            transport.close()
            await peer.recv_exactly(1_000_000)
            await protocol.lost
            assert protocol.events == ["made", "pause", "resume", "lost"]

    run(main)


@pytest.mark.parametrize("callback", ["pause_writing", "resume_writing"])
def test_flow_control_callbacks_that_raise(run, callback):
    """Reported; the connection lives and nothing is lost."""

    async def main():
        reports = Reports()
        error = ZeroDivisionError(callback)

        class Broken(Recorder):
            pass

        def fail(self):
            self.note(callback)
            raise error

        setattr(Broken, callback, fail)
        async with connected(Broken, **UNIX) as (transport, protocol, peer):
            data = pattern(1_000_000)
            transport.write(data)
            assert await peer.recv_exactly(len(data)) == data
            await protocol.wait(lambda: len(protocol.events) == 3)
            assert not transport.is_closing()
            assert [dict(report) for report in reports] == [
                {
                    "message": f"protocol.{callback}() failed",
                    "exception": error,
                    "transport": transport,
                    "protocol": protocol,
                }
            ]
            transport.write(b"alive")
            assert await peer.recv_exactly(5) == b"alive"

    run(main)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_pause_writing_that_interrupts(run, error):
    async def main():
        class Broken(Recorder):
            def pause_writing(self):
                raise error

        async with connected(Broken, **UNIX) as (transport, _, _):
            with pytest.raises(error):
                transport.write(b"x" * 1_000_000)

    run(main)


# Pausing the reader


def test_pause_and_resume_reading(run):
    async def main():
        async with connected(**UNIX) as (transport, protocol, peer):
            assert transport.is_reading() is True
            assert transport.pause_reading() is None
            assert transport.is_reading() is False
            await peer.send(b"waits")
            await turns(5)
            assert protocol.events == ["made"]
            assert transport.resume_reading() is None
            assert transport.is_reading() is True
            assert await protocol.wait_bytes(5) == b"waits"

    run(main)


def test_twice_is_the_same_as_once(run):
    async def main():
        async with connected(**UNIX) as (transport, protocol, peer):
            transport.resume_reading()
            transport.pause_reading()
            transport.pause_reading()
            assert not transport.is_reading()
            transport.resume_reading()
            transport.resume_reading()
            assert transport.is_reading()
            await peer.send(b"x")
            await protocol.wait_bytes(1)

    run(main)


def test_resume_with_nothing_new(run):
    """Bytes that came before and during the pause, and none after the resume."""

    async def main():
        data = pattern(400_000)
        async with connected(**UNIX) as (transport, protocol, peer):
            for _ in range(5):
                protocol.data.clear()
                sending = asyncio.create_task(peer.send(data))
                await protocol.wait(lambda: protocol.data)
                transport.pause_reading()
                seen = len(protocol.data)
                await turns(5)
                assert len(protocol.data) == seen
                transport.resume_reading()
                assert await protocol.wait_bytes(len(data)) == data
                await sending

    run(main)


def test_pause_inside_data_received(run):
    """Not a byte more until the resume, however much the kernel has."""

    async def main():
        data = pattern(2_000_000)

        class Sipping(Recorder):
            def data_received(self, data):
                assert self.transport.is_reading()
                super().data_received(data)
                self.transport.pause_reading()

        async with connected(Sipping, **UNIX) as (transport, protocol, peer):
            sending = asyncio.create_task(peer.send(data))
            while len(protocol.data) < len(data):
                await protocol.wait(lambda: not transport.is_reading())
                seen = len(protocol.data)
                await turns(3)
                assert len(protocol.data) == seen
                transport.resume_reading()
            await sending
            assert protocol.data == data

    run(main)


def test_pause_inside_connection_made(run):
    async def main():
        class Shy(Recorder):
            def connection_made(self, transport):
                super().connection_made(transport)
                transport.pause_reading()

        a, b = socket.socketpair()
        b.send(b"early")
        with b:
            loop = asyncio.get_running_loop()
            transport, protocol = await loop.create_connection(Shy, sock=a)
            await turns(5)
            assert protocol.events == ["made"]
            transport.resume_reading()
            await protocol.wait_bytes(5)
            await ended(transport, protocol)

    run(main)


def test_pause_and_resume_inside_data_received(run):
    async def main():
        data = pattern(1_000_000)

        class Nervous(Recorder):
            def data_received(self, data):
                super().data_received(data)
                self.transport.pause_reading()
                self.transport.resume_reading()

        async with connected(Nervous, **UNIX) as (_, protocol, peer):
            await asyncio.gather(peer.send(data), protocol.wait_bytes(len(data)))
            assert protocol.data == data

    run(main)


def test_a_paused_transport_exerts_back_pressure(run):
    async def main():
        async with connected(**UNIX) as (transport, protocol, peer):
            transport.pause_reading()
            peer.sock.setblocking(False)
            data = pattern(5_000_000)
            sent = peer.sock.send(data)
            await turns(5)
            with pytest.raises(BlockingIOError):
                while True:
                    sent += peer.sock.send(data[sent:])
            assert sent < len(data)
            transport.resume_reading()
            assert await protocol.wait_bytes(sent) == data[:sent]

    run(main)


def test_eof_waits_for_the_resume(run):
    async def main():
        async with connected(**UNIX) as (transport, protocol, peer):
            transport.pause_reading()
            await peer.send(b"last")
            peer.shutdown()
            await turns(10)
            assert protocol.events == ["made"]
            transport.resume_reading()
            assert await protocol.lost is None
            assert protocol.calls == ["made", "data", "eof", "lost"]

    run(main)


def test_a_paused_transport_whose_peer_has_gone_costs_nothing(run):
    """The kernel reports the hang-up for ever; nobody listens, so nothing may turn."""

    async def main():
        for ending in ("close", "reset"):
            async with connected() as (transport, protocol, peer):
                transport.pause_reading()
                await peer.send(b"unread")
                await turns()
                getattr(peer, ending)()
                before = time.process_time()
                await asyncio.sleep(0.2)
                assert time.process_time() - before < 0.1
                assert protocol.events == ["made"]
                transport.resume_reading()
                await protocol.lost
                assert protocol.events[-1] == "lost"

    run(main)


def test_pause_and_resume_after_close(run):
    async def main():
        async with connected(**UNIX) as (transport, protocol, peer):
            peer.sock.send(b"x")
            transport.close()
            for _ in range(2):
                transport.pause_reading()
                transport.resume_reading()
                assert not transport.is_reading()
                await protocol.lost
            assert protocol.events == ["made", "lost"]

    run(main)


def test_close_while_paused(run):
    async def main():
        async with connected(**UNIX) as (transport, protocol, peer):
            transport.pause_reading()
            await peer.send(b"never read")
            transport.write(b"bye")
            transport.close()
            assert await protocol.lost is None
            assert protocol.events == ["made", "lost"]
            assert await peer.recv_exactly(3) == b"bye"

    run(main)


# BufferedProtocol


class Buffered(asyncio.BufferedProtocol):
    """Receives into a buffer of its own."""

    size = 1000

    def __init__(self):
        loop = asyncio.get_running_loop()
        self.buffer = bytearray(self.size)
        self.data = bytearray()
        self.events = []
        self.hints = []
        self.lost = loop.create_future()

    def connection_made(self, transport):
        self.transport = transport

    def get_buffer(self, sizehint):
        self.hints.append(sizehint)
        return memoryview(self.buffer)

    def buffer_updated(self, nbytes):
        assert 0 < nbytes <= self.size
        self.events.append("updated")
        self.data += self.buffer[:nbytes]
        self.buffer[:nbytes] = bytes(nbytes)

    def eof_received(self):
        self.events.append("eof")

    def connection_lost(self, exc):
        self.events.append("lost")
        self.lost.set_result(exc)

    async def wait_bytes(self, size):
        await until(lambda: len(self.data) >= size)
        return bytes(self.data)


@pytest.mark.parametrize("size", [1, 7, 1000, 300_000])
def test_buffered_protocol(run, size):
    async def main():
        class Protocol(Buffered):
            pass

        Protocol.size = size
        data = pattern(200 if size == 1 else 1_000_000 if size > 10 else 10_000)
        async with connected(Protocol, **UNIX) as (_, protocol, peer):
            _, got = await asyncio.gather(peer.send(data), protocol.wait_bytes(len(data)))
            assert got == data
            peer.shutdown()
            assert await protocol.lost is None
            assert protocol.events[-2:] == ["eof", "lost"]
            assert all(type(hint) is int for hint in protocol.hints)

    run(main)


@pytest.mark.parametrize("method", ["close", "abort", "pause_reading"])
def test_a_read_that_has_begun_ends_whatever_get_buffer_does(run, method):
    async def main():
        class Leaving(Buffered):
            def get_buffer(self, sizehint):
                getattr(self.transport, method)()
                return super().get_buffer(sizehint)

        async with connected(Leaving, **UNIX) as (transport, protocol, peer):
            await peer.send(b"hello")
            assert await protocol.wait_bytes(5) == b"hello"
            transport.close()
            assert await protocol.lost is None
            assert protocol.events == ["updated", "lost"]
            assert len(protocol.hints) == 1

    run(main)


def test_buffered_protocol_on_a_server(run):
    async def main():
        loop = asyncio.get_running_loop()

        class Server(Buffered):
            def buffer_updated(self, nbytes):
                self.transport.write(bytes(self.buffer[:nbytes]))

        async with serving(Server) as (_, address):
            transport, protocol = await loop.create_connection(Recorder, *address)
            for _ in range(20):
                await exchange(transport, protocol)
            data = pattern(500_000)
            transport.write(data)
            got = await protocol.wait_bytes(80 + len(data))
            assert got[80:] == data
            await ended(transport, protocol)

    run(main)


def test_pausing_a_buffered_protocol(run):
    async def main():
        data = pattern(100_000)

        class Sipping(Buffered):
            def buffer_updated(self, nbytes):
                super().buffer_updated(nbytes)
                self.transport.pause_reading()

        async with connected(Sipping, **UNIX) as (transport, protocol, peer):
            sending = asyncio.create_task(peer.send(data))
            while len(protocol.data) < len(data):
                await until(lambda: not transport.is_reading())
                seen = len(protocol.data)
                await turns(2)
                assert len(protocol.data) == seen
                transport.resume_reading()
            await sending
            assert protocol.data == data

    run(main)


@pytest.mark.parametrize(
    ("callback", "result", "message", "error"),
    [
        (
            "get_buffer",
            ZeroDivisionError,
            "Fatal error: protocol.get_buffer() call failed.",
            ZeroDivisionError,
        ),
        (
            "get_buffer",
            bytearray(),
            "Fatal error: protocol.get_buffer() call failed.",
            RuntimeError,
        ),
        ("get_buffer", None, "Fatal error: protocol.get_buffer() call failed.", TypeError),
        ("get_buffer", b"read-only", "Fatal read error on socket transport", TypeError),
        (
            "buffer_updated",
            ZeroDivisionError,
            "Fatal error: protocol.buffer_updated() call failed.",
            ZeroDivisionError,
        ),
        (
            "eof_received",
            ZeroDivisionError,
            "Fatal error: protocol.eof_received() call failed.",
            ZeroDivisionError,
        ),
    ],
)
def test_buffered_protocols_that_fail(run, callback, result, message, error):
    async def main():
        reports = Reports()

        class Broken(Buffered):
            pass

        def fail(self, *args):
            if result is ZeroDivisionError:
                raise ZeroDivisionError
            return result

        setattr(Broken, callback, fail)
        async with connected(Broken, **UNIX) as (transport, protocol, peer):
            await peer.send(b"x")
            peer.shutdown()
            exc = await protocol.lost
            assert type(exc) is error
            assert protocol.events.count("lost") == 1
            assert [report["message"] for report in reports] == [message]
            assert reports[0]["exception"] is exc
            assert reports[0]["transport"] is transport
            assert reports[0]["protocol"] is protocol
        if result == bytearray():
            assert str(exc) == "get_buffer() returned an empty buffer"

    run(main)


# set_protocol


def test_set_protocol(run):
    async def main():
        async with connected(**UNIX) as (transport, first, peer):
            second = Recorder()
            assert transport.set_protocol(second) is None
            assert transport.get_protocol() is second
            await peer.send(b"for the second")
            assert await second.wait_bytes(14) == b"for the second"
            assert first.events == ["made"]
            # It is not told of a connection that was made before.
            assert "made" not in second.events
            peer.shutdown()
            assert await second.lost is None
            assert first.events == ["made"]

    run(main)


def test_set_protocol_inside_data_received(run):
    """An upgrade: the first message is the old protocol's, what follows the new one's."""

    async def main():
        data = pattern(1_000_000)

        class Upgrading(Recorder):
            def data_received(self, data):
                assert not self.data
                super().data_received(data)
                self.transport.set_protocol(after)

        after = Recorder()
        async with connected(Upgrading, **UNIX) as (_, before, peer):
            await asyncio.gather(
                peer.send(data), until(lambda: len(before.data) + len(after.data) == len(data))
            )
            assert before.data + after.data == data
            assert after.data

    run(main)


def test_set_protocol_from_plain_to_buffered_and_back(run):
    async def main():
        data = pattern(300_000)

        class Plain(Recorder):
            def data_received(self, data):
                super().data_received(data)
                order.append(bytes(data))
                self.transport.set_protocol(next(others))

        class Other(Buffered):
            def buffer_updated(self, nbytes):
                order.append(bytes(self.buffer[:nbytes]))
                transport.set_protocol(plain)

        order = []
        async with connected(Plain, **UNIX) as (transport, plain, peer):
            others = iter(Other, None)
            await asyncio.gather(peer.send(data), until(lambda: sum(map(len, order)) == len(data)))
            assert b"".join(order) == data
            assert len(order) > 2

    run(main)


def test_set_protocol_while_paused(run):
    async def main():
        async with connected(**UNIX) as (transport, first, peer):
            transport.pause_reading()
            await peer.send(b"waiting")
            await turns()
            second = Recorder()
            transport.set_protocol(second)
            transport.resume_reading()
            assert await second.wait_bytes(7) == b"waiting"
            assert first.events == ["made"]

    run(main)


def test_flow_control_is_the_new_protocols(run):
    async def main():
        async with connected(**UNIX) as (transport, first, peer):
            transport.write(b"x" * 1_000_000)
            assert first.events == ["made", "pause"]
            second = Recorder()
            transport.set_protocol(second)
            await peer.recv_exactly(1_000_000)
            await second.wait(lambda: second.events)
            assert second.events == ["resume"]
            assert first.events == ["made", "pause"]

    run(main)


def test_methods_set_on_a_protocol_later(run):
    """Libraries replace a protocol's methods while its transport lives."""

    async def main():
        async with connected(HalfOpen, **UNIX) as (transport, protocol, peer):
            await peer.send(b"1")
            await protocol.wait_bytes(1)
            got = []
            transport.set_protocol(protocol)
            protocol.data_received = got.append
            transport.set_protocol(protocol)
            await peer.send(b"2")
            await until(lambda: got)
            assert got == [b"2"]

    run(main)


# All at once


def test_a_chain_of_pausing_proxies(run):
    """Bytes through several relays, each of which lets the next one's pressure through."""

    class Relay(asyncio.Protocol):
        def __init__(self):
            self.other = None
            self.early = []

        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            if self.other is None:
                self.early.append(data)
            else:
                self.other.transport.write(data)

        def eof_received(self):
            self.other.transport.write_eof()
            return True

        def pause_writing(self):
            self.other.transport.pause_reading()

        def resume_writing(self):
            self.other.transport.resume_reading()

    async def main():
        loop = asyncio.get_running_loop()
        data = pattern(3_000_000)
        outer, first = socket.socketpair()
        sockets = list(itertools.chain.from_iterable(socket.socketpair() for _ in range(3)))
        last = sockets.pop()
        relays = []
        for left, right in zip([first, *sockets[1::2]], sockets[::2], strict=True):
            _, a = await loop.create_connection(Relay, sock=left)
            _, b = await loop.create_connection(Relay, sock=right)
            a.other, b.other = b, a
            relays += [a, b]
        with outer, last:
            outer.settimeout(GUARD)
            last.settimeout(GUARD)

            def send():
                outer.sendall(data)
                outer.shutdown(socket.SHUT_WR)

            def receive():
                got = bytearray()
                while part := last.recv(10_000):
                    got += part
                return bytes(got)

            _, got = await asyncio.gather(asyncio.to_thread(send), asyncio.to_thread(receive))
            assert got == data
            for relay in relays:
                relay.transport.abort()
            await turns()

    run(main)
