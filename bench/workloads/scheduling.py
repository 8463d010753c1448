"""Scheduling: tasks, futures, callbacks and timers, nanoseconds of CPU time per operation.

Every cell is a coroutine function `body(n)` that does n operations on the running loop. The `limit`
of some cells is the same work without any loop: what the interpreter itself needs.
"""

from __future__ import annotations

import asyncio
import collections
import gc
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

from bench import loops, system
from bench.best import Best
from bench.cells import Cell, Context, Sample, Work

Body = Callable[[int], Awaitable[object]]
Floor = Callable[[int], object]
#: Does operations on the running loop, and returns how many seconds each of them took.
Timed = Callable[[Context], Awaitable[list[float]]]

CELLS: list[Cell] = []

#: Callbacks are made in chunks of this size, then the loop gets a turn to run them.
CHUNK = 1000
TIMERS = 10_000
#: So many operations give the percentiles.
TIMED = 2000


def nothing(*args: object) -> None:
    """The callback that does nothing."""


async def nop() -> None:
    """The coroutine that does nothing."""


def cell(
    name: str,
    title: str,
    *,
    unit: int = 1,
    floor: Floor | None = None,
    worker: bool = False,
    timed: Timed | None = None,
) -> Callable[[Body], Body]:
    """Make a cell of a body; n is always a multiple of `unit`. With `worker` the threads of
    the loop's executor stay on the other core: left to the kernel it is sometimes there and
    sometimes not, which is a factor of five. `timed` gives the cell percentiles."""

    def register(body: Body) -> Body:
        def run(context: Context) -> Sample:
            if context.is_limit:
                assert floor is not None
                return measure(context, floor, unit)
            loop = context.new_loop()

            async def drive() -> Sample:
                if worker:
                    await place_workers(loop, context.other_core)
                sample = await measure_async(context, body, unit)
                return sample | percentiles(await timed(context)) if timed else sample

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
        self.best = Best(context.settings)

    def start(self) -> None:
        self._wall = time.perf_counter()
        self._cpu = time.process_time()

    def stop(self) -> float:
        """End a batch; returns the seconds that it took."""
        cpu = time.process_time() - self._cpu
        wall = time.perf_counter() - self._wall
        self.best.add(
            {"value": cpu / self.count, "wall": wall / self.count, "ops": float(self.count)}
        )
        return max(cpu, 1e-9)

    def grow(self, took: float) -> bool:
        """Make the batches longer if they were too short so far; return whether they were."""
        wanted = self._settings.batch_seconds
        if took >= wanted * 0.7:
            return False
        factor = min(wanted / took, 10.0)
        self.count = max(int(self.count / self._unit * factor), 1) * self._unit
        self.best = Best(self._settings)
        return factor > 1.3


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
    while clock.best.wants_more():
        clock.start()
        await body(clock.count)
        clock.stop()
    return clock.best.sample


def percentiles(seconds: list[float]) -> Sample:
    """Return the figures of a cell that has timed its operations one by one."""
    ordered = sorted(seconds)
    shares = {"p50_us": 0.5, "p99_us": 0.99}
    return {key: ordered[int(len(ordered) * share)] * 1e6 for key, share in shares.items()}


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


def floor_sleep0(count: int) -> None:
    _drive(sleep0(count))


@cell("sleep0", "await sleep(0)", floor=floor_sleep0)
async def sleep0(count: int) -> None:
    sleep = loops.primitives().sleep
    for _ in range(count):
        await sleep(0)


async def _await_nops(count: int) -> None:
    for _ in range(count):
        await nop()


def floor_create_task(count: int) -> None:
    _drive(_await_nops(count))


@cell("create-task", "await create_task(nop())", floor=floor_create_task)
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
    gather = loops.primitives().gather
    for _ in range(count // 100):
        await gather(*[nop() for _ in range(100)])


@cell("taskgroup", "TaskGroup of 100, per child", unit=100)
async def taskgroup(count: int) -> None:
    group_type = loops.primitives().TaskGroup
    for _ in range(count // 100):
        async with group_type() as group:
            for _ in range(100):
                group.create_task(nop())


@cell("as-completed", "as_completed of 100, per child", unit=100)
async def as_completed(count: int) -> None:
    completed = loops.primitives().as_completed
    for _ in range(count // 100):
        for each in completed([nop() for _ in range(100)]):
            await each


@cell("wait", "wait for 100 tasks, per task", unit=100)
async def wait(count: int) -> None:
    create = asyncio.get_running_loop().create_task
    wait = loops.primitives().wait
    for _ in range(count // 100):
        await wait([create(nop()) for _ in range(100)])


@cell("shield", "await shield(nop())")
async def shield(count: int) -> None:
    shield = loops.primitives().shield
    for _ in range(count):
        await shield(nop())


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


async def time_threadsafe(context: Context) -> list[float]:
    """How long the calls of a thread take to arrive; the thread waits for each."""
    loop = asyncio.get_running_loop()
    arrived = threading.Semaphore(0)
    seconds: list[float] = []

    def arrive(called: float) -> None:
        seconds.append(time.perf_counter() - called)
        arrived.release()

    def call() -> None:
        system.pin(context.other_core)
        for _ in range(TIMED):
            loop.call_soon_threadsafe(arrive, time.perf_counter())
            arrived.acquire()

    await loop.run_in_executor(None, call)
    return seconds


@cell("call-soon-threadsafe", "call_soon_threadsafe(f)", unit=CHUNK, timed=time_threadsafe)
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
    gather, sleep = loops.primitives().gather, loops.primitives().sleep
    for _ in range(count // 20_000):
        await gather(*[sleep(0.001) for _ in range(20_000)])


@cell("timeout", "async with timeout(30)")
async def timeout(count: int) -> None:
    timeout = loops.primitives().timeout
    for _ in range(count):
        async with timeout(30):
            pass


@cell("wait-for", "wait_for(nop(), 30)")
async def wait_for(count: int) -> None:
    wait_for = loops.primitives().wait_for
    for _ in range(count):
        await wait_for(nop(), 30)


# ---- synchronisation ----


async def ten(use: Callable[[], Awaitable[object]]) -> None:
    """Run ten tasks that do the same."""
    gather = loops.primitives().gather
    await gather(*[use() for _ in range(10)])


@cell("lock", "contended Lock (10 tasks)", unit=100)
async def lock(count: int) -> None:
    aio = loops.primitives()
    mutex, sleep = aio.Lock(), aio.sleep

    async def user() -> None:
        for _ in range(count // 10):
            async with mutex:
                await sleep(0)

    await ten(user)


@cell("lock-free", "free Lock: async with")
async def lock_free(count: int) -> None:
    mutex = loops.primitives().Lock()
    for _ in range(count):
        async with mutex:
            pass


@cell("semaphore", "contended Semaphore(3) (10 tasks)", unit=100)
async def semaphore(count: int) -> None:
    aio = loops.primitives()
    places, sleep = aio.Semaphore(3), aio.sleep

    async def user() -> None:
        for _ in range(count // 10):
            async with places:
                await sleep(0)

    await ten(user)


@cell("condition", "Condition: wait, be notified (10 tasks)", unit=100)
async def condition(count: int) -> None:
    aio = loops.primitives()
    changed, sleep = aio.Condition(), aio.sleep
    left = count

    async def user() -> None:
        nonlocal left
        for _ in range(count // 10):
            async with changed:
                await changed.wait()
            left -= 1

    async def notifier() -> None:
        while left:
            async with changed:
                changed.notify_all()
            await sleep(0)

    task = asyncio.create_task(notifier())
    await ten(user)
    await task


@cell("barrier", "Barrier(10): wait (10 tasks)", unit=100)
async def barrier(count: int) -> None:
    meeting = loops.primitives().Barrier(10)

    async def user() -> None:
        for _ in range(count // 10):
            await meeting.wait()

    await ten(user)


@cell("event", "Event ping-pong, per round trip")
async def event(count: int) -> None:
    event_type = loops.primitives().Event
    ping, pong = event_type(), event_type()

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
    items: asyncio.Queue[int] = loops.primitives().Queue(1)

    async def produce() -> None:
        for i in range(count):
            await items.put(i)

    task = asyncio.create_task(produce())
    for _ in range(count):
        await items.get()
    await task


@cell("queue-ready", "Queue with items at hand: put and get, per item", unit=100)
async def queue_ready(count: int) -> None:
    items: asyncio.Queue[int] = loops.primitives().Queue()
    for _ in range(count // 100):
        for i in range(100):
            await items.put(i)
        for _ in range(100):
            await items.get()


# ---- threads and names ----


async def time_executor(_context: Context) -> list[float]:
    """How long jobs take, one after the other."""
    run = asyncio.get_running_loop().run_in_executor
    seconds: list[float] = []
    for _ in range(TIMED):
        begun = time.perf_counter()
        await run(None, nothing)
        seconds.append(time.perf_counter() - begun)
    return seconds


@cell("executor", "run_in_executor(noop)", worker=True, timed=time_executor)
async def executor(count: int) -> None:
    run = asyncio.get_running_loop().run_in_executor
    for _ in range(count):
        await run(None, nothing)


@cell("getaddrinfo", "getaddrinfo of a literal")
async def getaddrinfo(count: int) -> None:
    lookup = asyncio.get_running_loop().getaddrinfo
    for _ in range(count):
        await lookup("127.0.0.1", 80, type=socket.SOCK_STREAM)
