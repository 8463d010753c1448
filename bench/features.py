"""The features of the installed loops: prints the table of docs/comparison.md.

Each feature is a small program that runs in a process of its own, with the loop under test. A cell
says "yes" if the program ends without an error, "no" if it raises, "hangs" after ten seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from importlib import metadata
from typing import Any

from . import loops

NAMES = ("asyncio", "uvloop", "zuvloop", "rsloop", "rloop", "blazio", "fastaio")
LIMIT = 10.0

Feature = Callable[[], Coroutine[Any, Any, None]]
FEATURES: dict[str, Feature] = {}


def feature(label: str) -> Callable[[Feature], Feature]:
    """Register a program under the label of its row."""

    def register(program: Feature) -> Feature:
        FEATURES[label] = program
        return program

    return register


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send one line back."""
    writer.write(await reader.readline())
    await writer.drain()
    writer.close()


async def ask(**address: Any) -> None:
    """Get one line back from an echo server."""
    reader, writer = await asyncio.open_connection(**address)
    writer.write(b"hello\n")
    assert await reader.readline() == b"hello\n"
    writer.close()


@contextlib.asynccontextmanager
async def serving(handler: Any = echo, **options: Any) -> AsyncIterator[int]:
    """Serve on a port of this machine, and yield the port."""
    server = await asyncio.start_server(handler, "127.0.0.1", 0, **options)
    yield server.sockets[0].getsockname()[1]
    server.close()


@contextlib.contextmanager
def contexts() -> Iterator[tuple[ssl.SSLContext, ssl.SSLContext]]:
    """Yield a server's and a client's TLS context that trust each other. Their files exist."""
    import trustme

    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    client = ssl.create_default_context()
    with (
        authority.cert_pem.tempfile() as trusted,
        certificate.private_key_and_cert_chain_pem.tempfile() as chain,
    ):
        server.load_cert_chain(chain)
        client.load_verify_locations(trusted)
        yield server, client


@feature("an `asyncio.BaseEventLoop`")
async def base_event_loop() -> None:
    assert isinstance(asyncio.get_running_loop(), asyncio.BaseEventLoop)


@feature("a `Future` of its own")
async def own_future() -> None:
    assert type(asyncio.get_running_loop().create_future()) is not asyncio.Future


@feature("a `Task` of its own")
async def own_task() -> None:
    assert type(asyncio.current_task()) is not asyncio.Task
    task = asyncio.create_task(asyncio.sleep(0))
    await task
    assert type(task) is not asyncio.Task


@feature("TCP streams")
async def tcp() -> None:
    async with serving() as port:
        await ask(host="127.0.0.1", port=port)


@feature("`async with` a server")
async def server_context() -> None:
    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        assert server.is_serving()


@feature("Unix sockets")
async def unix() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/socket"
        server = await asyncio.start_unix_server(echo, path)
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"hello\n")
        assert await reader.readline() == b"hello\n"
        writer.close()
        server.close()


@feature("TLS: server and client")
async def tls() -> None:
    with contexts() as (server, client):
        async with serving(ssl=server) as port:
            await ask(host="127.0.0.1", port=port, ssl=client, server_hostname="localhost")


@feature("TLS: `start_tls()`")
async def start_tls() -> None:
    with contexts() as (server, client):

        async def upgrade(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await writer.start_tls(server)
            await echo(reader, writer)

        async with serving(upgrade) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            await writer.start_tls(client, server_hostname="localhost")
            writer.write(b"hello\n")
            assert await reader.readline() == b"hello\n"
            writer.close()


@feature("UDP")
async def udp() -> None:
    loop = asyncio.get_running_loop()
    got = loop.create_future()

    class Receiver(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            got.set_result(data)

    local = ("127.0.0.1", 0)
    receiver, _ = await loop.create_datagram_endpoint(Receiver, local_addr=local)
    address = receiver.get_extra_info("sockname")
    sender, _ = await loop.create_datagram_endpoint(
        asyncio.DatagramProtocol, remote_addr=address[:2]
    )
    sender.sendto(b"hello")
    assert await got == b"hello"
    sender.close()
    receiver.close()


@feature("subprocesses")
async def processes() -> None:
    process = await asyncio.create_subprocess_exec(
        "cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    output, _ = await process.communicate(b"hello")
    assert output == b"hello"
    assert process.returncode == 0


@feature("signal handlers")
async def signals() -> None:
    import os
    import signal

    loop = asyncio.get_running_loop()
    got = loop.create_future()
    loop.add_signal_handler(signal.SIGUSR1, got.set_result, None)
    os.kill(os.getpid(), signal.SIGUSR1)
    await got
    loop.remove_signal_handler(signal.SIGUSR1)


@feature("`sendfile()`")
async def sendfile() -> None:
    loop = asyncio.get_running_loop()
    async with serving() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with tempfile.TemporaryFile() as file:
            file.write(b"hello\n")
            file.seek(0)
            assert await loop.sendfile(writer.transport, file) == 6
        assert await reader.readline() == b"hello\n"
        writer.close()


@feature("`sock_recv()`, `sock_sendall()`")
async def sock() -> None:
    loop = asyncio.get_running_loop()
    one, other = socket.socketpair()
    with one, other:
        one.setblocking(False)
        other.setblocking(False)
        await loop.sock_sendall(one, b"hello")
        assert await loop.sock_recv(other, 100) == b"hello"


@feature("eager tasks")
async def eager() -> None:
    loop = asyncio.get_running_loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    done: list[int] = []

    async def begin() -> None:
        done.append(1)

    task = asyncio.create_task(begin())
    assert done == [1]
    await task


@feature("debug mode tells of slow callbacks")
async def slow() -> None:
    import logging
    import time

    class Recorder(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    messages: list[str] = []
    logging.getLogger("asyncio").addHandler(Recorder())
    asyncio.get_running_loop().set_debug(True)
    asyncio.get_running_loop().slow_callback_duration = 0.01
    asyncio.get_running_loop().call_soon(time.sleep, 0.05)
    await asyncio.sleep(0.1)
    assert any("took" in message for message in messages)


def run_one(name: str, label: str) -> None:
    """Run a feature's program on a loop, in this process."""
    with asyncio.Runner(loop_factory=lambda: loops.make(name)) as runner:
        runner.run(FEATURES[label]())


def cell(name: str, label: str) -> str:
    """Run a feature's program in a process of its own; return its cell."""
    command = [sys.executable, "-m", "bench.features", name, label]
    try:
        result = subprocess.run(command, capture_output=True, timeout=LIMIT, check=False)
    except subprocess.TimeoutExpired:
        return "hangs"
    return "yes" if result.returncode == 0 else "no" if result.returncode > 0 else "crashes"


def package_row(name: str) -> dict[str, str]:
    """Return what a loop's package says of itself."""
    if name == "asyncio":
        return {"version": f"CPython {sys.version.split()[0]}", "requires": ""}
    requires = metadata.metadata(name).get("Requires-Python") if name != "fastaio" else ">=3.11"
    return {"version": loops.version(name), "requires": requires or ""}


def main() -> None:
    """Print the table, or run one cell's program."""
    if sys.argv[1:]:
        run_one(*sys.argv[1:])
        return
    names = [name for name in NAMES if name == "asyncio" or importlib.util.find_spec(name)]
    packages = {name: package_row(name) for name in names}
    rows = [["", *names], ["---", *(":-:" for _ in names)]]
    for label, key in (("version", "version"), ("Python", "requires")):
        rows.append([label, *(packages[name][key] for name in names)])
    for label in FEATURES:
        rows.append([label, *(cell(name, label) for name in names)])
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
