"""The cost and the gain of looking for events again and again before a loop blocks.

Each cell compares a loop to itself with spinning off. A waiting connection that is answered soon is
where spinning pays; how much depends on what waking a CPU costs on the machine. The `delay` cells
set the time until the answer, with a peer that waits busily for so long.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time

from bench.cells import Cell, Context, Figure, Load, Sample, Serve, Served, Work
from bench.loops import NO_SPIN
from bench.workloads import echo, tls
from bench.workloads.neighbours.common import (
    PATIENCE,
    ROUNDS,
    WINDOW,
    connections,
    settle,
    start_peer,
    stop_peer,
)

GROUP = "spinning"
SIZE = 1024

_RATE = Figure("rps", "1/s")


def _served(
    name: str, title: str, serve: Serve, load: Load, servers: int = 1, quick: bool = True
) -> Cell:
    return Served(
        f"neighbours/spin-{name}",
        title,
        "s",
        None,
        PATIENCE,
        serve=serve,
        load=load,
        servers=servers,
        whole=True,
        varies=True,
        quick=quick,
        beside=(_RATE,),
        group=GROUP,
        variants=(NO_SPIN,),
        rounds=ROUNDS,
        window=WINDOW,
        needs=("trustme",) if load.tls else (),
    )


class _Asker(asyncio.Protocol):
    """Sends a request, waits for the answer, and starts again."""

    def __init__(self, made: asyncio.Future[_Asker]) -> None:
        self._made = made
        self._left = SIZE
        self._request = bytes(SIZE)
        self.answers = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.WriteTransport = transport  # type: ignore[assignment]
        self._made.set_result(self)

    def ask(self) -> None:
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left == 0:
            self._left = SIZE
            self.answers += 1
            self.ask()


async def _delayed(microseconds: int, context: Context) -> Sample:
    """Requests to a peer that answers after a set delay."""
    made: asyncio.Future[_Asker] = asyncio.get_running_loop().create_future()
    ends, server = await connections(lambda: _Asker(made), 1)
    peer = start_peer(context, "delay", microseconds, SIZE, ends=ends)
    asker = await made
    settle()
    asker.ask()
    await asyncio.sleep(context.settings.warmup_seconds)
    answers, cpu, wall = asker.answers, time.process_time(), time.perf_counter()
    await asyncio.sleep(context.settings.load_seconds)
    answers = asker.answers - answers
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    stop_peer(peer)
    del server
    return {"value": cpu / answers, "rps": answers / wall, "wall": wall / answers}


def _delay(microseconds: int) -> Cell:
    def run(context: Context) -> Sample:
        return context.new_loop().run_until_complete(_delayed(microseconds, context))

    return Work(
        f"neighbours/spin-delay-{microseconds}us",
        f"a peer that answers after {microseconds} us",
        "s",
        None,
        PATIENCE,
        run=run,
        quick=microseconds in (20, 100),
        beside=(_RATE,),
        group=GROUP,
        variants=(NO_SPIN,),
        rounds=ROUNDS,
        window=WINDOW,
    )


_SHAPES = {
    "1024x1": Load(connections=1),
    "1024x2": Load(connections=2),
    "1024x3": Load(connections=3),
    "1024x1x16": Load(connections=1, pipeline=16),
}
_KINDS: dict[str, tuple[Serve, bool]] = {
    "protocol": (echo.serve_protocol, False),
    "streams": (echo.serve_streams, False),
    "TLS": (tls.serve_protocol, True),
}

CELLS: list[Cell] = [
    _served(
        f"{kind}-{shape}",
        f"{kind} {shape}",
        serve,
        dataclasses.replace(load, tls=secure),
        quick=kind == "protocol" or load.connections == 1,
    )
    for kind, (serve, secure) in _KINDS.items()
    for shape, load in _SHAPES.items()
]
CELLS.append(
    _served(
        "two-servers",
        "two servers on one CPU, protocol 1024x1 each",
        echo.serve_protocol,
        Load(),
        servers=2,
    )
)
CELLS += [_delay(microseconds) for microseconds in (5, 20, 50, 100)]
