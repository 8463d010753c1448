"""Stream transports: write_eof(), close(), abort(), and connections of which one half is closed."""

import asyncio
import errno
import gc
import os
import socket
import time
import warnings
import weakref

import pytest

from .ioutil import (
    HalfOpen,
    Recorder,
    Reports,
    asyncio_log,
    connected,
    ended,
    pattern,
    turns,
    until,
)

FAMILIES = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX], ids=["tcp", "unix"])


# write_eof


@FAMILIES
def test_write_eof(run, family):
    async def main():
        async with connected(HalfOpen, family) as (transport, protocol, peer):
            assert transport.can_write_eof() is True
            transport.write(b"request")
            assert transport.write_eof() is None
            assert not transport.is_closing()
            assert await peer.recv_to_eof() == b"request"
            # The other direction is open.
            await peer.send(b"answer")
            assert await protocol.wait_bytes(6) == b"answer"
            transport.write_eof()
            for call in (transport.write, lambda data: transport.writelines([data])):
                with pytest.raises(
                    RuntimeError, match=r"^Cannot call write(lines)?\(\) after write_eof\(\)$"
                ):
                    call(b"x")
            with pytest.raises(TypeError):
                transport.write("text")
            peer.close()
            await protocol.eof
            await ended(transport, protocol)

    run(main)


def test_write_eof_comes_after_what_waits(run):
    async def main():
        data = pattern(2_000_000)
        async with connected(HalfOpen, socket.AF_UNIX) as (transport, protocol, peer):
            transport.write(data)
            assert transport.get_write_buffer_size() > 0
            transport.write_eof()
            assert await peer.recv_to_eof() == data
            await peer.send(b"got it")
            assert await protocol.wait_bytes(6) == b"got it"

    run(main)


def test_write_eof_after_close(run):
    async def main():
        async with connected() as (transport, protocol, _):
            transport.close()
            transport.write_eof()
            await protocol.lost
            transport.write_eof()

    run(main)


def test_close_after_write_eof(run):
    async def main():
        data = pattern(1_000_000)
        async with connected(family=socket.AF_UNIX) as (transport, protocol, peer):
            transport.write(data)
            transport.write_eof()
            transport.close()
            assert await peer.recv_to_eof() == data
            assert await protocol.lost is None

    run(main)


# close and abort


@FAMILIES
def test_close(run, family):
    async def main():
        async with connected(family=family) as (transport, protocol, peer):
            assert transport.is_closing() is False
            assert transport.close() is None
            assert transport.is_closing() is True
            assert transport.is_reading() is False
            # connection_lost comes in a later turn.
            assert protocol.events == ["made"]
            transport.close()
            assert await protocol.lost is None
            assert protocol.events == ["made", "lost"]
            assert await peer.recv_to_eof() == b""
            transport.close()
            transport.abort()
            assert transport.is_closing() is True
            assert transport.get_write_buffer_size() == 0
            await turns(5)
            assert protocol.events == ["made", "lost"]

    run(main)


@FAMILIES
def test_close_sends_what_waits(run, family):
    async def main():
        data = pattern(8_000_000)
        async with connected(family=family) as (transport, protocol, peer):
            transport.write(data)
            transport.close()
            assert transport.is_closing()
            await turns(5)
            assert "lost" not in protocol.events
            assert await peer.recv_to_eof() == data
            assert await protocol.lost is None

    run(main)


def test_write_then_close_at_once(run):
    async def main():
        async with connected() as (transport, _, peer):
            transport.write(b"good")
            transport.write(b"bye")
            transport.close()
            assert await peer.recv_to_eof() == b"goodbye"

    run(main)


def test_nothing_is_received_after_close(run):
    async def main():
        async with connected(family=socket.AF_UNIX) as (transport, protocol, peer):
            peer.sock.send(b"late")
            transport.close()
            await protocol.lost
            assert protocol.events == ["made", "lost"]

    run(main)


def test_close_inside_data_received(run):
    async def main():
        class Closer(Recorder):
            def data_received(self, data):
                super().data_received(data)
                self.transport.write(b"enough")
                self.transport.close()

        async with connected(Closer) as (_, protocol, peer):
            await peer.send(b"x" * 1_000)
            assert await protocol.lost is None
            assert protocol.events == ["made", "data", "lost"]
            # Unread bytes may turn the end into a reset, but not before the answer.
            assert await peer.recv_exactly(6) == b"enough"

    run(main)


def test_close_inside_connection_made(run):
    async def main():
        class Closer(Recorder):
            def connection_made(self, transport):
                super().connection_made(transport)
                transport.write(b"busy")
                transport.close()

        async with connected(Closer) as (transport, protocol, peer):
            assert transport.is_closing()
            assert await protocol.lost is None
            assert protocol.events == ["made", "lost"]
            assert await peer.recv_to_eof() == b"busy"

    run(main)


def test_abort(run):
    async def main():
        async with connected(family=socket.AF_UNIX) as (transport, protocol, peer):
            transport.write(b"x" * 5_000_000)
            left = transport.get_write_buffer_size()
            assert left > 0
            assert transport.abort() is None
            assert transport.is_closing()
            assert transport.get_write_buffer_size() == 0
            assert "lost" not in protocol.events
            assert await protocol.lost is None
            assert len(await peer.recv_to_eof()) == 5_000_000 - left
            transport.abort()
            await turns()
            assert protocol.events.count("lost") == 1

    run(main)


def test_abort_after_close(run):
    async def main():
        async with connected(family=socket.AF_UNIX) as (transport, protocol, _):
            transport.write(b"x" * 5_000_000)
            transport.close()
            await turns()
            assert "lost" not in protocol.events
            transport.abort()
            assert await protocol.lost is None
            await turns(5)
            assert protocol.events.count("lost") == 1

    run(main)


def test_abort_flushes_what_the_kernel_takes(run):
    """asyncio sends small writes at once, so abort() does not lose them."""

    async def main():
        async with connected(family=socket.AF_UNIX) as (transport, _, peer):
            transport.write(b"already sent")
            transport.abort()
            assert await peer.recv_to_eof() == b"already sent"

    run(main)


@pytest.mark.parametrize("method", ["close", "abort"])
def test_writes_after_the_end_warn_after_a_while(run, method):
    async def main():
        async with connected() as (transport, protocol, _):
            getattr(transport, method)()
            with asyncio_log() as records:
                for _ in range(10):
                    transport.write(b"x")
                await protocol.lost
                await turns()
                transport.write(b"x")
            messages = [record.getMessage() for record in records]
            assert messages == ["socket.send() raised exception."] * 7
            assert transport.get_write_buffer_size() == 0

    run(main)


def test_writes_after_the_peer_has_gone(run):
    async def main():
        async with connected() as (transport, protocol, peer):
            peer.reset()
            assert isinstance(await protocol.lost, ConnectionResetError)
            with asyncio_log() as records:
                for _ in range(20):
                    transport.write(b"x")
            assert 10 < len(records) <= 20

    run(main)


def test_a_write_while_close_waits(run):
    async def main():
        data = pattern(1_000_000)
        async with connected(family=socket.AF_UNIX) as (transport, protocol, peer):
            transport.write(data)
            transport.close()
            transport.write(b"one more thing")
            assert await peer.recv_to_eof() == data + b"one more thing"

    run(main)


def test_the_descriptor_closes_after_connection_lost(run):
    async def main():
        seen = []

        class Protocol(Recorder):
            def connection_lost(self, exc):
                seen.append(self.transport.get_extra_info("socket").fileno())
                super().connection_lost(exc)

        async with connected(Protocol) as (transport, protocol, _):
            fd = transport.get_extra_info("socket").fileno()
            transport.close()
            await protocol.lost
            assert seen == [fd]
            await until(lambda: transport.get_extra_info("socket").fileno() == -1)

    run(main)


def test_the_protocol_is_let_go(run):
    """After connection_lost the transport keeps it alive no longer."""

    async def main():
        loop = asyncio.get_running_loop()
        a, b = socket.socketpair()
        with a, b:
            transport, protocol = await loop.create_connection(Protocol, sock=a)
            reference = weakref.ref(protocol)
            transport.close()
            await until(lambda: a.fileno() == -1)
            assert transport.get_protocol() is None
            del protocol
            await turns()
            gc.collect()
            assert reference() is None

    run(main)


def test_an_unclosed_transport_warns(loop_factory):
    loop = loop_factory()
    a, b = socket.socketpair()
    with b:
        transport, protocol = loop.run_until_complete(loop.create_connection(Protocol, sock=a))
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        del a, protocol, loop
        with pytest.warns(ResourceWarning, match="^unclosed transport <"):
            del transport
            gc.collect()


async def stream_of(loop):
    ours, theirs = socket.socketpair()
    return (await loop.create_connection(Protocol, sock=ours))[0], theirs


async def datagrams_of(loop):
    ours, theirs = socket.socketpair(type=socket.SOCK_DGRAM)
    return (await loop.create_datagram_endpoint(asyncio.DatagramProtocol, sock=ours))[0], theirs


async def read_pipe_of(loop):
    read, write = os.pipe()
    pipe = open(read, "rb", 0)
    return (await loop.connect_read_pipe(Protocol, pipe))[0], open(write, "wb", 0)


async def write_pipe_of(loop):
    read, write = os.pipe()
    pipe = open(write, "wb", 0)
    return (await loop.connect_write_pipe(asyncio.BaseProtocol, pipe))[0], open(read, "rb", 0)


@pytest.mark.fastaio_only
@pytest.mark.parametrize("make", [stream_of, datagrams_of, read_pipe_of, write_pipe_of])
def test_the_collector_leaves_the_descriptor_to_the_transport(loop_factory, make):
    """asyncio's transport may find its socket closed already: the collector's order decides."""
    loop = loop_factory()
    transport, other = loop.run_until_complete(make(loop))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    cycle = [transport]
    cycle.append(cycle)
    gc.collect()
    with other, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        del transport, cycle, loop
        gc.collect()
    assert [str(warning.message).partition(" <")[0] for warning in told] == ["unclosed transport"]


class Protocol(asyncio.Protocol):
    pass


# Half-closed connections


@FAMILIES
def test_eof_closes_by_default(run, family):
    async def main():
        async with connected(family=family) as (transport, protocol, peer):
            await peer.send(b"last")
            peer.shutdown()
            assert await protocol.lost is None
            assert protocol.calls == ["made", "data", "eof", "lost"]
            assert bytes(protocol.data) == b"last"
            assert transport.is_closing()
            assert await peer.recv_to_eof() == b""

    run(main)


@FAMILIES
def test_eof_received_true_keeps_the_other_way_open(run, family):
    async def main():
        data = pattern(3_000_000)
        async with connected(HalfOpen, family) as (transport, protocol, peer):
            await peer.send(b"request")
            peer.shutdown()
            await protocol.eof
            assert bytes(protocol.data) == b"request"
            assert not transport.is_closing()
            await turns(5)
            assert protocol.calls == ["made", "data", "eof"]
            transport.write(data)
            reading = asyncio.create_task(peer.recv_exactly(len(data)))
            assert await reading == data
            assert protocol.events.count("eof") == 1
            transport.close()
            assert await protocol.lost is None
            assert await peer.recv_to_eof() == b""

    run(main)


def test_the_end_is_told_once_although_the_callback_resumes_reading(run):
    class Resuming(HalfOpen):
        def eof_received(self):
            self.note("eof")
            self.transport.pause_reading()
            self.transport.resume_reading()
            return self.events.count("eof") < 5

    async def main():
        async with connected(Resuming) as (transport, protocol, peer):
            peer.shutdown()
            await protocol.wait(lambda: "eof" in protocol.events)
            await turns(10)
            assert protocol.events.count("eof") == 1
            transport.write(b"answer")
            assert await peer.recv_exactly(6) == b"answer"

    run(main)


def test_a_half_open_connection_costs_no_processor_time(run):
    """An end that is always readable must not turn the loop."""

    async def main():
        async with connected(HalfOpen) as (_, protocol, peer):
            peer.shutdown()
            await protocol.eof
            before = time.process_time()
            await asyncio.sleep(0.3)
            assert time.process_time() - before < 0.15

    run(main)


def test_bytes_and_end_in_one_packet(run):
    async def main():
        for size in (1, 1000, 300_000):
            async with connected(family=socket.AF_UNIX) as (transport, protocol, peer):
                data = pattern(size)
                await peer.send(data)
                peer.close()
                assert await protocol.lost is None
                assert bytes(protocol.data) == data
                assert protocol.calls == ["made", "data", "eof", "lost"]

    run(main)


def test_eof_sends_what_waits_before_it_closes(run):
    async def main():
        data = pattern(5_000_000)
        async with connected(family=socket.AF_UNIX) as (transport, protocol, peer):
            transport.write(data)
            peer.shutdown()
            await protocol.eof
            assert await peer.recv_to_eof() == data
            assert await protocol.lost is None

    run(main)


# Callbacks that fail


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("callback", ["connection_made", "connection_lost"])
def test_a_failing_callback_is_named(run, callback, debug):
    """The report names the method, as asyncio's does, and has the handle."""

    async def main():
        loop = asyncio.get_running_loop()
        reports = Reports(loop)

        def fail(*args):
            raise ZeroDivisionError

        class Failing(asyncio.Protocol):
            pass

        setattr(Failing, callback, fail)
        ours, theirs = socket.socketpair()
        with theirs:
            transport, _ = await loop.create_connection(Failing, sock=ours)
            transport.close()
            await until(lambda: ours.fileno() == -1)
            await turns(2)
        (report,) = reports
        name = fail.__qualname__ if callback == "connection_made" else "_call_connection_lost"
        assert report["message"].startswith("Exception in callback ")
        assert f"{name}(" in report["message"]
        assert f"{name}(" in repr(report["handle"])
        assert type(report["exception"]) is ZeroDivisionError

    run(main, debug=debug)


@pytest.mark.fastaio_only
def test_a_socket_that_is_closed_before_the_transport_reads(run):
    """asyncio's transport never learns of it: its report goes to the exception handler."""

    async def main():
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            protocol = Recorder()
            ours.close()
            asyncio.get_running_loop()._make_socket_transport(ours, protocol)
            exc = await protocol.lost
            assert type(exc) is OSError and exc.errno == errno.EBADF

    run(main)
