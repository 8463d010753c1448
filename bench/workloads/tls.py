"""TLS servers on loopback TCP connections, CPU time of the server per message.

Names say bytes x connections. The certificate is made anew for each process; the connections are
made before the window that counts. Loops that allocate a large block for every read pay for glibc's
way with these (see mallopt(3): from M_MMAP_THRESHOLD on each is mapped and unmapped), which says
little about TLS: the cells called `malloc` raise both thresholds, so that nobody pays for it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import socket
import ssl
from collections.abc import Mapping

from bench.cells import Cell, Load, Serve, Served
from bench.workloads.echo import BACKLOG, EchoProtocol
from bench.workloads.servers import uvicorn_plain

_LARGE_BLOCKS = {"MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TRIM_THRESHOLD_": "536870912"}


def server_context() -> ssl.SSLContext:
    """Make a context with a certificate of its own for 127.0.0.1."""
    import trustme

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    return context


async def serve_protocol(sock: socket.socket) -> object:
    """An echo server made of a protocol."""
    loop = asyncio.get_running_loop()
    return await loop.create_server(EchoProtocol, sock=sock, backlog=BACKLOG, ssl=server_context())


async def serve_streams(sock: socket.socket) -> object:
    """An echo server made of a reader and a writer."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(256 * 1024):
            writer.write(data)
            await writer.drain()
        writer.close()

    return await asyncio.start_server(handle, sock=sock, backlog=BACKLOG, ssl=server_context())


_PLAIN: Mapping[str, str] = {}


def _cell(
    name: str, serve: Serve, load: Load, *needs: str, environment: Mapping[str, str] = _PLAIN
) -> Cell:
    load = dataclasses.replace(load, tls=True)
    return Served(
        f"tls/{name}",
        f"TLS {name.replace('-', ' ')}",
        serve=serve,
        load=load,
        needs=("trustme", *needs),
        environment=environment,
    )


_uvicorn = functools.partial(uvicorn_plain, context=server_context)
_SMALL = Load(connections=10)
_LARGE = Load(connections=10, size=102400)
_HTTP = Load(mode="http", connections=32)

CELLS: list[Cell] = [
    _cell("protocol-1024x10", serve_protocol, _SMALL),
    _cell("protocol-102400x10", serve_protocol, _LARGE),
    _cell("streams-1024x10", serve_streams, _SMALL),
    _cell("uvicorn-plain", _uvicorn, _HTTP, "uvicorn", "httptools"),
    _cell("malloc-protocol-1024x10", serve_protocol, _SMALL, environment=_LARGE_BLOCKS),
    _cell("malloc-protocol-102400x10", serve_protocol, _LARGE, environment=_LARGE_BLOCKS),
    _cell(
        "malloc-uvicorn-plain", _uvicorn, _HTTP, "uvicorn", "httptools", environment=_LARGE_BLOCKS
    ),
]
