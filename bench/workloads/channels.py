"""Datagrams, pipes and processes: what is not a TCP connection.

Both ends are on the loop that is measured, so an operation is what the loop does for both of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from bench.best import Best
from bench.cells import Cell, Context, Sample, Work
from bench.workloads.scheduling import Body, measure_async

CELLS: list[Cell] = []


def _cell(name: str, title: str, body: Body, unit: int = 1, needs: tuple[str, ...] = ()) -> None:
    def run(context: Context) -> Sample:
        return context.new_loop().run_until_complete(measure_async(context, body, unit))

    CELLS.append(Work(f"channels/{name}", title, run=run, needs=needs))


# ---- UDP ----


class _Mirror(asyncio.DatagramProtocol):
    """Sends each datagram back to where it came from."""

    def connection_made(self, transport: Any) -> None:
        self.transport: asyncio.DatagramTransport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(data, addr)


class _Player(asyncio.DatagramProtocol):
    """Returns the ball, which is a datagram, until it has been played often enough."""

    def __init__(self) -> None:
        self.left = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport: asyncio.DatagramTransport = transport

    def play(self, ball: bytes, times: int) -> asyncio.Future[None]:
        self.left = times
        self.done = asyncio.get_running_loop().create_future()
        self.transport.sendto(ball)
        return self.done

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.left -= 1
        if self.left > 0:
            self.transport.sendto(data)
        else:
            self.done.set_result(None)


def _udp(size: int, players: int) -> Body:
    async def body(count: int) -> None:
        loop = asyncio.get_running_loop()
        mirror, _ = await loop.create_datagram_endpoint(_Mirror, local_addr=("127.0.0.1", 0))
        # As many datagrams as players fit into the receive buffer.
        sock = mirror.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        address = sock.getsockname()
        pairs = [
            await loop.create_datagram_endpoint(_Player, remote_addr=address)
            for _ in range(players)
        ]
        ball = bytes(size)
        await asyncio.gather(*[player.play(ball, count // players) for _, player in pairs])
        for transport, _ in pairs:
            transport.close()
        mirror.close()
        await asyncio.sleep(0.001)

    return body


_cell("udp-1024x1", "UDP 1024x1, round trip", _udp(1024, 1), 10)
_cell("udp-1024x10", "UDP 1024x10, round trip", _udp(1024, 10), 100)
_cell("udp-1024x100", "UDP 1024x100, round trip", _udp(1024, 100), 1000)

_BURST = 32


class _Arrivals(asyncio.DatagramProtocol):
    """Counts datagrams."""

    def __init__(self) -> None:
        self.left = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def expect(self, count: int) -> asyncio.Future[None]:
        self.left = count
        self.done = asyncio.get_running_loop().create_future()
        return self.done

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.left -= 1
        if self.left == 0:
            self.done.set_result(None)


async def _receive(count: int) -> Sample:
    """CPU time to receive a datagram, of bursts of 32 that wait already."""
    loop = asyncio.get_running_loop()
    receiving, counter = await loop.create_datagram_endpoint(_Arrivals, local_addr=("127.0.0.1", 0))
    address = receiving.get_extra_info("sockname")
    data = bytes(256)
    used = 0.0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _ in range(count):
            for _ in range(_BURST):
                sock.sendto(data, address)
            begin = time.process_time()
            await counter.expect(_BURST)
            used += time.process_time() - begin
    receiving.close()
    await asyncio.sleep(0.001)
    return {"value": used / (count * _BURST)}


def _receiving(context: Context) -> Sample:
    loop = context.new_loop()
    loop.run_until_complete(_receive(20))
    best = Best(context.settings)
    while best.wants_more():
        best.add(loop.run_until_complete(_receive(max(int(100 * context.settings.scale), 20))))
    return best.sample


CELLS.append(Work("channels/udp-receive", "UDP, receipt of a datagram", run=_receiving))


# ---- QUIC ----


def _quic(size: int) -> Body:
    async def body(count: int) -> None:
        from aioquic.asyncio import connect, serve
        from aioquic.quic.configuration import QuicConfiguration

        server_side = QuicConfiguration(is_client=False)
        with _certificate() as path:
            server_side.load_cert_chain(path, path)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
        client_side = QuicConfiguration(verify_mode=ssl.CERT_NONE)
        server = await serve(
            "127.0.0.1", port, configuration=server_side, stream_handler=_echo_stream
        )
        async with connect("127.0.0.1", port, configuration=client_side) as client:
            reader, writer = await client.create_stream()
            data = bytes(size)
            for _ in range(count):
                writer.write(data)
                await reader.readexactly(size)
            writer.write_eof()
        server.close()
        await asyncio.sleep(0.001)

    return body


@contextlib.contextmanager
def _certificate() -> Iterator[str]:
    """The path of a file with a private key and its certificate."""
    import trustme

    with trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.tempfile() as path:
        yield path


def _echo_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    async def echo() -> None:
        while data := await reader.read(65536):
            writer.write(data)

    _echoes.add(task := asyncio.ensure_future(echo()))
    task.add_done_callback(_echoes.discard)


# A loop refers weakly to its tasks.
_echoes: set[asyncio.Future[None]] = set()

_cell("quic-64", "aioquic, echo of 64 bytes", _quic(64), 50, needs=("aioquic", "trustme"))
_cell("quic-16k", "aioquic, echo of 16 KiB", _quic(16384), 10, needs=("aioquic", "trustme"))


# ---- pipes ----


class _Counter(asyncio.Protocol):
    """Counts down the bytes that are to come."""

    def __init__(self, expected: int) -> None:
        self.left = expected
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.left -= len(data)
        if self.left == 0:
            self.done.set_result(None)


class _Writer(asyncio.BaseProtocol):
    """Writes pieces as long as it may."""

    def __init__(self, piece: bytes, count: int) -> None:
        self.piece = piece
        self.left = count
        self.may = True

    def connection_made(self, transport: Any) -> None:
        self.transport: asyncio.WriteTransport = transport
        self.go_on()

    def go_on(self) -> None:
        while self.left and self.may:
            self.left -= 1
            self.transport.write(self.piece)

    def pause_writing(self) -> None:
        self.may = False

    def resume_writing(self) -> None:
        self.may = True
        self.go_on()


def _pipe(size: int) -> Body:
    async def body(count: int) -> None:
        loop = asyncio.get_running_loop()
        out, into = os.pipe()
        reading, counter = await loop.connect_read_pipe(
            lambda: _Counter(size * count), os.fdopen(out, "rb", 0)
        )
        writing, _ = await loop.connect_write_pipe(
            lambda: _Writer(bytes(size), count), os.fdopen(into, "wb", 0)
        )
        await counter.done
        reading.close()
        writing.close()
        await asyncio.sleep(0.001)

    return body


_cell("pipe-1k", "pipe, 1 KiB", _pipe(1024), 1000)
_cell("pipe-64k", "pipe, 64 KiB", _pipe(65536), 100)


def _streams(size: int) -> Body:
    async def body(count: int) -> None:
        loop = asyncio.get_running_loop()
        out, into = os.pipe()
        reader = asyncio.StreamReader()
        reading, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(out, "rb", 0)
        )
        writing, _ = await loop.connect_write_pipe(
            lambda: _Writer(bytes(size), count), os.fdopen(into, "wb", 0)
        )
        for _ in range(count):
            await reader.readexactly(size)
        reading.close()
        writing.close()
        await asyncio.sleep(0.001)

    return body


_cell("pipe-streams-1k", "pipe, StreamReader, 1 KiB", _streams(1024), 1000)


# ---- processes ----


async def _spawn(count: int) -> None:
    for _ in range(count):
        process = await asyncio.create_subprocess_exec("true")
        await process.wait()


async def _communicate(count: int) -> None:
    data = bytes(1 << 20)
    for _ in range(count):
        process = await asyncio.create_subprocess_exec(
            "cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        output, _ = await process.communicate(data)
        assert len(output) == len(data)


_cell("subprocess", "subprocess, spawn to exit", _spawn)
_cell("communicate-1m", "communicate(), 1 MiB both ways", _communicate)

_DYING = (
    "import os, sys, time; sys.stdin.read(1); os.write(1, b'%d' % time.monotonic_ns()); os._exit(0)"
)


async def _exits(count: int) -> Sample:
    """How long after its last word a child is known to have exited."""
    samples = []
    used = time.process_time()
    for _ in range(count):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-SEc", _DYING, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        await asyncio.sleep(0.05)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"x")
        await process.wait()
        known = time.monotonic_ns()
        samples.append((known - int(await process.stdout.read())) / 1e9)
        process.stdin.close()
    return {
        "value": statistics.median(samples),
        "wall": max(samples),
        "cpu": (time.process_time() - used) / count,
    }


def _exit(context: Context) -> Sample:
    loop = context.new_loop()
    return loop.run_until_complete(_exits(max(int(20 * context.settings.scale), 5)))


async def _communicates(count: int) -> Sample:
    """The same for communicate(), which waits for the end of the output and the exit."""
    samples = []
    for _ in range(count):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-SEc", _DYING, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        await asyncio.sleep(0.05)
        output, _ = await process.communicate(b"x")
        samples.append((time.monotonic_ns() - int(output)) / 1e9)
    return {"value": statistics.median(samples), "wall": max(samples)}


def _communicate_end(context: Context) -> Sample:
    loop = context.new_loop()
    return loop.run_until_complete(_communicates(max(int(20 * context.settings.scale), 5)))


async def _kills(count: int) -> Sample:
    """The same for a child that is killed: from the signal to wait()'s return."""
    samples = []
    for _ in range(count):
        process = await asyncio.create_subprocess_exec("sleep", "60")
        await asyncio.sleep(0.01)
        begin = time.monotonic()
        process.send_signal(signal.SIGKILL)
        await process.wait()
        samples.append(time.monotonic() - begin)
    return {"value": statistics.median(samples), "wall": max(samples)}


def _kill(context: Context) -> Sample:
    loop = context.new_loop()
    return loop.run_until_complete(_kills(max(int(40 * context.settings.scale), 10)))


CELLS.append(Work("channels/exit", "a child's exit is known (wall)", run=_exit))
CELLS.append(Work("channels/communicate-end", "exit to communicate() (wall)", run=_communicate_end))
CELLS.append(Work("channels/kill", "kill to wait() (wall)", run=_kill))
