"""run_in_executor, the default executor and its end."""

import asyncio
import concurrent.futures
import contextvars
import threading
import time

import pytest

from .support import GUARD, PYTHON_313, wait_until


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
