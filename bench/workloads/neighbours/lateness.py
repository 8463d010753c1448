"""A timer of 1 ms beside a flood: how much later than asked for its callback runs."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

from bench import system
from bench.cells import Cell, Context, Figure, Sample
from bench.workloads.neighbours.common import (
    PIECE,
    cell,
    connections,
    settle,
    start_peer,
    stop_peer,
)

DELAY = 0.001
#: How many calls of the other thread may be waiting, and how many timers are due in every turn.
WAITING = 1000
TIMERS = 200
CONNECTIONS = 4

Flood = Callable[[Context], AbstractAsyncContextManager[None]]


@contextlib.asynccontextmanager
async def calls(context: Context) -> AsyncIterator[None]:
    """Another thread calls call_soon_threadsafe() for as long as few enough are waiting."""
    loop = asyncio.get_running_loop()
    over = False
    run = 0

    def count() -> None:
        nonlocal run
        run += 1

    def post() -> None:
        system.pin(context.other_core)
        posted = 0
        while not over:
            if posted - run < WAITING:
                loop.call_soon_threadsafe(count)
                posted += 1
            else:
                time.sleep(0.00002)

    thread = threading.Thread(target=post)
    thread.start()
    try:
        yield
    finally:
        over = True
        thread.join()


class _Sink(asyncio.Protocol):
    """Takes no notice of what it is sent."""

    def data_received(self, data: bytes) -> None:
        pass


@contextlib.asynccontextmanager
async def arrivals(context: Context) -> AsyncIterator[None]:
    """Four connections have input at any time."""
    ends, server = await connections(_Sink, CONNECTIONS)
    peer = start_peer(context, "flood", PIECE, ends=ends)
    try:
        yield
    finally:
        stop_peer(peer)
        del server


@contextlib.asynccontextmanager
async def timers(context: Context) -> AsyncIterator[None]:
    """Two hundred timers are due in every turn: each asks for the next one, without a delay."""
    loop = asyncio.get_running_loop()
    over = False

    def again() -> None:
        if not over:
            loop.call_later(0, again)

    for _ in range(TIMERS):
        again()
    try:
        yield
    finally:
        over = True


async def _measure(flood: Flood, context: Context) -> Sample:
    """One timer after the other, for as long as a measurement takes."""
    loop = asyncio.get_running_loop()
    late: list[float] = []
    done: asyncio.Future[None] = loop.create_future()
    due = end = 0.0

    def arm() -> None:
        nonlocal due
        due = time.perf_counter() + DELAY
        loop.call_later(DELAY, fire)

    def fire() -> None:
        now = time.perf_counter()
        late.append(now - due)
        if now < end:
            arm()
        else:
            done.set_result(None)

    async with flood(context):
        settle()
        await asyncio.sleep(0.03)
        end = time.perf_counter() + context.settings.load_seconds
        arm()
        await done
    late.sort()
    return {
        "value": late[len(late) // 2],
        "p99": late[len(late) * 99 // 100],
        "longest": late[-1],
        "count": float(len(late)),
    }


def _cell(name: str, title: str, flood: Flood) -> Cell:
    return cell(
        f"timer-{name}",
        f"1 ms timer beside {title}: late, p50 / p99",
        functools.partial(_measure, flood),
        "s",
        Figure("p99"),
    )


CELLS: list[Cell] = [
    _cell("calls", "call_soon_threadsafe()", calls),
    _cell("input", "input", arrivals),
    _cell("timers", "due timers", timers),
]
