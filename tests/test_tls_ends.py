"""TLS connections that begin or end badly, or in good order: what the protocol is told, once."""

import asyncio
import contextlib
import datetime
import os
import socket
import ssl
from asyncio import sslproto

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
    cipher,  # noqa: F401 - a fixture
    client_context,
    secured,
    server_context,
    tls_serving,
)

pytestmark = pytest.mark.usefixtures("cipher")

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def unwrap_and_close(peer):
    with contextlib.suppress(OSError):
        peer.sock.unwrap()
    peer.close()


# In good order


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_the_peer_ends_with_close_notify(run, version):
    async def main():
        server = server_context(version=version)
        async with secured(server=server) as (transport, protocol, peer):
            await peer.send(b"last words")
            ending = asyncio.create_task(asyncio.to_thread(unwrap_and_close, peer))
            assert await protocol.lost is None
            assert protocol.calls == ["made", "data", "eof", "lost"]
            assert bytes(protocol.data) == b"last words"
            assert transport.is_closing()
            await ending

    run(main)


def test_the_peer_vanishes_without_close_notify(run):
    async def main():
        reports = Reports()
        async with secured() as (_, protocol, peer):
            await peer.send(b"last words")
            await protocol.wait_bytes(10)
            peer.close()
            assert await protocol.lost is None
            assert protocol.calls == ["made", "data", "eof", "lost"]
            assert not reports

    run(main)


def test_the_peer_resets(run):
    async def main():
        reports = Reports()
        async with secured() as (transport, protocol, peer):
            await peer.send(b"data")
            await protocol.wait_bytes(4)
            peer.reset()
            assert isinstance(await protocol.lost, ConnectionResetError)
            assert protocol.calls == ["made", "data", "lost"]
            assert not reports

    run(main)


def test_close_sends_what_was_written_and_close_notify(run):
    data = pattern(1_000_000)

    async def main():
        async with secured() as (transport, protocol, peer):
            peer.sock.suppress_ragged_eofs = False  # an end without close_notify is an error
            transport.write(data)
            transport.close()
            assert transport.is_closing()
            received = await peer.recv_to_eof()
            assert received == data
            await asyncio.to_thread(unwrap_and_close, peer)
            assert await protocol.lost is None
            assert protocol.calls[-1] == "lost"

    run(main)


def test_closing_twice_and_writing_afterwards(run):
    async def main():
        async with secured(Recorder) as (transport, protocol, peer):
            transport.write(b"before")
            transport.close()
            transport.write(b"after")
            assert await peer.recv_to_eof() == b"before"
            await asyncio.to_thread(unwrap_and_close, peer)
            await protocol.lost
            transport.abort()
            await turns()
            assert protocol.events.count("lost") == 1

    run(main)


def test_abort_sends_what_the_kernel_takes(run):
    async def main():
        async with secured() as (transport, protocol, peer):
            await peer.send(b"data")  # so that nothing is unread, which would reset
            await protocol.wait_bytes(4)
            transport.write(b"before")
            transport.abort()
            assert transport.is_closing()
            assert await protocol.lost is None
            assert await peer.recv_to_eof() == b"before"
            assert protocol.calls == ["made", "data", "lost"]

    run(main)


GAPS = memoryview(b"a-b-c-")[::2]


@pytest.mark.parametrize(
    "write",
    [
        lambda transport: transport.write(GAPS),
        lambda transport: transport.writelines([b"first", GAPS, b"last"]),
        lambda transport: transport.write(memoryview(bytes(400_000))[::2]),
    ],
    ids=["write", "writelines", "large"],
)
def test_a_view_with_gaps_ends_the_connection(same_outcome, write):
    def scenario(env):
        async def main():
            reports = Reports()
            async with both_ends() as (near, near_protocol, _, far_protocol):
                near.write(b"before")
                returned = write(near)
                closing = near.is_closing()
                lost = await near_protocol.lost
                await far_protocol.lost
                told = [(c["message"], repr(c["exception"])) for c in reports]
                return returned, closing, repr(lost), bytes(far_protocol.data), told

        return env.run(main())

    same_outcome(scenario)


def test_returning_true_from_eof_received_has_no_effect(run):
    class Keeping(Recorder):
        keep_open = True

    async def main():
        async with secured(Keeping) as (_, protocol, peer):
            with asyncio_log() as records:
                ending = asyncio.create_task(asyncio.to_thread(unwrap_and_close, peer))
                assert await protocol.lost is None
            assert [record.getMessage() for record in records] == [
                "returning true from eof_received() has no effect when using ssl"
            ]
            await ending

    run(main)


# Failing callbacks


@pytest.mark.parametrize("failing", ["data_received", "eof_received"])
def test_a_callback_that_fails(run, failing):
    class Failing(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.transport.write(b"answer")
            if failing == "data_received":
                raise ValueError("failing")

        def eof_received(self):
            raise ValueError("failing")

    async def main():
        reports = Reports()
        async with secured(Failing) as (_, protocol, peer):
            await peer.send(b"question")
            assert await peer.recv_exactly(6) == b"answer"
            await asyncio.to_thread(unwrap_and_close, peer)
            assert isinstance(await protocol.lost, ValueError)
            assert [str(exc) for exc in reports.exceptions] == ["failing"]
            message = {
                "data_received": "Fatal error on SSL protocol",
                "eof_received": "Error calling eof_received()",
            }
            assert reports.messages == [message[failing]]

    run(main)


def test_pause_writing_that_fails(run):
    class Failing(Recorder):
        def pause_writing(self):
            raise ValueError("pausing")

        def resume_writing(self):
            raise ValueError("resuming")

    async def main():
        reports = Reports()
        async with secured(Failing) as (transport, protocol, peer):
            transport.set_write_buffer_limits(high=0)
            transport.write(b"data")
            transport.write(b"more")
            assert await peer.recv_exactly(8) == b"datamore"
            assert "protocol.pause_writing() failed" in reports.messages
            assert reports[0]["transport"] is transport
            await peer.send(b"still there")
            await protocol.wait_bytes(11)

    run(main)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_leaves_the_loop(loop_factory, kind):
    class Leaving(Recorder):
        def data_received(self, data):
            raise kind

    async def main():
        async with secured() as (transport, _, peer):
            transport.set_protocol(Leaving())
            await peer.send(b"data")
            await asyncio.sleep(GUARD)

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        loop = runner.get_loop()
        task = loop.create_task(main())
        with pytest.raises(kind):
            loop.run_until_complete(task)


# Bad handshakes


async def connect(address, context=None, **kwargs):
    loop = asyncio.get_running_loop()
    kwargs.setdefault("server_hostname", HOST)
    return await loop.create_connection(
        Recorder, *address, ssl=context or client_context(), **kwargs
    )


@pytest.mark.parametrize(
    "greeting",
    [b"GET / HTTP/1.1\r\nHost: here\r\n\r\n", b"\x00" * 2000, os.urandom(1000), b"\x16\x03\x01"],
    ids=["http", "zeros", "garbage", "a beginning"],
)
def test_a_server_that_is_spoken_to_in_another_language(run, greeting):
    async def main():
        reports = Reports()
        async with no_new_descriptors(), tls_serving(Echo) as (_, address):
            with socket.create_connection(address) as sock:
                sock.settimeout(GUARD)
                sock.sendall(greeting)
                sock.shutdown(socket.SHUT_WR)
                answer = b""
                with contextlib.suppress(ConnectionResetError):
                    while part := await asyncio.to_thread(sock.recv, 65536):
                        answer += part
                # Nothing, or an alert.
                assert answer[:1] in (b"", b"\x15")
            transport, protocol = await connect(address)
            await exchange(transport, protocol)
            transport.close()
            await protocol.lost
            assert not reports

    run(main)


@contextlib.asynccontextmanager
async def plain_server(answer):
    """The address of a server that takes a connection and does answer(sock) in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            sock, _ = listener.accept()
            with sock:
                sock.settimeout(GUARD)
                answer(sock)

        thread = asyncio.create_task(asyncio.to_thread(serve))
        yield listener.getsockname()
        await thread


def wait_for_end(sock):
    with contextlib.suppress(OSError):
        while sock.recv(65536):
            pass


def test_a_client_that_is_answered_in_another_language(run):
    def answer(sock):
        sock.recv(65536)
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        wait_for_end(sock)

    async def main():
        async with no_new_descriptors(), plain_server(answer) as address:
            with pytest.raises(ssl.SSLError) as caught:
                await connect(address)
            assert caught.value.reason in ("WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG")

    run(main)


def test_a_server_that_hangs_up_in_the_handshake(run):
    async def main():
        async with no_new_descriptors(), plain_server(lambda sock: sock.recv(65536)) as address:
            with pytest.raises(ConnectionResetError):
                await connect(address)

    run(main)


def test_a_handshake_that_stalls_at_the_client(run):
    async def main():
        async with no_new_descriptors(), plain_server(wait_for_end) as address:
            with pytest.raises(
                ConnectionAbortedError,
                match="SSL handshake is taking longer than 0.05 seconds: aborting the connection",
            ):
                await connect(address, ssl_handshake_timeout=0.05)

    run(main)


def test_a_handshake_that_stalls_at_the_server(run):
    async def main():
        reports = Reports()
        async with no_new_descriptors():
            async with tls_serving(Echo, ssl_handshake_timeout=0.05) as (_, address):
                with socket.create_connection(address) as sock:
                    sock.settimeout(GUARD)
                    assert await asyncio.to_thread(sock.recv, 65536) == b""
            assert not reports

    run(main)


@pytest.mark.parametrize("timeout", [0, -1])
@pytest.mark.parametrize("name", ["ssl_handshake_timeout", "ssl_shutdown_timeout"])
def test_timeouts_must_be_positive(run, name, timeout):
    async def main():
        async with no_new_descriptors(), tls_serving(Echo) as (_, address):
            with pytest.raises(ValueError, match=f"{name} should be a positive number"):
                await connect(address, **{name: timeout})

    run(main)


def test_a_wrong_host(run):
    async def main():
        async with no_new_descriptors(), tls_serving(Echo) as (_, address):
            with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
                await connect(address, server_hostname="elsewhere.example.org")

    run(main)


def test_an_expired_certificate(run):
    long_ago = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)

    async def main():
        context = server_context(
            HOST, not_before=long_ago, not_after=long_ago + datetime.timedelta(days=1)
        )
        async with no_new_descriptors(), tls_serving(Echo, context) as (_, address):
            with pytest.raises(ssl.SSLCertVerificationError, match="certificate has expired"):
                await connect(address)

    run(main)


def test_an_unknown_authority(run):
    async def main():
        context = ssl.create_default_context()
        async with no_new_descriptors(), tls_serving(Echo) as (_, address):
            with pytest.raises(ssl.SSLCertVerificationError, match="certificate verify failed"):
                await connect(address, context)
            with pytest.raises(ssl.SSLCertVerificationError):
                await connect(address, True)

    run(main)


#: A server tells why, or only hangs up.
REFUSED = (ssl.SSLError, ConnectionResetError)


def test_no_common_version(run):
    async def main():
        server = server_context(version=ssl.TLSVersion.TLSv1_3)
        client = client_context(version=ssl.TLSVersion.TLSv1_2)
        async with no_new_descriptors(), tls_serving(Echo, server) as (_, address):
            with pytest.raises(REFUSED):
                await connect(address, client)

    run(main)


def test_a_client_certificate_is_missing(run):
    async def main():
        server = server_context(version=ssl.TLSVersion.TLSv1_2)
        server.verify_mode = ssl.CERT_REQUIRED
        authority().configure_trust(server)
        async with no_new_descriptors(), tls_serving(Echo, server) as (_, address):
            with pytest.raises(REFUSED):
                await connect(address)

    run(main)


def test_cancelled_in_the_handshake(run):
    async def main():
        async with no_new_descriptors(), plain_server(wait_for_end) as address:
            connecting = asyncio.create_task(connect(address))
            await asyncio.sleep(0.02)
            connecting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await connecting

    run(main)


# Broken records


def broken(record):
    """A record of application data that no cipher has made."""
    return b"\x17\x03\x03" + len(record).to_bytes(2) + record


@pytest.mark.parametrize(
    ("bytes_on_the_wire", "reasons"),
    [
        (broken(bytes(100)), {"DECRYPTION_FAILED_OR_BAD_RECORD_MAC"}),
        (b"GET / HTTP/1.1\r\n\r\n", {"WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG"}),
        (b"\x17\x03\x03\xff\xff" + bytes(70_000), {"PACKET_LENGTH_TOO_LONG"}),
    ],
    ids=["bad record", "plain text", "too long"],
)
def test_broken_records(run, bytes_on_the_wire, reasons):
    async def main():
        reports = Reports()
        async with no_new_descriptors(), secured() as (transport, protocol, peer):
            await peer.send(b"data")
            await protocol.wait_bytes(4)
            os.write(peer.sock.fileno(), bytes_on_the_wire)
            exc = await protocol.lost
            assert type(exc) is ssl.SSLError
            assert exc.reason in reasons | {"RECORD_LAYER_FAILURE"}  # from OpenSSL 3.2 on
            assert exc.library == "SSL"
            assert f"[SSL: {exc.reason}]" in str(exc)
            assert protocol.calls == ["made", "data", "lost"]
            assert not reports  # an error of the network's is the protocol's business

    run(main)


def test_a_truncated_record(run):
    async def main():
        async with secured() as (_, protocol, peer):
            await peer.send(b"data")
            await protocol.wait_bytes(4)
            os.write(peer.sock.fileno(), broken(bytes(100))[:50])
            peer.close()
            assert await protocol.lost is None
            assert protocol.calls == ["made", "data", "eof", "lost"]

    run(main)


def test_errors_of_others_are_not_ours(run):
    """What has failed elsewhere in this thread stays in OpenSSL's queue of errors."""

    class Meddling(Echo):
        def data_received(self, data):
            for _ in range(3):
                with pytest.raises(ssl.SSLError):
                    client_context().load_verify_locations(cadata="no certificate")
                with pytest.raises(ssl.SSLError):
                    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
                    incoming.write(b"no handshake" * 100)
                    client_context().wrap_bio(
                        incoming, outgoing, server_hostname=HOST
                    ).do_handshake()
            super().data_received(data)

    async def main():
        async with secured(Meddling) as (_, _, peer):
            for number in range(20):
                await peer.send(b"%d" % number)
                assert await peer.recv_exactly(len(b"%d" % number)) == b"%d" % number

    run(main)


# The shutdown


def test_a_peer_that_does_not_answer_close_notify(run):
    async def main():
        async with secured(ssl_shutdown_timeout=0.05) as (transport, protocol, _):
            transport.close()
            exc = await protocol.lost
            assert isinstance(exc, TimeoutError)
            assert str(exc) == "SSL shutdown timed out"

    run(main)


def test_a_peer_that_goes_on_sending_after_close(run):
    async def main():
        async with secured() as (transport, protocol, peer):
            transport.close()
            await peer.send(b"too late")
            await asyncio.to_thread(unwrap_and_close, peer)
            await protocol.lost
            assert protocol.events.count("lost") == 1

    run(main)


def test_closing_a_server_with_connections(run):
    async def main():
        async with no_new_descriptors(), tls_serving(Echo) as (server, address):
            transport, protocol = await connect(address)
            server.close()
            await exchange(transport, protocol)
            transport.close()
            await protocol.lost

    run(main)


# start_tls


async def upgraded(transport, protocol, context=None, **kwargs):
    loop = asyncio.get_running_loop()
    kwargs.setdefault("server_hostname", None if kwargs.get("server_side") else HOST)
    context = context or (server_context() if kwargs.get("server_side") else client_context())
    return await loop.start_tls(transport, protocol, context, **kwargs)


@contextlib.asynccontextmanager
async def plain_ends(near=Recorder, far=Recorder):
    """Two transports of the loop under test over a pair of sockets, not yet secured."""
    loop = asyncio.get_running_loop()
    left, right = socket.socketpair()
    first = await loop.create_connection(near, sock=left)
    second = await loop.connect_accepted_socket(far, right)
    try:
        yield *first, *second
    finally:
        first[0].abort()
        second[0].abort()
        await until(lambda: left.fileno() == right.fileno() == -1)


def test_start_tls_at_both_ends(run):
    async def main():
        async with plain_ends() as (near, near_protocol, far, far_protocol):
            near.write(b"plain")
            await far_protocol.wait_bytes(5)
            new_near, new_far = await asyncio.gather(
                upgraded(near, near_protocol), upgraded(far, far_protocol, server_side=True)
            )
            new_near.write(pattern(100_000))
            assert await far_protocol.wait_bytes(100_005) == b"plain" + pattern(100_000)
            new_far.write(b"back")
            assert await near_protocol.wait_bytes(4) == b"back"
            assert new_near.get_extra_info("ssl_object") is not None
            assert near.get_protocol() is new_near._ssl_protocol
            assert near_protocol.events.count("made") == 1
            new_near.close()
            await asyncio.gather(near_protocol.lost, far_protocol.lost)

    run(main)


def test_tls_over_tls(run):
    data = pattern(300_000)

    async def main():
        async with plain_ends() as (near, near_protocol, far, far_protocol):
            for _ in range(3):
                near, far = await asyncio.gather(
                    upgraded(near, near_protocol), upgraded(far, far_protocol, server_side=True)
                )
            near.write(data)
            assert await far_protocol.wait_bytes(len(data)) == data
            far.write(data)
            assert await near_protocol.wait_bytes(len(data)) == data
            near.close()
            await asyncio.gather(near_protocol.lost, far_protocol.lost)

    run(main)


def test_a_connection_that_carries_itself(run, on_fastaio):
    """A write ends by asyncio's error, and so does each other call."""
    if not on_fastaio and sslproto.SSLProtocol._abort.__code__.co_argcount == 1:
        pytest.skip("asyncio's own way to abort such a connection fails")

    async def main():
        async with secured() as (transport, _, _):
            protocol = transport._ssl_protocol
            below = protocol._transport
            with pytest.raises(RuntimeError, match="cannot switch state"):
                protocol.connection_made(transport)
            with pytest.raises(RecursionError):
                transport.get_extra_info("peername")
            with pytest.raises(RecursionError):
                protocol._write_appdata([b"a"])
            with pytest.raises(RecursionError):
                transport.abort()
            protocol._transport = below
            below.abort()

    run(main)


def test_what_was_written_before_start_tls_comes_first(run):
    async def main():
        async with plain_ends() as (near, near_protocol, far, far_protocol):
            near.write(b"plain text, ")
            upgrading = asyncio.create_task(upgraded(near, near_protocol))
            await far_protocol.wait_bytes(1)
            assert bytes(far_protocol.data[:12]) == b"plain text, "
            far.abort()
            with pytest.raises(ConnectionResetError):
                await upgrading

    run(main)


@pytest.mark.fastaio_only
def test_a_reader_that_has_the_beginning_of_tls(run):
    """The ClientHello comes with the last line of plain text."""

    async def handle(reader, writer):
        assert await reader.readline() == b"STARTTLS\n"
        await until(lambda: len(reader._buffer) > 100)
        await writer.start_tls(server_context())
        writer.write(await reader.readexactly(4))
        await writer.drain()
        writer.close()

    def client(address):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = client_context().wrap_bio(incoming, outgoing, server_hostname=HOST)
        with socket.create_connection(address) as sock:
            sock.settimeout(GUARD)
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
            sock.sendall(b"STARTTLS\n" + outgoing.read())
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    sock.sendall(outgoing.read())
                    incoming.write(sock.recv(65536))
            tls.write(b"ping")
            sock.sendall(outgoing.read())
            while True:
                try:
                    return tls.read(4)
                except ssl.SSLWantReadError:
                    incoming.write(sock.recv(65536))

    async def main():
        async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
            answer = await asyncio.to_thread(client, server.sockets[0].getsockname())
            assert answer == b"ping"

    run(main)


def test_start_tls_refuses(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with plain_ends() as (near, near_protocol, _, _):
            with pytest.raises(TypeError, match="sslcontext is expected to be an instance of"):
                await loop.start_tls(near, near_protocol, True)
            with pytest.raises(TypeError, match=r"transport .* is not supported by start_tls\(\)"):
                await loop.start_tls(asyncio.Transport(), near_protocol, client_context())
            with pytest.raises(ValueError, match="should be a positive number"):
                await upgraded(near, near_protocol, ssl_handshake_timeout=0)
            near.write(b"still works")

    run(main)


def test_start_tls_that_stalls(run):
    async def main():
        async with no_new_descriptors(), plain_ends() as (near, near_protocol, _, _):
            with pytest.raises(ConnectionAbortedError, match="SSL handshake is taking longer"):
                await upgraded(near, near_protocol, ssl_handshake_timeout=0.05)
            assert near.is_closing()

    run(main)


def test_start_tls_on_a_closed_transport(run):
    async def main():
        async with plain_ends() as (near, near_protocol, _, _):
            near.close()
            assert await upgraded(near, near_protocol) is None

    run(main)


def test_start_tls_with_a_wrong_host(run):
    async def main():
        async with plain_ends() as (near, near_protocol, far, far_protocol):
            results = await asyncio.gather(
                upgraded(near, near_protocol, server_hostname="elsewhere.example.org"),
                upgraded(far, far_protocol, server_side=True),
                return_exceptions=True,
            )
            assert isinstance(results[0], ssl.SSLCertVerificationError)
            assert near.is_closing()

    run(main)


def test_cancelled_start_tls(run):
    async def main():
        async with no_new_descriptors(), plain_ends() as (near, near_protocol, _, _):
            upgrading = asyncio.create_task(upgraded(near, near_protocol))
            await turns()
            upgrading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await upgrading
            assert near.is_closing()

    run(main)


# Many


def test_connections_come_and_go(run):
    """Ends of every kind, in a crowd: each protocol hears of one beginning and one end."""
    ends = []

    class Counting(Echo):
        def connection_made(self, transport):
            super().connection_made(transport)
            ends.append([1, 0])
            self.count = ends[-1]

        def connection_lost(self, exc):
            self.count[1] += 1

    async def one(address, number):
        transport, protocol = await connect(address)
        if number % 4:
            await exchange(transport, protocol)
        if number % 3 == 0:
            transport.abort()
        else:
            transport.write(b"x" * 1000)
            transport.close()
        await protocol.lost

    async def main():
        async with no_new_descriptors():
            async with tls_serving(Counting) as (_, address):
                for _ in range(3):
                    async with asyncio.TaskGroup() as group:
                        for number in range(25):
                            group.create_task(one(address, number))
                await until(lambda: len(ends) == 75 and all(end == [1, 1] for end in ends))

    run(main)


def test_both_ends_write_at_once(run):
    data = pattern(2_000_000)

    async def main():
        async with both_ends() as (near, near_protocol, far, far_protocol):
            near.write(data)
            far.write(data)
            assert await near_protocol.wait_bytes(len(data)) == data
            assert await far_protocol.wait_bytes(len(data)) == data

    run(main)
