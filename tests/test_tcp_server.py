"""create_server over TCP: addresses, options, and what it refuses."""

import asyncio
import re
import socket

import pytest

from .ioutil import (
    Echo,
    Recorder,
    asyncio_log,
    ended,
    exchange,
    needs_ipv6,
    no_new_descriptors,
    resolving,
    serving,
    until,
    unused_port,
)
from .support import GUARD, PYTHON_313

LOCALHOST = "127.0.0.1"


def test_server_addresses_and_options(run):
    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, LOCALHOST, 0)
        assert len(server.sockets) == 1
        sock = server.sockets[0]
        assert sock.family == socket.AF_INET
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) != 0
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) == 0
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0
        server.close()

        server = await loop.create_server(Echo, LOCALHOST, 0, reuse_address=False)
        sock = server.sockets[0]
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 0
        server.close()

    run(main)


@needs_ipv6
@pytest.mark.parametrize("host", [None, ""])
def test_all_interfaces(run, host):
    async def main():
        loop = asyncio.get_running_loop()
        port = unused_port()
        server = await loop.create_server(Echo, host, port)
        names = {sock.family: sock.getsockname() for sock in server.sockets}
        assert names[socket.AF_INET] == ("0.0.0.0", port)
        assert names[socket.AF_INET6][:2] == ("::", port)
        for sock in server.sockets:
            if sock.family == socket.AF_INET6:
                assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
        for local in (LOCALHOST, "::1"):
            transport, protocol = await loop.create_connection(Recorder, local, port)
            await exchange(transport, protocol)
            await ended(transport, protocol)
        server.close()

    run(main)


@needs_ipv6
@pytest.mark.parametrize("kind", [list, tuple, dict.fromkeys])
def test_several_hosts(run, kind):
    async def main():
        loop = asyncio.get_running_loop()
        port = unused_port()
        server = await loop.create_server(Echo, kind([LOCALHOST, "127.0.0.2", "::1"]), port)
        assert {sock.getsockname()[0] for sock in server.sockets} == {
            LOCALHOST,
            "127.0.0.2",
            "::1",
        }
        for host in (LOCALHOST, "127.0.0.2", "::1"):
            transport, protocol = await loop.create_connection(Recorder, host, port)
            await exchange(transport, protocol)
            await ended(transport, protocol)
        server.close()
        assert server.sockets == ()

    run(main)


def test_a_host_named_twice_is_bound_once(run):
    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, [LOCALHOST, LOCALHOST], unused_port())
        assert len(server.sockets) == 1
        server.close()

    run(main)


def test_family(run):
    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, None, 0, family=socket.AF_INET)
        assert [sock.family for sock in server.sockets] == [socket.AF_INET]
        server.close()

    run(main)


def test_flags_reach_getaddrinfo(run):
    async def main():
        loop = asyncio.get_running_loop()
        calls = resolving(loop, (LOCALHOST, 0))
        server = await loop.create_server(Echo, "name", 0, flags=socket.AI_CANONNAME)
        server.close()
        server = await loop.create_server(Echo, "name", 0, family=socket.AF_INET)
        server.close()
        assert calls == [
            ("name", 0, 0, socket.SOCK_STREAM, 0, socket.AI_CANONNAME),
            ("name", 0, socket.AF_INET, socket.SOCK_STREAM, 0, socket.AI_PASSIVE),
        ]

    run(main)


def test_port_in_use(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with serving() as (_, address):
            with no_new_descriptors(), pytest.raises(OSError) as caught:
                await loop.create_server(Echo, *address)
            assert caught.value.errno == 98
            assert caught.value.strerror.startswith(
                f"error while attempting to bind on address {address!r}: "
            )
            assert caught.value.strerror.endswith("address already in use")
            # One that is free does not help.
            with no_new_descriptors(), pytest.raises(OSError):
                await loop.create_server(Echo, ["127.0.0.2", LOCALHOST], address[1])

    run(main)


@pytest.mark.skipif(not PYTHON_313, reason="3.13 tries the other addresses")
def test_an_address_of_another_machine(run):
    async def main():
        loop = asyncio.get_running_loop()
        with no_new_descriptors(), pytest.raises(OSError) as caught:
            await loop.create_server(Echo, "192.0.2.1", 0)
        assert str(caught.value) == "could not bind on any address out of [('192.0.2.1', 0)]"
        server = await loop.create_server(Echo, ["192.0.2.1", LOCALHOST], 0)
        assert [sock.getsockname()[0] for sock in server.sockets] == [LOCALHOST]
        server.close()

    run(main)


def test_reuse_port(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with serving(reuse_port=True) as (server, address):
            sock = server.sockets[0]
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) != 0
            second = await loop.create_server(Echo, *address, reuse_port=True)
            transport, protocol = await loop.create_connection(Recorder, *address)
            await exchange(transport, protocol)
            await ended(transport, protocol)
            second.close()

    run(main)


@pytest.mark.skipif(not PYTHON_313, reason="keep_alive is new in 3.13")
def test_keep_alive(run):
    async def main():
        async with serving(keep_alive=True) as (server, _):
            sock = server.sockets[0]
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) != 0

    run(main)


def test_backlog(run):
    """The argument reaches listen(): the kernel holds that many, and one."""

    async def main():
        loop = asyncio.get_running_loop()
        with socket.socket() as probe:
            probe.bind((LOCALHOST, 0))
            backlogs = []

            class Socket(socket.socket):
                def listen(self, *args):
                    backlogs.append(args)
                    super().listen(*args)

            with Socket(fileno=probe.detach()) as sock:
                server = await loop.create_server(Echo, sock=sock, backlog=7)
                assert backlogs == [(7,)]
                server.close()

    run(main)


def test_more_connections_at_once_than_the_backlog(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with serving(backlog=2) as (_, address):
            made = await asyncio.gather(
                *(loop.create_connection(Recorder, *address) for _ in range(50))
            )
            for transport, protocol in made:
                await exchange(transport, protocol)
            for transport, protocol in made:
                await ended(transport, protocol)

    run(main)


def test_start_serving_false(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with serving(start_serving=False) as (server, address):
            assert not server.is_serving()
            with pytest.raises(ConnectionRefusedError):
                await loop.create_connection(Recorder, *address)
            await server.start_serving()
            assert server.is_serving()
            await server.start_serving()
            transport, protocol = await loop.create_connection(Recorder, *address)
            await exchange(transport, protocol)
            await ended(transport, protocol)

    run(main)


@pytest.mark.parametrize("listens", [True, False])
def test_server_sock(run, listens):
    async def main():
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        sock.bind((LOCALHOST, 0))
        if listens:
            sock.listen()
        address = sock.getsockname()
        server = await loop.create_server(Echo, sock=sock)
        assert sock.gettimeout() == 0
        assert server.sockets[0].fileno() == sock.fileno()
        transport, protocol = await loop.create_connection(Recorder, *address)
        await exchange(transport, protocol)
        await ended(transport, protocol)
        server.close()
        assert sock.fileno() == -1

    run(main)


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({}, ValueError, "Neither host/port nor sock were specified"),
        (
            {"host": "localhost", "port": 80, "sock": "stream"},
            ValueError,
            "host/port and sock can not be specified at the same time",
        ),
        ({"sock": "datagram"}, ValueError, "A Stream Socket was expected, got <socket.socket"),
        (
            {"host": "localhost", "port": 0, "ssl": True},
            TypeError,
            "ssl argument must be an SSLContext or None",
        ),
        (
            {"host": "localhost", "port": 0, "ssl_handshake_timeout": 1},
            ValueError,
            "ssl_handshake_timeout is only meaningful with ssl",
        ),
        (
            {"host": "localhost", "port": 0, "ssl_shutdown_timeout": 1},
            ValueError,
            "ssl_shutdown_timeout is only meaningful with ssl",
        ),
    ],
)
def test_create_server_refuses(run, kwargs, error, message):
    async def main():
        loop = asyncio.get_running_loop()
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram,
            socket.socket() as stream,
        ):
            if "sock" in kwargs:
                kwargs["sock"] = {"datagram": datagram, "stream": stream}[kwargs["sock"]]
            with pytest.raises(error, match=f"^{re.escape(message)}"):
                await loop.create_server(Recorder, **kwargs)
            assert datagram.fileno() != -1
            assert stream.fileno() != -1

    run(main)


@pytest.mark.parametrize("failure", [ZeroDivisionError, AttributeError])
def test_a_servers_factory_that_makes_no_protocol(run, failure):
    """The client is let go, the server goes on; debug mode reports."""

    async def main():
        loop = asyncio.get_running_loop()
        reported = []
        loop.set_exception_handler(lambda loop, context: reported.append(context))
        failing = [True]

        def factory():
            if failing[0] and failure is ZeroDivisionError:
                raise failure
            return None if failing[0] else Echo()

        async with serving(factory) as (_, address):
            transport, protocol = await loop.create_connection(Recorder, *address)
            await until(lambda: reported or not loop.get_debug())
            transport.close()
            await protocol.lost
            failing[0] = False
            transport, protocol = await loop.create_connection(Recorder, *address)
            await exchange(transport, protocol)
            await ended(transport, protocol)
        if loop.get_debug():
            assert [context["message"] for context in reported] == [
                "Error on transport creation for incoming connection"
            ]
            assert type(reported[0]["exception"]) is failure
            assert "protocol" not in reported[0]
        else:
            assert reported == []

    with asyncio_log():
        run(main)
        run(main, debug=True)


def test_a_burst_of_connections(run):
    """All are answered, and nothing is left open."""

    async def main():
        loop = asyncio.get_running_loop()

        async def client(address, number):
            transport, protocol = await loop.create_connection(Recorder, *address)
            transport.write(b"%d" % number)
            await protocol.wait_bytes(len(b"%d" % number))
            assert bytes(protocol.data) == b"%d" % number
            await ended(transport, protocol)

        async with serving() as (_, address), no_new_descriptors(), asyncio.timeout(GUARD):
            await asyncio.gather(*(client(address, number) for number in range(300)))

    run(main)
