"""Other threads that want the GIL while the loop has something to do in every turn.

The threads are on the other core, so the GIL is all that they wait for.
"""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from bench import system
from bench.cells import Cell, Context, Figure, Sample
from bench.workloads.neighbours.common import (
    Busy,
    Keeper,
    cell,
    connections,
    settle,
    start_peer,
    stat_often,
    stop_peer,
)
from bench.workloads.tls import server_context

#: How often the thread asks for the GIL in one measurement, and how long it does without before: so
#: long that the loop has the GIL by then.
REQUESTS, PAUSE = 200, 0.0001
#: Seconds after which it gives up; the time of all requests is then estimated from those it had.
BOUND = 3.0
JOBS, CALLS = 5, 20
LARGE = 60_000_000


def _repeats(seconds: float, most: int) -> Iterator[None]:
    """Yield until the time is over, at least once."""
    end = time.perf_counter() + seconds
    for _ in range(most):
        yield
        if time.perf_counter() >= end:
            return


async def gil(context: Context) -> Sample:
    """A thread sleeps for 0.1 ms and then wants the GIL, 200 times."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    totals: list[float] = []
    longest = 0.0

    def ask() -> None:
        nonlocal longest
        system.pin(context.other_core)
        for _ in _repeats(context.settings.load_seconds, 20):
            begin = last = time.perf_counter()
            count = 0
            while count < REQUESTS and last - begin < BOUND:
                time.sleep(PAUSE)
                now = time.perf_counter()
                longest = max(longest, now - last)
                last = now
                count += 1
            totals.append((last - begin) * REQUESTS / count)
        loop.call_soon_threadsafe(done.set_result, None)

    settle()
    busy = Busy()
    await asyncio.sleep(0.02)
    thread = threading.Thread(target=ask)
    thread.start()
    await done
    await busy.end()
    thread.join()
    return {"value": statistics.median(totals), "longest": longest}


async def jobs(context: Context) -> Sample:
    """Five jobs for the executor at a time, of 20 `os.stat()` each, until all are known done."""
    loop = asyncio.get_running_loop()
    times: list[float] = []
    with ThreadPoolExecutor(JOBS, "", system.pin, (context.other_core,)) as pool:
        settle()
        busy = Busy()
        for _ in _repeats(context.settings.load_seconds, 200):
            begin = time.perf_counter()
            await asyncio.gather(
                *[loop.run_in_executor(pool, stat_often, CALLS) for _ in range(JOBS)]
            )
            times.append(time.perf_counter() - begin)
        await busy.end()
    return {"value": statistics.median(times), "longest": max(times)}


async def tls_write(context: Context) -> Sample:
    """A thread that wakes up every 0.2 ms, while 60 MB are written to a TLS connection at once."""
    loop = asyncio.get_running_loop()
    made: asyncio.Future[asyncio.WriteTransport] = loop.create_future()
    ends, server = await connections(lambda: Keeper(made), 1, ssl=server_context())
    peer = start_peer(context, "sink", LARGE, ends=ends, tls=True)
    transport = await made
    longest, over = 0.0, False

    def tick() -> None:
        nonlocal longest
        system.pin(context.other_core)
        last = time.perf_counter()
        while not over:
            time.sleep(0.0002)
            now = time.perf_counter()
            longest = max(longest, now - last)
            last = now

    data = bytes(LARGE)
    settle()
    thread = threading.Thread(target=tick)
    thread.start()
    await asyncio.sleep(0.01)
    begin = time.perf_counter()
    transport.write(data)
    while peer.poll() is None:
        await asyncio.sleep(0.005)
    wall = time.perf_counter() - begin
    over = True
    thread.join()
    if peer.returncode:
        raise RuntimeError(f"the peer failed with status {peer.returncode}")
    stop_peer(peer)
    del server
    return {"value": longest, "wall": wall}


_LONGEST = Figure("longest")

CELLS: list[Cell] = [
    cell("gil", "a thread wants the GIL 200 times: total / longest", gil, "s", _LONGEST),
    cell("jobs", "5 executor jobs of 20 stat(): median / longest", jobs, "s", _LONGEST),
    cell(
        "tls-write",
        "60 MB written to TLS: longest stop of a thread",
        tls_write,
        needs=("trustme",),
    ),
]
