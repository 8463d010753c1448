"""TLS: what is written arrives, in order and once, and the transport is asyncio's."""

import asyncio
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile

import pytest

from .ioutil import (
    Echo,
    Recorder,
    Reports,
    asyncio_log,
    exchange,
    no_new_descriptors,
    pattern,
    turns,
    until,
)
from .support import GUARD
from .tlsutil import (
    HOST,
    authority,
    both_ends,
    certificate,
    cipher,  # noqa: F401 - a fixture
    client_context,
    secured,
    server_context,
    ssl_object,
    tls_serving,
)

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
SIZES = [1, 1000, 16384, 16385, 100_000, 3_000_000]

pytestmark = pytest.mark.usefixtures("cipher")


def moderate_buffers(*socks):
    """Make the kernel hold some records and no more."""
    for sock in socks:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)


async def open_echo(address, context=None, **kwargs):
    return await asyncio.open_connection(
        *address, ssl=context or client_context(), server_hostname=HOST, **kwargs
    )


# Data


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_echo_of_every_size(run, version):
    async def main():
        async with tls_serving(Echo, server_context(version=version)) as (_, address):
            reader, writer = await open_echo(address, client_context(version=version))
            for size in SIZES:
                data = pattern(size)
                writer.write(data)
                assert await reader.readexactly(size) == data
            assert ssl_object(writer.transport).version() == version.name.replace("_", ".")
            writer.close()
            await writer.wait_closed()

    run(main)


def test_streams_at_both_ends(run):
    async def handle(reader, writer):
        while line := await reader.readline():
            writer.write(line.upper())
            await writer.drain()
        writer.close()

    async def main():
        server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=server_context())
        async with server:
            reader, writer = await open_echo(server.sockets[0].getsockname())
            for word in (b"one\n", b"two\n" * 30_000, b"three\n"):
                writer.write(word)
                await writer.drain()
                assert await reader.readexactly(len(word)) == word.upper()
            writer.close()
            await writer.wait_closed()

    run(main)


def test_writes_of_every_kind(run):
    async def main():
        async with secured() as (transport, _, peer):
            changing = bytearray(b"bytearray ")
            transport.write(b"bytes ")
            transport.write(changing)
            changing[:] = b"-" * len(changing)
            transport.write(memoryview(b"__memoryview __")[2:-2])
            transport.write(b"")
            transport.writelines([b"writelines", bytearray(b" of"), memoryview(b" many")])
            transport.writelines([])
            expected = b"bytes bytearray memoryview writelines of many"
            assert await peer.recv_exactly(len(expected)) == expected

    run(main)


@pytest.mark.parametrize("data", ["text", 5, None, [b"list"]])
def test_only_bytes_can_be_written(run, data):
    async def main():
        async with secured() as (transport, protocol, peer):
            with pytest.raises(TypeError, match=r"data: expecting a bytes-like instance, got \w+"):
                transport.write(data)
            await peer.send(b"still there")
            assert await protocol.wait_bytes(11)

    run(main)


def test_a_list_with_something_else_ends_the_connection(run):
    async def main():
        reports = Reports()
        async with secured() as (transport, protocol, _):
            transport.writelines([b"bytes", "text"])
            exc = await protocol.lost
            assert isinstance(exc, TypeError)
            assert reports.messages == ["Fatal error on SSL protocol"]

    run(main)


def test_a_list_with_something_that_has_no_length_raises(run):
    async def main():
        async with secured() as (transport, _, _):
            with pytest.raises(TypeError, match=r"object of type 'int' has no len\(\)"):
                transport.writelines([b"bytes", 5])

    run(main)


@pytest.mark.fastaio_only
def test_after_a_list_that_raises_the_connection_works_and_has_none_of_it(run):
    class Closing(bytes):
        def __len__(self):
            transport.abort()
            return super().__len__()

    async def main():
        nonlocal transport
        async with secured() as (transport, protocol, peer):
            with pytest.raises(TypeError):
                transport.writelines([b"bytes", 5])
            transport.write(b"more")
            assert await peer.recv_exactly(4) == b"more"
            transport.writelines([b"late", Closing(b"later")])  # as after abort()
            assert await protocol.lost is None

    transport = None
    run(main)


@pytest.mark.fastaio_only
def test_the_records_of_one_turn_leave_together(run):
    """Each write is a record, as on asyncio; one system call sends them all."""

    async def main():
        left, right = socket.socketpair()
        right.setblocking(False)
        loop = asyncio.get_running_loop()
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        peer = server_context().wrap_bio(incoming, outgoing, server_side=True)
        connecting = asyncio.create_task(
            loop.create_connection(Recorder, sock=left, ssl=client_context(), server_hostname=HOST)
        )
        while True:
            try:
                peer.do_handshake()
                break
            except ssl.SSLWantReadError:
                if outgoing.pending:
                    await loop.sock_sendall(right, outgoing.read())
                incoming.write(await loop.sock_recv(right, 65536))
        await loop.sock_sendall(right, outgoing.read())
        transport, _ = await connecting
        kept = loop.metrics()["keeper_sends"]
        for number in range(100):
            transport.write(b"%03d " % number)
        wire = await loop.sock_recv(right, 1 << 20)
        while wire.count(b"\x17\x03\x03") < 100 and loop.metrics()["keeper_sends"] > kept:
            wire += await loop.sock_recv(right, 1 << 20)  # on a slow machine that took its time
        records = []
        rest = wire
        while rest:
            records.append(rest[0])
            rest = rest[5 + int.from_bytes(rest[3:5]) :]
        assert records == [23] * 100
        incoming.write(wire)
        assert [peer.read(1000) for _ in range(100)] == [b"%03d " % n for n in range(100)]
        transport.abort()
        await until(lambda: left.fileno() == -1)
        right.close()

    run(main)


def test_many_connections_at_once(run):
    async def talk(address, number):
        data = pattern(20_000, seed=number)
        reader, writer = await open_echo(address)
        for start in range(0, len(data), 1000):
            writer.write(data[start : start + 1000])
            if start % 7000 == 0:
                await asyncio.sleep(0)
        assert await reader.readexactly(len(data)) == data
        writer.close()
        await writer.wait_closed()

    async def main():
        async with no_new_descriptors(), tls_serving(Echo) as (_, address):
            async with asyncio.TaskGroup() as group:
                for number in range(40):
                    group.create_task(talk(address, number))

    run(main)


# BufferedProtocol


class Buffered(asyncio.BufferedProtocol):
    def __init__(self, size):
        self.room = bytearray(size)
        self.data = bytearray()
        self.lost = asyncio.get_running_loop().create_future()
        self.eofs = 0

    def get_buffer(self, sizehint):
        assert isinstance(sizehint, int)
        return memoryview(self.room)

    def buffer_updated(self, count):
        assert 0 < count <= len(self.room)
        self.data += self.room[:count]

    def eof_received(self):
        self.eofs += 1

    def connection_lost(self, exc):
        self.lost.set_result(exc)


@pytest.mark.parametrize("size", [1, 100, 70_000])
def test_buffered_protocol(run, size):
    data = pattern(40_000)

    async def main():
        async with secured(lambda: Buffered(size)) as (_, protocol, peer):
            await peer.send(data)
            await until(lambda: len(protocol.data) == len(data))
            assert protocol.data == data
            closing = asyncio.create_task(asyncio.to_thread(peer.sock.unwrap))
            assert await protocol.lost is None
            assert protocol.eofs == 1
            (await closing).close()

    run(main)


def test_a_buffered_protocol_set_while_much_is_waiting(run):
    data = pattern(600_000)

    class First(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.transport.set_protocol(buffered)

    async def main():
        nonlocal buffered
        buffered = Buffered(70_000)
        async with secured(First) as (transport, protocol, peer):
            transport.set_read_buffer_limits(high=1_000_000)
            transport.pause_reading()
            await peer.send(data)
            await until(lambda: transport.get_read_buffer_size() >= len(data))
            transport.resume_reading()
            await peer.send(b"more")
            await until(lambda: len(protocol.data) + len(buffered.data) == len(data) + 4)
            assert protocol.data + buffered.data == data + b"more"

    buffered = None
    run(main)


WRONG_ROOMS = {
    "bytes": b"read-only",
    "read-only": memoryview(b"read-only"),
    "gaps": memoryview(bytearray(10))[::2],
    "str": "text",
    "list": [1],
    "int": 5,
    "none": None,
}


@pytest.mark.parametrize("room", WRONG_ROOMS.values(), ids=WRONG_ROOMS)
def test_get_buffer_that_gives_none(same_outcome, room):
    class Wrong(Buffered):
        def get_buffer(self, sizehint):
            return room

    def scenario(env):
        async def main():
            reports = Reports()
            async with secured() as (transport, _, peer):
                protocol = Wrong(1)
                transport.set_protocol(protocol)
                await peer.send(b"data")
                return await protocol.lost, reports.messages

        return env.run(main())

    (how, told), _ = same_outcome(scenario)
    assert how == "returned"
    assert "TypeError" in repr(told)
    assert "Fatal error on SSL protocol" in repr(told)


# The transport


def test_the_transport_is_asyncios(run):
    async def main():
        context = client_context()
        async with secured(client=context) as (transport, protocol, _):
            assert isinstance(transport, asyncio.Transport)
            assert transport.get_protocol() is protocol
            assert not transport.can_write_eof()
            with pytest.raises(NotImplementedError):
                transport.write_eof()
            assert not transport.is_closing()
            assert transport.is_reading()
            assert transport._ssl_protocol._sslcontext is context
            assert transport._start_tls_compatible
            transport.extra = 5  # libraries hang things on transports
            transport.write = None
            assert transport.write is None
            del transport.write
            assert transport.get_write_buffer_size() == 0
            assert transport.get_write_buffer_limits() == (128 * 1024, 512 * 1024)
            assert transport.get_read_buffer_limits() == (64 * 1024, 256 * 1024)
            assert transport.get_read_buffer_size() == 0
            assert not transport._protocol_paused

    run(main)


def test_what_is_known_of_a_connection(run):
    async def main():
        client, server = client_context(), server_context()
        async with both_ends(client=client, server=server) as (near, _, far, _):
            assert near.get_extra_info("sslcontext") is client
            assert far.get_extra_info("sslcontext") is server
            assert type(ssl_object(near)) is ssl.SSLObject
            assert not ssl_object(near).server_side
            assert ssl_object(far).server_side
            names = near.get_extra_info("peercert")["subjectAltName"]
            assert ("DNS", HOST) in names
            assert far.get_extra_info("peercert") is None
            assert near.get_extra_info("cipher") == ssl_object(near).cipher()
            assert near.get_extra_info("compression") is None
            assert near.get_extra_info("socket").fileno() >= 0
            assert near.get_extra_info("peername") == ""
            assert near.get_extra_info("nothing") is None
            assert near.get_extra_info("nothing", 5) == 5
            assert near.get_extra_info(name="nothing", default=6) == 6

    run(main)


@pytest.mark.fastaio_only
def test_which_cipher_is_used(run, cipher):  # noqa: F811
    """The second way is there on every Python that is built in the usual way."""

    async def main():
        async with secured() as (transport, _, _):
            assert transport._ssl_protocol._cipher == cipher

    run(main)


@pytest.mark.fastaio_only
def test_an_ssl_object_of_ones_own_is_used(run):
    calls = []

    class Own(ssl.SSLObject):
        def read(self, *args):
            calls.append("read")
            return super().read(*args)

        def write(self, data):
            calls.append("write")
            return super().write(data)

    async def main():
        context = client_context()
        context.sslobject_class = Own
        async with secured(client=context) as (transport, protocol, peer):
            assert transport._ssl_protocol._cipher == "ssl"
            transport.write(b"there" * 10_000)
            assert await peer.recv_exactly(50_000) == b"there" * 10_000
            await peer.send(b"back" * 10_000)
            assert await protocol.wait_bytes(40_000) == b"back" * 10_000
            assert {"read", "write"} <= set(calls)

    run(main)


@pytest.mark.fastaio_only
def test_a_class_in_the_place_of_asyncios_is_used(run, monkeypatch):
    from asyncio import sslproto

    class Own(sslproto.SSLProtocol):
        pass

    monkeypatch.setattr(sslproto, "SSLProtocol", Own)

    async def main():
        async with secured() as (transport, protocol, peer):
            assert type(transport._ssl_protocol) is Own
            transport.write(b"there")
            assert await peer.recv_exactly(5) == b"there"
            await peer.send(b"back")
            await protocol.wait_bytes(4)

    run(main)


def test_another_protocol(run):
    async def main():
        async with secured() as (transport, first, peer):
            second = Recorder()
            transport.set_protocol(second)
            assert transport.get_protocol() is second
            await peer.send(b"data")
            assert await second.wait_bytes(4) == b"data"
            assert not first.data

    run(main)


def test_debug_mode(run):
    async def main():
        async with tls_serving(Echo) as (_, address):
            reader, writer = await open_echo(address)
            writer.write(b"data")
            assert await reader.readexactly(4) == b"data"
            writer.close()
            await writer.wait_closed()

    run(main, debug=True)


# Flow control


def test_flow_control_of_a_writer(run):
    data = pattern(4_000_000)

    async def main():
        async with secured(before=moderate_buffers) as (transport, protocol, peer):
            transport.set_write_buffer_limits(high=100_000, low=20_000)
            for start in range(0, len(data), 10_000):
                transport.write(data[start : start + 10_000])
                if transport._protocol_paused and start > 1_000_000:
                    break
                await asyncio.sleep(0)
            # Where the kernel is slow to take the first records, writing is resumed in between.
            calls = list(protocol.calls)
            assert calls == ["made", *["pause", "resume"] * (len(calls) // 2 - 1), "pause"]
            written = start + 10_000
            waiting = transport.get_write_buffer_size()
            assert 20_000 < waiting <= written + 100 * written // 1000
            assert await peer.recv_exactly(written) == data[:written]
            await until(lambda: transport.get_write_buffer_size() == 0)
            assert protocol.calls == [*calls, "resume"]

    run(main)


def test_limits_of_any_number(run):
    async def main():
        async with secured() as (transport, protocol, peer):
            for name in ("write", "read"):
                set_limits = getattr(transport, f"set_{name}_buffer_limits")
                limits = getattr(transport, f"get_{name}_buffer_limits")
                set_limits(high=1000.5, low=10)
                low, high = limits()
                assert (low, int(high)) == (10, 1000)
                set_limits(high=2**70, low=2.5)
                low, high = limits()
                assert int(low) == 2
                assert high >= sys.maxsize
                with pytest.raises(TypeError):
                    set_limits(high="many")
                assert limits() == (low, high)
                set_limits()
            transport.write(b"data")
            assert await peer.recv_exactly(4) == b"data"
            assert protocol.calls == ["made"]

    run(main)


def test_drain_waits_for_the_peer(run):
    data = pattern(3_000_000)

    async def main():
        async with secured(before=moderate_buffers) as (transport, _, peer):
            reader = asyncio.StreamReader()
            protocol = asyncio.StreamReaderProtocol(reader)
            protocol.connection_made(transport)
            transport.set_protocol(protocol)
            writer = asyncio.StreamWriter(transport, protocol, reader, asyncio.get_running_loop())
            for start in range(0, len(data), 100_000):
                writer.write(data[start : start + 100_000])
            draining = asyncio.create_task(writer.drain())
            await turns(10)
            assert not draining.done()
            assert await peer.recv_exactly(len(data)) == data
            await draining

    run(main)


def test_a_reader_that_pauses(run):
    data = pattern(2_000_000)

    async def main():
        async with secured(before=moderate_buffers) as (transport, protocol, peer):
            transport.pause_reading()
            assert not transport.is_reading()
            transport.pause_reading()
            sending = asyncio.create_task(peer.send(data))
            await turns(20)
            assert not protocol.data
            assert not sending.done()
            transport.resume_reading()
            transport.resume_reading()
            assert transport.is_reading()
            assert await protocol.wait_bytes(len(data)) == data
            await sending

    run(main)


def test_pausing_in_a_callback(run):
    class OneByOne(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.transport.pause_reading()

    async def main():
        async with secured(OneByOne) as (transport, protocol, peer):
            await peer.send(b"first")
            await protocol.wait_bytes(5)
            await peer.send(b"second")
            await turns(20)
            assert protocol.data == b"first"
            transport.resume_reading()
            assert await protocol.wait_bytes(11) == b"firstsecond"

    run(main)


def test_a_stream_reader_with_a_limit(run):
    data = pattern(1_000_000)

    async def main():
        async with tls_serving(Echo) as (_, address):
            reader, writer = await open_echo(address, limit=1000)
            writer.write(data)
            await turns(50)
            received = bytearray()
            while len(received) < len(data):
                received += await reader.read(777)
            assert received == data
            writer.close()
            await writer.wait_closed()

    run(main)


def test_sendfile_goes_another_way(run, tmp_path):
    data = pattern(300_000)
    path = tmp_path / "file"
    path.write_bytes(data)

    async def main():
        loop = asyncio.get_running_loop()
        async with secured() as (transport, _, peer):
            with open(path, "rb") as file:
                with pytest.raises(RuntimeError, match="fallback is disabled"):
                    await loop.sendfile(transport, file, fallback=False)
                receiving = asyncio.create_task(peer.recv_exactly(len(data)))
                assert await loop.sendfile(transport, file) == len(data)
            assert await receiving == data

    run(main)


# Agreements


def test_alpn(run):
    async def main():
        client, server = client_context(), server_context()
        client.set_alpn_protocols(["h2", "http/1.1"])
        server.set_alpn_protocols(["http/1.1"])
        async with both_ends(client=client, server=server) as (near, _, far, _):
            assert ssl_object(near).selected_alpn_protocol() == "http/1.1"
            assert ssl_object(far).selected_alpn_protocol() == "http/1.1"

    run(main)


def test_sni(run):
    names = []

    async def main():
        server, other = server_context("other.example.org"), server_context()

        def choose(obj, name, context):
            names.append(name)
            obj.context = other

        server.sni_callback = choose
        async with both_ends(server=server) as (near, protocol, far, _):
            assert names == [HOST]
            far.write(b"data")
            assert await protocol.wait_bytes(4) == b"data"
            assert ssl_object(far).context is other

    run(main)


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_client_certificates(run, version):
    async def main():
        client, server = client_context(version=version), server_context(version=version)
        server.verify_mode = ssl.CERT_REQUIRED
        certificate().configure_cert(client)
        authority().configure_trust(server)
        async with both_ends(client=client, server=server) as (near, near_protocol, far, _):
            assert ("DNS", HOST) in far.get_extra_info("peercert")["subjectAltName"]
            far.write(b"data")
            assert await near_protocol.wait_bytes(4) == b"data"

    run(main)


def test_authentication_after_the_handshake(run):
    """TLS 1.3: the server asks for a certificate while data flows."""

    async def main():
        version = ssl.TLSVersion.TLSv1_3
        client, server = client_context(version=version), server_context(version=version)
        certificate().configure_cert(client)
        client.post_handshake_auth = True
        server.verify_mode = ssl.CERT_OPTIONAL
        server.post_handshake_auth = True
        authority().configure_trust(server)
        async with both_ends(client=client, server=server) as ends:
            near, near_protocol, far, far_protocol = ends
            assert not ssl_object(far).getpeercert()
            ssl_object(far).verify_client_post_handshake()
            far.write(b"who are you?")
            assert await near_protocol.wait_bytes(12) == b"who are you?"
            near.write(b"me")
            assert await far_protocol.wait_bytes(2) == b"me"
            assert ("DNS", HOST) in ssl_object(far).getpeercert()["subjectAltName"]

    run(main)


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_sessions_are_used_again(run, version):
    async def main():
        client = client_context(version=version)
        loop = asyncio.get_running_loop()
        async with tls_serving(Echo, server_context(version=version)) as (_, address):
            session = None
            for attempt in range(2):
                # asyncio has no argument for it: the connection is made by hand.
                left = socket.create_connection(address)
                left.setblocking(False)

                def resume(incoming, outgoing, *, session=session, **kwargs):
                    return ssl.SSLContext.wrap_bio(
                        client, incoming, outgoing, session=session, **kwargs
                    )

                client.wrap_bio = resume
                transport, protocol = await loop.create_connection(
                    Recorder, sock=left, ssl=client, server_hostname=HOST
                )
                await exchange(transport, protocol)
                assert ssl_object(transport).session_reused == (attempt == 1)
                session = ssl_object(transport).session
                transport.close()
                await protocol.lost

    run(main)


needs_openssl = pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl command")


@needs_openssl
@pytest.mark.parametrize(
    ("version", "command", "said"),
    [
        (ssl.TLSVersion.TLSv1_3, b"K", b"KEYUPDATE"),
        (ssl.TLSVersion.TLSv1_3, b"k", b"KEYUPDATE"),
        (ssl.TLSVersion.TLSv1_2, b"R", b"RENEGOTIATING"),
    ],
    ids=["key update asked for", "key update", "renegotiation"],
)
def test_new_keys_while_data_flows(run, version, command, said):
    async def main():
        context = server_context(version=version)
        context.options |= getattr(ssl, "OP_ALLOW_CLIENT_RENEGOTIATION", 0x100)
        async with tls_serving(Echo, context) as (_, address):
            client = await asyncio.create_subprocess_exec(
                "openssl",
                "s_client",
                "-connect",
                f"{address[0]}:{address[1]}",
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )

            async def see(word):
                seen = b""
                while word not in seen:
                    part = await asyncio.wait_for(client.stdout.read(65536), GUARD)
                    assert part, seen
                    seen += part

            for number in range(3):
                client.stdin.write(b"word%d\n" % number)
                await client.stdin.drain()
                await see(b"word%d\n" % number)
                client.stdin.write(command + b"\n")
                await client.stdin.drain()
                await see(said)
            client.stdin.write(b"Q\n")
            await client.stdin.drain()
            await client.communicate()

    run(main)


# Ways to connect


def test_unix_sockets(run):
    async def main():
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "socket")
            loop = asyncio.get_running_loop()
            server = await loop.create_unix_server(Echo, path, ssl=server_context())
            async with server:
                transport, protocol = await loop.create_unix_connection(
                    Recorder, path, ssl=client_context(), server_hostname=HOST
                )
                await exchange(transport, protocol)
                transport.close()
                await protocol.lost

    run(main)


def test_accepted_sockets(run):
    async def main():
        async with secured(Echo, server_side=True) as (_, _, peer):
            await peer.send(b"data")
            assert await peer.recv_exactly(4) == b"data"

    run(main)


def test_writing_in_connection_made(run):
    class Greeter(Echo):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.write(b"welcome")

    async def main():
        async with secured(Greeter, server_side=True) as (_, _, peer):
            assert await peer.recv_exactly(7) == b"welcome"

    run(main)


def test_warnings_of_who_writes_to_what_is_closed(run):
    async def main():
        async with secured() as (transport, protocol, _):
            transport.abort()
            await protocol.lost
            with asyncio_log() as records:
                for _ in range(8):
                    transport.write(b"data")
            assert {record.getMessage() for record in records} == {"SSL connection is closed"}
            assert len(records) == 4

    run(main)
