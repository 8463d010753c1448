"""Threads: what loops in several threads of one process do together, each with work of its own.

A cell has three figures: the operations per second of all loops, how many times that is what one
loop alone does, and how many times the CPU time of an operation is that of one loop alone. With a
GIL, N loops do what one does. Without one, N loops on N CPUs should do N times as much, at the same
CPU time per operation.

One loop and N loops are measured in turn in the same process, and the best batches of each are
compared, since a processor that is busy on all cores may be slower on each.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import gc
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable

from bench import loops
from bench.best import Best
from bench.cells import Cell, Context, Figure, Sample, Work
from bench.workloads import scheduling
from bench.workloads.echo import EchoProtocol
from bench.workloads.tls import server_context

CELLS: list[Cell] = []

#: As many loops as there are CPUs, to the power of two below.
LOOPS = 1 << (len(os.sched_getaffinity(0)).bit_length() - 1)

#: At least so many messages go through a connection, or its handshake would be what is measured.
MESSAGES = 2000


class _Crew:
    """Threads with a loop each, which do the same number of operations at the same time."""

    def __init__(self, context: Context, body: scheduling.Body, size: int) -> None:
        self._body = body
        self._start = threading.Barrier(size + 1)
        self._end = threading.Barrier(size + 1)
        self._count = 0
        self._errors: list[BaseException] = []
        self._times: list[tuple[float, float]] = []
        self._threads = [
            threading.Thread(target=self._work, args=(context.loop,), daemon=True)
            for _ in range(size)
        ]
        for thread in self._threads:
            thread.start()

    def _work(self, name: str) -> None:
        loop = loops.make(name)
        asyncio.set_event_loop(loop)
        while True:
            self._start.wait()
            if not self._count:
                break
            try:
                begin = time.perf_counter()
                loop.run_until_complete(self._body(self._count))  # type: ignore[arg-type]
                self._times.append((begin, time.perf_counter()))
            except BaseException as error:
                self._errors.append(error)
            self._end.wait()
        loop.close()

    def run(self, count: int) -> tuple[float, float]:
        """Have each loop do `count` operations; return wall and CPU seconds. The wall time is that
        from the first thread's begin to the last one's end, without what it takes to wake them."""
        self._count = count
        self._times.clear()
        cpu = time.process_time()
        self._start.wait()
        self._end.wait()
        cpu = time.process_time() - cpu
        if self._errors:
            raise self._errors[0]
        begins, ends = zip(*self._times, strict=True)
        return max(ends) - min(begins), cpu

    def stop(self) -> None:
        self._count = 0
        self._start.wait()
        for thread in self._threads:
            thread.join()


def _batch(crew: _Crew, unit: int, wanted: float) -> int:
    """Return how many operations take one loop the wanted time."""
    count = unit
    while True:
        wall, _ = crew.run(count)
        if wall >= wanted * 0.7:
            return count
        count = max(int(count / unit * min(wanted / wall, 10.0)), 2 * count // unit) * unit


def measure(context: Context, body: scheduling.Body, unit: int) -> Sample:
    """Compare one loop with all of them."""
    one, all_ = _Crew(context, body, 1), _Crew(context, body, LOOPS)
    gc.collect()
    gc.freeze()
    count = _batch(one, unit, context.settings.batch_seconds * 2)
    all_.run(count)
    alone, together = Best(context.settings), Best(context.settings)
    while alone.wants_more() or together.wants_more():
        for crew, best in ((one, alone), (all_, together)):
            wall, cpu = crew.run(count)
            best.add({"value": wall, "cpu": cpu})
    one.stop()
    all_.stop()
    return {
        "value": LOOPS * count / together.least("value"),
        "times": LOOPS * alone.least("value") / together.least("value"),
        "cpu": together.least("cpu") / LOOPS / alone.least("cpu"),
    }


def _without_loop(floor: scheduling.Floor) -> scheduling.Body:
    async def body(count: int) -> None:
        floor(count)

    return body


def _floor_echo(count: int) -> None:
    """The system calls of an echo, which never have to wait."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname())
        server, _ = listening.accept()
    data = b"x" * 64
    with client, server:
        for sock in (client, server):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(count):
            client.send(data)
            server.send(server.recv(65536))
            client.recv(65536)


#: What the interpreter and the kernel alone make of several threads.
_FLOORS = {
    "sleep0": scheduling.floor_sleep0,
    "task": scheduling.floor_create_task,
    "echo": _floor_echo,
}


def _add(
    name: str, title: str, body: scheduling.Body, unit: int = 1, needs: tuple[str, ...] = ()
) -> None:
    floor = _FLOORS.get(name)

    def run(context: Context) -> Sample:
        if context.is_limit:
            assert floor is not None
            plain = dataclasses.replace(context, loop="asyncio")
            return measure(plain, _without_loop(floor), unit)
        return measure(context, body, unit)

    CELLS.append(
        Work(
            f"threads/{name}",
            f"{title}, {LOOPS} loops",
            unit="1/s",
            run=run,
            baseline=None,
            more_is_better=True,
            beside=(Figure("times", "times"), Figure("cpu", "times")),
            patience=60.0,
            limited=floor is not None,
            needs=needs,
        )
    )


async def call_soon(count: int) -> None:
    """As in scheduling, with a function that no other thread uses: CPython counts the references
    to a function, and a count that all threads change has to move between their processors."""

    def nothing() -> None:
        pass

    soon = asyncio.get_running_loop().call_soon
    for _ in range(count // scheduling.CHUNK):
        for _ in range(scheduling.CHUNK):
            soon(nothing)
        await asyncio.sleep(0)


class _Contexts(threading.local):
    """The contexts of TLS servers and clients of a thread."""

    def __init__(self) -> None:
        self.server = server_context()
        self.client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.client.check_hostname = False
        self.client.verify_mode = ssl.CERT_NONE


async def echo(count: int, contexts: _Contexts | None = None) -> None:
    """Messages of 64 bytes through a loopback connection, both ends on the running loop."""
    loop = asyncio.get_running_loop()
    context = contexts.server if contexts else None
    server = await loop.create_server(EchoProtocol, "127.0.0.1", 0, ssl=context)
    done = loop.create_future()
    left = count

    class Client(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport
            self.data_received(b"x" * 64)

        def data_received(self, data: bytes) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                self.transport.close()
                done.set_result(None)
            else:
                self.transport.write(data)  # type: ignore[attr-defined]

    context = contexts.client if contexts else None
    await loop.create_connection(Client, *server.sockets[0].getsockname(), ssl=context)
    await done
    server.close()


@functools.cache
def _contexts() -> _Contexts:
    return _Contexts()


async def tls(count: int) -> None:
    """The same, encrypted."""
    await echo(count, _contexts())


async def streams(count: int) -> None:
    """Lines of 64 bytes through a loopback connection, by streams, both ends on one loop."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    line = b"x" * 63 + b"\n"
    for _ in range(count):
        writer.write(line)
        await reader.readline()
    writer.close()
    server.close()


_BODIES: tuple[tuple[str, str, Callable[[int], object], int], ...] = (
    ("sleep0", "await sleep(0)", scheduling.sleep0, 1),
    ("task", "await create_task(nop())", scheduling.create_task, 1),
    ("future", "future set by call_soon, awaited", scheduling.future, 1),
    ("call-soon", "call_soon(f)", call_soon, scheduling.CHUNK),
    ("call-soon-shared", "call_soon(f), one f for all", scheduling.call_soon, scheduling.CHUNK),
    ("timers", "timers that fire", scheduling.timers, scheduling.TIMERS),
    ("gather", "gather of 100, per child", scheduling.gather, 100),
    ("queue", "queue, put and get", scheduling.queue, 1),
    ("echo", "echo 64, protocols, both ends", echo, MESSAGES),
    ("streams", "echo 64, streams, both ends", streams, MESSAGES),
    ("tls", "echo 64, TLS, both ends", tls, MESSAGES),
)

for _name, _title, _body, _unit in _BODIES:
    _needs = ("trustme",) if _name == "tls" else ()
    _add(_name, _title, _body, _unit, _needs)  # type: ignore[arg-type]
