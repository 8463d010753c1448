"""Datagrams: UDP over IPv4 and IPv6, Unix datagram sockets, errors, flow control, endings."""

import asyncio
import contextlib
import errno
import gc
import os
import socket
import sys
import weakref

import pytest

from .ioutil import Reports, asyncio_log, needs_ipv6, no_new_descriptors, pattern, turns, until
from .support import GUARD, PYTHON_313


class Endpoint(asyncio.DatagramProtocol):
    """Notes every callback."""

    def __init__(self):
        self.calls = []
        self.received = []
        self.errors = []
        self.lost = asyncio.get_running_loop().create_future()
        self.transport = None

    def connection_made(self, transport):
        self.transport = transport
        self.calls.append("made")

    def datagram_received(self, data, addr):
        assert type(data) is bytes
        self.received.append((data, addr))
        self.calls.append("data")

    def error_received(self, exc):
        self.errors.append(exc)
        self.calls.append("error")

    def connection_lost(self, exc):
        self.calls.append("lost")
        self.lost.set_result(exc)

    def pause_writing(self):
        self.calls.append("pause")

    def resume_writing(self):
        self.calls.append("resume")

    @property
    def data(self):
        return [data for data, _ in self.received]


class Mirror(Endpoint):
    def datagram_received(self, data, addr):
        super().datagram_received(data, addr)
        self.transport.sendto(data, addr)


@contextlib.asynccontextmanager
async def endpoint(factory=Endpoint, **kwargs):
    """(transport, protocol) of an endpoint that is closed at the end."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(factory, **kwargs)
    try:
        yield transport, protocol
    finally:
        transport.abort()
        async with asyncio.timeout(GUARD):
            await protocol.lost


@contextlib.asynccontextmanager
async def two(host="127.0.0.1", factory=Endpoint):
    """(server, client): the client is connected to the server."""
    async with endpoint(factory, local_addr=(host, 0)) as (transport, server):
        address = transport.get_extra_info("sockname")
        async with endpoint(remote_addr=address[:2]) as (_, client):
            yield server, client


HOSTS = ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)]


@pytest.mark.parametrize("host", HOSTS)
def test_round_trip(run, host):
    async def main():
        async with no_new_descriptors(), two(host, Mirror) as (server, client):
            for size in (1, 1024, 65507 if host == "127.0.0.1" else 65487):
                data = pattern(size, size)
                client.transport.sendto(data)
                await until(lambda data=data: client.data[-1:] == [data])
            ours = client.transport.get_extra_info("sockname")
            assert {addr for _, addr in server.received} == {ours}
            theirs = server.transport.get_extra_info("sockname")
            assert {addr for _, addr in client.received} == {theirs}
            assert client.transport.get_extra_info("peername") == theirs
            assert server.transport.get_extra_info("peername") is None

    run(main)


@pytest.mark.parametrize("host", HOSTS)
def test_many_peers_are_told_apart(run, host):
    """More of them than addresses are remembered."""

    async def main():
        async with endpoint(Mirror, local_addr=(host, 0)) as (mirror, server):
            address = mirror.get_extra_info("sockname")
            async with contextlib.AsyncExitStack() as stack:
                clients = [
                    (await stack.enter_async_context(endpoint(remote_addr=address[:2])))[1]
                    for _ in range(60)
                ]
                for turn in range(3):
                    for number, client in enumerate(clients):
                        client.transport.sendto(b"%d of %d" % (turn, number))
                    await until(lambda turn=turn: all(len(c.data) > turn for c in clients))
                for number, client in enumerate(clients):
                    assert client.data == [b"%d of %d" % (turn, number) for turn in range(3)]
                    sockname = client.transport.get_extra_info("sockname")
                    mine = [addr for data, addr in server.received if data in client.data]
                    assert mine == [sockname] * 3

    run(main)


def test_many_datagrams_arrive_in_order(run):
    async def main():
        async with two() as (server, client):
            for burst in range(20):
                sent = [b"%d.%d" % (burst, i) for i in range(50)]
                for data in sent:
                    client.transport.sendto(data)
                await until(lambda sent=sent: server.data[-1:] == sent[-1:])
                assert server.data[-50:] == sent

    run(main)


def test_a_flood_starves_nobody(run):
    """However many datagrams wait, the loop's other callbacks have their turns between."""

    async def main():
        async with two() as (server, client):
            sock = server.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            progress = []

            def tick():
                progress.append(len(server.received))
                if len(server.received) < 200:
                    asyncio.get_running_loop().call_soon(tick)

            for _ in range(200):
                client.transport.sendto(b"x")
            tick()
            await until(lambda: len(server.received) == 200)
            steps = [after - before for before, after in zip(progress, progress[1:], strict=False)]
            assert max(steps) <= 64

    run(main)


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview], ids=lambda make: make.__name__)
def test_kinds_of_data(run, make):
    async def main():
        async with two() as (server, client):
            data = make(b"datagram")
            client.transport.sendto(data)
            if make is bytearray:
                data[:] = b"altered!"
            await until(lambda: server.data == [b"datagram"])

    run(main)


def test_a_memoryview_with_gaps(run):
    """The kernel cannot take it: a fatal error, as on asyncio."""

    async def main():
        reports = Reports()
        async with two() as (_, client):
            client.transport.sendto(memoryview(b"a-b-c-")[::2])
            async with asyncio.timeout(GUARD):
                assert isinstance(await client.lost, BufferError)
        assert reports.messages == ["Fatal write error on datagram transport"]

    run(main)


@pytest.mark.parametrize("data", ["text", None, 5, [b"x"]])
def test_wrong_data(run, data):
    async def main():
        async with two() as (server, client):
            with pytest.raises(TypeError, match="data argument must be a bytes-like object"):
                client.transport.sendto(data)
            client.transport.sendto(b"good")
            await until(lambda: server.data == [b"good"])

    run(main)


def test_arguments_of_sendto(run):
    async def main():
        async with endpoint(local_addr=("127.0.0.1", 0)) as (transport, protocol):
            address = transport.get_extra_info("sockname")
            transport.sendto(b"1", address)
            transport.sendto(b"2", addr=address)
            transport.sendto(data=b"3", addr=address)
            transport.sendto(addr=address, data=b"4")
            for args, kwargs in [
                ((), {}),
                ((b"x", address, 1), {}),
                ((b"x",), {"data": b"y"}),
                ((b"x",), {"other": 1}),
                ((), {"addr": address}),
            ]:
                with pytest.raises(TypeError):
                    transport.sendto(*args, **kwargs)
            await until(lambda: len(protocol.data) == 4)
            assert protocol.data == [b"1", b"2", b"3", b"4"]

    run(main)


def test_empty_datagrams(run):
    """Sent from 3.13 on, as asyncio; received by every version."""

    async def main():
        async with two() as (server, client):
            client.transport.sendto(b"")
            client.transport.sendto(b"end")
            await until(lambda: server.data[-1:] == [b"end"])
            assert server.data == ([b"", b"end"] if PYTHON_313 else [b"end"])
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.sendto(b"", server.transport.get_extra_info("sockname"))
                address = ("127.0.0.1", sock.getsockname()[1])
                await until(lambda: server.received[-1] == (b"", address))

    run(main)


def test_unconnected_endpoints_send_anywhere(run):
    async def main():
        async with (
            endpoint(local_addr=("127.0.0.1", 0)) as (_, one),
            endpoint(local_addr=("127.0.0.1", 0)) as (_, other),
            endpoint(local_addr=("127.0.0.1", 0)) as (transport, _),
        ):
            for target in (one, other):
                host, port = target.transport.get_extra_info("sockname")
                transport.sendto(b"fresh", (host, port))
                transport.sendto(b"again", (host, port))
            await until(lambda: all(p.data == [b"fresh", b"again"] for p in (one, other)))

    run(main)


def test_names_and_odd_addresses(run):
    """What is no plain numeric address goes by way of the socket's own method."""

    async def main():
        async with (
            endpoint(local_addr=("127.0.0.1", 0)) as (_, server),
            endpoint(local_addr=("127.0.0.1", 0)) as (transport, _),
        ):
            port = server.transport.get_extra_info("sockname")[1]

            class Host(str):
                __slots__ = ()

            for host in ("localhost", "127.1", Host("127.0.0.1")):
                transport.sendto(host.encode(), (host, port))
            await until(lambda: len(server.data) == 3)
            assert server.data == [b"localhost", b"127.1", b"127.0.0.1"]

    run(main)


@pytest.mark.parametrize(
    ("address", "error"),
    [
        (None, TypeError),
        (5, TypeError),
        (("127.0.0.1",), TypeError),
        (("127.0.0.1", "80"), TypeError),
        (("127.0.0.1", 70000), OverflowError),
        (("127.0.0.1", -1), OverflowError),
        (["127.0.0.1", 80], TypeError),
        (("127.0.0.1\0", 80), TypeError),
    ],
    ids=str,
)
def test_wrong_addresses(run, address, error):
    """A fatal error of the transport, as on asyncio: reported, and the endpoint is closed."""

    async def main():
        reports = Reports()
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_datagram_endpoint(
            Endpoint, local_addr=("127.0.0.1", 0)
        )
        transport.sendto(b"x", address)
        async with asyncio.timeout(GUARD):
            exc = await protocol.lost
        assert isinstance(exc, error)
        assert reports.messages == ["Fatal write error on datagram transport"]

    run(main)


def test_an_endpoint_with_one_peer_refuses_others(run):
    async def main():
        async with two() as (server, client):
            theirs = server.transport.get_extra_info("sockname")
            client.transport.sendto(b"same", theirs)
            client.transport.sendto(b"equal", (str(theirs[0]), int(theirs[1])))
            with pytest.raises(ValueError, match=r"Invalid address: must be None or \('127"):
                client.transport.sendto(b"other", ("127.0.0.1", 1))
            await until(lambda: server.data == [b"same", b"equal"])

    run(main)


def test_a_datagram_too_long(run):
    async def main():
        async with two() as (server, client):
            client.transport.sendto(bytes(70000))
            assert [exc.errno for exc in client.errors] == [errno.EMSGSIZE]
            client.transport.sendto(b"short")
            await until(lambda: server.data == [b"short"])

    run(main)


def test_a_port_where_nobody_listens(run):
    """The ICMP error comes to error_received(), and the endpoint goes on."""

    async def main():
        async with two() as (server, client):
            server.transport.close()
            await server.lost
            client.transport.sendto(b"into the void")
            await until(lambda: client.errors)
            assert [type(exc) for exc in client.errors] == [ConnectionRefusedError]
            client.transport.sendto(b"again")
            await until(lambda: len(client.errors) == 2)
            assert not client.transport.is_closing()
            assert not client.lost.done()

    run(main)


def test_errors_come_in_order_with_data(run):
    async def main():
        async with two() as (server, client):
            client.transport.sendto(b"1")
            client.transport.sendto(bytes(70000))
            client.transport.sendto(b"2")
            assert client.calls == ["made", "error"]
            await until(lambda: server.data == [b"1", b"2"])

    run(main)


@pytest.mark.parametrize("where", ["datagram_received", "error_received"])
def test_callbacks_that_raise(run, where):
    """Reported by the loop; the endpoint lives on."""

    async def main():
        reports = Reports()

        class Failing(Endpoint):
            def datagram_received(self, data, addr):
                super().datagram_received(data, addr)
                if where == "datagram_received":
                    raise ZeroDivisionError

            def error_received(self, exc):
                super().error_received(exc)
                raise ZeroDivisionError

        async with endpoint(Failing, local_addr=("127.0.0.1", 0)) as (transport, protocol):
            address = transport.get_extra_info("sockname")
            if where == "error_received":
                with pytest.raises(ZeroDivisionError):
                    transport.sendto(bytes(70000), address)
            else:
                for data in (b"1", b"2", b"3"):
                    transport.sendto(data, address)
                await until(lambda: protocol.data == [b"1", b"2", b"3"])
                await turns()
                assert [type(exc) for exc in reports.exceptions] == [ZeroDivisionError] * 3
            assert not transport.is_closing()

    run(main)


def test_broadcast(run):
    async def main():
        async with endpoint(local_addr=("127.0.0.1", 0), allow_broadcast=True) as (transport, _):
            sock = transport.get_extra_info("socket")
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST) == 1
        async with endpoint(local_addr=("127.0.0.1", 0)) as (transport, protocol):
            transport.sendto(b"x", ("255.255.255.255", 9))
            assert len(protocol.errors) == 1
            assert isinstance(protocol.errors[0], OSError)

    run(main)


def test_allow_broadcast_with_a_peer_stays_unconnected(run):
    async def main():
        async with endpoint(local_addr=("127.0.0.1", 0)) as (transport, server):
            address = transport.get_extra_info("sockname")
            async with endpoint(remote_addr=address, allow_broadcast=True) as (client, _):
                assert client.get_extra_info("peername") is None
                client.sendto(b"to the only one")
                with pytest.raises(ValueError, match="Invalid address"):
                    client.sendto(b"x", ("127.0.0.1", 1))
                await until(lambda: server.data == [b"to the only one"])

    run(main)


# Unix sockets


def test_unix_datagrams(run, tmp_path):
    async def main():
        paths = [str(tmp_path / name) for name in ("one", "two")]
        async with no_new_descriptors():
            async with (
                endpoint(Mirror, local_addr=paths[0], family=socket.AF_UNIX) as (_, server),
                endpoint(local_addr=paths[1], remote_addr=paths[0], family=socket.AF_UNIX) as (
                    transport,
                    client,
                ),
                endpoint(local_addr="\0" + paths[1], family=socket.AF_UNIX) as (abstract, third),
            ):
                transport.sendto(b"connected")
                await until(lambda: client.received == [(b"connected", paths[0])])
                abstract.sendto(b"unconnected", paths[0])
                await until(lambda: third.received == [(b"unconnected", paths[0])])
                assert server.received == [
                    (b"connected", paths[1]),
                    (b"unconnected", b"\0" + paths[1].encode()),
                ]
                abstract.sendto(b"bytes", paths[0].encode())
                await until(lambda: third.data[-1:] == [b"bytes"])
                abstract.sendto(b"nobody", str(tmp_path / "nobody"))
                assert isinstance(third.errors[-1], FileNotFoundError)

    run(main)


def test_a_peer_without_a_name(run, tmp_path):
    async def main():
        path = str(tmp_path / "socket")
        async with endpoint(local_addr=path, family=socket.AF_UNIX) as (_, protocol):
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as nobody:
                nobody.sendto(b"from nobody", path)
                await until(lambda: protocol.received == [(b"from nobody", None)])

    run(main)


# Flow control


def full_pair(folder):
    """(ours, theirs): datagram sockets between which the kernel holds little."""
    ours, theirs = (socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2))
    theirs.bind(str(folder / "theirs"))
    theirs.settimeout(GUARD)
    ours.connect(str(folder / "theirs"))
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    return ours, theirs


def test_flow_control(run, tmp_path):
    async def main():
        ours, theirs = full_pair(tmp_path)
        with theirs:
            async with endpoint(sock=ours) as (transport, protocol):
                transport.set_write_buffer_limits(high=4096, low=1024)
                sent = []
                while "pause" not in protocol.calls:
                    sent.append(b"%06d" % len(sent) + bytes(506))
                    transport.sendto(sent[-1])
                    assert len(sent) < 10_000
                size = transport.get_write_buffer_size()
                assert 4096 < size < 8192
                got = []
                while len(got) < len(sent):
                    got.append(await asyncio.to_thread(theirs.recv, 1024))
                assert got == sent
                if sys.version_info[:3] != (3, 13, 0):  # which forgets the headers it has counted
                    await until(lambda: protocol.calls.count("resume") == 1)
                    assert transport.get_write_buffer_size() == 0

    run(main)


def test_close_sends_what_is_queued(run, tmp_path):
    async def main():
        ours, theirs = full_pair(tmp_path)
        with theirs:
            transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
                Endpoint, sock=ours
            )
            sent = 0
            while transport.get_write_buffer_size() < 2000:
                transport.sendto(b"%d" % sent + bytes(500))
                sent += 1
            transport.close()
            assert transport.is_closing()
            await turns()
            assert not protocol.lost.done()
            for number in range(sent):
                data = await asyncio.to_thread(theirs.recv, 1024)
                assert data.rstrip(b"\0") == b"%d" % number
            async with asyncio.timeout(GUARD):
                assert await protocol.lost is None
            assert ours.fileno() == -1

    run(main)


def test_abort_drops_what_is_queued(run, tmp_path):
    async def main():
        ours, theirs = full_pair(tmp_path)
        with theirs:
            transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
                Endpoint, sock=ours
            )
            while transport.get_write_buffer_size() < 2000:
                transport.sendto(bytes(500))
            transport.abort()
            async with asyncio.timeout(GUARD):
                assert await protocol.lost is None
            assert ours.fileno() == -1

    run(main)


# Reading can be paused, protocols exchanged


def test_pause_and_resume_reading(run):
    async def main():
        async with two() as (server, client):
            server.transport.pause_reading()
            assert not server.transport.is_reading()
            for i in range(3):
                client.transport.sendto(b"%d" % i)
            await asyncio.sleep(0.02)
            assert server.received == []
            server.transport.resume_reading()
            await until(lambda: server.data == [b"0", b"1", b"2"])

    run(main)


def test_pause_within_a_burst(run):
    async def main():
        class Pausing(Endpoint):
            def datagram_received(self, data, addr):
                super().datagram_received(data, addr)
                self.transport.pause_reading()

        async with two(factory=Pausing) as (server, client):
            for i in range(5):
                client.transport.sendto(b"%d" % i)
            for i in range(5):
                await until(lambda i=i: len(server.data) == i + 1)
                await turns()
                assert server.data == [b"%d" % k for k in range(i + 1)]
                server.transport.resume_reading()

    run(main)


def test_close_within_a_burst(run):
    async def main():
        class Closing(Endpoint):
            def datagram_received(self, data, addr):
                super().datagram_received(data, addr)
                self.transport.close()

        async with two(factory=Closing) as (server, client):
            for i in range(5):
                client.transport.sendto(b"%d" % i)
            await until(server.lost.done)
            assert server.calls == ["made", "data", "lost"]

    run(main)


def test_another_protocol(run):
    async def main():
        async with two() as (server, client):
            successor = Endpoint()
            server.transport.set_protocol(successor)
            assert server.transport.get_protocol() is successor
            client.transport.sendto(b"x")
            await until(lambda: successor.data == [b"x"])
            assert server.data == []
            server.transport.set_protocol(server)

    run(main)


# Endings


def test_sending_after_close(run):
    async def main():
        async with two() as (_, client):
            with asyncio_log() as records:
                client.transport.close()
                for _ in range(10):
                    client.transport.sendto(b"x")
                await client.lost
            messages = [record.getMessage() for record in records]
            assert set(messages) == {"socket.send() raised exception."}

    run(main)


def test_forgotten_endpoints_warn(run):
    async def main():
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_datagram_endpoint(
            Endpoint, local_addr=("127.0.0.1", 0)
        )
        transport.pause_reading()  # nothing else holds it then
        await turns()
        sock = transport._sock
        ref = weakref.ref(transport)
        with pytest.warns(ResourceWarning, match="unclosed transport"):
            protocol.transport = None
            del transport
            gc.collect()
        assert ref() is None
        assert sock.fileno() == -1

    run(main)


def test_a_socket_that_its_user_closes(run, on_fastaio):
    """The number stays taken as long as the transport has it: no datagram reaches a stranger."""

    async def main():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        address, number = sock.getsockname(), sock.fileno()
        async with endpoint(sock=sock) as (_, protocol):
            sock.close()
            if on_fastaio:
                with socket.socket() as other:
                    assert other.fileno() != number
                    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                        sender.sendto(b"still here", address)
                    await until(lambda: protocol.data == [b"still here"])
        if on_fastaio:
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(number)

    async def alone():
        async with no_new_descriptors():
            await main()

    if on_fastaio:
        run(alone)


@pytest.mark.fastaio_only
def test_a_socket_that_its_user_detaches(run):
    """The endpoint ends instead of reporting the stranger's readiness for ever."""

    async def main():
        loop = asyncio.get_running_loop()
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        address = sock.getsockname()
        _, protocol = await loop.create_datagram_endpoint(Endpoint, sock=sock)
        with (
            socket.socket(fileno=sock.detach()) as owner,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        ):
            owner.settimeout(GUARD)
            sender.sendto(b"for the owner", address)
            async with asyncio.timeout(GUARD):
                exc = await protocol.lost
            assert exc.errno == errno.EBADF
            assert owner.recv(100) == b"for the owner"

    run(main)


# Sockets that are not plain


class LoudSocket(socket.socket):
    """Has its own methods, which are to be called."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.calls = []

    def recvfrom(self, size):
        self.calls.append("recvfrom")
        return super().recvfrom(size)

    def sendto(self, *args):
        self.calls.append("sendto")
        return super().sendto(*args)


def test_a_socket_subclass(run):
    async def main():
        sock = LoudSocket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        async with endpoint(Mirror, sock=sock) as (_, protocol):
            async with endpoint(remote_addr=sock.getsockname()) as (client, player):
                client.sendto(b"x")
                await until(lambda: player.data == [b"x"])
                assert protocol.data == [b"x"]
            assert "recvfrom" in sock.calls
            assert "sendto" in sock.calls

    run(main)


def test_patched_socket_methods(run, monkeypatch):
    """Also where they are patched in the midst of it, and where the patch is taken back."""

    async def main():
        async with two(factory=Mirror) as (server, client):
            client.transport.sendto(b"before")
            await until(lambda: client.data == [b"before"])
            calls = []
            genuine = socket.socket.send

            def send(self, *args):
                calls.append(args[0])
                return genuine(self, *args)

            with monkeypatch.context() as patch:
                patch.setattr(socket.socket, "send", send, raising=False)
                client.transport.sendto(b"patched")
                await until(lambda: client.data[-1] == b"patched")
            client.transport.sendto(b"after")
            await until(lambda: client.data[-1] == b"after")
            assert calls == [b"patched"]

    run(main)


def test_a_raw_error_of_the_socket(run):
    """An exception that is no OSError ends the endpoint, and is reported."""

    class Broken(LoudSocket):
        def recvfrom(self, size):
            raise ZeroDivisionError

    async def main():
        reports = Reports()
        sock = Broken(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        address = sock.getsockname()
        _, protocol = await asyncio.get_running_loop().create_datagram_endpoint(Endpoint, sock=sock)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"x", address)
        async with asyncio.timeout(GUARD):
            assert isinstance(await protocol.lost, ZeroDivisionError)
        assert reports.messages == ["Fatal read error on datagram transport"]

    run(main)


# What others look at


def test_attributes(run):
    async def main():
        async with two() as (server, client):
            loop = asyncio.get_running_loop()
            transport = client.transport
            assert isinstance(transport, asyncio.Transport)
            assert transport._loop is loop
            assert transport._protocol is client
            assert transport._sock.fileno() == transport._sock_fd
            assert transport._address == server.transport.get_extra_info("sockname")
            assert not transport._buffer
            assert transport._conn_lost == 0
            assert transport._extra["socket"].fileno() == transport._sock_fd
            assert transport.max_size == 256 * 1024
            assert f"fd={transport._sock_fd} read=polling" in repr(transport)
            sent = []
            transport.sendto = lambda *args: sent.append(args)
            transport.sendto(b"x")
            assert sent == [(b"x",)]

    run(main)


@pytest.mark.fastaio_only
def test_types(run):
    async def main():
        async with two() as (server, _):
            assert isinstance(server.transport, asyncio.DatagramTransport)

    run(main)


def test_wrong_arguments(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(ValueError, match="unexpected address family"):
            await loop.create_datagram_endpoint(Endpoint)
        with (
            socket.socket() as stream,
            pytest.raises(ValueError, match="(datagram socket|UDP Socket) was expected"),
        ):
            await loop.create_datagram_endpoint(Endpoint, sock=stream)
        with pytest.raises(TypeError, match="2-tuple is expected"):
            await loop.create_datagram_endpoint(Endpoint, local_addr="127.0.0.1")

    run(main)


def test_the_socket_of_a_failed_endpoint_is_closed(run):
    async def main():
        class NoProtocol(Endpoint):
            def connection_made(self, transport):
                raise ZeroDivisionError

        reports = Reports()
        async with no_new_descriptors():
            async with endpoint(NoProtocol, local_addr=("127.0.0.1", 0)):
                await turns()
                assert [type(exc) for exc in reports.exceptions] == [ZeroDivisionError]

    run(main)


# A peer without a name


class Collecting(asyncio.DatagramProtocol):
    """Keeps what it gets and how flow control went."""

    def __init__(self):
        self.got = []
        self.flow = []
        self.errors = []
        self.lost = asyncio.get_running_loop().create_future()

    def datagram_received(self, data, addr):
        self.got.append(data)

    def error_received(self, exc):
        self.errors.append(exc)

    def pause_writing(self):
        self.flow.append("pause")

    def connection_lost(self, exc):
        self.lost.set_result(exc)


@contextlib.asynccontextmanager
async def unnamed_pair():
    """(transport, protocol, peer): an endpoint on one half of a socketpair of datagrams."""
    loop = asyncio.get_running_loop()
    ours, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    peer.setblocking(False)
    with peer:
        transport, protocol = await loop.create_datagram_endpoint(Collecting, sock=ours)
        yield transport, protocol, peer
        if not transport.is_closing():
            transport.abort()
        await protocol.lost


@pytest.mark.fastaio_only
def test_the_other_half_of_a_socketpair(run):
    """sendto() without an address reaches the other half of a socketpair; asyncio fails there."""

    async def main():
        async with unnamed_pair() as (transport, protocol, peer):
            for data in (b"one", bytearray(b"two"), memoryview(b"three")):
                transport.sendto(data)
            transport.sendto(b"four", None)
            assert [peer.recv(10) for _ in range(4)] == [b"one", b"two", b"three", b"four"]
            peer.send(b"answer")
            await until(lambda: protocol.got)
            assert protocol.got == [b"answer"]
            assert transport.get_extra_info("peername") == ""
            assert not protocol.errors

    run(main)


@pytest.mark.fastaio_only
def test_the_other_half_of_a_socketpair_does_not_read(run):
    """What the kernel does not take waits, in order, and flow control tells."""

    async def main():
        async with unnamed_pair() as (transport, protocol, peer):
            transport.set_write_buffer_limits(high=1000)
            sent = [b"%03d" % number for number in range(1000)]
            for data in sent:
                transport.sendto(data)
            assert transport.get_write_buffer_size() > 1000
            assert protocol.flow == ["pause"]
            received = []
            while len(received) < len(sent):
                with contextlib.suppress(BlockingIOError):
                    while True:
                        received.append(peer.recv(10))
                await asyncio.sleep(0)
            assert received == sent
            transport.sendto(b"more")
            assert peer.recv(10) == b"more"
            for data in sent:
                transport.sendto(data)
            transport.close()
            received = []
            while not protocol.lost.done():
                with contextlib.suppress(BlockingIOError):
                    while True:
                        received.append(peer.recv(10))
                await asyncio.sleep(0)
            with contextlib.suppress(BlockingIOError):
                while True:
                    received.append(peer.recv(10))
            assert received == sent
            assert await protocol.lost is None

    run(main)


@pytest.mark.fastaio_only
def test_the_other_half_of_a_socketpair_is_gone(run):
    async def main():
        async with unnamed_pair() as (transport, protocol, peer):
            peer.close()
            transport.sendto(b"x")
            assert [type(exc) for exc in protocol.errors] == [ConnectionRefusedError]
            assert not transport.is_closing()

    run(main)


def test_another_address_than_the_unnamed_peer(run, tmp_path):
    """An address that is given is used."""

    async def main():
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.bind(str(tmp_path / "other"))
            other.setblocking(False)
            async with unnamed_pair() as (transport, _, peer):
                transport.sendto(b"x", str(tmp_path / "other"))
                assert other.recv(10) == b"x"
                with pytest.raises(BlockingIOError):
                    peer.recv(10)

    run(main)
