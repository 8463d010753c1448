"""asyncio's own building blocks on the loop: they stand on futures, tasks and timers."""

import asyncio

import pytest

from .ioutil import turns
from .support import GUARD, PYTHON_313


async def returning(value):
    await asyncio.sleep(0)
    return value


async def failing(error):
    await asyncio.sleep(0)
    raise error


async def forever():
    await asyncio.get_running_loop().create_future()


# gather, wait, as_completed, shield


def test_gather(run):
    async def main():
        assert await asyncio.gather() == []
        assert await asyncio.gather(*(returning(n) for n in range(100))) == list(range(100))
        nested = asyncio.gather(asyncio.gather(returning(1), returning(2)), returning(3))
        assert await nested == [[1, 2], 3]
        same = asyncio.ensure_future(returning("same"))
        assert await asyncio.gather(same, same) == ["same", "same"]

    run(main)


def test_gather_and_exceptions(run):
    async def main():
        error = ValueError("first")
        slow = asyncio.create_task(forever())
        with pytest.raises(ValueError, match="first"):
            await asyncio.gather(slow, failing(error))
        assert not slow.done()
        slow.cancel()
        results = await asyncio.gather(returning(1), failing(error), slow, return_exceptions=True)
        assert results[:2] == [1, error]
        assert isinstance(results[2], asyncio.CancelledError)

    run(main)


def test_cancelling_a_gather(run):
    async def main():
        children = [asyncio.create_task(forever()) for _ in range(5)]
        group = asyncio.gather(*children)
        await asyncio.sleep(0)
        assert group.cancel()
        with pytest.raises(asyncio.CancelledError):
            await group
        assert all(child.cancelled() for child in children)

    run(main)


def test_wait(run):
    async def main():
        fast, slow = asyncio.create_task(returning(1)), asyncio.create_task(forever())
        done, pending = await asyncio.wait([fast, slow], return_when=asyncio.FIRST_COMPLETED)
        assert (done, pending) == ({fast}, {slow})
        done, pending = await asyncio.wait([slow], timeout=0.001)
        assert (done, pending) == (set(), {slow})
        bad = asyncio.create_task(failing(KeyError()))
        done, pending = await asyncio.wait([slow, bad], return_when=asyncio.FIRST_EXCEPTION)
        assert (done, pending) == ({bad}, {slow})
        assert isinstance(bad.exception(), KeyError)
        slow.cancel()
        done, pending = await asyncio.wait([slow])
        assert done == {slow}

    run(main)


def test_as_completed(run):
    async def main():
        delays = [0.03, 0.0, 0.015]
        order = []
        for next_one in asyncio.as_completed([asyncio.sleep(delay, delay) for delay in delays]):
            order.append(await next_one)
        assert sorted(order) == sorted(delays)
        stuck = asyncio.create_task(forever())
        with pytest.raises(asyncio.TimeoutError):
            for next_one in asyncio.as_completed([stuck], timeout=0.001):
                await next_one
        stuck.cancel()

    run(main)


def test_shield(run):
    async def main():
        inner = asyncio.create_task(asyncio.sleep(0.005, "inner"))
        outer = asyncio.create_task(waiting(asyncio.shield(inner)))
        await asyncio.sleep(0)
        outer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await outer
        assert await inner == "inner"

    async def waiting(awaitable):
        return await awaitable

    run(main)


# Groups and time limits


def test_task_group(run):
    async def main():
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(returning(n)) for n in range(100)]
            nested = group.create_task(in_group())
        assert [task.result() for task in tasks] == list(range(100))
        assert nested.result() == 3

    async def in_group():
        async with asyncio.TaskGroup() as group:
            first, second = group.create_task(returning(1)), group.create_task(returning(2))
        return first.result() + second.result()

    run(main)


def test_a_task_group_that_fails(run):
    async def main():
        stuck = None
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                stuck = group.create_task(forever())
                group.create_task(failing(ValueError("one")))
                group.create_task(failing(KeyError("two")))
        assert {type(error) for error in caught.value.exceptions} == {ValueError, KeyError}
        assert stuck.cancelled()
        if PYTHON_313:  # before, a group forgot to take its own request back
            assert asyncio.current_task().cancelling() == 0

    run(main)


def test_a_task_group_that_is_cancelled(run):
    async def main():
        children = []

        async def body():
            async with asyncio.TaskGroup() as group:
                children.extend(group.create_task(forever()) for _ in range(3))

        task = asyncio.create_task(body())
        await turns(2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert all(child.cancelled() for child in children)

    run(main)


def test_timeout(run):
    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001) as scope:
                await forever()
        assert scope.expired()
        assert asyncio.current_task().cancelling() == 0
        async with asyncio.timeout(GUARD) as scope:
            assert await returning(1) == 1
        assert not scope.expired()
        async with asyncio.timeout(None) as scope:
            scope.reschedule(asyncio.get_running_loop().time() + GUARD)
            assert scope.when() is not None
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await asyncio.sleep(0)
                await asyncio.sleep(0)

    run(main)


def test_nested_timeouts(run):
    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001) as outer:
                async with asyncio.timeout(GUARD) as inner:
                    await forever()
        assert outer.expired() and not inner.expired()

    run(main)


def test_a_cancellation_from_outside_is_no_timeout(run):
    async def main():
        async def body():
            async with asyncio.timeout(GUARD):
                await forever()

        task = asyncio.create_task(body())
        await turns(2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)


def test_wait_for(run):
    async def main():
        assert await asyncio.wait_for(returning(1), GUARD) == 1
        assert await asyncio.wait_for(returning(2), None) == 2
        cancelled = []

        async def stuck():
            try:
                await forever()
            finally:
                cancelled.append(True)

        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(stuck(), 0.001)
        assert cancelled == [True]
        done = asyncio.get_running_loop().create_future()
        done.set_result("done")
        assert await asyncio.wait_for(done, 0) == "done"

    run(main)


# Locks


def test_lock(run):
    async def main():
        lock = asyncio.Lock()
        order = []

        async def worker(number):
            async with lock:
                order.append(number)
                await turns(3)
                order.append(number)

        await asyncio.gather(*(worker(number) for number in range(20)))
        assert order == [number for number in range(20) for _ in "ab"]
        assert not lock.locked()

    run(main)


def test_cancelling_who_waits_for_a_lock(run):
    async def main():
        lock = asyncio.Lock()
        await lock.acquire()
        waiters = [asyncio.create_task(lock.acquire()) for _ in range(3)]
        await asyncio.sleep(0)
        waiters[0].cancel()
        lock.release()
        assert await waiters[1] is True
        assert waiters[0].cancelled()
        lock.release()
        assert await waiters[2] is True
        lock.release()

    run(main)


def test_event(run):
    async def main():
        event = asyncio.Event()
        waiters = [asyncio.create_task(event.wait()) for _ in range(10)]
        await asyncio.sleep(0)
        assert not any(waiter.done() for waiter in waiters)
        event.set()
        assert await asyncio.gather(*waiters) == [True] * 10
        event.clear()
        assert not event.is_set()

    run(main)


def test_event_ping_pong(run):
    async def main():
        ping, pong = asyncio.Event(), asyncio.Event()
        count = 0

        async def player(mine, other):
            nonlocal count
            for _ in range(200):
                await mine.wait()
                mine.clear()
                count += 1
                other.set()

        players = [asyncio.create_task(player(ping, pong)), asyncio.create_task(player(pong, ping))]
        ping.set()
        await asyncio.gather(*players)
        assert count == 400

    run(main)


def test_semaphore(run):
    async def main():
        semaphore = asyncio.Semaphore(3)
        inside = most = 0

        async def worker():
            nonlocal inside, most
            async with semaphore:
                inside += 1
                most = max(most, inside)
                await turns(2)
                inside -= 1

        await asyncio.gather(*(worker() for _ in range(30)))
        assert most == 3
        bounded = asyncio.BoundedSemaphore(1)
        with pytest.raises(ValueError, match="released too many times"):
            bounded.release()

    run(main)


def test_condition(run):
    async def main():
        condition = asyncio.Condition()
        items = []

        async def consumer():
            async with condition:
                await condition.wait_for(lambda: items)
                return items.pop()

        consumers = [asyncio.create_task(consumer()) for _ in range(5)]
        for number in range(5):
            await turns(2)
            async with condition:
                items.append(number)
                condition.notify()
        assert sorted(await asyncio.gather(*consumers)) == list(range(5))

    run(main)


def test_barrier(run):
    async def main():
        barrier = asyncio.Barrier(4)
        passed = []

        async def worker(number):
            await turns(number)
            async with barrier as position:
                passed.append(position)

        await asyncio.gather(*(worker(number) for number in range(8)))
        assert sorted(passed) == [0, 0, 1, 1, 2, 2, 3, 3]

    run(main)


# Queues


@pytest.mark.parametrize("size", [0, 1, 10])
def test_queue(run, size):
    async def main():
        queue = asyncio.Queue(size)
        received = []

        async def consumer():
            while True:
                received.append(await queue.get())
                queue.task_done()

        consumers = [asyncio.create_task(consumer()) for _ in range(3)]
        for number in range(300):
            await queue.put(number)
        await queue.join()
        for task in consumers:
            task.cancel()
        await asyncio.wait(consumers)
        assert sorted(received) == list(range(300))

    run(main)


def test_other_queues(run):
    async def main():
        ordered, stack = asyncio.PriorityQueue(), asyncio.LifoQueue()
        for number in (3, 1, 2):
            ordered.put_nowait(number)
            stack.put_nowait(number)
        assert [await ordered.get() for _ in range(3)] == [1, 2, 3]
        assert [await stack.get() for _ in range(3)] == [2, 1, 3]
        with pytest.raises(asyncio.QueueEmpty):
            stack.get_nowait()

    run(main)


def test_a_cancelled_get_loses_nothing(run):
    async def main():
        queue = asyncio.Queue()
        getters = [asyncio.create_task(queue.get()) for _ in range(2)]
        await asyncio.sleep(0)
        queue.put_nowait("item")
        getters[0].cancel()
        assert await getters[1] == "item"
        assert getters[0].cancelled()

    run(main)


# sleep, ensure_future, async generators


def test_sleep(run):
    async def main():
        assert await asyncio.sleep(0, "zero") == "zero"
        assert await asyncio.sleep(0.001, "short") == "short"
        assert await asyncio.sleep(-1, "negative") == "negative"
        task = asyncio.create_task(asyncio.sleep(GUARD))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)


def test_many_sleepers(run):
    async def main():
        values = await asyncio.gather(*(asyncio.sleep(0.001, number) for number in range(5000)))
        assert values == list(range(5000))

    run(main)


def test_ensure_future(run):
    class Awaitable:
        def __await__(self):
            return (yield from returning("awaited").__await__())

    async def main():
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        assert asyncio.ensure_future(future) is future
        task = asyncio.ensure_future(returning(1))
        assert asyncio.ensure_future(task) is task
        assert await task == 1
        assert await asyncio.ensure_future(Awaitable()) == "awaited"
        with pytest.raises(TypeError):
            asyncio.ensure_future(5)

    run(main)


def test_async_iteration(run):
    async def numbers(count):
        for number in range(count):
            await asyncio.sleep(0)
            yield number

    async def main():
        assert [number async for number in numbers(100)] == list(range(100))
        generator = numbers(10)
        assert await anext(generator) == 0
        assert await generator.__anext__() == 1
        await generator.aclose()

    run(main)
