"""Task as an object: who runs, what it waits for, bad yields, repr, reports, references."""

import abc
import asyncio
import gc
import threading
import types
import typing
import weakref

import pytest

from .support import GUARD, collect


async def nothing():
    return None


async def returning(value):
    await asyncio.sleep(0)
    return value


async def wait_for(fut):
    return await fut


# Who runs


def test_current_task(run):
    async def main():
        me = asyncio.current_task()
        assert me is not None
        seen = []
        loop = asyncio.get_running_loop()
        loop.call_soon(lambda: seen.append(asyncio.current_task()))

        async def child():
            seen.append(asyncio.current_task())
            await asyncio.sleep(0)
            seen.append(asyncio.current_task())

        task = asyncio.create_task(child())
        await task
        assert asyncio.current_task() is me
        assert seen == [None, task, task]

    run(main)


def test_no_current_task_outside(loop):
    assert asyncio.current_task(loop) is None
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.current_task()


def test_all_tasks(run):
    async def main():
        me = asyncio.current_task()
        tasks = {asyncio.create_task(returning(number)) for number in range(20)}
        assert asyncio.all_tasks() == tasks | {me}
        await asyncio.wait(tasks)
        assert asyncio.all_tasks() == {me}

    run(main)


def test_all_tasks_of_a_loop_that_does_not_run(loop, loop_factory):
    other = loop_factory()
    try:
        task = loop.create_task(returning(1))
        assert asyncio.all_tasks(loop) == {task}
        assert asyncio.all_tasks(other) == set()
        assert loop.run_until_complete(task) == 1
        assert asyncio.all_tasks(loop) == set()
    finally:
        other.close()


def test_all_tasks_from_another_thread(loop_factory):
    loop = loop_factory()
    ready = threading.Event()
    release = None
    tasks = []

    async def main():
        nonlocal release
        release = loop.create_future()
        tasks.append(asyncio.current_task())
        tasks.extend(asyncio.create_task(wait_for(release)) for _ in range(10))
        await asyncio.sleep(0)
        loop.call_soon(ready.set)
        await asyncio.wait(tasks[1:])

    thread = threading.Thread(target=loop.run_until_complete, args=(main(),))
    thread.start()
    try:
        assert ready.wait(GUARD)
        assert asyncio.all_tasks(loop) == set(tasks)
        assert asyncio.current_task(loop) is None
    finally:
        loop.call_soon_threadsafe(release.set_result, None)
        thread.join(GUARD)
        loop.close()
    assert all(task.done() for task in tasks)


def test_all_tasks_while_another_thread_makes_and_ends_them(loop_factory):
    loop = loop_factory()
    stop = threading.Event()
    rounds = 0

    async def main():
        nonlocal rounds
        while not stop.is_set():
            await asyncio.gather(*(returning(number) for number in range(20)))
            rounds += 1

    thread = threading.Thread(target=loop.run_until_complete, args=(main(),))
    thread.start()
    try:
        while rounds < 50 and thread.is_alive():
            assert all(isinstance(task, asyncio.Task) for task in asyncio.all_tasks(loop))
    finally:
        stop.set()
        thread.join(GUARD)
        loop.close()
    assert rounds >= 50


def test_registering_tasks_by_hand(run):
    async def main():
        loop = asyncio.get_running_loop()

        class Foreign:
            _loop = loop

            def get_loop(self):
                return self._loop

            def done(self):
                return False

        foreign = Foreign()
        asyncio._register_task(foreign)
        assert foreign in asyncio.all_tasks()
        asyncio._unregister_task(foreign)
        assert foreign not in asyncio.all_tasks()

    run(main)


def test_entering_tasks_by_hand(same_outcome):
    def scenario(env):
        seen = []
        first, second = (env.task(wait_for(fut)) for fut in (env.future(), env.future()))

        def attempt(action, task):
            try:
                action(env.loop, task)
            except RuntimeError as exc:
                seen.append(exc)
            seen.append(asyncio.current_task() in (first, second))

        def callback():
            attempt(asyncio._enter_task, first)
            attempt(asyncio._enter_task, second)
            attempt(asyncio._leave_task, second)
            attempt(asyncio._leave_task, first)
            attempt(asyncio._leave_task, first)

        env.turn()
        env.loop.call_soon(callback)
        env.turn()
        first.cancel()
        second.cancel()
        env.turn(2)
        return seen

    same_outcome(scenario)


# What may be awaited


@types.coroutine
def yielding(value):
    return (yield value)


class Foreign:
    """A future of no known class: the documented protocol and nothing else."""

    _asyncio_future_blocking = False

    def __init__(self, loop):
        self._loop = loop
        self.callbacks = []
        self.cancelled_with = []
        self.value = None

    def get_loop(self):
        return self._loop

    def add_done_callback(self, callback, *, context=None):
        self.callbacks.append((callback, context))

    def cancel(self, msg=None):
        self.cancelled_with.append(msg)
        self.finish(asyncio.CancelledError() if msg is None else asyncio.CancelledError(msg))
        return True

    def finish(self, value):
        self.value = value
        for callback, context in self.callbacks:
            self._loop.call_soon(callback, self, context=context)

    def result(self):
        if isinstance(self.value, BaseException):
            raise self.value
        return self.value

    def __await__(self):
        self._asyncio_future_blocking = True
        yield self
        return self.result()


def test_a_foreign_future(run):
    async def main():
        loop = asyncio.get_running_loop()
        foreign = Foreign(loop)
        loop.call_soon(loop.call_soon, foreign.finish, "value")
        task = asyncio.create_task(wait_for(foreign))
        await asyncio.sleep(0)
        assert task._fut_waiter is foreign
        assert foreign._asyncio_future_blocking is False
        assert await task == "value"

        failing = Foreign(loop)
        loop.call_soon(loop.call_soon, failing.finish, OSError("e"))
        with pytest.raises(OSError, match="e"):
            await asyncio.create_task(wait_for(failing))

    run(main)


def test_cancelling_while_waiting_for_a_foreign_future(run):
    async def main():
        foreign = Foreign(asyncio.get_running_loop())
        task = asyncio.create_task(wait_for(foreign))
        await asyncio.sleep(0)
        task.cancel("message")
        with pytest.raises(asyncio.CancelledError):
            await task
        assert foreign.cancelled_with == ["message"]

    run(main)


def bad_yield(make):
    def scenario(env):
        async def body():
            return await yielding(make(env))

        return env.run(env.task(body()))

    return scenario


def blocking(env, value):
    fut = env.future()
    fut.set_result(value)
    fut._asyncio_future_blocking = True
    return fut


BAD_YIELDS = {
    "an int": lambda env: 42,
    "a string": lambda env: "text",
    "a generator": lambda env: (number for number in range(3)),
    "none": lambda env: None,
    "a future not asked for": lambda env: env.future(),
    "a future twice": lambda env: blocking(env, "value"),
    "a list": lambda env: [1, 2],
    "an exception": lambda env: ValueError("yielded"),
}


@pytest.mark.parametrize("make", BAD_YIELDS.values(), ids=BAD_YIELDS)
def test_bad_yields(make, same_outcome):
    same_outcome(bad_yield(make))


def test_a_task_may_go_on_after_a_bad_yield(run):
    async def main():
        async def body():
            with pytest.raises(RuntimeError, match="Task got bad yield: 42"):
                await yielding(42)
            await asyncio.sleep(0)
            return "fine"

        assert await asyncio.create_task(body()) == "fine"

    run(main)


def test_a_future_of_another_loop(same_outcome):
    def scenario(env):
        other = env.new_loop()
        try:
            return env.run(env.task(wait_for(env.Future(loop=other))))
        finally:
            other.close()

    (how, (name, text)), _ = same_outcome(scenario)
    assert (how, name) == ("raised", "RuntimeError")
    assert text.endswith("attached to a different loop")


def test_a_task_that_awaits_itself(same_outcome):
    def scenario(env):
        async def body():
            await asyncio.current_task()

        return env.run(env.task(body()))

    (how, (name, text)), _ = same_outcome(scenario)
    assert (how, name) == ("raised", "RuntimeError")
    assert text.startswith("Task cannot await on itself")


def test_awaiting_a_coroutine_twice(same_outcome):
    def scenario(env):
        coro = nothing()
        env.run(env.task(coro))
        return env.run(env.task(coro))

    result, _ = same_outcome(scenario)
    assert result == ("raised", ("RuntimeError", "cannot reuse already awaited coroutine"))


# Leaving with more than an exception


@pytest.mark.parametrize("cls", [KeyboardInterrupt, SystemExit])
def test_leaving_a_task(cls, same_outcome):
    def scenario(env):
        async def body():
            await asyncio.sleep(0)
            raise cls("out")

        task = env.task(body())
        steps = []
        try:
            env.run(task)
        except cls as exc:
            steps.append(exc)
        steps += [task.done(), task.exception(), env.loop.is_running()]
        steps.append(env.run(env.task(returning("still usable"))))
        return steps

    (_, steps), _ = same_outcome(scenario)
    assert steps[-1] == "still usable"


class OwnBaseException(BaseException):
    pass


def test_any_other_base_exception_stays_in_the_task(run):
    async def main():
        async def body():
            raise OwnBaseException

        task = asyncio.create_task(body())
        with pytest.raises(OwnBaseException):
            await task
        assert type(task.exception()) is OwnBaseException

    run(main)


# repr, attributes, references


def test_attributes(same_outcome):
    def scenario(env):
        async def body():
            me = asyncio.current_task()
            seen = [me._fut_waiter, me._must_cancel, me._state, me._callbacks]
            await fut
            return seen

        fut = env.future()
        coro = body()
        task = env.task(coro)
        before = [task._coro is coro, task.get_coro() is coro, task._fut_waiter, task._must_cancel]
        before += [task._log_destroy_pending, task._state, task.get_loop() is env.loop]
        env.turn()
        waiting = [task._fut_waiter is fut, task._asyncio_future_blocking]
        fut.set_result(None)
        seen = env.run(task)
        return before, waiting, seen, task._fut_waiter, task.get_coro() is coro

    same_outcome(scenario)


def collect_nothing(task):
    """A callback with a name to be seen in a repr."""


def test_repr(same_outcome):
    def scenario(env):
        async def failing():
            raise ValueError("text")

        async def main():
            return asyncio.current_task(), repr(asyncio.current_task())

        fut = env.future()
        task = env.task(wait_for(fut), name="named")
        seen = [repr(task)]
        task.add_done_callback(seen.remove)
        task.remove_done_callback(seen.remove)
        task.add_done_callback(collect_nothing)
        seen.append(repr(task))
        env.turn()
        seen += [repr(task), repr(fut)]
        task.cancel()
        seen.append(repr(task))
        env.turn(2)
        seen.append(repr(task))
        done, failed = env.task(returning([1])), env.task(failing())
        env.turn(3)
        seen += [repr(done), repr(failed), env.run(env.task(main()))]
        failed.exception()
        env.loop.set_debug(True)
        debug = env.task(nothing())
        seen.append(repr(debug))
        env.run(debug)
        return seen + [repr(debug)]

    (_, seen), _ = same_outcome(scenario)
    assert seen[0].startswith("<Task pending name='named' coro=<wait_for()")


def test_weak_references(run):
    async def main():
        task = asyncio.create_task(returning(1))
        died = []
        ref = weakref.ref(task, died.append)
        await task
        assert ref() is task
        del task
        await asyncio.sleep(0)
        collect()
        assert ref() is None
        assert died == [ref]

    run(main)


def test_generic_alias(task_type):
    alias = task_type[int]
    assert isinstance(alias, types.GenericAlias)
    assert alias.__origin__ is task_type


def test_class_relations(task_type):
    assert issubclass(task_type, asyncio.Task)
    assert issubclass(task_type, asyncio.Future)


def test_subclassing(run, task_type):
    class Named(task_type):
        made = 0

        def __init__(self, coro, *, loop, label="none", **kwargs):
            super().__init__(coro, loop=loop, **kwargs)
            self.label = label
            Named.made += 1

        def cancel(self, msg=None):
            self.label = "cancelled"
            return super().cancel(msg)

    async def main():
        loop = asyncio.get_running_loop()
        task = Named(returning(1), loop=loop, label="mine", name="n")
        assert isinstance(task, asyncio.Task)
        assert await task == 1
        assert (task.label, task.get_name(), Named.made) == ("mine", "n", 1)
        waiting = Named(wait_for(loop.create_future()), loop=loop)
        await asyncio.sleep(0)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(waiting, 0.001)
        assert waiting.label == "cancelled"

    run(main)


# Reports


def test_an_exception_never_retrieved(same_outcome):
    def scenario(env):
        async def failing():
            raise ValueError("forgotten")

        env.loop.create_task(failing())
        env.turn(2)

    _, reports = same_outcome(scenario)
    assert [report["message"] for report in reports] == ["Task exception was never retrieved"]


def test_a_pending_task_that_is_destroyed(same_outcome):
    def scenario(env):
        def start():
            fut = env.future()
            env.task(wait_for(fut), name="lost")
            env.turn()

        start()
        collect()

    _, reports = same_outcome(scenario)
    assert [report["message"] for report in reports] == ["Task was destroyed but it is pending!"]
    assert set(reports[0]) == {"message", "task"}


def test_a_pending_task_whose_report_is_off(same_outcome):
    def scenario(env):
        task = env.task(wait_for(env.future()))
        env.turn()
        task._log_destroy_pending = False
        assert task._log_destroy_pending is False

    _, reports = same_outcome(scenario)
    assert reports == []


# Foreign loops


@pytest.mark.parametrize("debug", [False, True])
def test_a_task_on_a_foreign_loop(task_type, debug):
    foreign = asyncio.SelectorEventLoop()
    foreign.set_debug(debug)
    try:

        async def main():
            assert asyncio.current_task() is task
            assert asyncio.all_tasks() == {task}
            child = task_type(returning(2), loop=foreign)
            assert asyncio.all_tasks() == {task, child}
            first = await child
            cancelled = task_type(wait_for(foreign.create_future()), loop=foreign)
            await asyncio.sleep(0)
            cancelled.cancel()
            await asyncio.wait([cancelled])
            return first, cancelled.cancelled()

        task = task_type(main(), loop=foreign)
        assert foreign.run_until_complete(task) == (2, True)
    finally:
        foreign.close()


def test_tasks_of_asyncio_on_the_loop(run):
    async def main():
        loop = asyncio.get_running_loop()
        for cls in (asyncio.Task, asyncio.tasks._PyTask):
            task = cls(returning("value"), loop=loop)
            if cls is asyncio.Task:
                assert task in asyncio.all_tasks()
            assert await task == "value"
            waiting = cls(wait_for(loop.create_future()), loop=loop)
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

    run(main)


def test_a_task_is_a_future(loop, future_type, task_type, on_fastaio):
    task = task_type(asyncio.sleep(0), loop=loop)
    assert isinstance(task, future_type)
    assert issubclass(task_type, future_type)
    assert not issubclass(future_type, task_type)
    assert not isinstance(future_type(loop=loop), task_type)
    assert task_type.__mro__.index(future_type) < task_type.__mro__.index(object)
    # Its methods take a task.
    seen = []
    future_type.add_done_callback(task, seen.append)
    assert future_type.done(task) is False
    loop.run_until_complete(task)
    assert future_type.result(task) is None
    assert future_type.exception(task) is None
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == [task]
    with pytest.raises(TypeError):
        task_type.cancelling(future_type(loop=loop))
    if on_fastaio:  # asyncio's makes a task that nothing can be done with
        with pytest.raises(TypeError):
            future_type.__new__(task_type)


def test_classes_derived_from_both(loop, future_type, task_type):
    value = typing.TypeVar("value")

    class Mixin:
        def mixed(self):
            return "mixed"

        def result(self):
            return ("mixed", super().result())

    class Future(Mixin, future_type, abc.ABC):
        pass

    class Task(Mixin, task_type, typing.Generic[value]):
        def get_name(self):
            return "my " + super().get_name()

    class Deeper(Task[int]):
        def cancel(self, msg=None):
            return super().cancel(msg)

    task = Deeper(asyncio.sleep(0, "done"), loop=loop, name="name")
    fut = Future(loop=loop)
    fut.set_result(task)
    loop.run_until_complete(task)
    assert (task.result(), task.get_name(), task.mixed()) == (("mixed", "done"), "my name", "mixed")
    assert fut.result() == ("mixed", task)
    assert isinstance(task, future_type) and isinstance(fut, future_type)
    assert super(task_type, task).done() if task_type is asyncio.Task else True
    del task, fut
    gc.collect()
