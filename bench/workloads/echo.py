"""Echo servers on a loopback TCP connection, CPU time of the server per message.

Three ways to write one: a protocol, streams, and the loop's `sock_*` methods. Names say bytes x
connections (x messages that each connection sends at once before it waits for the answers). `short`
has a new connection for each message, which the client closes. The `limit` is the same echo in
plain C.
"""

from __future__ import annotations

import asyncio
import functools
import socket

from bench.cells import Cell, Load, Serve, Served

CELLS: list[Cell] = []

BACKLOG = 4096

#: How much a server asks for at once: what asyncio's own transports ask for.
RECEIVE = 256 * 1024


class EchoProtocol(asyncio.Protocol):
    """Sends back what it receives."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def serve_protocol(sock: socket.socket) -> object:
    """An echo server made of a protocol."""
    return await asyncio.get_running_loop().create_server(EchoProtocol, sock=sock, backlog=BACKLOG)


async def serve_streams(sock: socket.socket) -> object:
    """An echo server made of a reader and a writer."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(RECEIVE):
            writer.write(data)
            await writer.drain()
        writer.close()

    return await asyncio.start_server(handle, sock=sock, backlog=BACKLOG)


async def serve_messages(size: int, sock: socket.socket) -> object:
    """An echo server that takes one message at a time, as servers of a framed format do."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(await reader.readexactly(size))
                await writer.drain()
        except asyncio.IncompleteReadError:
            writer.close()

    return await asyncio.start_server(handle, sock=sock, backlog=BACKLOG)


async def serve_sock(sock: socket.socket) -> object:
    """An echo server made of `sock_accept`, `sock_recv` and `sock_sendall`."""
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    async def handle(client: socket.socket) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with client:
            while data := await loop.sock_recv(client, RECEIVE):
                await loop.sock_sendall(client, data)

    async def accept() -> None:
        while True:
            client, _ = await loop.sock_accept(sock)
            task = loop.create_task(handle(client))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    return loop.create_task(accept())


def _add(kind: str, serve: Serve, load: Load) -> None:
    shape = f"{load.size}x{load.connections}"
    if load.pipeline > 1:
        shape += f"x{load.pipeline}"
    title = f"{kind} {shape}"
    CELLS.append(Served(f"echo/{kind}-{shape}", title, serve=serve, load=load, limited=True))


_SHAPES = (
    Load(connections=1),
    Load(connections=10),
    Load(connections=100),
    Load(connections=10, size=102400),
    Load(connections=1, pipeline=16),
)

for _load in _SHAPES:
    _add("protocol", serve_protocol, _load)
for _load in _SHAPES:
    _add("streams", serve_streams, _load)
_add("framed", functools.partial(serve_messages, 1024), _SHAPES[-1])
for _load in (Load(connections=10), Load(connections=100)):
    _add("sock", serve_sock, _load)
for _load in (Load(mode="short", connections=10), Load(mode="short", connections=100)):
    _add("short", serve_protocol, _load)
