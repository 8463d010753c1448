"""How coroutines of the primitives are awaited, closed and dropped; waiters that raise."""

import asyncio
import gc
import sys
from collections import deque

import pytest

from . import primutil

pytestmark = pytest.mark.parametrize(
    "aio", [primutil.ASYNCIO, primutil.FASTAIO], ids=["asyncio", "own"]
)

needs_native_wait_for = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="wait_for() makes a task of the coroutine"
)


def python_coroutine(aio, event):
    async def wait():
        return await event.wait()

    return wait()


def native_coroutine(aio, event):
    return event.wait()


async def by_await(aio, coro):
    return await coro


async def by_wait_for(aio, coro):
    return await aio.wait_for(coro, 10)


@pytest.mark.parametrize(
    "awaits", [by_await, pytest.param(by_wait_for, marks=needs_native_wait_for)]
)
@pytest.mark.parametrize("make", [python_coroutine, native_coroutine])
def test_a_coroutine_that_is_awaited_twice(run, aio, make, awaits):
    """The second `await` is refused, and the first one goes on."""

    async def main():
        event = aio.Event()
        coro = make(aio, event)
        first = asyncio.create_task(awaits(aio, coro))
        second = asyncio.create_task(awaits(aio, coro))
        with pytest.raises(RuntimeError, match="coroutine is being awaited already"):
            await asyncio.wait_for(second, 10)
        event.set()
        assert await asyncio.wait_for(first, 10) is True

    run(main())


@pytest.mark.parametrize("method", ["__aenter__", "__aexit__"])
@pytest.mark.parametrize("name", ["Lock", "Semaphore", "Condition", "Timeout"])
def test_an_end_is_awaited_once(run, aio, name, method):
    async def main():
        if name == "Timeout":
            manager = aio.timeout(10)
        else:
            manager = getattr(aio, name)()
        enter = manager.__aenter__()
        await enter
        leave = manager.__aexit__(None, None, None)
        await leave
        with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
            await (enter if method == "__aenter__" else leave)

    run(main())


def test_awaiting_under_a_trace_function(run, aio):
    """On 3.11 `await` then calls another function of an iterator. coverage.py traces, for one."""

    async def main():
        lock, event, semaphore = aio.Lock(), aio.Event(), aio.Semaphore(2)
        for _ in range(3):
            assert await lock.acquire() is True
            lock.release()
            assert await semaphore.acquire() is True
            semaphore.release()
            await asyncio.sleep(0)
        event.set()
        assert await event.wait() is True
        async with aio.timeout(10) as timeout, lock:
            await asyncio.sleep(0)
        assert not timeout.expired()

    before = sys.gettrace()
    sys.settrace(lambda *_: None)
    try:
        run(main())
    finally:
        sys.settrace(before)


class Log:
    def __init__(self):
        self.seen = []

    async def wait(self):
        try:
            await asyncio.sleep(100)
        except GeneratorExit as exc:
            self.seen.append(type(exc))
            return "swallowed"


@needs_native_wait_for
def test_a_dropped_coroutine_closes_what_it_awaits(run, aio):
    """Even if the inner coroutine has another owner."""

    async def main():
        log = Log()
        inner = log.wait()
        outer = aio.wait_for(inner, None)
        outer.send(None)
        del outer
        gc.collect()
        assert log.seen == [GeneratorExit]
        with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
            inner.send(None)

    run(main())


@needs_native_wait_for
def test_a_thrown_generator_exit_closes_what_is_awaited(run, aio):
    async def main():
        log = Log()
        outer = aio.wait_for(log.wait(), None)
        outer.send(None)
        with pytest.raises(GeneratorExit, match="thrown"):
            outer.throw(GeneratorExit("thrown"))
        assert log.seen == [GeneratorExit]

    run(main())


class Broken:
    """A waiter whose state cannot be asked for."""

    def done(self):
        raise ZeroDivisionError

    cancelled = done


@pytest.mark.parametrize("container", [deque, list])
def test_a_waiter_that_raises(run, aio, container):
    """It keeps its references."""

    async def main():
        condition = aio.Condition()
        await condition.acquire()
        semaphore = aio.Semaphore(0)
        waiter = Broken()
        condition._waiters = container([waiter])
        semaphore._waiters = container([waiter])
        before = sys.getrefcount(waiter)
        for call in (condition.notify, condition.notify_all, semaphore.release):
            for _ in range(10):
                with pytest.raises(ZeroDivisionError):
                    call()
        assert sys.getrefcount(waiter) == before

    run(main())


def test_a_timeout_whose_deadline_is_deleted(run, aio):
    """asyncio raises AttributeError; the native one has no deadline then."""

    async def main():
        timeout = aio.timeout(10)
        del timeout._when
        try:
            when = timeout.when()
        except AttributeError:
            assert aio is primutil.ASYNCIO
            return
        assert when is None
        async with timeout:
            pass
        assert not timeout.expired()

    run(main())
