"""A callback writes and then blocks: when do the bytes reach the other end?

A program that writes and waits for the answer in another thread's event stands still for ever where
they are sent only once the callback has returned.
"""

from __future__ import annotations

import asyncio
import os
import select
import statistics
import time

from bench.cells import Cell, Context, Sample
from bench.units import NEVER
from bench.workloads.neighbours.common import Keeper, Open, cell, connections

#: Seconds that the callback waits before it counts as never.
BOUND = 0.3
REPEATS = 20


async def _waits(transport: asyncio.WriteTransport, peer: Open) -> Sample:
    """Let one callback after the other write a byte and wait until the peer has it."""
    loop = asyncio.get_running_loop()
    times: list[float] = []
    done: asyncio.Future[None] = loop.create_future()

    def write_and_wait() -> None:
        begin = time.perf_counter()
        transport.write(b"x")
        arrived, _, _ = select.select([peer], [], [], BOUND)
        times.append(time.perf_counter() - begin if arrived else NEVER)
        done.set_result(None)

    for _ in range(REPEATS):
        done = loop.create_future()
        loop.call_soon(write_and_wait)
        await done
        if times[-1] == NEVER:
            break
        os.read(peer.fileno(), 16)
        await asyncio.sleep(0.001)
    return {"value": NEVER if NEVER in times else statistics.median(times)}


async def tcp(context: Context) -> Sample:
    """Over a TCP connection."""
    made: asyncio.Future[asyncio.WriteTransport] = asyncio.get_running_loop().create_future()
    (peer,), server = await connections(lambda: Keeper(made), 1)
    sample = await _waits(await made, peer)
    del server
    return sample


async def pipe(context: Context) -> Sample:
    """Into a pipe."""
    loop = asyncio.get_running_loop()
    made: asyncio.Future[asyncio.WriteTransport] = loop.create_future()
    out, into = os.pipe()
    with os.fdopen(out, "rb", 0) as peer:
        kept = await loop.connect_write_pipe(lambda: Keeper(made), os.fdopen(into, "wb", 0))
        sample = await _waits(await made, peer)
        del kept
    return sample


CELLS: list[Cell] = [
    cell("write-wait-tcp", "a callback writes, and waits for the bytes: TCP", tcp),
    cell("write-wait-pipe", "a callback writes, and waits for the bytes: pipe", pipe),
]
