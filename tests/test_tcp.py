"""create_connection and connect_accepted_socket over TCP."""

import asyncio
import gc
import inspect
import re
import socket
import ssl
import threading
import weakref

import pytest

from .ioutil import (
    Echo,
    Recorder,
    black_hole,
    connected,
    ended,
    exchange,
    listening,
    needs_ipv6,
    no_new_descriptors,
    open_descriptors,
    pair,
    resolving,
    serving,
    turns,
    until,
    unused_port,
)
from .support import GUARD, PYTHON_312, PYTHON_313

LOCALHOST = "127.0.0.1"


# Connecting


def test_connect_to_a_server(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with no_new_descriptors():
            async with serving() as (server, address):
                transport, protocol = await loop.create_connection(Recorder, *address)
                assert protocol.events == ["made"]
                assert protocol.transport is transport
                assert transport.get_extra_info("peername") == address
                await exchange(transport, protocol)
                await ended(transport, protocol)
                assert protocol.calls == ["made", "data", "lost"]
            await server.wait_closed()

    run(main)


def test_connection_made_runs_before_the_caller_goes_on(run):
    async def main():
        loop = asyncio.get_running_loop()
        order = []

        class Protocol(asyncio.Protocol):
            def __init__(self):
                order.append("factory")

            def connection_made(self, transport):
                order.append("made")

            def connection_lost(self, exc):
                order.append("lost")

        async with serving() as (_, address):
            transport, _ = await loop.create_connection(Protocol, *address)
            order.append("connected")
            transport.close()
            order.append("closed")
            await until(lambda: len(order) == 5)
        assert order == ["factory", "made", "connected", "closed", "lost"]

    run(main)


def test_keyword_arguments(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with serving() as (_, address):
            transport, protocol = await loop.create_connection(
                protocol_factory=Recorder,
                host=address[0],
                port=address[1],
                ssl=None,
                family=socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=0,
                sock=None,
                local_addr=None,
                server_hostname=None,
                ssl_handshake_timeout=None,
                ssl_shutdown_timeout=None,
                happy_eyeballs_delay=None,
                interleave=None,
                **({"all_errors": False} if PYTHON_312 else {}),
            )
            await exchange(transport, protocol)
            await ended(transport, protocol)

    run(main)


def test_it_is_a_coroutine(run):
    async def main():
        loop = asyncio.get_running_loop()
        for coro in (
            loop.create_connection(Recorder, LOCALHOST, 1),
            loop.create_server(Recorder, LOCALHOST, 0),
            loop.connect_accepted_socket(Recorder, None),
        ):
            assert inspect.iscoroutine(coro) or asyncio.iscoroutine(coro)
            coro.close()

    run(main)


@pytest.mark.parametrize("host", ["localhost", b"127.0.0.1", "127.1"])
def test_names_and_other_spellings(run, host):
    async def main():
        loop = asyncio.get_running_loop()
        async with serving() as (_, address):
            transport, protocol = await loop.create_connection(
                Recorder, host, address[1], family=socket.AF_INET
            )
            assert transport.get_extra_info("peername") == address
            await ended(transport, protocol)

    run(main)


@pytest.mark.parametrize("kind", [int, str, lambda port: str(port).encode()])
def test_ports_of_several_types(run, kind):
    async def main():
        loop = asyncio.get_running_loop()
        async with serving() as (_, address):
            transport, protocol = await loop.create_connection(
                Recorder, LOCALHOST, kind(address[1])
            )
            await exchange(transport, protocol)
            await ended(transport, protocol)

    run(main)


@needs_ipv6
def test_ipv6(run):
    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, "::1", 0)
        address = server.sockets[0].getsockname()
        assert len(address) == 4
        transport, protocol = await loop.create_connection(Recorder, "::1", address[1])
        assert transport.get_extra_info("peername") == address
        assert transport.get_extra_info("sockname")[0] == "::1"
        await exchange(transport, protocol)
        await ended(transport, protocol)
        server.close()

    run(main)


def test_nodelay(run):
    async def main():
        loop = asyncio.get_running_loop()
        accepted = loop.create_future()

        class Server(asyncio.Protocol):
            def connection_made(self, transport):
                accepted.set_result(transport)

        async with serving(Server) as (_, address):
            transport, protocol = await loop.create_connection(Recorder, *address)
            for end in (transport, await accepted):
                sock = end.get_extra_info("socket")
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
            await ended(transport, protocol)

    run(main)


def test_connection_refused(run):
    async def main():
        loop = asyncio.get_running_loop()
        port = unused_port()
        with no_new_descriptors():
            with pytest.raises(ConnectionRefusedError) as caught:
                await loop.create_connection(Recorder, LOCALHOST, port)
        assert caught.value.errno == 111
        assert caught.value.strerror == f"Connect call failed {(LOCALHOST, port)}"

    run(main)


def test_a_failed_connection_makes_no_protocol(run):
    async def main():
        loop = asyncio.get_running_loop()
        made = []
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(lambda: made.append(1), LOCALHOST, unused_port())
        assert made == []

    run(main)


def test_the_next_address_is_tried(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with serving() as (_, address):
            calls = resolving(loop, (LOCALHOST, unused_port()), address)
            transport, protocol = await loop.create_connection(Recorder, "name", 80)
            assert calls == [("name", 80, 0, socket.SOCK_STREAM, 0, 0)]
            await exchange(transport, protocol)
            await ended(transport, protocol)

    run(main)


def test_arguments_reach_getaddrinfo(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with serving() as (_, address):
            calls = resolving(loop, address)
            transport, protocol = await loop.create_connection(
                Recorder,
                "name",
                "service",
                family=socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_CANONNAME,
            )
            await ended(transport, protocol)
        expected = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, socket.AI_CANONNAME)
        assert calls == [("name", "service", *expected)]

    run(main)


def test_a_name_without_addresses(run):
    async def main():
        loop = asyncio.get_running_loop()
        resolving(loop)
        with pytest.raises(OSError, match=r"^getaddrinfo\(\) returned empty list$"):
            await loop.create_connection(Recorder, "name", 80)
        with pytest.raises(OSError, match=r"^getaddrinfo\('name'\) returned empty list$"):
            await loop.create_server(Recorder, "name", 80)

    run(main)


def test_an_unknown_name(run):
    async def main():
        loop = asyncio.get_running_loop()

        async def getaddrinfo(*args, **kwargs):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        loop.getaddrinfo = getaddrinfo
        with pytest.raises(socket.gaierror):
            await loop.create_connection(Recorder, "name", 80)
        with pytest.raises(socket.gaierror):
            await loop.create_server(Recorder, "name", 80)

    run(main)


def test_all_addresses_fail_alike(run):
    async def main():
        loop = asyncio.get_running_loop()
        address = (LOCALHOST, unused_port())
        resolving(loop, address, address)
        with pytest.raises(ConnectionRefusedError, match="Connect call failed") as caught:
            await loop.create_connection(Recorder, "name", 80)
        assert not str(caught.value).startswith("Multiple")

    run(main)


def test_all_addresses_fail_in_different_ways(run):
    async def main():
        loop = asyncio.get_running_loop()
        first, second = (LOCALHOST, unused_port()), ("127.0.0.2", unused_port())
        resolving(loop, first, second)
        with no_new_descriptors(), pytest.raises(OSError) as caught:
            await loop.create_connection(Recorder, "name", 80)
        assert type(caught.value) is OSError
        assert str(caught.value) == (
            f"Multiple exceptions: [Errno 111] Connect call failed {first}, "
            f"[Errno 111] Connect call failed {second}"
        )

    run(main)


@pytest.mark.skipif(not PYTHON_312, reason="all_errors is new in 3.12")
def test_all_errors(run):
    async def main():
        loop = asyncio.get_running_loop()
        first, second = (LOCALHOST, unused_port()), ("127.0.0.2", unused_port())
        for addresses in ([first], [first, second]):
            resolving(loop, *addresses)
            with pytest.raises(ExceptionGroup) as caught:
                await loop.create_connection(Recorder, "name", 80, all_errors=True)
            assert caught.value.message == "create_connection failed"
            assert [str(exc) for exc in caught.value.exceptions] == [
                f"[Errno 111] Connect call failed {address}" for address in addresses
            ]

    run(main)


def test_errors_make_no_cycles(run):
    """A failed connection's exception must not keep what the caller's frames held alive."""

    class Witness:
        pass

    async def main():
        loop = asyncio.get_running_loop()
        address = (LOCALHOST, unused_port())
        resolving(loop, address, address)

        async def attempt():
            witness = Witness()
            reference = weakref.ref(witness)
            try:
                await loop.create_connection(Recorder, "name", 80)
            except OSError:
                return reference

        gc.collect()
        gc.disable()
        try:
            reference = await attempt()
            await turns()
            assert reference() is None
        finally:
            gc.enable()

    run(main)


# Local addresses


def test_local_addr(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with serving() as (_, address):
            local = ("127.0.0.2", unused_port())
            transport, protocol = await loop.create_connection(Recorder, *address, local_addr=local)
            assert transport.get_extra_info("sockname") == local
            await exchange(transport, protocol)
            await ended(transport, protocol)

    run(main)


def test_local_addr_in_use(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with serving() as (_, address):
            with no_new_descriptors(), pytest.raises(OSError) as caught:
                await loop.create_connection(Recorder, *address, local_addr=address)
            assert caught.value.errno == 98
            assert caught.value.strerror.startswith(
                f"error while attempting to bind on address {address!r}: "
            )
            assert caught.value.strerror.endswith("address already in use")

    run(main)


@needs_ipv6
def test_local_addr_of_another_family(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with serving() as (_, address):
            with no_new_descriptors(), pytest.raises(OSError, match="no matching local address"):
                await loop.create_connection(Recorder, *address, local_addr=("::1", 0))

    run(main)


def test_local_addr_is_resolved(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with serving() as (_, address):
            calls = resolving(loop, ("127.0.0.3", 0))
            transport, protocol = await loop.create_connection(
                Recorder, *address, local_addr=("name", 0)
            )
            assert [call[:2] for call in calls] == [("name", 0)]
            assert transport.get_extra_info("sockname")[0] == "127.0.0.3"
            await ended(transport, protocol)

            resolving(loop)
            with pytest.raises(OSError, match=r"^getaddrinfo\(\) returned empty list$"):
                await loop.create_connection(Recorder, *address, local_addr=("name", 0))

    run(main)


# Happy Eyeballs


def test_happy_eyeballs_passes_a_silent_address(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with serving() as (_, address):
            with black_hole() as silent:
                async with no_new_descriptors(), asyncio.timeout(GUARD):
                    resolving(loop, silent, address)
                    transport, protocol = await loop.create_connection(
                        Recorder, "name", 80, happy_eyeballs_delay=0.02
                    )
                    assert transport.get_extra_info("peername") == address
                    await exchange(transport, protocol)
                    await ended(transport, protocol)

    run(main)


def test_happy_eyeballs_goes_on_at_once_after_an_error(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with serving() as (_, address):
            resolving(loop, (LOCALHOST, unused_port()), address)
            async with asyncio.timeout(GUARD):
                transport, protocol = await loop.create_connection(
                    Recorder, "name", 80, happy_eyeballs_delay=10 * GUARD
                )
            await exchange(transport, protocol)
            await ended(transport, protocol)

    run(main)


def test_happy_eyeballs_when_all_fail(run):
    async def main():
        loop = asyncio.get_running_loop()
        first, second = (LOCALHOST, unused_port()), ("127.0.0.2", unused_port())
        resolving(loop, first, second)
        with no_new_descriptors(), pytest.raises(OSError, match="^Multiple exceptions: "):
            await loop.create_connection(Recorder, "name", 80, happy_eyeballs_delay=0.01)

    run(main)


def test_happy_eyeballs_cancelled(run):
    async def main():
        loop = asyncio.get_running_loop()
        with black_hole() as silent:
            async with no_new_descriptors():
                resolving(loop, silent, silent)
                task = asyncio.create_task(
                    loop.create_connection(Recorder, "name", 80, happy_eyeballs_delay=0.01)
                )
                await asyncio.sleep(0.05)
                assert not task.done()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task

    run(main)


@needs_ipv6
@pytest.mark.parametrize(
    ("interleave", "order"),
    [
        (None, ["a1", "a2", "b1", "b2"]),
        (1, ["a1", "b1", "a2", "b2"]),
        (2, ["a1", "a2", "b1", "b2"]),
    ],
)
def test_interleave(run, interleave, order):
    """Addresses of the two families take turns; each fails, so each is tried."""

    async def main():
        loop = asyncio.get_running_loop()
        port = unused_port()
        addresses = {
            "a1": ("127.0.0.1", port),
            "a2": ("127.0.0.2", port),
            "b1": ("::1", port, 0, 0),
            "b2": ("::1", port, 0, 1),
        }
        resolving(loop, *addresses.values())
        tried = []

        async def sock_connect(sock, address):
            tried.append(address)
            raise ConnectionRefusedError(111, f"refused {address}")

        loop.sock_connect = sock_connect
        with no_new_descriptors(), pytest.raises(OSError, match="^Multiple exceptions: "):
            await loop.create_connection(Recorder, "name", port, interleave=interleave)
        assert tried == [addresses[name] for name in order]

    run(main)


# An open socket


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
@pytest.mark.parametrize("blocking", [True, False])
def test_sock(run, family, blocking):
    async def main():
        loop = asyncio.get_running_loop()
        with pair(family) as (a, b):
            a.setblocking(blocking)
            transport, protocol = await loop.create_connection(Recorder, sock=a)
            assert a.gettimeout() == 0
            b.send(b"hello")
            assert await protocol.wait_bytes(5) == b"hello"
            await ended(transport, protocol)
            assert a.fileno() == -1

    run(main)


def test_sock_of_a_subclass(run):
    class Socket(socket.socket):
        pass

    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, b), Socket(fileno=a.detach()) as sock:
            transport, protocol = await loop.create_connection(Recorder, sock=sock)
            b.send(b"hello")
            assert await protocol.wait_bytes(5) == b"hello"
            await ended(transport, protocol)
            assert sock.fileno() == -1

    run(main)


def test_sock_that_is_not_connected(run):
    """asyncio makes a transport of it: reading is what fails."""

    async def main():
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        transport, protocol = await loop.create_connection(Recorder, sock=sock)
        assert transport.get_extra_info("peername") is None
        async with asyncio.timeout(GUARD):
            exc = await protocol.lost
        assert isinstance(exc, OSError)
        assert exc.errno == 107
        await turns()
        assert sock.fileno() == -1

    run(main)


@pytest.mark.skipif(not PYTHON_313, reason="earlier releases do not look")
def test_sock_that_a_transport_has(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, _):
            transport, _ = await loop.create_connection(Recorder, sock=a)
            copy = socket.socket(fileno=a.fileno())
            with pytest.raises(RuntimeError, match="is used by transport"):
                await loop.create_connection(Recorder, sock=copy)
            # Later releases close the second owner's socket, and so the number that both have.
            if copy.fileno() == -1:
                a.detach()
            else:
                copy.detach()
            transport.abort()
            await turns()

    run(main)


# What create_connection refuses


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({}, ValueError, "host and port was not specified and no sock specified"),
        (
            {"host": "localhost", "port": 80, "sock": "stream"},
            ValueError,
            "host/port and sock can not be specified at the same time",
        ),
        (
            {"port": 80, "sock": "stream"},
            ValueError,
            "host/port and sock can not be specified at the same time",
        ),
        ({"sock": "datagram"}, ValueError, "A Stream Socket was expected, got <socket.socket"),
        (
            {"host": "localhost", "port": 80, "server_hostname": "x"},
            ValueError,
            "server_hostname is only meaningful with ssl",
        ),
        (
            {"host": "localhost", "port": 80, "ssl_handshake_timeout": 1},
            ValueError,
            "ssl_handshake_timeout is only meaningful with ssl",
        ),
        (
            {"host": "localhost", "port": 80, "ssl_shutdown_timeout": 1},
            ValueError,
            "ssl_shutdown_timeout is only meaningful with ssl",
        ),
        (
            {"sock": "stream", "ssl": True},
            ValueError,
            "You must set server_hostname when using ssl without a host",
        ),
        (
            {"port": 80, "ssl": True},
            ValueError,
            "You must set server_hostname when using ssl without a host",
        ),
    ],
)
def test_create_connection_refuses(run, kwargs, error, message):
    async def main():
        loop = asyncio.get_running_loop()
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram,
            socket.socket() as stream,
        ):
            if "sock" in kwargs:
                kwargs["sock"] = {"datagram": datagram, "stream": stream}[kwargs["sock"]]
            with pytest.raises(error, match=f"^{re.escape(message)}"):
                await loop.create_connection(Recorder, **kwargs)
            # The socket is still the caller's.
            assert datagram.fileno() != -1
            assert stream.fileno() != -1

    run(main)


def test_an_ssl_socket_is_refused(run):
    async def main():
        loop = asyncio.get_running_loop()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        with pair(socket.AF_INET) as (a, _):
            with context.wrap_socket(a, do_handshake_on_connect=False) as wrapped:
                for call in (
                    loop.create_connection(Recorder, sock=wrapped),
                    loop.create_server(Recorder, sock=wrapped),
                    loop.connect_accepted_socket(Recorder, wrapped),
                ):
                    with pytest.raises(TypeError, match="^Socket cannot be of type SSLSocket$"):
                        await call

    run(main)


def test_port_out_of_range(run):
    async def main():
        loop = asyncio.get_running_loop()
        for port in (-1, 65536):
            with no_new_descriptors(), pytest.raises(OverflowError):
                await loop.create_connection(Recorder, LOCALHOST, port)
            with no_new_descriptors(), pytest.raises(OverflowError):
                await loop.create_server(Recorder, LOCALHOST, port)

    run(main)


def test_a_factory_that_raises(run):
    async def main():
        loop = asyncio.get_running_loop()

        def factory():
            raise ZeroDivisionError

        async with serving() as (_, address):
            before = open_descriptors()
            with pytest.raises(ZeroDivisionError):
                await loop.create_connection(factory, *address)
            gc.collect()
            await until(lambda: open_descriptors() <= before)

    run(main)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_factory_that_is_not_callable(run):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, _):
            with pytest.raises(TypeError):
                await loop.create_connection(None, sock=a)

    run(main)


def test_connection_made_that_raises(run):
    """Reported, and the connection lives."""

    async def main():
        loop = asyncio.get_running_loop()
        reported = []
        loop.set_exception_handler(lambda loop, context: reported.append(context))

        class Protocol(Recorder):
            def connection_made(self, transport):
                super().connection_made(transport)
                raise ZeroDivisionError

        async with serving() as (_, address):
            transport, protocol = await loop.create_connection(Protocol, *address)
            await until(lambda: reported)
            assert isinstance(reported[0]["exception"], ZeroDivisionError)
            await exchange(transport, protocol)
            await ended(transport, protocol)
        assert len(reported) == 1

    run(main)


# Cancellation


def test_cancelled_while_connecting(run):
    async def main():
        loop = asyncio.get_running_loop()
        with black_hole() as silent:
            async with no_new_descriptors():
                task = asyncio.create_task(loop.create_connection(Recorder, *silent))
                await asyncio.sleep(0.02)
                assert not task.done()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(loop.create_connection(Recorder, *silent), 0.02)

    run(main)


@pytest.mark.parametrize("steps", range(8))
def test_cancelled_after_any_number_of_turns(run, steps):
    """Either the caller gets the connection, or every descriptor is closed."""

    async def main():
        loop = asyncio.get_running_loop()
        async with serving() as (_, address), no_new_descriptors():
            task = asyncio.create_task(loop.create_connection(Recorder, *address))
            await turns(steps)
            task.cancel()
            try:
                transport, protocol = await task
            except asyncio.CancelledError:
                pass
            else:
                await ended(transport, protocol)

    run(main)


# connect_accepted_socket


@pytest.mark.parametrize("blocking", [True, False])
def test_connect_accepted_socket(run, blocking):
    async def main():
        loop = asyncio.get_running_loop()
        with listening() as listener:
            client, peer = await loop.create_connection(Recorder, *listener.getsockname())
            conn, _ = await loop.sock_accept(listener)
            conn.setblocking(blocking)
            transport, protocol = await loop.connect_accepted_socket(
                protocol_factory=Echo, sock=conn
            )
            assert transport.get_extra_info("peername") == client.get_extra_info("sockname")
            await exchange(client, peer)
            await ended(client, peer)
            await until(lambda: conn.fileno() == -1)

    run(main)


def test_connect_accepted_socket_refuses(run):
    async def main():
        loop = asyncio.get_running_loop()
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram,
            socket.socket() as stream,
        ):
            with pytest.raises(ValueError, match="^A Stream Socket was expected, got "):
                await loop.connect_accepted_socket(Recorder, datagram)
            for name in ("ssl_handshake_timeout", "ssl_shutdown_timeout"):
                with pytest.raises(ValueError, match=f"^{name} is only meaningful with ssl$"):
                    await loop.connect_accepted_socket(Recorder, stream, **{name: 1})

    run(main)


# Several loops


def test_a_client_and_a_server_in_two_threads(loop_factory):
    """Two loops of one process talk to each other."""
    ready = threading.Event()
    state = {}

    def serve():
        async def main():
            loop = asyncio.get_running_loop()
            state["loop"] = loop
            state["stop"] = asyncio.Event()
            async with serving() as (_, state["address"]):
                ready.set()
                await state["stop"].wait()

        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(main())

    async def client():
        loop = asyncio.get_running_loop()
        made = [await loop.create_connection(Recorder, *state["address"]) for _ in range(10)]
        for _ in range(20):
            await asyncio.gather(*(exchange(*connection) for connection in made))
        for connection in made:
            await ended(*connection)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        assert ready.wait(GUARD)
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(client())
    finally:
        state["loop"].call_soon_threadsafe(state["stop"].set)
        thread.join(GUARD)
    assert not thread.is_alive()


def test_debug_mode(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with serving() as (_, address):
            transport, protocol = await loop.create_connection(Recorder, *address)
            await exchange(transport, protocol)
            await ended(transport, protocol)
        async with connected() as (transport, protocol, peer):
            await peer.send(b"x")
            await protocol.wait_bytes(1)

    run(main, debug=True)
