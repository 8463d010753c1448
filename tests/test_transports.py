"""Stream transports: what they are, writing, and what the protocol hears."""

import array
import asyncio
import gc
import re
import signal
import socket
import time
import weakref
from asyncio import selector_events

import pytest

from .hardship import survives
from .ioutil import (
    Echo,
    HalfOpen,
    Recorder,
    Reports,
    connected,
    drain,
    ended,
    exchange,
    fill,
    no_new_descriptors,
    pattern,
    serving,
    turns,
    until,
)
from .support import GUARD, PYTHON_314

FAMILIES = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX], ids=["tcp", "unix"])


# What a transport is


@FAMILIES
def test_types(run, family):
    async def main():
        async with connected(family=family) as (transport, protocol, _):
            assert isinstance(transport, asyncio.Transport)
            assert isinstance(transport, asyncio.ReadTransport)
            assert isinstance(transport, asyncio.WriteTransport)
            assert isinstance(transport, asyncio.transports._FlowControlMixin)
            assert not isinstance(transport, asyncio.DatagramTransport)
            assert transport.get_protocol() is protocol
            assert transport._protocol is protocol
            assert transport._loop is asyncio.get_running_loop()
            assert isinstance(transport._sock, socket.socket)
            assert weakref.ref(transport)() is transport
            assert transport == transport
            assert {transport}

    run(main)


def test_extra_info(run):
    async def main():
        async with connected() as (transport, protocol, peer):
            sock = transport.get_extra_info("socket")
            assert isinstance(sock, asyncio.trsock.TransportSocket)
            assert sock.fileno() == transport._sock.fileno()
            assert transport.get_extra_info("sockname") == peer.sock.getpeername()
            assert transport.get_extra_info("peername") == peer.sock.getsockname()
            for name in ("sslcontext", "ssl_object", "peercert", "cipher", "pipe", "nonsense"):
                assert transport.get_extra_info(name) is None
            assert transport.get_extra_info("nonsense", 5) == 5
            assert transport.get_extra_info(name="nonsense", default=6) == 6
            assert transport.get_extra_info("socket", 5) is sock
            assert transport._extra["socket"] is sock
            transport.close()
            await protocol.lost
            assert transport.get_extra_info("peername") == peer.sock.getsockname()
            assert transport.get_extra_info("socket") is sock

    run(main)


def test_extra_info_of_a_unix_socket(run):
    async def main():
        async with connected(family=socket.AF_UNIX) as (transport, _, _):
            assert transport.get_extra_info("sockname") == ""
            assert transport.get_extra_info("peername") == ""

    run(main)


def test_attributes_can_be_set(run):
    """uvicorn and aiohttp's tests put their own methods on a transport."""

    async def main():
        async with connected() as (transport, protocol, peer):
            written = []
            transport.write = written.append
            transport.write(b"intercepted")
            assert written == [b"intercepted"]
            del transport.write
            transport.write(b"sent")
            assert await peer.recv_exactly(4) == b"sent"
            transport.note = 5
            assert transport.note == 5

            paused = []
            transport.pause_reading = lambda: paused.append(1)
            transport.pause_reading()
            assert paused == [1]
            assert transport.is_reading()

    run(main)


def test_repr(run):
    async def main():
        async with connected(family=socket.AF_UNIX) as (transport, protocol, peer):
            fd = transport.get_extra_info("socket").fileno()

            def rest():
                match = re.fullmatch(r"<\w+ (.*)>", repr(transport))
                return match[1]

            await turns()
            assert rest() == f"fd={fd} read=polling write=<idle, bufsize=0>"
            transport.pause_reading()
            assert rest() == f"fd={fd} read=idle write=<idle, bufsize=0>"
            transport.resume_reading()
            transport.write(b"x" * 1_000_000)
            size = transport.get_write_buffer_size()
            assert size > 0
            assert rest() == f"fd={fd} read=polling write=<polling, bufsize={size}>"
            transport.close()
            assert rest() == f"closing fd={fd} read=idle write=<polling, bufsize={size}>"
            transport.abort()
            await protocol.lost
            await until(lambda: "closed" in repr(transport))
            assert rest().startswith(f"closed fd={fd}")

    run(main)


# Writing


@FAMILIES
@pytest.mark.parametrize(
    "kind",
    [bytes, bytearray, memoryview, lambda data: memoryview(bytearray(data))[:]],
    ids=["bytes", "bytearray", "memoryview", "slice"],
)
def test_write(run, family, kind):
    async def main():
        async with connected(family=family) as (transport, _, peer):
            assert transport.write(kind(b"hello")) is None
            assert await peer.recv_exactly(5) == b"hello"

    run(main)


@pytest.mark.parametrize(
    "bad",
    ["text", None, 5, [b"x"], object(), array.array("B", b"x"), 1.5],
    ids=["str", "None", "int", "list", "object", "array", "float"],
)
def test_write_of_what_is_not_bytes(run, bad):
    async def main():
        async with connected() as (transport, _, peer):
            with pytest.raises(TypeError) as asyncios:
                selector_events._SelectorSocketTransport.write(transport, bad)
            with pytest.raises(TypeError, match=f"^{re.escape(str(asyncios.value))}$"):
                transport.write(bad)
            transport.write(b"fine")
            assert await peer.recv_exactly(4) == b"fine"

    run(main)


def test_write_of_nothing(run, on_fastaio):
    async def main():
        async with connected() as (transport, _, peer):
            for empty in (b"", bytearray(), memoryview(b"")):
                transport.write(empty)
            transport.writelines([])
            if on_fastaio or PYTHON_314:  # earlier releases of asyncio never get rid of them
                transport.writelines([b"", b""])
            assert transport.get_write_buffer_size() == 0
            transport.write(b"x")
            transport.close()
            assert await peer.recv_to_eof() == b"x"

    run(main)


def test_a_buffer_may_change_after_write(run):
    """What is sent is what the buffer held when write() was called."""

    async def main():
        async with connected() as (transport, _, peer):
            buffer = bytearray(b"first")
            transport.write(buffer)
            buffer[:] = b"xxxxx"
            transport.write(memoryview(buffer)[:0])
            transport.writelines([buffer, buffer])
            buffer[:] = b"yyyyy"
            assert await peer.recv_exactly(15) == b"firstxxxxxxxxxx"

    run(main)


@pytest.mark.fastaio_only
def test_a_buffer_may_change_while_its_bytes_wait(run):
    """asyncio keeps a view of it, sends the change and forbids to resize it."""

    async def main():
        async with connected(family=socket.AF_UNIX) as (transport, _, peer):
            data = pattern(1_000_000)
            buffer = bytearray(data)
            transport.write(buffer)
            assert transport.get_write_buffer_size() > 0
            buffer[:] = bytes(len(buffer))
            buffer.clear()
            assert await peer.recv_exactly(len(data)) == data

    run(main)


def test_writes_keep_their_order(run):
    async def main():
        data = pattern(100_000)
        async with connected() as (transport, _, peer):
            position = 0
            step = 0
            while position < len(data):
                size = 1 + step % 700
                transport.write(data[position : position + size])
                position += size
                step += 1
                if step % 17 == 0:
                    await asyncio.sleep(0)
            assert await peer.recv_exactly(len(data)) == data

    run(main)


@pytest.mark.parametrize("kind", [list, tuple, iter], ids=["list", "tuple", "iterator"])
def test_writelines(run, kind):
    async def main():
        async with connected() as (transport, _, peer):
            lines = [b"a", bytearray(b"bc"), memoryview(b"def"), b"", b"g"]
            assert transport.writelines(kind(lines)) is None
            assert await peer.recv_exactly(7) == b"abcdefg"

    run(main)


def test_writelines_of_more_parts_than_a_system_call_takes(run):
    async def main():
        data = pattern(5000)
        async with connected(family=socket.AF_UNIX) as (transport, _, peer):
            transport.writelines([data[index : index + 1] for index in range(len(data))])
            assert await peer.recv_exactly(len(data)) == data

    run(main)


def test_writelines_of_much(run):
    async def main():
        data = pattern(3_000_000)
        async with connected(family=socket.AF_UNIX) as (transport, _, peer):
            parts = [data[index : index + 10_007] for index in range(0, len(data), 10_007)]
            transport.write(b"head")
            transport.writelines(parts)
            transport.write(b"tail")
            assert await peer.recv_exactly(len(data) + 8) == b"head" + data + b"tail"

    run(main)


def test_writelines_mixed_with_write(run):
    async def main():
        async with connected() as (transport, _, peer):
            for number in range(10):
                transport.write(b"w%d" % number)
                transport.writelines([b"l", b"%d" % number])
            expected = b"".join(b"w%dl%d" % (number, number) for number in range(10))
            assert await peer.recv_exactly(len(expected)) == expected

    run(main)


@pytest.mark.parametrize("bad", [[b"x", "text"], [b"x", 5], 5], ids=["str", "int", "none"])
def test_writelines_of_what_is_not_bytes(run, bad):
    async def main():
        async with connected() as (transport, _, _):
            with pytest.raises(TypeError):
                transport.writelines(bad)

    run(main)


def test_refused_writelines_say_why(same_outcome):
    def scenario(env):
        async def main():
            said = []
            ours, theirs = socket.socketpair()
            transport, protocol = await env.loop.create_connection(Recorder, sock=ours)
            # 3.15's asyncio keeps what stands before a bad one, and never sends it.
            for bad in (["text", b"x"], [5], [[b"z"], b"x", b"y"]):
                with pytest.raises(TypeError) as caught:
                    transport.writelines(bad)
                said.append(str(caught.value))
            transport.write_eof()
            for method, data in (("write", b"x"), ("writelines", [b"x"])):
                with pytest.raises(RuntimeError) as caught:
                    getattr(transport, method)(data)
                said.append(str(caught.value))
            theirs.close()
            await protocol.lost
            return said

        return env.run(main())

    same_outcome(scenario)


def test_head_and_body_apart(run):
    """The way uvicorn answers: two writes per request, on a connection that is kept."""

    class Server(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            for number in data.split():
                self.transport.write(b"head %s\r\n" % number)
                self.transport.write(b"body %s\r\n" % number)

    async def main():
        loop = asyncio.get_running_loop()
        async with serving(Server) as (_, address):
            transport, protocol = await loop.create_connection(Recorder, *address)
            expected = b""
            for number in range(100):
                transport.write(b"%d " % number)
                expected += b"head %d\r\nbody %d\r\n" % (number, number)
                assert await protocol.wait_bytes(len(expected)) == expected
            await ended(transport, protocol)

    run(main)


def test_a_write_arrives_while_the_loop_is_busy(run):
    """What a callback wrote does not wait for the slow callbacks queued behind it."""

    async def main():
        loop = asyncio.get_running_loop()
        async with connected(family=socket.AF_UNIX) as (transport, _, peer):
            await turns()
            arrived = []

            def write():
                transport.write(b"answer")

            def slow():
                # Blocks the loop until the answer has come, as a slow callback would.
                peer.sock.settimeout(1)
                arrived.append(peer.sock.recv(100))

            loop.call_soon(write)
            for _ in range(3):
                loop.call_soon(block_briefly)
            loop.call_soon(slow)
            await until(lambda: arrived)
            assert arrived == [b"answer"]

    run(main)


def block_briefly():
    time.sleep(0.001)


def test_a_write_before_a_blocking_read(run):
    """The user may look at the other side as soon as write() and one turn are over."""

    async def main():
        async with connected(family=socket.AF_UNIX) as (transport, _, peer):
            for number in range(20):
                transport.write(b"%d" % number)
                await asyncio.sleep(0)
                assert peer.sock.recv(100) == b"%d" % number

    run(main)


def test_what_was_written_before_a_run_ends_is_sent(loop):
    async def connect(sock):
        return await loop.create_connection(Recorder, sock=sock)

    async def write(transport):
        transport.write(b"last words")

    a, b = socket.socketpair()
    with a, b:
        b.settimeout(GUARD)
        transport, protocol = loop.run_until_complete(connect(a))
        loop.run_until_complete(write(transport))
        assert b.recv(100) == b"last words"
        transport.write(b"between runs")
        loop.run_until_complete(asyncio.sleep(0))
        assert b.recv(100) == b"between runs"
        transport.close()
        loop.run_until_complete(protocol.lost)


@pytest.mark.parametrize("size", [100, 65_536, 65_537, 1_000_000, 12 * 1024 * 1024])
@FAMILIES
def test_both_ways(run, family, size):
    """Through an echo that knows flow control: every byte once and in its place."""
    data = pattern(size)

    async def main():
        async with connected(Echo, family) as (_, _, peer):
            _, answer = await asyncio.gather(peer.send(data), peer.recv_exactly(size))
            assert answer == data

    run(main)


def test_both_ways_between_two_transports(run):
    size = 12 * 1024 * 1024
    there, back = pattern(size, 2), pattern(size, 3)

    async def main():
        loop = asyncio.get_running_loop()
        ends = []

        class Server(Recorder):
            def connection_made(self, transport):
                super().connection_made(transport)
                ends.append(self)
                transport.write(back)

        async with serving(Server) as (_, address):
            transport, client = await loop.create_connection(Recorder, *address)
            for position in range(0, size, 1_000_003):
                transport.write(there[position : position + 1_000_003])
                await asyncio.sleep(0)
            assert await client.wait_bytes(size) == back
            await until(lambda: ends)
            assert await ends[0].wait_bytes(size) == there
            await ended(transport, client)

    run(main)


def test_writes_from_within_callbacks(run):
    async def main():
        class Chatty(Recorder):
            def connection_made(self, transport):
                transport.write(b"<made>")
                super().connection_made(transport)

            def data_received(self, data):
                super().data_received(data)
                self.transport.write(b"<data>")

            def eof_received(self):
                self.transport.write(b"<eof>")
                return super().eof_received()

            def connection_lost(self, exc):
                self.transport.write(b"<lost>")
                super().connection_lost(exc)

        async with connected(Chatty) as (_, protocol, peer):
            assert await peer.recv_exactly(6) == b"<made>"
            await peer.send(b"x")
            assert await peer.recv_exactly(6) == b"<data>"
            peer.shutdown()
            assert await peer.recv_to_eof() == b"<eof>"
            assert await protocol.lost is None

    run(main)


# Peers that misbehave


def test_reset_by_the_peer(run):
    async def main():
        reports = Reports()
        async with connected() as (_, protocol, peer):
            peer.reset()
            exc = await protocol.lost
            assert type(exc) is ConnectionResetError
            assert exc.errno == 104
            assert protocol.events == ["made", "lost"]
        assert reports == []

    run(main)


def test_reset_after_data(run):
    """What came before the reset may be lost, as the kernel decides; the end is told once."""

    async def main():
        async with connected() as (_, protocol, peer):
            await peer.send(b"data")
            await protocol.wait_bytes(4)
            peer.reset()
            assert type(await protocol.lost) is ConnectionResetError
            assert protocol.calls == ["made", "data", "lost"]

    run(main)


def test_reset_while_bytes_wait(run):
    async def main():
        async with connected() as (transport, protocol, peer):
            transport.write(b"x" * 20_000_000)
            assert transport.get_write_buffer_size() > 0
            peer.reset()
            exc = await protocol.lost
            assert type(exc) in (ConnectionResetError, BrokenPipeError)
            assert protocol.events.count("lost") == 1
            assert "resume" not in protocol.events
            assert transport.get_write_buffer_size() == 0

    run(main)


def test_reset_while_close_waits(run):
    async def main():
        reports = Reports()
        async with connected() as (transport, protocol, peer):
            transport.write(b"x" * 20_000_000)
            transport.close()
            await turns()
            peer.reset()
            exc = await protocol.lost
            assert type(exc) in (ConnectionResetError, BrokenPipeError)
            assert protocol.events.count("lost") == 1
        assert reports == []

    run(main)


def test_writing_to_a_peer_that_has_closed(run):
    async def main():
        reports = Reports()
        async with connected(HalfOpen, socket.AF_UNIX) as (transport, protocol, peer):
            peer.close()
            await protocol.eof
            transport.write(b"x")
            assert type(await protocol.lost) is BrokenPipeError
            assert protocol.calls == ["made", "eof", "lost"]
        assert reports == []

    run(main)


def test_a_peer_that_never_reads(run):
    """A protocol that heeds pause_writing needs bounded memory."""

    async def main():
        class Producer(Recorder):
            paused = False
            highest = 0
            total = 0

            def pause_writing(self):
                super().pause_writing()
                self.paused = True

            def produce(self):
                while not self.paused:
                    self.transport.write(b"x" * 4096)
                    self.total += 4096
                    self.highest = max(self.highest, self.transport.get_write_buffer_size())

        async with connected(Producer) as (transport, protocol, _):
            protocol.produce()
            await turns(10)
            # The kernel may take more; then there is a resume, and the next pause.
            while "resume" in protocol.events:
                protocol.events.clear()
                protocol.paused = False
                protocol.produce()
                await turns(10)
            assert protocol.events[-1] == "pause"
            assert protocol.highest <= 65536 + 4096
            assert transport.get_write_buffer_size() <= 65536 + 4096
            transport.abort()
            await protocol.lost
            assert "resume" not in protocol.events

    run(main)


def test_an_echo_whose_client_never_reads(run):
    """The echo stops reading, so the client's sending comes to a halt; nothing is lost after."""

    async def main():
        async with connected(Echo, socket.AF_UNIX) as (transport, _, peer):
            peer.sock.setblocking(False)
            sent = 0
            quiet = 0
            while quiet < 20:
                count = fill(peer.sock, b"x" * 4096)
                sent += count
                quiet = 0 if count else quiet + 1
                await asyncio.sleep(0.001)
            assert sent < 10_000_000
            assert transport.get_write_buffer_size() < 1_000_000
            received = 0
            async with asyncio.timeout(GUARD):
                while received < sent:
                    received += len(drain(peer.sock))
                    await asyncio.sleep(0)
            assert received == sent

    run(main)


# Protocol callbacks that raise


class Fault(Exception):
    pass


@pytest.mark.parametrize("callback", ["data_received", "eof_received"])
def test_a_callback_that_raises_ends_the_connection(run, callback):
    def fail(*args):
        raise Fault(callback)

    async def main():
        reports = Reports()

        class Broken(Recorder):
            pass

        setattr(Broken, callback, fail)
        async with connected(Broken) as (transport, protocol, peer):
            if callback == "data_received":
                await peer.send(b"x")
            else:
                peer.shutdown()
            exc = await protocol.lost
            assert type(exc) is Fault
            assert protocol.events == ["made", "lost"]
            assert len(reports) == 1
            (report,) = reports
            assert report["message"] == f"Fatal error: protocol.{callback}() call failed."
            assert report["exception"] is exc
            assert report["transport"] is transport
            assert report["protocol"] is protocol
            assert await peer.recv_to_eof() == b""

    run(main)


def test_connection_lost_that_raises(run):
    async def main():
        reports = Reports()

        class Broken(Recorder):
            def connection_lost(self, exc):
                super().connection_lost(exc)
                raise Fault

        async with no_new_descriptors():
            async with connected(Broken) as (transport, protocol, peer):
                transport.close()
                await protocol.lost
                assert await peer.recv_to_eof() == b""
        assert [type(exc) for exc in reports.exceptions] == [Fault]
        assert reports.messages[0].startswith("Exception in callback ")

    run(main)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_keyboard_interrupt_and_system_exit_leave_the_loop(loop, error):
    class Broken(Recorder):
        def data_received(self, data):
            super().data_received(data)
            raise error("out")

    async def make(sock):
        return await loop.create_connection(Broken, sock=sock)

    a, b = socket.socketpair()
    with a, b:
        transport, protocol = loop.run_until_complete(make(a))
        b.send(b"x")
        with pytest.raises(error, match="^out$"):
            loop.run_until_complete(asyncio.sleep(GUARD))
        # The connection has not been touched by it.
        assert not transport.is_closing()
        transport.abort()
        loop.run_until_complete(protocol.lost)


def test_a_protocol_without_some_callbacks(run):
    """Duck typing: a protocol need not be a Protocol."""

    class Duck:
        def __init__(self):
            self.data = b""

        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.data += data

        def eof_received(self):
            return False

        def connection_lost(self, exc):
            self.exc = exc

    async def main():
        async with connected(Duck) as (_, protocol, peer):
            await peer.send(b"quack")
            await until(lambda: protocol.data == b"quack")
            peer.shutdown()
            await until(lambda: hasattr(protocol, "exc"))
            assert protocol.exc is None

    run(main)


# The peer of a busy loop


def test_a_greedy_connection_does_not_starve_the_others(run):
    """A peer that sends without end leaves time for timers and for other connections."""

    async def main():
        loop = asyncio.get_running_loop()
        stop = False

        async with (
            connected(family=socket.AF_UNIX) as (_, _, greedy),
            connected(family=socket.AF_UNIX) as (_, modest, peer),
        ):

            def flood():
                while not stop:
                    greedy.sock.sendall(b"x" * 65536)

            flooding = asyncio.create_task(asyncio.to_thread(flood))
            try:
                async with asyncio.timeout(GUARD):
                    for number in range(20):
                        await asyncio.sleep(0.001)
                        peer.sock.send(b"x")
                        await modest.wait_bytes(number + 1)
                        await loop.run_in_executor(None, int)
            finally:
                stop = True
                await flooding

    run(main)


def failing_writes(env, write, *, waiting=0):
    """Call `write(transport)` with `waiting` bytes queued; return the end of the connection."""

    async def main():
        reports = []
        env.loop.set_exception_handler(
            lambda loop, context: reports.append((context["message"], context["exception"]))
        )
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        with theirs:
            transport, protocol = await env.loop.create_connection(Recorder, sock=ours)
            transport.write(b"before" if not waiting else bytes(waiting))
            before = transport.get_write_buffer_size() > 0
            write(transport)
            closing = [transport.is_closing(), transport.get_write_buffer_size() > 0]
            transport.write(b"after")
            got = bytearray()
            while not protocol.lost.done() and got[-5:] != b"after":
                got += drain(theirs)
                await asyncio.sleep(0)
            got += drain(theirs)
            transport.abort()
            lost = await protocol.lost
            return before, closing, bytes(got[:100]), bytes(got[-10:]), lost, reports

    return env.run(main())


GAPS = memoryview(b"a-b-c-")[::2]
writes_gaps = pytest.mark.parametrize(
    "write",
    [
        lambda transport: transport.write(GAPS),
        lambda transport: transport.writelines([b"first", GAPS, b"last"]),
        lambda transport: transport.write(memoryview(bytes(400_000))[::2]),
    ],
    ids=["write", "writelines", "large"],
)


@writes_gaps
def test_a_view_with_gaps_ends_the_connection(same_outcome, write):
    same_outcome(lambda env: failing_writes(env, write))


@writes_gaps
def test_a_view_with_gaps_behind_output_that_waits(same_outcome, write):
    same_outcome(lambda env: failing_writes(env, write, waiting=2_000_000))


def in_blocking_mode(loop_factory, action, kind=socket.SOCK_STREAM):
    """Run `action(transport, protocol, peer)` while others have put the socket into blocking mode.

    In a forked child: a thread that blocks may hold the GIL.
    """

    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair(type=kind)
        ours.setblocking(False)
        theirs.settimeout(GUARD)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1_000_000)
        protocol = Recorder()
        transport = loop._make_socket_transport(ours, protocol)
        await turns()
        with theirs, ours.dup() as other:
            other.setblocking(True)
            await action(transport, protocol, theirs)
            transport.abort()
            await protocol.lost

    def child():
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(main())

    survives(child)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize(
    ("kind", "size"),
    [(socket.SOCK_STREAM, 256 * 1024), (socket.SOCK_SEQPACKET, 10)],
    ids=["all that one read returns", "message"],
)
def test_reading_from_a_socket_in_blocking_mode(loop_factory, kind, size):
    async def action(transport, protocol, peer):
        transport.pause_reading()
        assert peer.send(bytes(size)) == size
        transport.resume_reading()
        await protocol.wait_bytes(size)
        await turns(10)
        peer.send(b"more")
        await protocol.wait_bytes(size + 4)

    in_blocking_mode(loop_factory, action, kind)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("make", [bytes, bytearray])
def test_writing_to_a_socket_in_blocking_mode(loop_factory, make):
    async def action(transport, protocol, peer):
        def receive():
            count = 0
            while count < 3_000_000:
                count += len(peer.recv(65536))

        receiving = asyncio.create_task(asyncio.to_thread(receive))
        await turns()
        transport.write(make(3_000_000))
        await receiving

    in_blocking_mode(loop_factory, action)


def test_many_idle_connections_and_a_busy_one(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with serving() as (_, address):
            idle = [await loop.create_connection(Recorder, *address) for _ in range(100)]
            busy = await loop.create_connection(Recorder, *address)
            for _ in range(100):
                await exchange(*busy)
            for connection in idle:
                assert connection[1].events == ["made"]
                await exchange(*connection)
                await ended(*connection)
            await ended(*busy)

    run(main)


def test_a_server_lets_its_transports_go(run):
    """Closed connections leave no transport behind."""

    async def main():
        loop = asyncio.get_running_loop()
        made = weakref.WeakSet()

        class Server(Echo):
            def connection_made(self, transport):
                made.add(transport)
                super().connection_made(transport)

        async with serving(Server) as (_, address):
            for _ in range(20):
                connection = await loop.create_connection(Recorder, *address)
                await exchange(*connection)
                await ended(*connection)
            await turns(5)
            del connection
            gc.collect()
            await until(lambda: gc.collect() >= 0 and not made)

    run(main)
