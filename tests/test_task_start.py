"""Task: names, contexts, eager start, task factories."""

import asyncio
import contextvars
import gc
import re
import sys
from fractions import Fraction

import pytest

from .support import FREE_THREADED, PYTHON_312, PYTHON_314, normalise, run_python

needs_eager = pytest.mark.skipif(not PYTHON_312, reason="eager start is new in 3.12")


async def nothing():
    return None


async def returning(value):
    await asyncio.sleep(0)
    return value


def closing(coro, use):
    try:
        return use(coro)
    finally:
        coro.close()


# Names and contexts


def test_names(run):
    async def main():
        named = asyncio.create_task(nothing(), name="given")
        assert named.get_name() == "given"
        named.set_name("changed")
        assert named.get_name() == "changed"
        named.set_name(42)
        assert named.get_name() == "42"
        plain = asyncio.create_task(nothing())
        assert normalise(plain.get_name()) == "Task-N"
        number = asyncio.create_task(nothing(), name=7)
        assert number.get_name() == "7"
        await asyncio.wait([named, plain, number])

    run(main)


def test_default_names_count_up(run):
    async def main():
        tasks = [asyncio.create_task(nothing()) for _ in range(3)]
        numbers = [int(task.get_name().removeprefix("Task-")) for task in tasks]
        assert numbers == sorted(set(numbers))
        await asyncio.wait(tasks)

    run(main)


def test_a_name_whose_str_raises(same_outcome):
    class Bad:
        def __str__(self):
            raise ZeroDivisionError("no name")

    same_outcome(lambda env: closing(nothing(), lambda c: env.task(c, name=Bad())))


def test_a_task_runs_in_a_copy_of_the_context(run):
    var = contextvars.ContextVar("var", default=0)

    async def main():
        var.set(1)

        async def child():
            seen = var.get()
            var.set(2)
            await asyncio.sleep(0)
            return seen, var.get()

        assert await asyncio.create_task(child()) == (1, 2)
        assert var.get() == 1

    run(main)


def test_a_task_runs_in_the_context_given(run):
    var = contextvars.ContextVar("var", default=0)

    async def main():
        context = contextvars.copy_context()

        async def child():
            var.set(5)
            await asyncio.sleep(0)
            var.set(var.get() + 1)

        task = asyncio.create_task(child(), context=context)
        if sys.version_info >= (3, 12):
            assert task.get_context() is context
        await task
        assert context[var] == 6
        assert var.get() == 0

    run(main)


def test_callbacks_of_a_task_keep_their_context(run):
    var = contextvars.ContextVar("var", default="outside")

    async def main():
        seen = []

        async def child():
            var.set("inside")

        task = asyncio.create_task(child())
        task.add_done_callback(lambda task: seen.append(var.get()))
        await task
        await asyncio.sleep(0)
        assert seen == ["outside"]

    run(main)


# Factories


def recorded_factory(env, calls):
    def factory(loop, coro, **kwargs):
        calls.append((loop is env.loop, sorted(kwargs.items(), key=lambda item: item[0])))
        kwargs.pop("eager_start", None)
        return env.Task(coro, loop=loop, **kwargs)

    return factory


CREATE_TASK = {
    "nothing": {},
    "name": {"name": "given"},
    "context": {"context": contextvars.Context()},
    "both": {"name": "given", "context": contextvars.Context()},
    "nones": {"name": None, "context": None},
    "eager": {"eager_start": True},
    "unknown": {"color": "red"},
}


@pytest.mark.parametrize("kwargs", CREATE_TASK.values(), ids=CREATE_TASK)
def test_a_factory_gets_what_create_task_got(kwargs, same_outcome):
    def scenario(env):
        calls = []
        env.loop.set_task_factory(recorded_factory(env, calls))

        def use(coro):
            task = env.loop.create_task(coro, **kwargs)
            env.run(task)
            return calls, task.get_name()

        try:
            return closing(nothing(), use)
        finally:
            calls.append("end")

    same_outcome(scenario)


def test_a_factory_may_return_anything(same_outcome):
    class NoTask:
        name = "not set"

        def set_name(self, name):
            self.name = name

    def scenario(env):
        env.loop.set_task_factory(lambda loop, coro, **kwargs: coro.close() or NoTask())
        return env.loop.create_task(nothing()).name, env.loop.create_task(nothing(), name="n").name

    same_outcome(scenario)


def test_a_factory_must_be_callable(same_outcome):
    def scenario(env):
        env.loop.set_task_factory(None)
        assert env.loop.get_task_factory() is None
        env.loop.set_task_factory(5)

    result, _ = same_outcome(scenario)
    assert result == ("raised", ("TypeError", "task factory must be a callable or None"))


# Eager start


@needs_eager
def test_an_eager_task_runs_up_to_its_first_wait(run, task_type):
    async def main():
        order = []

        async def body():
            order.append(asyncio.current_task())
            await asyncio.sleep(0)
            order.append("resumed")
            return "value"

        me = asyncio.current_task()
        task = task_type(body(), loop=asyncio.get_running_loop(), eager_start=True)
        assert order == [task]
        assert asyncio.current_task() is me
        assert not task.done()
        assert await task == "value"

    run(main)


@needs_eager
def test_an_eager_task_may_be_done_at_once(run, task_type):
    async def main():
        loop = asyncio.get_running_loop()
        task = task_type(nothing(), loop=loop, eager_start=True)
        assert task.done()
        assert task not in asyncio.all_tasks()

        async def failing():
            raise ValueError("eager")

        task = task_type(failing(), loop=loop, eager_start=True)
        assert isinstance(task.exception(), ValueError)

        async def cancelling():
            asyncio.current_task().cancel()
            await asyncio.sleep(0)

        task = task_type(cancelling(), loop=loop, eager_start=True)
        await asyncio.wait([task])
        assert task.cancelled()

    run(main)


@needs_eager
def test_eager_task_factories(run, task_type):
    async def main():
        loop = asyncio.get_running_loop()
        for factory, cls in (
            (asyncio.eager_task_factory, asyncio.Task),
            (asyncio.create_eager_task_factory(task_type), task_type),
        ):
            loop.set_task_factory(factory)
            assert loop.get_task_factory() is factory
            order = []

            async def body(order=order):
                order.append("ran")
                await asyncio.sleep(0)
                return "value"

            task = asyncio.create_task(body(), name="named")
            assert isinstance(task, cls)
            assert order == ["ran"]
            assert task.get_name() == "named"
            async with asyncio.TaskGroup() as group:
                child = group.create_task(returning(3))
            assert child.result() == 3
            assert await task == "value"
        loop.set_task_factory(None)

    run(main)


@needs_eager
def test_eager_contexts(run, task_type):
    var = contextvars.ContextVar("var", default=0)

    async def main():
        var.set(1)

        async def body():
            seen = var.get()
            var.set(2)
            await asyncio.sleep(0)
            return seen, var.get()

        task = task_type(body(), loop=asyncio.get_running_loop(), eager_start=True)
        assert var.get() == 1
        assert await task == (1, 2)

    run(main)


@needs_eager
def test_eager_start_outside_a_running_loop(same_outcome):
    def scenario(env):
        def use(coro):
            task = env.task(coro, eager_start=True)
            done = task.done()
            env.run(task)
            return done

        return closing(nothing(), use)

    same_outcome(scenario)


@pytest.mark.skipif(not PYTHON_314, reason="new in 3.14")
def test_create_task_passes_eager_start_on(run):
    async def main():
        task = asyncio.create_task(nothing(), eager_start=True)
        assert task.done()
        task = asyncio.create_task(nothing(), eager_start=False)
        assert not task.done()
        await task

    run(main)


@needs_eager
def test_the_factory_of_eager_tasks(same_outcome):
    def scenario(env):
        seen = []
        var = contextvars.ContextVar("var", default=None)

        async def step(what):
            seen.append((what, asyncio.current_task().get_name().startswith("Task-"), var.get()))
            return what

        async def fail():
            raise KeyError

        async def main():
            loop = asyncio.get_running_loop()
            loop.set_task_factory(asyncio.eager_task_factory)
            assert loop.get_task_factory() is asyncio.eager_task_factory
            context = contextvars.copy_context()
            context.run(var.set, "set")
            tasks = [
                loop.create_task(step("plain")),
                loop.create_task(step("named"), name="name"),
                loop.create_task(step("in context"), context=context),
                asyncio.create_task(step("asyncio")),
                asyncio.ensure_future(step("ensured")),
            ]
            done = [task.done() for task in tasks]
            failing = loop.create_task(fail())
            results = await asyncio.gather(*tasks, failing, return_exceptions=True)
            try:
                coro = step("bad")
                loop.create_task(coro, color="red")
            except TypeError:
                seen.append("TypeError")
            coro.close()
            async with asyncio.TaskGroup() as group:
                group.create_task(step("grouped"))
            return done, results, tasks[1].get_name()

        result = env.run(main())
        task = env.loop.create_task(asyncio.sleep(0))  # the loop does not run
        seen.append(task.done())
        env.run(task)
        return result, seen

    assert same_outcome(scenario)[0][0] == "returned"


@needs_eager
def test_names_with_a_factory(same_outcome):
    """Releases differ in whether a factory gets the name, and in the name of a task without one."""

    def scenario(env):
        seen = []

        async def step():
            seen.append(name_of(asyncio.current_task()))
            await asyncio.sleep(0)

        def name_of(task):
            return re.sub(r"\d+", "N", task.get_name())

        def own_factory(loop, coro, **kwargs):
            seen.append(sorted(kwargs))
            return env.Task(coro, loop=loop, **kwargs)

        async def main():
            loop = asyncio.get_running_loop()
            for factory in (asyncio.eager_task_factory, own_factory, None):
                loop.set_task_factory(factory)
                for keywords in (
                    {},
                    {"name": None},
                    {"name": "x"},
                    {"name": 7},
                    {"eager_start": True},
                    {"eager_start": False, "name": "y"},
                ):
                    coro = step()
                    try:
                        task = loop.create_task(coro, **keywords)
                    except TypeError:
                        coro.close()
                        seen.append("TypeError")
                    else:
                        seen.append(name_of(task))
                        await task
            loop.set_task_factory(asyncio.eager_task_factory)

            async def child():
                await asyncio.sleep(0)
                return name_of(asyncio.current_task())

            return await asyncio.gather(child(), child()), await asyncio.create_task(child())

        return env.run(main()), seen

    assert same_outcome(scenario)[0][0] == "returned"


def test_a_context_that_is_none(same_outcome):
    """Some releases refuse what is no Context; others find out at the first step."""

    def scenario(env):
        seen = []
        env.loop.set_exception_handler(lambda loop, context: None)
        for make in (env.task, env.loop.create_task):
            for context in (0, "context", contextvars.ContextVar("var"), Fraction(1)):
                coro = nothing()
                try:
                    make(coro, context=context)
                except TypeError as exc:
                    seen.append(str(exc))
                else:
                    seen.append("made")
                coro.close()
        return seen

    assert same_outcome(scenario)[0][0] == "returned"


@needs_eager
def test_an_eager_start_that_fails(same_outcome):
    """Newer releases are silent where the task has begun to start, and report one that has not."""

    def scenario(env):
        seen = []

        class Loop:
            def __init__(self, answer):
                self.answer = answer

            def is_running(self):
                return self.answer()

            def get_debug(self):
                return False

            def call_exception_handler(self, context):
                seen.append(context["message"])

            def call_soon(self, *args, **kwargs):
                raise ZeroDivisionError

        def start(loop, context):
            coro = nothing()
            with pytest.raises((RuntimeError, ZeroDivisionError)):
                env.Task(coro, loop=loop, context=context, eager_start=True)
            coro.close()
            gc.collect()
            seen.append("started")

        context = contextvars.copy_context()
        if asyncio.tasks._PyTask.__init__.__code__.co_exceptiontable:  # older ones keep the task
            context.run(start, Loop(lambda: True), context)
        for answer in (lambda: False, lambda: 1 / 0):
            start(Loop(answer), None)
        return seen

    assert same_outcome(scenario)[0][0] == "returned"


@needs_eager
@pytest.mark.fastaio_only
def test_the_factory_of_eager_tasks_makes_native_ones(run):
    import fastaio

    async def nop():
        pass

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)
        kinds = [type(loop.create_task(nop())), type(asyncio.create_task(nop(), name="x"))]
        loop.set_task_factory(asyncio.create_eager_task_factory(fastaio.Task))
        kinds.append(type(loop.create_task(nop())))
        return kinds

    assert run(main) == [fastaio.Task] * 3


NAMES = """
import asyncio, sys
import fastaio

async def nop():
    pass

async def main():
    loop = asyncio.get_running_loop()
    tasks = [asyncio.current_task()]
    kinds = (fastaio.Task, asyncio.Task) if "mixed" in sys.argv else (fastaio.Task,)
    for make in kinds * 3 + (loop.create_task, asyncio.create_task) * 2:
        tasks.append(make(nop(), **({"loop": loop} if isinstance(make, type) else {})))
    await asyncio.wait(tasks[1:])
    return [task.get_name() for task in tasks]

loop = fastaio.new_event_loop()
print(*loop.run_until_complete(main()))
"""


@pytest.mark.fastaio_only
@pytest.mark.skipif(not PYTHON_312, reason="3.11 has its counter where it cannot be shared")
def test_native_tasks_and_those_of_asyncio_are_numbered_together():
    names = run_python(NAMES, "mixed").stdout.split()
    if not FREE_THREADED:
        assert names == [f"Task-{number}" for number in range(1, len(names) + 1)]
    else:  # a loop takes numbers in blocks
        assert len(set(names)) == len(names)


@pytest.mark.fastaio_only
def test_native_tasks_of_one_loop_are_numbered_in_order():
    names = run_python(NAMES).stdout.split()
    first = int(names[0].removeprefix("Task-"))
    assert names == [f"Task-{number}" for number in range(first, first + len(names))]
