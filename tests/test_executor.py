"""run_in_executor, the default executor and its end."""

import asyncio
import concurrent.futures
import contextvars
import os
import queue as queue_module
import sys
import threading
import time
import weakref

import pytest

from .support import (
    FREE_THREADED,
    FUTURE_TAKES_STOP_ITERATION,
    GUARD,
    PYTHON_313,
    collect,
    run_python,
    wait_until,
)


def test_a_function_runs_in_another_thread(run):
    async def main():
        loop = asyncio.get_running_loop()
        here = threading.get_ident()
        there = await loop.run_in_executor(None, threading.get_ident)
        assert there != here
        assert await loop.run_in_executor(None, max, 1, 2) == 2

    run(main)


def test_an_exception_comes_back(run):
    async def main():
        with pytest.raises(ZeroDivisionError):
            await asyncio.get_running_loop().run_in_executor(None, divmod, 1, 0)

    run(main)


def test_a_function_starts_without_a_handled_exception(run):
    def reraise():
        raise

    async def main():
        loop = asyncio.get_running_loop()
        for _ in range(2):  # in a new thread, and in one that has waited
            assert await asyncio.to_thread(sys.exc_info) == (None, None, None)
            with pytest.raises(ZeroDivisionError) as caught:
                await loop.run_in_executor(None, divmod, 1, 0)
            assert caught.value.__context__ is None
            with pytest.raises(RuntimeError, match="No active exception to reraise"):
                await loop.run_in_executor(None, reraise)

    run(main)


def test_an_executor_given(run):
    async def main():
        loop = asyncio.get_running_loop()
        with concurrent.futures.ThreadPoolExecutor(2, thread_name_prefix="mine") as pool:
            names = await asyncio.gather(
                *(loop.run_in_executor(pool, lambda: threading.current_thread().name) for _ in "ab")
            )
        assert all(name.startswith("mine") for name in names)
        assert loop._default_executor is None

    run(main)


def test_many_at_once(run):
    async def main():
        loop = asyncio.get_running_loop()
        calls = [loop.run_in_executor(None, pow, number, 2) for number in range(500)]
        assert await asyncio.gather(*calls) == [number**2 for number in range(500)]

    run(main)


def test_the_default_executor(run):
    async def main():
        loop = asyncio.get_running_loop()
        pool = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="default")
        loop.set_default_executor(pool)
        assert loop._default_executor is pool
        name = await loop.run_in_executor(None, lambda: threading.current_thread().name)
        assert name.startswith("default")
        await loop.shutdown_default_executor()
        with pytest.raises(RuntimeError, match="shutdown"):
            pool.submit(int)

    run(main)


def test_threads_of_the_default_executor_are_named(run):
    async def main():
        name = await asyncio.get_running_loop().run_in_executor(
            None, lambda: threading.current_thread().name
        )
        assert name.startswith("asyncio_")

    run(main)


def test_to_thread_carries_the_context(run):
    var = contextvars.ContextVar("var", default="default")

    async def main():
        var.set("carried")
        assert await asyncio.to_thread(var.get) == "carried"

    run(main)


def test_cancelling_the_wait(run):
    async def main():
        loop = asyncio.get_running_loop()
        started, release = threading.Event(), threading.Event()

        def work():
            started.set()
            release.wait(GUARD)
            return "finished"

        call = loop.run_in_executor(None, work)
        waiter = asyncio.ensure_future(call)
        await asyncio.to_thread(started.wait, GUARD)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        release.set()

    run(main)


def test_cancelling_what_has_not_begun(run):
    async def main():
        loop = asyncio.get_running_loop()
        release = threading.Event()
        ran = []
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            busy = loop.run_in_executor(pool, release.wait, GUARD)
            queued = loop.run_in_executor(pool, ran.append, "ran")
            queued.cancel()
            with pytest.raises(asyncio.CancelledError):
                await queued
            await asyncio.sleep(0)
            release.set()
            await busy
        assert ran == []

    run(main)


def test_shutting_down_twice_and_using_after(run):
    async def main():
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, int)
        await loop.shutdown_default_executor()
        await loop.shutdown_default_executor()
        with pytest.raises(RuntimeError, match="Executor shutdown has been called"):
            loop.run_in_executor(None, int)

    run(main)


def test_shutting_down_waits(run):
    async def main():
        loop = asyncio.get_running_loop()
        started, ended = threading.Event(), []

        def work():
            started.set()
            time.sleep(0.05)
            ended.append(True)

        call = loop.run_in_executor(None, work)
        await asyncio.to_thread(started.wait, GUARD)
        await loop.shutdown_default_executor()
        assert ended == [True]
        await call

    run(main)


@pytest.mark.skipif(not PYTHON_313, reason="the timeout of 3.12 joins the threads all the same")
def test_shutting_down_with_a_timeout(run):
    release = threading.Event()

    async def main():
        loop = asyncio.get_running_loop()
        started = threading.Event()

        def work():
            started.set()
            release.wait(GUARD)

        call = loop.run_in_executor(None, work)
        wait_until(started.is_set)
        with pytest.warns(
            RuntimeWarning,
            match="The executor did not finishing joining its threads within 0.01 seconds.",
        ):
            await loop.shutdown_default_executor(timeout=0.01)
        release.set()
        await call

    try:
        run(main)
    finally:
        release.set()


def test_closing_shuts_the_executor_down_without_waiting(loop_factory):
    loop = loop_factory()
    release = threading.Event()
    pool = concurrent.futures.ThreadPoolExecutor(1)
    loop.set_default_executor(pool)
    loop.run_in_executor(None, release.wait, GUARD)
    try:
        loop.close()
        with pytest.raises(RuntimeError, match="shutdown"):
            pool.submit(int)
        assert loop._default_executor is None
    finally:
        release.set()
        pool.shutdown(wait=True)


def test_a_result_for_a_loop_that_is_closed(loop_factory, caplog):
    loop = loop_factory()
    release = threading.Event()
    pool = concurrent.futures.ThreadPoolExecutor(1)
    future = loop.run_in_executor(pool, release.wait, GUARD)
    loop.close()
    release.set()
    pool.shutdown(wait=True)
    assert not future.done()


class Immediate(concurrent.futures.Executor):
    def submit(self, fn, *args):
        future = concurrent.futures.Future()
        future.set_result(fn(*args))
        return future


class Refusing(concurrent.futures.Executor):
    def submit(self, fn, *args):
        raise ValueError("refused")


class Odd(concurrent.futures.Executor):
    def submit(self, fn, *args):
        return "not a future"


async def coroutine_function():
    return None


BAD_CALLS = {
    "default: a string": lambda env: env.loop.set_default_executor("x"),
    "default: None": lambda env: env.loop.set_default_executor(None),
    "default: an executor of another kind": lambda env: env.loop.set_default_executor(Immediate()),
    "given: a string": lambda env: env.loop.run_in_executor("x", print),
    "given: immediate": lambda env: env.run(env.loop.run_in_executor(Immediate(), max, 1, 2)),
    "given: refusing": lambda env: env.loop.run_in_executor(Refusing(), print),
    "given: odd": lambda env: env.loop.run_in_executor(Odd(), print),
    "no function": lambda env: env.loop.run_in_executor(None),
    "an int in debug mode": lambda env: (
        env.loop.set_debug(True),
        env.loop.run_in_executor(None, 5),
    ),
    "a coroutine function in debug mode": lambda env: (
        env.loop.set_debug(True),
        env.loop.run_in_executor(None, coroutine_function),
    ),
    "closed": lambda env: (env.loop.close(), env.loop.run_in_executor(None, print)),
}


@pytest.mark.parametrize("scenario", BAD_CALLS.values(), ids=BAD_CALLS)
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
def test_bad_calls(scenario, same_outcome):
    same_outcome(scenario)


# Jobs of the default executor, which are native in fastaio


async def saturate(loop, release):
    """Give each thread of the default executor something to wait for; return these futures."""
    await loop.run_in_executor(None, int)
    count = loop._default_executor._max_workers
    begun = threading.Semaphore(0)

    def wait():
        begun.release()
        assert release.wait(GUARD)

    busy = [loop.run_in_executor(None, wait) for _ in range(count)]
    for _ in range(count):
        assert begun.acquire(timeout=GUARD)
    return busy


def test_all_threads_are_used_by_either_way(run):
    """Each job waits for all others, and half of them come by submit()."""

    async def main():
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, int)
        executor = loop._default_executor
        for _ in range(3):
            barrier = threading.Barrier(executor._max_workers)
            calls = []
            for number in range(executor._max_workers):
                if number % 2:
                    calls.append(asyncio.wrap_future(executor.submit(barrier.wait, GUARD)))
                else:
                    calls.append(loop.run_in_executor(None, barrier.wait, GUARD))
            await asyncio.gather(*calls)
        assert len(executor._threads) == executor._max_workers

    run(main)


def test_an_idle_thread_is_used_again(run):
    async def main():
        loop = asyncio.get_running_loop()
        for _ in range(50):
            await loop.run_in_executor(None, int)
            await asyncio.sleep(0.001)
        assert len(loop._default_executor._threads) < 5

    run(main)


def test_cancelled_before_a_thread_is_free(run):
    async def main():
        loop = asyncio.get_running_loop()
        release = threading.Event()
        busy = await saturate(loop, release)
        ran = []
        queued = loop.run_in_executor(None, ran.append, "cancelled")
        last = loop.run_in_executor(None, ran.append, "last")
        queued.cancel()
        await asyncio.sleep(0)
        release.set()
        await asyncio.gather(*busy, last)
        assert ran == ["last"]

    run(main)


def test_shutting_down_cancels_on_demand(run):
    async def main():
        loop = asyncio.get_running_loop()
        release = threading.Event()
        busy = await saturate(loop, release)
        executor = loop._default_executor
        ran = []
        queued = [loop.run_in_executor(None, ran.append, number) for number in range(3)]
        direct = executor.submit(ran.append, "direct")
        executor.shutdown(wait=False, cancel_futures=True)
        release.set()
        await asyncio.gather(*busy)
        outcomes = await asyncio.gather(*queued, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError] * 3
        assert direct.cancelled()
        assert ran == []
        with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
            loop.run_in_executor(None, int)

    run(main)


def test_the_outcome_of_a_future_that_the_program_has_set(same_outcome):
    def scenario(env):
        release = threading.Event()
        future = env.loop.run_in_executor(None, release.wait, GUARD)
        future.set_result("mine")
        release.set()

        async def until_reported():
            while not env.reports:
                await asyncio.sleep(0.001)

        env.run(until_reported())
        reported = [report["exception"] for report in env.reports]
        env.reports.clear()  # the text of the message names the callback
        return future.result(), reported

    same_outcome(scenario)


ODD = {
    "StopIteration": StopIteration(1),
    "SystemExit": SystemExit(3),
    "cancelled": concurrent.futures.CancelledError("text"),
    "invalid state": concurrent.futures.InvalidStateError("text"),
    "a timeout": TimeoutError("text"),
}


@pytest.mark.parametrize("error", ODD.values(), ids=ODD)
def test_odd_exceptions(same_outcome, error):
    if isinstance(error, StopIteration) and not FUTURE_TAKES_STOP_ITERATION:
        pytest.skip("the task waits without end")

    def fail():
        raise error

    async def main(loop):
        await loop.run_in_executor(None, fail)

    same_outcome(lambda env: env.run(main(env.loop)))


@pytest.mark.parametrize("where", ["executor", "class"])
def test_a_replaced_submit_is_used(run, monkeypatch, where):
    submit = concurrent.futures.ThreadPoolExecutor.submit
    calls = []

    def spy(executor, func, *args):
        calls.append((func, args))
        return submit(executor, func, *args)

    async def main():
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, int)
        executor = loop._default_executor
        if where == "class":
            monkeypatch.setattr(concurrent.futures.ThreadPoolExecutor, "submit", spy)
        else:
            executor.submit = lambda *args: spy(executor, *args)
        assert await loop.run_in_executor(None, pow, 2, 3) == 8
        assert calls == [(pow, (2, 3))]

    run(main)


def test_a_replaced_executor_class_is_used(run, monkeypatch):
    class Pool(concurrent.futures.ThreadPoolExecutor):
        pass

    async def main():
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(None, pow, 2, 3) == 8
        assert type(loop._default_executor) is Pool

    monkeypatch.setattr(concurrent.futures, "ThreadPoolExecutor", Pool)
    run(main)


@pytest.mark.parametrize("where", ["instance", "class"])
def test_a_replaced_call_soon_threadsafe_is_used(loop_factory, where):
    loop = loop_factory()
    calls = []

    def spy(callback, *args, context=None):
        calls.append(callback)
        return type(loop).__mro__[1].call_soon_threadsafe(loop, callback, *args, context=context)

    loop.__class__ = type("Loop", (type(loop),), {})
    if where == "instance":
        loop.call_soon_threadsafe = spy
    else:
        type(loop).call_soon_threadsafe = staticmethod(spy)
    try:
        assert loop.run_until_complete(loop.run_in_executor(None, pow, 2, 3)) == 8
        assert len(calls) == 1
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()


def test_a_replaced_write_to_self_is_called(loop):
    calls = []
    write_to_self = loop._write_to_self

    def spy():
        calls.append("called")
        write_to_self()

    loop._write_to_self = spy
    assert loop.run_until_complete(loop.run_in_executor(None, pow, 2, 3)) == 8
    assert calls == ["called"]
    del loop._write_to_self


class Slow:
    """An argument whose finalizer waits."""

    def __init__(self, release, dropped):
        self.release = release
        self.dropped = dropped

    def __del__(self):
        self.release.wait(GUARD)
        self.dropped.append(threading.current_thread().name)


def test_the_finalizer_of_an_argument_does_not_delay_the_result(run):
    async def main():
        loop = asyncio.get_running_loop()
        awaited, release, dropped = threading.Event(), threading.Event(), []
        loop.call_soon(awaited.set)  # until then this thread has the argument as well
        await loop.run_in_executor(None, lambda _: awaited.wait(GUARD), Slow(release, dropped))
        assert dropped == []
        release.set()
        await loop.shutdown_default_executor()
        # In the thread, as on asyncio. Without a GIL the thread that has made an object frees it.
        assert dropped == ["MainThread" if FREE_THREADED else "asyncio_0"]

    run(main)


def test_nothing_is_kept(run):
    class Thing:
        pass

    async def main():
        loop = asyncio.get_running_loop()
        thing = Thing()
        reference = weakref.ref(thing)
        result = await loop.run_in_executor(None, lambda thing: [thing], thing)
        assert result == [thing]
        del thing, result
        await loop.shutdown_default_executor()
        collect()
        assert reference() is None

    run(main)


def test_queued_jobs_are_collected_with_their_loop(loop_factory):
    class Thing:
        pass

    release = threading.Event()
    loop = loop_factory()
    try:
        loop.run_until_complete(saturate(loop, release))
        thing = Thing()
        thing.cycle = [loop.run_in_executor(None, lambda thing: None, thing), thing]
        reference = weakref.ref(thing)
        loop.close()
        del loop, thing
        collect()
    finally:
        release.set()

    def is_gone():
        collect()
        return reference() is None

    wait_until(is_gone)  # a thread has run the job


def test_a_dropped_loop_ends_its_threads(loop_factory):
    loop = loop_factory()
    loop.run_until_complete(loop.run_in_executor(None, int))
    threads = list(loop._default_executor._threads)
    loop.close()
    del loop
    collect()
    for thread in threads:
        thread.join(GUARD)
        assert not thread.is_alive()


def test_closing_beside_ending_jobs(loop_factory):
    """A thread that wakes the loop while another closes it harms nobody."""
    for number in range(200):
        loop = loop_factory()
        calls = [loop.run_in_executor(None, int) for _ in range(3)]
        # Ends with the first outcome; the others come before, while or after the loop is closed.
        loop.run_until_complete(calls[number % 3])
        executor = loop._default_executor
        loop.close()
        executor.shutdown()


def test_the_end_of_the_process_with_idle_threads(loop_factory_source):
    """A loop that has neither been closed nor shut down."""
    source = f"""
import asyncio
loop = {loop_factory_source}()
kept = [loop.run_until_complete(loop.run_in_executor(None, int))]
"""
    run_python(source)


def test_after_the_end_of_the_threads(loop_factory_source):
    source = f"""
import asyncio, atexit, threading
loop = {loop_factory_source}()
loop.run_until_complete(loop.run_in_executor(None, int))

def late():
    try:
        loop.run_in_executor(None, int)
    except RuntimeError as error:
        print(error)

atexit.register(late)
"""
    assert run_python(source).stdout == "cannot schedule new futures after shutdown\n"


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.fastaio_only
def test_a_forked_child_has_threads_of_its_own(loop):
    """On asyncio a job waits for threads that it does not have."""
    loop.run_until_complete(loop.run_in_executor(None, int))
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            call = loop.run_in_executor(None, pow, 2, 3)
            status = 0 if loop.run_until_complete(asyncio.wait_for(call, GUARD)) == 8 else 2
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert loop.run_until_complete(loop.run_in_executor(None, pow, 2, 3)) == 8


def test_to_thread_keeps_the_context(run):
    variable = contextvars.ContextVar("variable", default="default")

    async def main():
        variable.set("mine")
        assert await asyncio.to_thread(variable.get) == "mine"
        loop = asyncio.get_running_loop()
        # Where that is the interpreter's default, the thread has got the context of its first job.
        inherits = getattr(sys.flags, "thread_inherit_context", False)
        expected = "mine" if inherits else "default"
        assert await loop.run_in_executor(None, variable.get) == expected

    run(main)


@pytest.mark.fastaio_only
def test_the_queue_checks_its_arguments(loop):
    from fastaio import _fastaio

    queue = _fastaio.JobQueue()
    future = loop.create_future()
    for args in [(), (loop,), (None, future, int, ()), (loop, future, int, [])]:
        with pytest.raises(TypeError):
            queue.submit(*args)
    assert queue.submit(loop, asyncio.Future(loop=loop), int, ()) is None
    with pytest.raises(queue_module.Empty):
        queue.get_nowait()
    assert queue.acquire(timeout=0) is True
    queue.put("item")
    assert queue.acquire(timeout=0) is False
    assert queue.acquire(timeout=0) is True
    assert queue.get_nowait() == "item"
    assert queue.submit(loop, future, pow, (2, 3)) is False
    with pytest.raises(queue_module.Empty):
        queue.get_nowait()  # a job is for get()
    queue.put("item")
    assert queue.get(block=True) == "item"
    assert loop.run_until_complete(future) == 8
    queue.put(None)
    assert queue.submit(loop, loop.create_future(), int, ()) is None
    assert queue.get() is None
