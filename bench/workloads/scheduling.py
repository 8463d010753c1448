"""Scheduling: tasks, futures, callbacks and timers, nanoseconds of CPU time per operation.

Every cell is a coroutine function `body(n)` that does n operations on the running loop. The `limit`
of some cells is the same work without any loop: what the interpreter itself needs.
"""

from __future__ import annotations

import asyncio
import collections
import gc
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

from bench import system
from bench.cells import Cell, Context, Sample, Work

Body = Callable[[int], Awaitable[object]]
Floor = Callable[[int], object]

CELLS: list[Cell] = []

#: Callbacks are made in chunks of this size, then the loop gets a turn to run them.
CHUNK = 1000
TIMERS = 10_000


def nothing(*args: object) -> None:
    """The callback that does nothing."""


async def nop() -> None:
    """The coroutine that does nothing."""


def cell(
    name: str, title: str, *, unit: int = 1, floor: Floor | None = None, worker: bool = False
) -> Callable[[Body], Body]:
    """Make a cell of a body; n is always a multiple of `unit`. With `worker` the threads of
    the loop's executor stay on the other core: left to the kernel it is sometimes there and
    sometimes not, which is a factor of five."""

    def register(body: Body) -> Body:
        def run(context: Context) -> Sample:
            if context.is_limit:
                assert floor is not None
                return measure(context, floor, unit)
            loop = context.new_loop()

            async def drive() -> Sample:
                if worker:
                    await place_workers(loop, context.other_core)
                return await measure_async(context, body, unit)

            return loop.run_until_complete(drive())

        CELLS.append(Work(f"sched/{name}", title, run=run, limited=floor is not None))
        return body

    return register


class _Clock:
    """Chooses how many operations make a batch of the wanted length, and keeps the best batch."""

    def __init__(self, context: Context, unit: int) -> None:
        self._settings = context.settings
        self._unit = unit
        self.count = unit
        self.best: Sample = {}

    def start(self) -> None:
        self._wall = time.perf_counter()
        self._cpu = time.process_time()

    def stop(self) -> float:
        """End a batch; returns the seconds that it took."""
        cpu = time.process_time() - self._cpu
        wall = time.perf_counter() - self._wall
        sample = {"value": cpu / self.count, "wall": wall / self.count, "ops": float(self.count)}
        if not self.best or sample["value"] < self.best["value"]:
            self.best = sample
        return max(cpu, 1e-9)

    def grow(self, took: float) -> bool:
        """Whether the batches were too short so far; makes them longer if so."""
        wanted = self._settings.batch_seconds
        if took >= wanted * 0.7:
            return False
        factor = min(wanted / took, 10.0)
        self.count = max(int(self.count / self._unit * factor), 1) * self._unit
        self.best = {}
        return factor > 1.3

    def batches(self) -> range:
        """The batches that count, after those that only found the length."""
        return range(self._settings.batches)


async def place_workers(loop: asyncio.AbstractEventLoop, core: int) -> None:
    """Start every thread of the loop's default executor and keep it on a core."""

    def stay() -> None:
        system.pin(core)
        time.sleep(0.02)  # long enough for the next job to need the next thread

    most = 32  # of a ThreadPoolExecutor's threads, by default
    await asyncio.gather(*[loop.run_in_executor(None, stay) for _ in range(most)])


async def measure_async(context: Context, body: Body, unit: int) -> Sample:
    """The best batch of a body on the running loop."""
    clock = _Clock(context, unit)
    await body(unit)
    gc.collect()
    gc.freeze()
    while True:
        clock.start()
        await body(clock.count)
        if not clock.grow(clock.stop()):
            break
    for _ in clock.batches():
        clock.start()
        await body(clock.count)
        clock.stop()
    return clock.best


def measure(context: Context, floor: Floor, unit: int) -> Sample:
    """The same without a loop."""

    async def body(count: int) -> None:
        floor(count)

    coroutine = measure_async(context, body, unit)
    try:
        coroutine.send(None)
    except StopIteration as stop:
        sample: Sample = stop.value
        return sample
    raise AssertionError("the floor of a cell must not wait")


# ---- tasks ----


def _drive(coroutine: Any) -> None:
    """Run a coroutine that only ever yields, at the speed of C."""
    collections.deque(coroutine.__await__(), maxlen=0)


def _floor_sleep0(count: int) -> None:
    _drive(sleep0(count))


@cell("sleep0", "await sleep(0)", floor=_floor_sleep0)
async def sleep0(count: int) -> None:
    sleep = asyncio.sleep
    for _ in range(count):
        await sleep(0)


async def _await_nops(count: int) -> None:
    for _ in range(count):
        await nop()


@cell("create-task", "await create_task(nop())", floor=lambda count: _drive(_await_nops(count)))
async def create_task(count: int) -> None:
    create = asyncio.get_running_loop().create_task
    for _ in range(count):
        await create(nop())


@cell("cancel-task", "create, start, cancel, await a task")
async def cancel_task(count: int) -> None:
    loop = asyncio.get_running_loop()

    async def wait() -> None:
        await loop.create_future()

    for _ in range(count):
        task = loop.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            continue


@cell("gather", "gather of 100, per child", unit=100)
async def gather(count: int) -> None:
    for _ in range(count // 100):
        await asyncio.gather(*[nop() for _ in range(100)])


@cell("taskgroup", "TaskGroup of 100, per child", unit=100)
async def taskgroup(count: int) -> None:
    for _ in range(count // 100):
        async with asyncio.TaskGroup() as group:
            for _ in range(100):
                group.create_task(nop())


# ---- futures ----


@cell("future", "future set by call_soon, awaited")
async def future(count: int) -> None:
    loop = asyncio.get_running_loop()
    for _ in range(count):
        waiter = loop.create_future()
        loop.call_soon(waiter.set_result, None)
        await waiter


@cell("create-future", "create_future()", unit=CHUNK)
async def create_future(count: int) -> None:
    create = asyncio.get_running_loop().create_future
    for _ in range(count):
        create()


# ---- callbacks ----


def _floor_call_soon(count: int) -> None:
    queue: collections.deque[Callable[[], None]] = collections.deque()
    append = queue.append
    for _ in range(count // CHUNK):
        for _ in range(CHUNK):
            append(nothing)
        for callback in queue:
            callback()
        queue.clear()


@cell("call-soon", "call_soon(f)", unit=CHUNK, floor=_floor_call_soon)
async def call_soon(count: int) -> None:
    soon = asyncio.get_running_loop().call_soon
    for _ in range(count // CHUNK):
        for _ in range(CHUNK):
            soon(nothing)
        await asyncio.sleep(0)


@cell("call-soon-3", "call_soon(f, 1, 2, 3)", unit=CHUNK)
async def call_soon_3(count: int) -> None:
    soon = asyncio.get_running_loop().call_soon
    for _ in range(count // CHUNK):
        for _ in range(CHUNK):
            soon(nothing, 1, 2, 3)
        await asyncio.sleep(0)


@cell("call-soon-threadsafe", "call_soon_threadsafe(f)", unit=CHUNK)
async def call_soon_threadsafe(count: int) -> None:
    soon = asyncio.get_running_loop().call_soon_threadsafe
    for _ in range(count // CHUNK):
        for _ in range(CHUNK):
            soon(nothing)
        await asyncio.sleep(0)


# ---- timers ----


@cell("call-later-cancel", "call_later(30).cancel()", unit=CHUNK)
async def call_later_cancel(count: int) -> None:
    later = asyncio.get_running_loop().call_later
    for _ in range(count):
        later(30, nothing).cancel()
    await asyncio.sleep(0)


@cell("timers", "timers that fire (10,000 within 10 ms)", unit=TIMERS)
async def timers(count: int) -> None:
    loop = asyncio.get_running_loop()
    left = 0
    done = loop.create_future()

    def fire() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            done.set_result(None)

    for _ in range(count // TIMERS):
        left = TIMERS
        done = loop.create_future()
        for i in range(TIMERS):
            loop.call_later((i * 617 % TIMERS) * 1e-6, fire)  # out of order
        await done


@cell("sleepers", "20,000 concurrent sleep(0.001)", unit=20_000)
async def sleepers(count: int) -> None:
    for _ in range(count // 20_000):
        await asyncio.gather(*[asyncio.sleep(0.001) for _ in range(20_000)])


@cell("timeout", "async with timeout(30)")
async def timeout(count: int) -> None:
    for _ in range(count):
        async with asyncio.timeout(30):
            pass


@cell("wait-for", "wait_for(nop(), 30)")
async def wait_for(count: int) -> None:
    for _ in range(count):
        await asyncio.wait_for(nop(), 30)


# ---- synchronisation ----


@cell("lock", "contended Lock (10 tasks)", unit=100)
async def lock(count: int) -> None:
    mutex = asyncio.Lock()

    async def user() -> None:
        for _ in range(count // 10):
            async with mutex:
                await asyncio.sleep(0)

    await asyncio.gather(*[user() for _ in range(10)])


@cell("event", "Event ping-pong, per round trip")
async def event(count: int) -> None:
    ping, pong = asyncio.Event(), asyncio.Event()

    async def answer() -> None:
        for _ in range(count):
            await ping.wait()
            ping.clear()
            pong.set()

    task = asyncio.create_task(answer())
    for _ in range(count):
        ping.set()
        await pong.wait()
        pong.clear()
    await task


@cell("queue", "Queue(1) put and get, per item")
async def queue(count: int) -> None:
    items: asyncio.Queue[int] = asyncio.Queue(1)

    async def produce() -> None:
        for i in range(count):
            await items.put(i)

    task = asyncio.create_task(produce())
    for _ in range(count):
        await items.get()
    await task


# ---- threads and names ----


@cell("executor", "run_in_executor(noop)", worker=True)
async def executor(count: int) -> None:
    run = asyncio.get_running_loop().run_in_executor
    for _ in range(count):
        await run(None, nothing)


@cell("getaddrinfo", "getaddrinfo of a literal")
async def getaddrinfo(count: int) -> None:
    lookup = asyncio.get_running_loop().getaddrinfo
    for _ in range(count):
        await lookup("127.0.0.1", 80, type=socket.SOCK_STREAM)
