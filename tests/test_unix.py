"""Unix sockets: create_unix_connection and create_unix_server."""

import asyncio
import os
import pathlib
import re
import socket
import stat

import pytest

from .ioutil import (
    Echo,
    Recorder,
    asyncio_log,
    ended,
    exchange,
    no_new_descriptors,
    pair,
    turns,
)
from .support import GUARD, PYTHON_313


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "socket")


@pytest.mark.parametrize("kind", [str, os.fsencode, pathlib.Path])
def test_connect_to_a_server(run, path, kind):
    async def main():
        loop = asyncio.get_running_loop()
        async with no_new_descriptors():
            server = await loop.create_unix_server(Echo, kind(path))
            assert server.is_serving()
            assert stat.S_ISSOCK(os.stat(path).st_mode)
            assert [sock.getsockname() for sock in server.sockets] == [path]
            transport, protocol = await loop.create_unix_connection(Recorder, kind(path))
            assert transport.get_extra_info("peername") == path
            assert transport.get_extra_info("sockname") == ""
            assert transport.get_extra_info("socket").family == socket.AF_UNIX
            await exchange(transport, protocol)
            await ended(transport, protocol)
            assert protocol.calls == ["made", "data", "lost"]
            server.close()
            await server.wait_closed()

    run(main)


@pytest.mark.parametrize("kind", [str, str.encode])
def test_abstract_addresses(run, kind):
    name = kind(f"\0fastaio-test-{os.getpid()}")

    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(Echo, name)
        transport, protocol = await loop.create_unix_connection(Recorder, name)
        assert transport.get_extra_info("peername") == f"\0fastaio-test-{os.getpid()}".encode()
        await exchange(transport, protocol)
        with no_new_descriptors(), pytest.raises(OSError) as caught:
            await loop.create_unix_server(Echo, name)
        assert caught.value.errno == 98
        assert caught.value.strerror == f"Address {name!r} is already in use"
        await ended(transport, protocol)
        server.close()
        with pytest.raises(ConnectionRefusedError):
            await loop.create_unix_connection(Recorder, name)

    run(main)


def test_nothing_there(run, path):
    async def main():
        loop = asyncio.get_running_loop()
        with no_new_descriptors(), pytest.raises(FileNotFoundError):
            await loop.create_unix_connection(Recorder, path)

    run(main)


def test_nobody_there(run, path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)

    async def main():
        loop = asyncio.get_running_loop()
        with no_new_descriptors(), pytest.raises(ConnectionRefusedError):
            await loop.create_unix_connection(Recorder, path)

    run(main)


def test_a_stale_socket_is_replaced(run, path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)

    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(Echo, path)
        transport, protocol = await loop.create_unix_connection(Recorder, path)
        await exchange(transport, protocol)
        await ended(transport, protocol)
        server.close()

    run(main)


def test_a_path_in_use_by_a_file(run, path):
    with open(path, "wb") as file:
        file.write(b"precious")

    async def main():
        loop = asyncio.get_running_loop()
        with no_new_descriptors(), pytest.raises(OSError) as caught:
            await loop.create_unix_server(Echo, path)
        assert caught.value.errno == 98
        assert caught.value.strerror == f"Address {path!r} is already in use"

    run(main)
    with open(path, "rb") as file:
        assert file.read() == b"precious"


def test_a_folder_that_is_not_there(run, path):
    async def main():
        loop = asyncio.get_running_loop()
        with no_new_descriptors(), pytest.raises(FileNotFoundError):
            await loop.create_unix_server(Echo, path + "/socket")

    run(main)


def test_a_path_that_is_too_long(run, path):
    async def main():
        loop = asyncio.get_running_loop()
        with no_new_descriptors(), pytest.raises(OSError, match="AF_UNIX path too long"):
            await loop.create_unix_server(Echo, path + "x" * 120)
        with no_new_descriptors(), pytest.raises(OSError, match="AF_UNIX path too long"):
            await loop.create_unix_connection(Recorder, path + "x" * 120)

    run(main)


def test_a_path_that_cannot_be_looked_at(run, path):
    """Reported to the log; binding decides."""
    with open(path, "wb"):
        pass

    async def main():
        loop = asyncio.get_running_loop()
        with asyncio_log() as records, no_new_descriptors(), pytest.raises(NotADirectoryError):
            await loop.create_unix_server(Echo, path + "/socket")
        assert len(records) == 1
        assert records[0].getMessage().startswith("Unable to check or remove stale UNIX socket")

    run(main)


# The file when the server closes


@pytest.mark.skipif(not PYTHON_313, reason="new in 3.13")
def test_the_file_goes_with_the_server(run, path):
    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(Echo, path)
        assert os.path.exists(path)
        server.close()
        assert not os.path.exists(path)

        server = await loop.create_unix_server(Echo, path, cleanup_socket=False)
        server.close()
        assert os.path.exists(path)
        os.unlink(path)

        server = await loop.create_unix_server(Echo, path)
        os.unlink(path)
        server.close()  # it has gone already

    run(main)


@pytest.mark.skipif(not PYTHON_313, reason="new in 3.13")
def test_the_file_of_a_given_socket_goes_too(run, path):
    async def main():
        loop = asyncio.get_running_loop()
        for cleanup in (True, False):
            sock = socket.socket(socket.AF_UNIX)
            sock.bind(path)
            server = await loop.create_unix_server(Echo, sock=sock, cleanup_socket=cleanup)
            server.close()
            assert os.path.exists(path) is not cleanup

    run(main)


@pytest.mark.skipif(not PYTHON_313, reason="new in 3.13")
def test_another_servers_file_stays(run, path):
    async def main():
        loop = asyncio.get_running_loop()
        first = await loop.create_unix_server(Echo, path)
        second = await loop.create_unix_server(Echo, path)
        first.close()
        transport, protocol = await loop.create_unix_connection(Recorder, path)
        await exchange(transport, protocol)
        await ended(transport, protocol)
        second.close()
        assert not os.path.exists(path)

    run(main)


@pytest.mark.skipif(PYTHON_313, reason="3.13 removes it")
def test_the_file_stays(run, path):
    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(Echo, path)
        server.close()
        assert os.path.exists(path)

    run(main)


# Open sockets


@pytest.mark.parametrize("blocking", [True, False])
def test_connection_over_a_given_socket(run, blocking):
    async def main():
        loop = asyncio.get_running_loop()
        with pair() as (a, b):
            a.setblocking(blocking)
            transport, protocol = await loop.create_unix_connection(Recorder, sock=a)
            b.send(b"hello")
            assert await protocol.wait_bytes(5) == b"hello"
            await ended(transport, protocol)
            assert a.fileno() == -1

    run(main)


def test_server_over_a_given_socket(run, path):
    async def main():
        loop = asyncio.get_running_loop()
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(path)
        server = await loop.create_unix_server(Echo, sock=sock, backlog=1)
        assert sock.gettimeout() == 0
        transport, protocol = await loop.create_unix_connection(Recorder, path)
        await exchange(transport, protocol)
        await ended(transport, protocol)
        server.close()
        assert sock.fileno() == -1

    run(main)


def test_start_serving_false(run, path):
    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(Echo, path, start_serving=False)
        assert not server.is_serving()
        with pytest.raises(ConnectionRefusedError):
            await loop.create_unix_connection(Recorder, path)
        await server.start_serving()
        transport, protocol = await loop.create_unix_connection(Recorder, path)
        await exchange(transport, protocol)
        await ended(transport, protocol)
        server.close()

    run(main)


@pytest.mark.parametrize("call", ["create_unix_connection", "create_unix_server"])
@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (
            {"path": "path", "sock": "unix"},
            "path and sock can not be specified at the same time",
        ),
        ({"sock": "tcp"}, "A UNIX Domain Stream Socket was expected, got <socket.socket"),
        ({"sock": "datagram"}, "A UNIX Domain Stream Socket was expected, got <socket.socket"),
        (
            {"path": "path", "ssl_handshake_timeout": 1},
            "ssl_handshake_timeout is only meaningful with ssl",
        ),
        (
            {"path": "path", "ssl_shutdown_timeout": 1},
            "ssl_shutdown_timeout is only meaningful with ssl",
        ),
    ],
)
def test_refused(run, call, kwargs, message):
    async def main():
        loop = asyncio.get_running_loop()
        with (
            socket.socket(socket.AF_UNIX) as unix,
            socket.socket() as tcp,
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagram,
        ):
            socks = {"unix": unix, "tcp": tcp, "datagram": datagram}
            arguments = {
                name: socks[value] if name == "sock" else value for name, value in kwargs.items()
            }
            with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
                await getattr(loop, call)(Recorder, **arguments)
            assert all(sock.fileno() != -1 for sock in socks.values())

    run(main)


def test_refused_otherwise(run, path):
    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(ValueError, match="^no path and sock were specified$"):
            await loop.create_unix_connection(Recorder)
        with pytest.raises(ValueError, match="^path was not specified, and no sock specified$"):
            await loop.create_unix_server(Recorder)
        with pytest.raises(ValueError, match="^server_hostname is only meaningful with ssl$"):
            await loop.create_unix_connection(Recorder, path, server_hostname="x")
        with pytest.raises(ValueError, match="^you have to pass server_hostname when using ssl$"):
            await loop.create_unix_connection(Recorder, path, ssl=True)
        for flag in (True, False):
            with pytest.raises(TypeError, match="^ssl argument must be an SSLContext or None$"):
                await loop.create_unix_server(Recorder, path, ssl=flag)
        with pytest.raises(TypeError):
            await loop.create_unix_server(Recorder, 5)
        with pytest.raises(TypeError):
            await loop.create_unix_connection(Recorder, 5)
        assert not os.path.exists(path)

    run(main)


def test_many_connections(run, path):
    async def main():
        loop = asyncio.get_running_loop()

        async def client(number):
            transport, protocol = await loop.create_unix_connection(Recorder, path)
            question = b"%06d" % number
            transport.write(question)
            assert await protocol.wait_bytes(6) == question
            await ended(transport, protocol)

        server = await loop.create_unix_server(Echo, path, backlog=300)
        async with no_new_descriptors(), asyncio.timeout(GUARD):
            await asyncio.gather(*(client(number) for number in range(200)))
        server.close()
        await server.wait_closed()

    run(main)


def test_cancelled(run, path):
    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(Echo, path)
        async with no_new_descriptors():
            for steps in range(6):
                task = asyncio.create_task(loop.create_unix_connection(Recorder, path))
                await turns(steps)
                task.cancel()
                try:
                    transport, protocol = await task
                except asyncio.CancelledError:
                    continue
                await ended(transport, protocol)
        server.close()

    run(main)
