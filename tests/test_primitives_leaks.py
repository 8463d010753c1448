"""Each primitive, used again and again in each of its ways, leaves nothing; see test_leaks.py."""

import asyncio
import sys

import pytest

from . import primutil
from .primutil import forever
from .support import Env
from .test_leaks import ROUNDS, assert_no_growth

pytestmark = pytest.mark.fastaio_only

aio = primutil.FASTAIO


@pytest.fixture
def env(kind):
    env = Env(kind)
    asyncio.set_event_loop(env.loop)
    yield env
    env.loop.close()
    asyncio.set_event_loop(None)


async def failing():
    await asyncio.sleep(0)
    raise ValueError("failing")


async def cancelled(*awaitables, turns=2):
    """Let tasks begin, cancel them, and wait until they have ended."""
    tasks = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    for _ in range(turns):
        await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    for task in tasks:
        try:
            await task
        except asyncio.CancelledError:
            continue


async def lock():
    it = aio.Lock()
    async with it:
        waiting = asyncio.ensure_future(it.acquire())
        await cancelled(it.acquire(), it.acquire())
    await waiting
    it.release()
    repr(it)


async def event():
    it = aio.Event()
    waiting = asyncio.ensure_future(it.wait())
    await cancelled(it.wait())
    it.set()
    await waiting
    await it.wait()


async def condition():
    it = aio.Condition()

    async def user():
        async with it:
            await it.wait_for(lambda: answers.pop())

    answers = [True, False]
    waiting = asyncio.ensure_future(user())
    await asyncio.sleep(0)
    for _ in range(2):
        async with it:
            it.notify_all()
        await asyncio.sleep(0)
    await waiting

    async def waiter():
        async with it:
            await it.wait()

    await cancelled(waiter(), waiter())


async def semaphore():
    it = aio.Semaphore(1)
    async with it:
        waiting = asyncio.ensure_future(it.acquire())
        await cancelled(it.acquire())
    await waiting
    bounded = aio.BoundedSemaphore(1)
    try:
        bounded.release()
    except ValueError:
        return


async def barrier():
    it = aio.Barrier(2)
    await asyncio.gather(it.wait(), it.wait())
    waiting = asyncio.ensure_future(it.wait())
    await asyncio.sleep(0)
    await it.abort()
    try:
        await waiting
    except asyncio.BrokenBarrierError:
        await it.reset()
    await cancelled(it.wait())


async def queue():
    for kind in (aio.Queue, aio.PriorityQueue, aio.LifoQueue):
        it = kind(1)
        getting = asyncio.ensure_future(it.get())
        await cancelled(it.get())
        await it.put(1)
        await getting
        await it.put(2)
        await cancelled(it.put(3), it.join())
        it.get_nowait()
        it.task_done()
        it.task_done()
        await it.join()
        for call in (it.task_done, it.get_nowait):
            try:
                call()
            except (ValueError, asyncio.QueueEmpty):
                continue
        str(it)


async def shut_down():
    it = aio.Queue()
    waiting = asyncio.ensure_future(it.get())
    await asyncio.sleep(0)
    if hasattr(it, "shutdown"):
        it.shutdown(immediate=True)
        try:
            await waiting
        except asyncio.QueueShutDown:
            return
    else:
        it.put_nowait(1)
        await waiting


async def subclass():
    class Own(aio.Queue):
        def _put(self, item):
            self.last = [item, self]
            super()._put(item)

    it = Own()
    await it.put(it)


async def group():
    async with aio.TaskGroup() as it:
        it.create_task(asyncio.sleep(0))
    try:
        async with aio.TaskGroup() as it:
            it.create_task(failing())
            it.create_task(forever())
            await forever()
    except ExceptionGroup:
        pass

    async def body():
        async with aio.TaskGroup() as it:
            it.create_task(forever())

    await cancelled(body())


async def timeout():
    async with aio.timeout(30):
        pass
    async with aio.timeout(None) as it:
        it.reschedule(asyncio.get_running_loop().time() + 30)
    try:
        async with aio.timeout(0):
            await forever()
    except TimeoutError as exc:
        repr(exc.__cause__)

    async def body():
        async with aio.timeout_at(asyncio.get_running_loop().time() + 30):
            await forever()

    await cancelled(body())


async def wait_for():
    await aio.wait_for(asyncio.sleep(0), 30)
    for limit in (0, 1e-9):
        try:
            await aio.wait_for(forever(), limit)
        except TimeoutError:
            continue
    try:
        await aio.wait_for(failing(), 30)
    except ValueError:
        await cancelled(aio.wait_for(forever(), 30))


async def gather():
    await aio.gather(asyncio.sleep(0), asyncio.sleep(0))
    await aio.gather(failing(), asyncio.sleep(0), return_exceptions=True)
    try:
        await aio.gather(failing(), asyncio.sleep(0))
    except ValueError:
        await cancelled(aio.gather(forever(), forever()))
    await aio.gather()


async def shield():
    await aio.shield(asyncio.sleep(0))
    inner = asyncio.ensure_future(forever())
    await cancelled(aio.shield(inner))
    await cancelled(inner)


async def wait():
    tasks = [asyncio.ensure_future(asyncio.sleep(0)) for _ in range(3)]
    await aio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    await aio.wait(tasks, timeout=30)
    stuck = asyncio.ensure_future(forever())
    await aio.wait([stuck], timeout=0)
    await cancelled(aio.wait([stuck]))
    await cancelled(stuck)


async def as_completed():
    for each in aio.as_completed([asyncio.sleep(0), asyncio.sleep(0)], timeout=30):
        await each
    stuck = asyncio.ensure_future(forever())
    for each in aio.as_completed([stuck], timeout=0):
        try:
            await each
        except TimeoutError:
            continue
    await cancelled(stuck)


async def sleep():
    await aio.sleep(0)
    await aio.sleep(1e-9, [1])
    await cancelled(aio.sleep(30))
    try:
        await aio.sleep("x")
    except TypeError:
        return


async def never_awaited():
    for coro in (aio.sleep(1), aio.Lock().acquire(), aio.Queue().get(), aio.wait_for(None, 1)):
        coro.close()


async def thrown_into():
    coros = [aio.sleep(30), aio.Event().wait(), aio.Queue().get()]
    if sys.version_info >= (3, 12):  # before, wait_for() leaves a task behind
        coros.append(aio.wait_for(forever(), 30))
    for coro in coros:
        coro.send(None)
        try:
            coro.throw(ValueError())
        except ValueError:
            continue


async def left_waiting():
    """Objects go while somebody waits for them, in cycles with the task."""
    it = aio.Queue()
    it.task = asyncio.ensure_future(it.get())
    it.task._log_destroy_pending = False
    it.lock = aio.Lock()
    await it.lock.acquire()
    it.other = asyncio.ensure_future(it.lock.acquire())
    it.other._log_destroy_pending = False
    await asyncio.sleep(0)


USES = [
    as_completed,
    barrier,
    condition,
    event,
    gather,
    group,
    left_waiting,
    lock,
    never_awaited,
    queue,
    semaphore,
    shield,
    shut_down,
    sleep,
    subclass,
    thrown_into,
    timeout,
    wait,
    wait_for,
]


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
def test_uses(env, use):
    assert_no_growth(lambda: env.run(use()), ROUNDS // 10)
