"""Which task is current wherever code may run that no task has called: as on asyncio."""

import asyncio
import contextlib
import contextvars
import gc
import sys
import threading
import weakref

import pytest

from .support import FREE_THREADED, PYTHON_312


class Seen:
    """Notes the current task where its last reference goes, or where it is called."""

    def __init__(self, env, log):
        self.env = env
        self.log = log

    def __call__(self, *args):
        self.log.append(current(self.env))

    def __del__(self):
        self.log.append(current(self.env))


def current(env):
    task = asyncio.current_task(env.loop)
    return task and task.get_name()


async def nop():
    pass


async def give(value):
    return value


async def fail(value):
    raise ValueError(value)


async def busy():
    """A task that always runs next to the others."""
    for _ in range(12):
        await asyncio.sleep(0)


def forgotten_result(env, log):
    env.task(give(Seen(env, log)), name="forgotten")


def forgotten_exception(env, log):
    env.loop.set_exception_handler(lambda loop, context: None)
    env.task(fail(Seen(env, log)), name="forgotten")


def forgotten_context(env, log):
    context = contextvars.Context()
    context.run(contextvars.ContextVar("var").set, Seen(env, log))
    env.task(nop(), name="forgotten", context=context)


def forgotten_attribute(env, log):
    env.task(nop(), name="forgotten").seen = Seen(env, log)


def weak_reference(env, log):
    seen = Seen(env, [])
    seen.log = log
    env.kept = weakref.ref(env.task(nop(), name="forgotten"), seen)


def weak_reference_to_coroutine(env, log):
    coro = nop()
    env.kept = weakref.ref(coro, Seen(env, log))
    env.task(coro, name="forgotten")


def awaited_result(env, log):
    async def waits():
        await env.task(give(Seen(env, log)), name="awaited")
        await asyncio.sleep(0)

    env.kept = env.task(waits(), name="waits")


def awaited_exception(env, log):
    async def waits():
        try:
            await env.task(fail(Seen(env, log)), name="awaited")
        except ValueError:
            pass
        await asyncio.sleep(0)

    env.kept = env.task(waits(), name="waits")


def awaited_context(env, log):
    context = contextvars.Context()
    context.run(contextvars.ContextVar("var").set, Seen(env, log))

    async def waits(context):
        task = env.task(nop(), name="awaited", context=context)
        del context
        await give(await task)
        del task
        await asyncio.sleep(0)

    env.kept = env.task(waits(context), name="waits")


def awaited_context_at_once(env, log):
    context = contextvars.Context()
    context.run(contextvars.ContextVar("var").set, Seen(env, log))
    contexts = [context]

    async def waits():
        await env.task(nop(), name="awaited", context=contexts.pop())

    env.kept = env.task(waits(), name="waits")


def awaited_weak_reference(env, log):
    def make():
        task = env.task(nop(), name="awaited")
        env.kept = weakref.ref(task, Seen(env, log))
        return task

    async def waits():
        await make()

    env.also_kept = env.task(waits(), name="waits")


def future_result(env, log):
    async def waits():
        await soon(Seen(env, log))

    def soon(value):
        fut = env.future()
        env.loop.call_soon(fut.set_result, value)
        return fut

    env.kept = env.task(waits(), name="waits")


def future_result_that_is_the_task(env, log):
    """The future that wakes the task has the last reference to the task."""

    async def waits(futures):
        await futures.pop()
        return Seen(env, log)

    def start():
        fut = env.future()
        env.loop.call_soon(fut.set_result, env.task(waits([fut]), name="waits"))

    start()


def future_weak_reference(env, log):
    async def waits():
        await soon()

    def soon():
        fut = env.future()
        env.seen = weakref.ref(fut, Seen(env, log))
        env.loop.call_soon(fut.set_result, None)
        return fut

    env.kept = env.task(waits(), name="waits")


def thrown_exception(env, log):
    async def waits():
        fut = env.future()
        env.loop.call_soon(fut.set_exception, ValueError(Seen(env, log)))
        try:
            await fut
        except ValueError:
            pass
        del fut

    env.kept = env.task(waits(), name="waits")


def callback_arguments(env, log):
    env.loop.call_soon(lambda *args: None, Seen(env, log))


def cancelled_callback(env, log):
    env.loop.call_soon(lambda *args: None, Seen(env, log)).cancel()


def timer_arguments(env, log):
    env.loop.call_later(0, lambda *args: None, Seen(env, log))


def done_callback(env, log):
    env.task(nop(), name="with callback").add_done_callback(Seen(env, log))


def done_callback_of_future(env, log):
    fut = env.future()
    fut.add_done_callback(Seen(env, log))
    env.loop.call_soon(fut.set_result, 1)


def failing_callback(env, log):
    def handler(loop, context):
        log.append(current(env))

    env.loop.set_exception_handler(handler)
    env.loop.call_soon(lambda: 1 // 0)


def failing_task_callback(env, log):
    def handler(loop, context):
        log.append(current(env))

    def done(task):
        raise ValueError

    env.loop.set_exception_handler(handler)
    env.task(nop(), name="with callback").add_done_callback(done)


def unretrieved(env, log):
    def handler(loop, context):
        log.append((current(env), context["message"]))

    env.loop.set_exception_handler(handler)
    env.task(fail(1), name="forgotten")


def destroyed(env, log):
    def handler(loop, context):
        log.append((current(env), context["message"]))

    env.loop.set_exception_handler(handler)

    class Blocks:
        _asyncio_future_blocking = True

        def get_loop(self):
            return env.loop

        def add_done_callback(self, callback, *, context=None):
            pass

    async def waits():
        await Awaits()

    class Awaits:
        def __await__(self):
            yield Blocks()

    env.task(waits(), name="forgotten")


def failing_step(env, log):
    """A step of a task that is done already, which fails outside of the coroutine."""
    env.loop.set_exception_handler(lambda loop, context: log.append(current(env)))
    coros = [nop(), nop()]
    task = env.task(nop(), name="done twice")

    def again():
        with contextlib.suppress(RuntimeError):  # from 3.15 on that is refused
            for coro in coros:
                task.__init__(coro, loop=env.loop, name="done twice")

    env.loop.call_soon(again)


def collected(env, log):
    async def collects():
        class Cycle:
            def __init__(self):
                self.me = self
                self.seen = Seen(env, log)

        Cycle()
        gc.collect()

    env.kept = env.task(collects(), name="collects")


def eager(env, log):
    if not PYTHON_312:
        return

    async def inner():
        log.append(current(env))
        return Seen(env, log)

    async def outer():
        env.Task(inner(), loop=env.loop, name="eager", eager_start=True)
        log.append(current(env))
        await asyncio.sleep(0)
        log.append(current(env))

    env.kept = env.task(outer(), name="outer")


PLACES = [
    forgotten_result,
    forgotten_exception,
    forgotten_context,
    forgotten_attribute,
    weak_reference,
    weak_reference_to_coroutine,
    awaited_result,
    awaited_exception,
    awaited_context,
    awaited_context_at_once,
    awaited_weak_reference,
    future_result,
    future_result_that_is_the_task,
    future_weak_reference,
    thrown_exception,
    callback_arguments,
    cancelled_callback,
    timer_arguments,
    done_callback,
    done_callback_of_future,
    failing_callback,
    failing_task_callback,
    unretrieved,
    destroyed,
    pytest.param(
        failing_step,
        marks=pytest.mark.skipif(
            FREE_THREADED, reason="a second __init__() is refused, so no such step comes about"
        ),
    ),
    collected,
    eager,
]


@pytest.mark.filterwarnings("ignore:coroutine 'nop' was never awaited")
@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("place", PLACES)
def test_which_task_is_current(same_outcome, place, debug):
    def scenario(env):
        env.loop.set_debug(debug)
        log = []
        first, last = env.task(busy(), name="first"), None
        place(env, log)
        last = env.task(busy(), name="last")
        env.turn(8)
        env.run(asyncio.gather(first, last))
        env.kept = env.seen = None
        return list(log)

    result, _ = same_outcome(scenario)
    assert result[0] == "returned"


@pytest.mark.fastaio_only
@pytest.mark.skipif(not PYTHON_312, reason="eager tasks are new in 3.12")
@pytest.mark.parametrize("kind", ["fastaio", "asyncio"])
def test_a_nested_run_within_an_eager_task(loop, kind, monkeypatch):
    import fastaio

    monkeypatch.setattr(asyncio, "_nest_patched", True, raising=False)  # as nest_asyncio.apply()
    make = {"fastaio": fastaio.Task, "asyncio": asyncio.Task}[kind]
    seen = []

    def note():
        task = asyncio.current_task()
        seen.append(task and task.get_name())

    async def inner():
        note()
        await asyncio.sleep(0)
        note()

    async def eager():
        note()
        loop.run_until_complete(loop.create_task(inner(), name="inner"))
        note()

    async def outer():
        note()
        task = make(eager(), loop=loop, name="eager", eager_start=True)
        note()
        await asyncio.sleep(0)
        note()
        await task

    loop.run_until_complete(loop.create_task(outer(), name="outer"))
    loop.call_soon(note)
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == ["outer", "eager", "inner", "inner", "eager", "outer", "outer", None]


@pytest.mark.fastaio_only
def test_a_nested_run_within_a_task_of_asyncio(loop, monkeypatch):
    monkeypatch.setattr(asyncio, "_nest_patched", True, raising=False)  # as nest_asyncio.apply()
    seen = []

    async def inner():
        seen.append(asyncio.current_task().get_name())

    async def outer():
        loop.run_until_complete(loop.create_task(inner(), name="inner"))
        seen.append(asyncio.current_task().get_name())

    loop.run_until_complete(asyncio.Task(outer(), loop=loop, name="outer"))
    assert seen == ["inner", "outer"]


@pytest.mark.fastaio_only
@pytest.mark.skipif(not PYTHON_312, reason="eager tasks are new in 3.12")
def test_a_turn_within_an_eager_task_of_asyncio_within_a_callback(loop):
    seen = []

    async def eager():
        loop._run_once()

    def done(fut):
        sys.modules["_asyncio"].Task(eager(), loop=loop, eager_start=True)
        seen.append(asyncio.current_task())

    def start():
        fut = loop.create_future()
        fut.add_done_callback(references[0])
        fut.set_result(None)  # from here on only the loop has the future

    references = [done] * 3
    loop.call_soon(start)
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    assert seen == [None]


@pytest.mark.skipif(not PYTHON_312, reason="eager tasks are new in 3.12")
@pytest.mark.skipif(FREE_THREADED, reason="repr() of a task leaves out what another thread may run")
def test_an_eager_task_from_another_thread(same_outcome):
    def scenario(env):
        log = []

        async def nop():
            log.append("ran")

        def start():
            coro = nop()
            try:
                env.Task(coro, loop=env.loop, eager_start=True)
            except RuntimeError:  # from 3.14 on: the loop does not run in this thread
                coro.close()

        async def main():
            thread = threading.Thread(target=start)
            thread.start()
            thread.join()
            log.append(current(env))
            env.loop.call_soon(lambda: log.append(current(env)))

        env.run(env.task(main(), name="main"))
        env.turn(2)
        return log

    result, _ = same_outcome(scenario)
    assert result[0] == "returned"


@pytest.mark.fastaio_only
@pytest.mark.skipif(FREE_THREADED, reason="a thread cannot run turns of another thread's loop")
def test_turns_in_a_thread_that_ends_within_a_run(loop):
    """From 3.14 on the current task is a word of the thread state, which is freed."""
    seen = []

    async def nop():
        await asyncio.sleep(0)

    def turns():
        asyncio._set_running_loop(loop)
        loop.create_task(nop())
        for _ in range(3):
            loop.call_soon(lambda: None)
            loop._run_once()
        asyncio._set_running_loop(None)

    async def main():
        for _ in range(3):
            thread = threading.Thread(target=turns)
            thread.start()
            thread.join()
        del thread
        for _ in range(3):
            await asyncio.sleep(0)
            seen.append(asyncio.current_task().get_name())

    async def other():
        for _ in range(12):
            await asyncio.sleep(0)
            seen.append(asyncio.current_task().get_name())

    tasks = [loop.create_task(main(), name="main"), loop.create_task(other(), name="other")]
    loop.run_until_complete(asyncio.wait(tasks))
    assert [task.exception() for task in tasks] == [None, None]
    assert (seen.count("main"), seen.count("other")) == (3, 12)
