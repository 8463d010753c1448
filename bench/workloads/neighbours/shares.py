"""Four senders that are alike, on four connections: what the least of them gets through.

The figure is the bytes of the least served sender, divided by the mean. The senders are one process
that writes to each connection in turn and never waits for one of them. The receivers hash what they
get, which takes longer than sending it. So every connection has input at any time, and any
difference is made by the loop.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import itertools
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from bench.cells import Cell, Context, Figure, Load, Sample, Served
from bench.workloads.echo import RECEIVE
from bench.workloads.neighbours.common import (
    PATIENCE,
    PIECE,
    ROUNDS,
    WINDOW,
    Open,
    cell,
    connections,
    settle,
    start_peer,
    stop_peer,
)
from bench.workloads.tls import serve_protocol, server_context

SENDERS = 4
DATAGRAM = 1024


class Counts(list[int]):
    """How many bytes came from each sender."""

    def take(self, number: int, data: bytes | memoryview) -> None:
        """Do what a receiver does with its data."""
        hashlib.blake2b(data)
        self[number] += len(data)


#: Sets the receivers up; returns the senders' ends, and what keeps the receivers.
Setup = Callable[[Counts], Awaitable[tuple[list[Open], object]]]


class _Sink(asyncio.Protocol):
    """Counts what its connection brings."""

    def __init__(self, counts: Counts, number: int) -> None:
        self._counts = counts
        self._number = number

    def data_received(self, data: bytes) -> None:
        self._counts.take(self._number, data)


class _BufferedSink(asyncio.BufferedProtocol):
    """The same with a buffer of its own."""

    def __init__(self, counts: Counts, number: int) -> None:
        self._counts = counts
        self._number = number
        self._buffer = memoryview(bytearray(PIECE))

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._counts.take(self._number, self._buffer[:nbytes])


class _DatagramSink(asyncio.DatagramProtocol):
    """The same for datagrams."""

    def __init__(self, counts: Counts, number: int) -> None:
        self._counts = counts
        self._number = number

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._counts.take(self._number, data)


async def _tcp(
    kind: Callable[[Counts, int], asyncio.BaseProtocol], tls: bool, counts: Counts
) -> tuple[list[Open], object]:
    numbers = itertools.count()
    options = {"ssl": server_context()} if tls else {}
    ends, server = await connections(lambda: kind(counts, next(numbers)), SENDERS, **options)
    return list(ends), server


async def _streams(counts: Counts) -> tuple[list[Open], object]:
    numbers = itertools.count()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = next(numbers)
        while data := await reader.read(RECEIVE):
            counts.take(number, data)
        writer.close()

    def factory() -> asyncio.StreamReaderProtocol:
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(), handle)

    ends, server = await connections(factory, SENDERS)
    return list(ends), server


async def _pipes(counts: Counts) -> tuple[list[Open], object]:
    loop = asyncio.get_running_loop()
    ends: list[Open] = []
    kept = []
    for number in range(SENDERS):
        out, into = os.pipe()
        sink = functools.partial(_Sink, counts, number)
        kept.append(await loop.connect_read_pipe(sink, os.fdopen(out, "rb", 0)))
        ends.append(os.fdopen(into, "wb", 0))
    return ends, kept


async def _datagrams(counts: Counts) -> tuple[list[Open], object]:
    loop = asyncio.get_running_loop()
    ends: list[Open] = []
    kept = []
    for number in range(SENDERS):
        sink = functools.partial(_DatagramSink, counts, number)
        transport, _ = await loop.create_datagram_endpoint(sink, local_addr=("127.0.0.1", 0))
        kept.append(transport)
        end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        end.connect(transport.get_extra_info("socket").getsockname())
        ends.append(end)
    return ends, kept


async def _measure(setup: Setup, piece: int, tls: bool, context: Context) -> Sample:
    counts = Counts([0] * SENDERS)
    ends, kept = await setup(counts)
    peer = start_peer(context, "flood", piece, ends=ends, tls=tls)
    settle()
    while not any(counts):
        if peer.poll() is not None:
            raise RuntimeError("the senders have given up")
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.05)  # whoever is to get anything has got it by now
    before = list(counts)
    begin = asyncio.get_running_loop().time()
    await asyncio.sleep(context.settings.load_seconds)
    seconds = asyncio.get_running_loop().time() - begin
    got = [now - then for now, then in zip(counts, before, strict=True)]
    stop_peer(peer)
    del kept
    if not sum(got):
        raise RuntimeError("nothing arrived")
    return {"value": min(got) * SENDERS / sum(got), "rate": sum(got) / seconds}


def _cell(name: str, setup: Setup, piece: int = PIECE, tls: bool = False) -> Cell:
    return cell(
        f"share-{name}",
        f"4 equal senders, {name.replace('-', ' ')}: least share / sum",
        functools.partial(_measure, setup, piece, tls),
        "share",
        Figure("rate", "B/s"),
        more_is_better=True,
        needs=("trustme",) if tls else (),
    )


def _answers() -> Cell:
    """The same question to large answers over TLS: how even is the service of ten connections?"""
    return Served(
        "neighbours/tls-100k",
        "TLS echo 100 KiB x 10: p50 / p99 / least share",
        "s",
        None,
        PATIENCE,
        serve=serve_protocol,
        load=Load(connections=10, size=102400, tls=True),
        value=lambda sample: sample["p50_us"] * 1e-6,
        whole=True,
        beside=(Figure("p99_us", "us"), Figure("share", "share")),
        varies=True,
        rounds=ROUNDS,
        window=WINDOW,
        needs=("trustme",),
    )


CELLS: list[Cell] = [
    _cell("streams", _streams),
    _cell("protocol", functools.partial(_tcp, _Sink, False)),
    _cell("buffered-protocol", functools.partial(_tcp, _BufferedSink, False)),
    _cell("TLS", functools.partial(_tcp, _Sink, True), tls=True),
    _cell("pipes", _pipes),
    _cell("datagrams", _datagrams, DATAGRAM),
    _answers(),
]
