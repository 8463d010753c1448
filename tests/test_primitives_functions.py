"""fastaio's sleep(), gather(), wait(), wait_for(), shield(), as_completed() against asyncio's."""

import asyncio
import contextlib
import contextvars
import functools
import inspect
import types

import pytest

from . import primutil
from .ioutil import turns
from .primutil import Boom, forever, later, settle
from .support import GUARD, PYTHON_312, PYTHON_313, run_python

var = contextvars.ContextVar("var", default=0)


async def stubborn(log, name):
    """Notes a cancellation, takes its time, and returns."""
    try:
        await forever()
    except asyncio.CancelledError as exc:
        log(name, exc)
        await turns(2)
    return name


async def attempt(log, name, awaitable):
    """Await something, and note how that ends."""
    log(name, "begins")
    try:
        log(name, "got", await awaitable)
    except BaseException as exc:
        log(name, "raised", exc, exc.__cause__, exc.__context__)
        raise


def spawn(log, name, awaitable):
    return asyncio.create_task(attempt(log, name, awaitable), name=str(name))


def ticking(log):
    """Note each turn."""
    loop = asyncio.get_running_loop()
    count = 0

    def tick():
        nonlocal count
        count += 1
        log("turn", count)
        if count < 20:
            loop.call_soon(tick)

    tick()


# sleep


def test_sleep(same):
    async def scenario(aio, log):
        ticking(log)
        for delay in (0, 0.0, -1, False, -0.5):
            log(delay, await aio.sleep(delay, "result"))
        log(await aio.sleep(delay=0, result=2))
        for delay in ("1", None, []):
            with pytest.raises(TypeError) as caught:
                await aio.sleep(delay)
            log(caught.value)
        if PYTHON_313:  # before, it slept
            with pytest.raises(ValueError, match="NaN") as caught:
                await aio.sleep(float("nan"))
            log(caught.value)

    same(scenario)


def test_arguments_of_sleep(same):
    async def scenario(aio, log):
        for args, kwargs in (((), {}), ((1, 2, 3), {}), ((0,), {"loop": None}), ((0,), {"x": 1})):
            with pytest.raises(TypeError) as caught:
                await aio.sleep(*args, **kwargs)
            log(caught.value)

    same(scenario)


def test_sleep_of_microseconds(same):
    async def scenario(aio, log):
        loop = asyncio.get_running_loop()
        for delay in (1e-9, 1e-6, 0.001, True / 1000):
            began = loop.time()
            log(await aio.sleep(delay), await aio.sleep(delay, result=[delay]))
            log(loop.time() - began >= 2 * delay - 1e-6)

    same(scenario)


@pytest.mark.parametrize("delay", [0, 1e-9, GUARD])
def test_a_cancelled_sleep(same, delay):
    async def scenario(aio, log):
        task = spawn(log, "sleeper", aio.sleep(delay))
        await turns(1)
        task.cancel("wake up")
        await settle(task)
        log(task.cancelled())

    same(scenario)


def test_sleepers_wake_in_order(same):
    async def scenario(aio, log):
        async def sleeper(number):
            await aio.sleep((number * 7 % 10) / 1000)
            log(number)

        await asyncio.gather(*map(sleeper, range(10)))

    events = [number for (number,) in same(scenario)]
    assert events == sorted(range(10), key=lambda number: number * 7 % 10)


def test_sleep_before_there_is_a_loop(loop_factory):
    for aio in (primutil.ASYNCIO, primutil.FASTAIO):
        coro = aio.sleep(0.001, "made early")
        loop = loop_factory()
        try:
            assert loop.run_until_complete(coro) == "made early"
        finally:
            loop.close()
        with pytest.raises(RuntimeError, match="no running event loop"):
            aio.sleep(1).send(None)


# The coroutines themselves


COROUTINES = {
    "sleep": lambda aio: aio.sleep(1),
    "wait": lambda aio: aio.wait([]),
    "wait_for": lambda aio: aio.wait_for(None, 1),
    "Lock.acquire": lambda aio: aio.Lock().acquire(),
    "Event.wait": lambda aio: aio.Event().wait(),
    "Condition.wait": lambda aio: aio.Condition().wait(),
    "Condition.wait_for": lambda aio: aio.Condition().wait_for(bool),
    "Semaphore.acquire": lambda aio: aio.Semaphore().acquire(),
    "Barrier.wait": lambda aio: aio.Barrier(1).wait(),
    "Barrier.reset": lambda aio: aio.Barrier(1).reset(),
    "Barrier.abort": lambda aio: aio.Barrier(1).abort(),
    "Queue.get": lambda aio: aio.Queue().get(),
    "Queue.put": lambda aio: aio.Queue().put(1),
    "Queue.join": lambda aio: aio.Queue().join(),
}

# async with awaits these, so what they return need only be awaitable.
MANAGERS = {
    "Lock": lambda aio: aio.Lock(),
    "Semaphore": lambda aio: aio.Semaphore(),
    "Condition": lambda aio: aio.Condition(),
    "Barrier": lambda aio: aio.Barrier(1),
    "TaskGroup": lambda aio: aio.TaskGroup(),
    "Timeout": lambda aio: aio.Timeout(None),
}


@pytest.mark.parametrize("name", MANAGERS)
def test_what_async_with_calls(same, name):
    """By hand, by AsyncExitStack and as a task of its own."""

    async def scenario(aio, log):
        manager = MANAGERS[name](aio)
        entering = manager.__aenter__()
        log(inspect.isawaitable(entering), type(await entering).__name__)
        leaving = manager.__aexit__(None, None, None)
        log(inspect.isawaitable(leaving), await leaving)
        async with contextlib.AsyncExitStack() as stack:
            log(type(await stack.enter_async_context(MANAGERS[name](aio))).__name__)
        manager = MANAGERS[name](aio)
        await manager.__aenter__()
        with pytest.raises((Boom, ExceptionGroup)):
            async with contextlib.AsyncExitStack() as stack:
                stack.push_async_exit(manager)
                raise Boom
        if name in ("Lock", "Semaphore", "Condition", "Barrier"):
            manager = MANAGERS[name](aio)
            log(await asyncio.ensure_future(manager.__aenter__()), repr(manager))
            log(await asyncio.ensure_future(manager.__aexit__(None, None, None)), repr(manager))

    same(scenario)


@pytest.mark.parametrize("name", COROUTINES)
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
def test_what_a_call_returns_is_a_coroutine(name):
    for aio in (primutil.ASYNCIO, primutil.FASTAIO):
        coro = COROUTINES[name](aio)
        assert asyncio.iscoroutine(coro)
        assert inspect.isawaitable(coro)
        assert coro.__name__ == name.partition(".")[2] or name
        assert coro.__qualname__.rpartition(".")[2] == coro.__name__
        assert coro.close() is None
        with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
            coro.send(None)
        assert coro.close() is None


@pytest.mark.parametrize("name", COROUTINES)
def test_a_coroutine_that_is_never_awaited(name):
    for aio in (primutil.ASYNCIO, primutil.FASTAIO):
        with pytest.warns(RuntimeWarning, match=r"coroutine '.*' was never awaited"):
            COROUTINES[name](aio)


#: Leaves a coroutine to the last moments of the interpreter.
NEVER_AWAITED = """
import asyncio, builtins, sys, fastaio

class Keeper:
    pass

keeper = builtins.keeper = sys.modules["keeper"] = Keeper()
keeper.itself, keeper.coro = keeper, {}.sleep(1)
"""


def test_a_coroutine_that_is_never_awaited_until_the_interpreter_ends():
    asyncios, ours = (
        run_python(NEVER_AWAITED.format(name)).stderr for name in ("asyncio", "fastaio")
    )
    assert "coroutine 'sleep' was never awaited" in asyncios
    assert ours == asyncios


@pytest.mark.parametrize(
    "name", [*COROUTINES, *(f"{name}.__a{way}__" for name in MANAGERS for way in ("enter", "exit"))]
)
def test_coroutine_functions(name):
    """Mocks, frameworks and decorators ask what is a coroutine function."""
    owner, _, method = name.rpartition(".")
    for aio in (primutil.ASYNCIO, primutil.FASTAIO):
        function = getattr(getattr(aio, owner), method) if owner else getattr(aio, method)
        if PYTHON_312 or aio is primutil.ASYNCIO:  # before, inspect asked for a function in Python
            assert inspect.iscoroutinefunction(function)
            assert inspect.iscoroutinefunction(functools.partial(function))
        assert asyncio.coroutines.iscoroutinefunction(function)


@pytest.mark.parametrize("name", primutil.NAMES)
def test_how_they_introduce_themselves(name):
    own, native = getattr(primutil.ASYNCIO, name), getattr(primutil.FASTAIO, name)
    assert native.__name__ == own.__name__
    assert native.__qualname__ == own.__qualname__
    assert native.__doc__
    if not isinstance(own, type):
        assert inspect.signature(native).parameters.keys() == (
            inspect.signature(own).parameters.keys()
        )


# gather


def test_gather(same):
    async def scenario(aio, log):
        ticking(log)
        log(await aio.gather())
        log(await aio.gather(later(1, "a"), later(3, "b"), later(0, "c")))
        done = asyncio.get_running_loop().create_future()
        done.set_result("done")
        same_one = asyncio.ensure_future(later(1, "same"))
        log(await aio.gather(same_one, done, same_one, done))
        log(await aio.gather(aio.gather(later(1, 1), later(2, 2)), aio.gather()))
        log(await aio.gather(*(later(number % 4, number) for number in range(50))))

    same(scenario)


@pytest.mark.parametrize("return_exceptions", [False, True])
def test_gather_and_failures(same, return_exceptions):
    async def scenario(aio, log):
        children = [
            spawn(log, "fails", later(2, error=Boom("first"))),
            spawn(log, "fails later", later(3, error=Boom("second"))),
            spawn(log, "goes on", later(5, "value")),
        ]
        try:
            log(await aio.gather(*children, return_exceptions=return_exceptions))
        except Boom as exc:
            log("gather raised", exc, [child.done() for child in children])
        await settle(*children)
        log([child.cancelled() for child in children])
        log([child.exception() for child in children])

    same(scenario)


@pytest.mark.parametrize("return_exceptions", [False, True])
@pytest.mark.parametrize("who", ["outer", "child", "task"])
def test_gather_and_cancellations(same, return_exceptions, who):
    async def scenario(aio, log):
        children = [spawn(log, number, forever()) for number in range(3)]
        children.append(asyncio.create_task(stubborn(log, "stubborn")))
        outer = aio.gather(*children, return_exceptions=return_exceptions)

        async def body():
            return await outer

        task = spawn(log, "awaits", body())
        await turns(2)
        victim = {"outer": outer, "child": children[1], "task": task}[who]
        log(victim.cancel("enough"), outer.done())
        await turns(1)
        log(outer.done(), [child.done() for child in children])
        await turns(6)
        log(outer.done(), [child.cancelled() for child in children])
        for child in children:
            child.cancel()
        await settle(task, *children)
        log(outer.done(), outer.cancelled(), task.cancelled(), task.cancelling())

    same(scenario)


def test_a_gather_that_is_done_is_not_cancelled(same):
    async def scenario(aio, log):
        outer = aio.gather(later(1, "value"))
        await turns(4)
        log(outer.done(), outer.cancel(), outer.result())
        empty = aio.gather()
        log(empty.done(), empty.cancel())
        await turns(1)
        log(empty.done(), await empty, repr(empty).partition(" ")[2])
        failed = aio.gather(later(0, error=Boom("kept")))
        await turns(3)
        log(failed.exception(), failed.cancel())

    same(scenario)


def test_gather_of_what_cannot_be_awaited(same):
    async def scenario(aio, log):
        good = later(0, "never awaited")
        for bad in ((5,), ([],), (None,), (5, 6), (print,)):
            with pytest.raises(TypeError) as caught:
                aio.gather(*bad)
            log(caught.value)
        with pytest.raises(TypeError) as caught:
            await aio.gather(good, "text")
        log(caught.value)
        with pytest.raises(TypeError) as caught:
            aio.gather(loop=None)
        log(caught.value)

        @types.coroutine
        def generator():
            yield
            return "generator"

        class Awaitable:
            def __await__(self):
                yield
                return "awaitable"

        log(await aio.gather(generator(), Awaitable()))

    same(scenario)


def test_gather_of_futures_of_two_loops(same, loop_factory):
    async def scenario(aio, log):
        other = loop_factory()
        try:
            there, here = other.create_future(), asyncio.get_running_loop().create_future()
            with pytest.raises(ValueError, match="loop") as caught:
                await aio.gather(here, there)
            log(caught.value)
            try:
                outer = aio.gather(there)
                log(outer.get_loop() is other)
                there.cancel()
            except ValueError as exc:  # from 3.14 on
                log(exc)
        finally:
            other.close()

    same(scenario)


def test_gather_without_a_running_loop(loop_factory):
    for aio in (primutil.ASYNCIO, primutil.FASTAIO):
        loop = loop_factory()
        try:
            future = loop.create_future()
            outer = aio.gather(future, return_exceptions=True)
            loop.call_soon(future.set_result, "value")
            assert loop.run_until_complete(outer) == ["value"]
            asyncio.set_event_loop(None)
            with pytest.raises(RuntimeError):
                aio.gather(coro := later(0))
            coro.close()
        finally:
            loop.close()


def test_reports_of_gather(same):
    async def scenario(aio, log):
        child = asyncio.ensure_future(later(1, error=Boom("nobody asks")))
        outer = aio.gather(child)
        await turns(4)
        log(outer.done())
        del outer, child
        task = asyncio.ensure_future(later(2, error=Boom("after another")))
        with pytest.raises(Boom, match="one"):
            await aio.gather(later(1, error=Boom("one")), task)
        await turns(3)
        log(task.done())

    same(scenario)


def test_a_callback_of_a_child_sees_the_order(same):
    async def scenario(aio, log):
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in range(3)]
        for number, future in enumerate(futures):
            future.add_done_callback(lambda future, number=number: log("before", number))
        outer = aio.gather(*futures)
        outer.add_done_callback(lambda future: log("outer", future.result()))
        for number, future in enumerate(futures):
            future.add_done_callback(lambda future, number=number: log("after", number))
        for number in (2, 0, 1):
            futures[number].set_result(number)
        ticking(log)
        await outer
        log("awaited")

    same(scenario)


# wait


@pytest.mark.parametrize("when", ["FIRST_COMPLETED", "FIRST_EXCEPTION", "ALL_COMPLETED"])
def test_wait(same, when):
    async def scenario(aio, log):
        tasks = [
            spawn(log, "cancelled", forever()),
            spawn(log, "returns", later(2, "value")),
            spawn(log, "fails", later(4, error=Boom("failed"))),
            spawn(log, "slow", later(6, "slow")),
        ]
        await turns(1)
        tasks[0].cancel()
        ticking(log)
        waiting, rounds = set(tasks), 0
        while waiting:
            done, waiting = await aio.wait(waiting, return_when=getattr(aio, when))
            log(sorted(task.get_name() for task in done), sorted(t.get_name() for t in waiting))
            rounds += 1
        log(rounds, [len(task._callbacks or ()) for task in tasks])

    same(scenario)


def test_wait_with_a_timeout(same):
    async def scenario(aio, log):
        slow, quick = spawn(log, "slow", forever()), spawn(log, "quick", later(2))
        await turns(1)
        for timeout in (0, 0.001, -1, 1e-9):
            done, pending = await aio.wait([slow, quick], timeout=timeout)
            log(len(done) + len(pending), slow in pending)
        log(slow.done(), slow.cancelling(), len(slow._callbacks or ()))
        done, pending = await aio.wait({quick}, timeout=None)
        log(quick in done, len(pending))
        done, pending = await aio.wait(iter([quick, quick]), timeout=GUARD)
        log(len(done), len(pending))
        slow.cancel()
        await settle(slow)

    same(scenario)


def test_wait_for_what_is_not_to_be_waited_for(same):
    async def scenario(aio, log):
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        done.set_result(None)
        coro = later(0)
        cases = [
            ([], {}),
            (done, {}),
            (coro, {}),
            ([coro], {}),
            ([done, coro], {}),
            (5, {}),
            (None, {}),
            ([5], {}),
            ([done], {"return_when": "SOMETIMES"}),
            ([done], {"return_when": None}),
            ([done], {"loop": None}),
            ([done], {"timeout": "soon"}),
        ]
        for fs, kwargs in cases:
            try:
                log(await aio.wait(fs, **kwargs))
            except (TypeError, ValueError, AttributeError) as exc:
                log(exc)
        with pytest.raises(TypeError) as caught:
            await aio.wait([done], 1)
        log(caught.value)
        coro.close()

    same(scenario)


def test_a_cancelled_wait(same):
    async def scenario(aio, log):
        inner = spawn(log, "inner", forever())
        waiting = spawn(log, "waiting", aio.wait([inner], timeout=GUARD))
        await turns(2)
        log(len(inner._callbacks))
        waiting.cancel("enough")
        await settle(waiting)
        log(inner.done(), waiting.cancelled(), len(inner._callbacks or ()))
        inner.cancel()
        await settle(inner)

    same(scenario)


# wait_for


@pytest.mark.parametrize("timeout", [GUARD, None, 1e-9, 0, -1])
def test_wait_for(same, timeout):
    async def scenario(aio, log):
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        done.set_result("done")
        failed = loop.create_future()
        failed.set_exception(Boom("failed"))
        pending = [loop.create_future() for _ in range(2)]
        loop.call_soon(loop.call_soon, pending[0].set_result, "soon")
        for name, awaitable in (
            ("done", done),
            ("failed", failed),
            ("soon", pending[0]),
            ("at once", later(0, "at once")),
            ("turns", later(3, "turns")),
            ("raises", later(1, error=Boom("raised"))),
        ):
            try:
                log(name, await aio.wait_for(awaitable, timeout))
            except (Boom, TimeoutError) as exc:
                cause = type(exc.__cause__).__name__
                log(name, exc, cause)
        log(asyncio.current_task().cancelling())

    # how far a coroutine comes in a nanosecond is the machine's to say
    if timeout != 1e-9:
        same(scenario)


def test_wait_for_that_is_late(same):
    async def scenario(aio, log):
        async def inner(name):
            try:
                await forever()
            except asyncio.CancelledError as exc:
                log(name, exc, asyncio.current_task().cancelling())
                raise

        for awaitable in (inner("inner"), asyncio.ensure_future(inner("task")), forever()):
            with pytest.raises(TimeoutError) as caught:
                await aio.wait_for(awaitable, 0.001)
            log(caught.value, caught.value.__cause__, asyncio.current_task().cancelling())
        log(await aio.wait_for(stubborn(log, "coroutine"), 0.001) if not PYTHON_312 else "")
        task = asyncio.ensure_future(stubborn(log, "task"))
        try:
            log(await aio.wait_for(task, 0.001))
        except TimeoutError as exc:
            log(exc)
        log(task.done(), await task)

    same(scenario)


def test_a_cancelled_wait_for(same):
    async def scenario(aio, log):
        inner = spawn(log, "inner", forever())
        outer = spawn(log, "outer", aio.wait_for(inner, GUARD))
        await turns(2)
        outer.cancel("from outside")
        await settle(outer)
        log(inner.cancelled(), outer.cancelled(), outer.cancelling())
        inner = asyncio.create_task(stubborn(log, "stubborn"))
        outer = spawn(log, "outer", aio.wait_for(inner, GUARD))
        await turns(2)
        outer.cancel()
        await settle(outer, inner)
        log(outer.cancelled(), inner.cancelled())

    same(scenario)


def test_wait_for_and_both_at_once(same):
    async def scenario(aio, log):
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        outer = spawn(log, "outer", aio.wait_for(future, GUARD))
        await turns(2)
        future.set_result("value")
        outer.cancel()
        await settle(outer)
        log(outer.cancelled(), outer.cancelling())
        future = loop.create_future()
        outer = spawn(log, "outer", aio.wait_for(future, GUARD))
        await turns(2)
        future.cancel("by itself")
        await settle(outer)
        log(outer.cancelled(), outer.cancelling())

    same(scenario)


def test_arguments_of_wait_for(same):
    async def scenario(aio, log):
        for awaitable in (5, None, "text"):
            for timeout in (1, None, 0):
                with pytest.raises((TypeError, AttributeError)) as caught:
                    await aio.wait_for(awaitable, timeout)
                log(caught.value)
        with pytest.raises(TypeError) as caught:
            await aio.wait_for(coro := later(0), "soon")
        log(caught.value)
        coro.close()
        for args, kwargs in (((), {}), ((None, 1, 2), {}), ((None, 1), {"loop": None})):
            with pytest.raises(TypeError) as caught:
                await aio.wait_for(*args, **kwargs)
            log(caught.value)

    same(scenario)


def test_where_wait_for_runs(same):
    """From 3.12 on in the task that calls it, in its context."""

    async def scenario(aio, log):
        me = asyncio.current_task()

        async def inner():
            var.set(1)
            log(asyncio.current_task() is me)

        var.set(0)
        await aio.wait_for(inner(), GUARD)
        log(var.get())
        await aio.wait_for(inner(), None)
        log(var.get())

    same(scenario)


# shield


def test_shield(same):
    async def scenario(aio, log):
        ticking(log)
        log(await aio.shield(later(2, "value")))
        with pytest.raises(Boom) as caught:
            await aio.shield(later(1, error=Boom("inside")))
        log(caught.value)
        inner = spawn(log, "inner", later(3, "inner"))
        outer = spawn(log, "outer", wrapped(aio.shield(inner)))
        await turns(2)
        outer.cancel("not the inner one")
        await settle(outer)
        log(inner.done(), await wrapped(inner))
        done = asyncio.get_running_loop().create_future()
        done.set_result("done")
        log(aio.shield(done) is done, await aio.shield(done))

    async def wrapped(awaitable):
        return await awaitable

    same(scenario)


def test_shields_whose_inner_one_ends(same):
    async def scenario(aio, log):
        loop = asyncio.get_running_loop()
        inner = loop.create_future()
        outer = aio.shield(inner)
        outer.add_done_callback(lambda future: log("outer is done", future.cancelled()))
        inner.cancel("inner")
        await turns(3)
        log(outer.cancelled())
        inner = loop.create_future()
        outer = aio.shield(inner)
        outer.cancel()
        inner.set_exception(Boom("lost"))
        await turns(2)
        log(len(inner._callbacks or ()))
        del inner, outer
        for bad in (5, None, [], print):
            with pytest.raises(TypeError) as caught:
                aio.shield(bad)
            log(caught.value)
        with pytest.raises(TypeError) as caught:
            aio.shield(loop.create_future(), loop=loop)
        log(caught.value)

    same(scenario)


def test_a_loss_behind_a_shield_is_reported(same):
    async def scenario(aio, log):
        inner = asyncio.ensure_future(later(3, error=Boom("after the cancellation")))
        outer = aio.shield(inner)
        await turns(1)
        outer.cancel()
        await turns(5)
        log(inner.done(), outer.cancelled())
        del inner, outer

    same(scenario)


# as_completed


def test_as_completed(same):
    async def scenario(aio, log):
        ticking(log)
        waits = [later(5, "last"), later(1, "first"), spawn(log, "task", later(3, "middle"))]
        for each in aio.as_completed(waits):
            log(asyncio.iscoroutine(each), await each)
        for each in aio.as_completed([]):
            log("never", each)
        one = asyncio.ensure_future(later(1, "once"))
        log([await each for each in aio.as_completed([one, one])])

    same(scenario)


def test_as_completed_in_another_order(same):
    async def scenario(aio, log):
        waits = list(aio.as_completed([later(2, 1), later(4, 2)], timeout=GUARD))
        log(len(waits))
        second, first = await waits[1], await waits[0]
        log(second, first)

    same(scenario)


def test_as_completed_with_failures(same):
    async def scenario(aio, log):
        stuck = asyncio.ensure_future(forever())
        failing = later(1, error=Boom("failed"))
        for each in aio.as_completed([stuck, failing, later(3, "value")], timeout=0.01):
            try:
                log(await each)
            except (Boom, TimeoutError) as exc:
                log(exc)
        log(stuck.done(), len(stuck._callbacks or ()))
        gone = asyncio.ensure_future(forever())
        iterator = iter(aio.as_completed([gone]))
        each = next(iterator)
        gone.cancel("gone")
        with pytest.raises(asyncio.CancelledError) as caught:
            await each
        log(caught.value)
        with pytest.raises(StopIteration):
            next(iterator)
        stuck.cancel()
        await settle(stuck)

    same(scenario)


def test_as_completed_of_what_it_cannot_take(same):
    async def scenario(aio, log):
        coro = later(0)
        for bad in (coro, asyncio.get_running_loop().create_future(), 5, None, [5]):
            try:
                for each in aio.as_completed(bad):
                    each.close()
            except (TypeError, AttributeError) as exc:
                log(exc)
        with pytest.raises(TypeError) as caught:
            aio.as_completed([], 5)
        log(caught.value)
        coro.close()

    same(scenario)


def test_cancelling_who_iterates(same):
    async def scenario(aio, log):
        inner = spawn(log, "inner", later(6, "value"))

        async def body():
            for each in aio.as_completed([inner]):
                return await each

        task = spawn(log, "body", body())
        await turns(2)
        task.cancel()
        await settle(task, inner)
        log(inner.cancelled())

    same(scenario)


@pytest.mark.skipif(not PYTHON_313, reason="asynchronous iteration is new in 3.13")
def test_as_completed_asynchronously(same):
    async def scenario(aio, log):
        tasks = [spawn(log, number, later(5 - number, number)) for number in range(4)]
        async for task in aio.as_completed(tasks):
            log(task.get_name(), task.done(), task in tasks)
        coro = later(1, "of a coroutine")
        async for future in aio.as_completed([coro]):
            log(asyncio.isfuture(future), await future)
        stuck = asyncio.ensure_future(forever())
        with pytest.raises(TimeoutError) as caught:
            async for _ in aio.as_completed([stuck], timeout=0.001):
                log("never")
        log(caught.value)
        iterator = aio.as_completed([later(0, 1), later(2, 2)])
        log(iter(iterator) is iterator, aiter(iterator) is iterator)
        log(await next(iterator))
        log((await anext(iterator)).result())
        with pytest.raises(StopAsyncIteration):
            await anext(iterator)
        with pytest.raises(StopIteration):
            next(iterator)
        stuck.cancel()
        await settle(stuck)

    same(scenario)
