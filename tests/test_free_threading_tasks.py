"""Futures, tasks and primitives that several threads use at once.

Without a GIL the threads really do. With one the same holds, and these tests find less.
"""

import asyncio
import collections
import contextlib
import contextvars
import gc
import inspect
import subprocess
import sys
import threading

import pytest

from .rival import RACES, race
from .support import FREE_THREADED, GUARD, PYTHON_314, run_python, wait_until


class Loop:
    """A loop that runs in a thread of its own, and never waits for long: who completes a future in
    another thread does not wake the loop, on asyncio.
    """

    def __init__(self, loop_factory):
        self.loop = loop_factory()
        self.reports = []
        self.loop.set_exception_handler(lambda loop, context: self.reports.append(context))
        self.over = False
        self.thread = threading.Thread(
            target=self.loop.run_until_complete, args=(self.stay_busy(),)
        )

    async def stay_busy(self):
        while not self.over:
            await asyncio.sleep(0.001)

    def run(self, coro):
        return asyncio.run_coroutine_threadsafe(coro, self.loop).result(GUARD)


@contextlib.contextmanager
def running(loop_factory):
    loop = Loop(loop_factory)
    loop.thread.start()
    try:
        yield loop
    finally:
        loop.over = True
        loop.thread.join(GUARD)
        assert not loop.thread.is_alive()
        loop.loop.close()


def together(count, work):
    """Run work(number) in `count` threads that begin at the same time. Raise what one raises."""
    barrier = threading.Barrier(count)
    errors = []

    def run(number):
        barrier.wait(GUARD)
        try:
            work(number)
        except BaseException as exc:  # noqa: BLE001 - raised again below
            errors.append(exc)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(GUARD)
        assert not thread.is_alive()
    if errors:
        raise errors[0]


# Hostile threads


@pytest.mark.fastaio_only
@pytest.mark.parametrize("group", ["futures", "locks", "queues", "functions"])
def test_hostile_threads_do_not_crash_the_process(group):
    seconds = "0.4" if FREE_THREADED else "0.1"
    done = subprocess.run(
        [sys.executable, "-m", "tests.hostile_threads", group, "--seconds", seconds],
        capture_output=True,
        check=False,
        text=True,
        timeout=4 * GUARD,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert int(done.stdout.split()[-2]) > 100


@pytest.mark.fastaio_only
def test_a_timeout_is_left_with_an_exception_that_is_none():
    done = run_python(
        """
import asyncio, fastaio

async def main():
    for exc in ("text", 1, ValueError):
        async with fastaio.timeout(None) as timeout:
            pass
        try:
            await timeout.__aexit__(None, exc, None)
        except BaseException as error:
            print(type(error).__name__)

fastaio.run(main())
"""
    )
    assert done.stdout.split() == ["AssertionError"] * 3


# Futures from outside


def test_each_callback_of_a_watched_future_runs_once_in_the_loop(loop_factory):
    with running(loop_factory) as loop:
        calls = collections.Counter()
        threads = set()

        def called(key, future):
            calls[key] += 1  # the loop's thread alone
            threads.add(threading.get_ident())

        async def make():
            return [loop.loop.create_future() for _ in range(200)]

        futures = loop.run(make())
        expected = set()

        def watch(number):
            for index, future in enumerate(futures):
                for kept in (True, False):
                    key = (number, index, kept)

                    def callback(future, key=key):
                        called(key, future)

                    future.add_done_callback(callback)
                    if kept or not future.remove_done_callback(callback):
                        expected.add(key)
                assert future.done() in (True, False)
                if future.done():
                    assert future.result() == index

        def complete(number):
            for index, future in enumerate(futures):
                if index % 4 == number:
                    future.set_result(index)

        together(8, lambda number: watch(number) if number >= 4 else complete(number))
        wait_until(lambda: len(calls) >= len(expected))
        assert set(calls) == expected
        assert set(calls.values()) == {1}
        assert threads == {loop.thread.ident}
        assert loop.reports == []


def test_one_of_many_threads_completes_a_future(loop_factory):
    with running(loop_factory) as loop:

        async def make():
            futures = [loop.loop.create_future() for _ in range(200)]
            return futures, [loop.loop.create_task(outcome(future)) for future in futures]

        async def outcome(future):
            try:
                return await future
            except asyncio.CancelledError:
                return "cancelled"
            except LookupError as exc:
                return exc.args[0]

        futures, tasks = loop.run(make())
        winners = [[] for _ in futures]

        def complete(number):
            for future, won in zip(futures, winners, strict=True):
                try:
                    if number == 0:
                        if future.cancel():
                            won.append("cancelled")
                    elif number == 1:
                        future.set_exception(LookupError(number))
                        won.append(number)
                    else:
                        future.set_result(number)
                        won.append(number)
                except asyncio.InvalidStateError:
                    assert future.done()

        together(4, complete)

        async def results():
            return await asyncio.gather(*tasks)

        assert [len(won) for won in winners] == [1] * len(futures)
        assert loop.run(results()) == [won[0] for won in winners]


def test_tasks_are_cancelled_from_outside(loop_factory):
    with running(loop_factory) as loop:
        ended = collections.Counter()

        async def work(kind):
            try:
                while True:
                    if kind == 0:
                        await asyncio.sleep(0)
                    elif kind == 1:
                        await asyncio.sleep(0.0001)
                    else:
                        await loop.loop.create_future()
            finally:
                ended[kind] += 1

        async def make():
            return [loop.loop.create_task(work(number % 3)) for number in range(60)]

        tasks = loop.run(make())

        def cancel(number):
            for task in tasks[number::4]:
                assert task.cancel("outside")
                assert task.cancelling() == 1
                assert not task.done() or task.cancelled()

        together(4, cancel)

        async def wait():
            await asyncio.wait(tasks)

        loop.run(wait())
        assert all(task.cancelled() for task in tasks)
        assert ended == {0: 20, 1: 20, 2: 20}


# Coroutines from outside


def test_eight_threads_run_coroutines_in_one_loop(loop_factory):
    with running(loop_factory) as loop:
        counted = 0

        async def count(number):
            nonlocal counted
            counted += 1
            await asyncio.sleep(0)
            counted += 1
            return number

        def work(number):
            for i in range(100):
                future = asyncio.run_coroutine_threadsafe(count(i), loop.loop)
                assert future.result(GUARD) == i

        together(8, work)
        assert counted == 8 * 100 * 2


@pytest.mark.fastaio_only
def test_two_loops_run_primitives_at_the_same_time():
    import fastaio

    def work(number):
        async def producer(queue, lock):
            for i in range(300):
                await queue.put(i)
                async with lock:
                    await fastaio.sleep(0)

        async def consumer(queue):
            total = 0
            for _ in range(300):
                total += await queue.get()
                queue.task_done()
            return total

        async def meet(both, limit):
            async with limit, fastaio.timeout(GUARD):
                return await both.wait()

        async def main():
            queue, lock = fastaio.Queue(3), fastaio.Lock()
            puts = [fastaio.gather(producer(queue, lock)) for _ in range(3)]
            totals = await fastaio.gather(*(consumer(queue) for _ in range(3)))
            await fastaio.wait(puts)
            await queue.join()
            both, limit = fastaio.Barrier(2), fastaio.Semaphore(2)
            async with fastaio.TaskGroup() as group:
                tasks = [group.create_task(meet(both, limit)) for _ in range(2)]
            assert sorted(task.result() for task in tasks) == [0, 1]
            return sum(totals)

        assert fastaio.run(main()) == 3 * sum(range(300))

    together(4, work)


# Who is there


def test_all_tasks_are_seen_from_outside_while_they_come_and_go(loop_factory):
    with running(loop_factory) as loop:
        over = False

        async def short():
            await asyncio.sleep(0)

        async def churn():
            while not over:
                await asyncio.gather(*(short() for _ in range(20)))

        async def start():
            return loop.loop.create_task(churn(), name="churn")

        lasting = loop.run(start())

        def look(number):
            for _ in range(200):
                tasks = asyncio.all_tasks(loop.loop)
                assert lasting in tasks
                for task in tasks:
                    assert isinstance(task, asyncio.Task)
                    assert task.get_name()
                current = asyncio.current_task(loop.loop)
                assert current is None or isinstance(current, asyncio.Task)

        try:
            together(3, look)
        finally:
            over = True


def map_of_variables():
    """The object with the variables of the current context, which its copies share."""
    [found] = [
        thing
        for thing in gc.get_referents(contextvars.copy_context())
        if type(thing).__name__ == "hamt"
    ]
    return found


@pytest.mark.fastaio_only
@pytest.mark.skipif(not FREE_THREADED, reason="with a GIL all contexts may share one")
def test_contexts_of_two_threads_have_no_map_of_variables_in_common(loop_factory):
    var = contextvars.ContextVar("var")
    var.set("of the parent")
    known = set(contextvars.copy_context())
    maps = [map_of_variables()]

    def work():
        loop = loop_factory()
        try:
            maps.append(map_of_variables())  # what contexts that are copied now have
            assert var.get() == "of the parent"
            maps.append(loop.run_until_complete(look()))
        finally:
            loop.close()

    async def look():
        assert set(contextvars.copy_context()) == known
        return map_of_variables()

    for _ in range(2):
        thread = threading.Thread(target=contextvars.copy_context().run, args=(work,))
        thread.start()
        thread.join()
    before, *within = [id(found) for found in maps]
    assert len(within) == 4 and before not in within
    assert not set(within[:2]) & set(within[2:])


def test_all_tasks_of_all_threads_are_seen(loop_factory):
    with running(loop_factory) as first, running(loop_factory) as second:

        async def wait():
            await asyncio.sleep(GUARD)

        async def start(loop, name):
            return loop.create_task(wait(), name=name)

        one = first.run(start(first.loop, "one"))
        two = second.run(start(second.loop, "two"))
        assert one in asyncio.all_tasks(first.loop)
        assert two in asyncio.all_tasks(second.loop)
        assert two not in asyncio.all_tasks(first.loop)
        if PYTHON_314:
            names = set()

            async def other():
                async def inner():
                    names.add(asyncio.current_task().get_name())
                    await asyncio.sleep(GUARD)

                await asyncio.create_task(inner(), name="inner")

            async def begin():
                return second.loop.create_task(other(), name="outer")

            outer = second.run(begin())
            wait_until(lambda: names)

            def graph_is_there():
                inner = next(
                    task for task in asyncio.all_tasks(second.loop) if task.get_name() == "inner"
                )
                graph = asyncio.capture_call_graph(inner)
                return [awaiter.future for awaiter in graph.awaited_by] == [outer]

            wait_until(graph_is_there)

        def cancel_all(loop):
            for task in asyncio.all_tasks(loop):
                if task.get_name() in ("one", "two", "outer"):
                    task.cancel()

        for loop in (first.loop, second.loop):
            loop.call_soon_threadsafe(cancel_all, loop)
        wait_until(lambda: one.done() and two.done())


# The loop ends a future while another thread ends it


def end_soon(future, fails):
    """Have the running loop end a future a turn later."""

    def end():
        if fails:
            future.set_exception(ZeroDivisionError())
        else:
            future.set_result(None)

    asyncio.get_running_loop().call_soon(end)


@pytest.mark.fastaio_only
def test_sleep_ends_while_another_thread_cancels_it(loop_factory):
    def begin(number):
        loop = asyncio.get_running_loop()
        future = loop.create_future()

        def end_soon():
            for _ in range(number % 5):
                loop.call_soon(int)
            loop.call_soon(asyncio.futures._set_result_unless_cancelled, future, number)

        loop.call_soon(end_soon)
        return future

    race(loop_factory, begin, spread=60, races=10 * RACES)


@pytest.mark.fastaio_only
@pytest.mark.parametrize("function", [int, lambda: 1 // 0], ids=["result", "exception"])
def test_a_job_ends_while_another_thread_cancels_it(loop_factory, function):
    def begin(number):
        return asyncio.get_running_loop().run_in_executor(None, function)

    race(loop_factory, begin, spread=900)


@pytest.mark.fastaio_only
@pytest.mark.parametrize("fails", [False, True])
def test_shield_ends_while_another_thread_cancels_it(loop_factory, fails):
    import fastaio

    def begin(number):
        inner = asyncio.get_running_loop().create_future()
        if number == 0:
            fastaio.shield(inner)
            if inspect.isfunction(inner._callbacks[0][0]):
                pytest.skip("on this release shield() is asyncio's own")
        end_soon(inner, fails)
        return fastaio.shield(inner)

    race(loop_factory, begin, spread=30, races=4 * RACES)


@pytest.mark.fastaio_only
@pytest.mark.parametrize("fails", [False, True])
def test_gather_ends_while_another_thread_ends_its_future(loop_factory, fails):
    import fastaio

    def begin(number):
        child = asyncio.get_running_loop().create_future()
        end_soon(child, fails)
        return fastaio.gather(child)

    def end(future):
        future.set_result(None)

    race(loop_factory, begin, end=end, spread=30, races=4 * RACES)


@pytest.mark.fastaio_only
@pytest.mark.skipif(not FREE_THREADED, reason="with a GIL a timer may be cancelled in any thread")
def test_a_sleep_that_another_thread_resumes_leaves_the_timers_alone(loop_factory):
    import fastaio

    coro = fastaio.sleep(1000)

    async def begin():
        coro.send(None)

    with running(loop_factory) as loop:
        loop.run(begin())
        with pytest.raises(RuntimeError, match="^Non-thread-safe operation"):
            coro.throw(ValueError("it is cancelled here"))
        other = fastaio.sleep(1000)
        asyncio._set_running_loop(loop.loop)
        try:
            with pytest.raises(RuntimeError, match="^Non-thread-safe operation"):
                other.send(None)
        finally:
            asyncio._set_running_loop(None)
