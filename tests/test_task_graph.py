"""Stacks of tasks, and who awaits whom."""

import asyncio
import inspect
import io
import sys

import pytest

from . import primutil
from .support import PYTHON_314


async def wait_for(fut):
    return await fut


def test_get_stack(same_outcome):
    def scenario(env):
        async def inner():
            await env.loop.create_future()

        async def outer():
            await inner()

        def look(task):
            return [(frame.f_code.co_name, frame.f_lineno) for frame in task.get_stack()]

        task = env.task(outer())
        seen = [look(task)]
        env.turn(2)
        seen += [look(task), len(task.get_stack(limit=1))]
        task.cancel()
        env.turn(2)
        seen.append(look(task))
        return seen

    (_, seen), _ = same_outcome(scenario)
    assert seen[1][0][0] == "outer"


def test_print_stack(same_outcome):
    def scenario(env):
        async def inner():
            await env.loop.create_future()

        async def failing():
            raise ValueError("printed")

        out = io.StringIO()
        waiting, failed = env.task(inner()), env.task(failing())
        waiting.print_stack(file=out)
        env.turn(2)
        for limit in (None, 1):
            waiting.print_stack(limit=limit, file=out)
            failed.print_stack(limit=limit, file=out)
        failed.exception()
        waiting.cancel()
        env.turn(2)
        waiting.print_stack(file=out)
        return out.getvalue()

    (_, text), _ = same_outcome(scenario)
    assert "printed" in text


@pytest.mark.skipif(not PYTHON_314, reason="call graphs are new in 3.14")
def test_call_graph(same_outcome):
    def scenario(env):
        async def leaf():
            await asyncio.sleep(0)
            return asyncio.format_call_graph(), asyncio.capture_call_graph()

        async def middle():
            async with asyncio.TaskGroup() as group:
                task = group.create_task(leaf(), name="leaf")
            return task.result()

        async def main():
            return await asyncio.gather(env.loop.create_task(middle(), name="middle"))

        [(text, graph)] = env.run(env.loop.create_task(main(), name="main"))
        names = [graph.future.get_name()]
        while graph.awaited_by:
            names.append(len(graph.awaited_by))
            graph = graph.awaited_by[0]
            is_task = isinstance(graph.future, asyncio.Task)
            names.append(graph.future.get_name() if is_task else type(graph.future).__name__)
        return text, names

    (_, (text, names)), _ = same_outcome(scenario)
    assert "main" in names and "middle" in text


@pytest.mark.skipif(not PYTHON_314, reason="call graphs are new in 3.14")
def test_the_call_graph_of_a_task_that_waits(same_outcome):
    def scenario(env):
        async def awaiter(task):
            await task

        out = io.StringIO()
        fut = env.future()
        inner = env.task(wait_for(fut), name="inner")
        first = env.task(awaiter(inner), name="first")
        second = env.task(awaiter(inner), name="second")
        env.turn(2)
        awaited_by = sorted(task.get_name() for task in inner._asyncio_awaited_by)
        asyncio.print_call_graph(fut, file=out)
        asyncio.print_call_graph(first, file=out, depth=1, limit=1)
        fut.set_result(None)
        env.run(asyncio.gather(first, second))
        return awaited_by, inner._asyncio_awaited_by, sorted(out.getvalue().splitlines())

    (_, (awaited_by, _, _)), _ = same_outcome(scenario)
    assert awaited_by == ["first", "second"]


# Coroutines in C, which have no frame of the interpreter


@pytest.mark.fastaio_only
def test_stack_of_a_native_coroutine(run):
    async def main():
        task = asyncio.ensure_future(primutil.FASTAIO.Queue().get())
        await asyncio.sleep(0)
        out = io.StringIO()
        task.print_stack(file=out)
        task.cancel()
        await asyncio.wait([task])
        return out.getvalue(), repr(task)

    text, shown = run(main)
    assert '  File "<fastaio>", line 1, in get\n' in text
    assert "coro=<Queue.get() done, defined at <fastaio>:1>" in shown


@pytest.mark.fastaio_only
@pytest.mark.skipif(not PYTHON_314, reason="call graphs are new in 3.14")
def test_call_graph_through_native_coroutines(run):
    aio = primutil.FASTAIO

    async def inner():
        await aio.sleep(10)

    async def outer():
        await aio.wait_for(inner(), 5)

    async def main():
        task = asyncio.create_task(outer())
        await asyncio.sleep(0)
        text = asyncio.format_call_graph(task)
        task.cancel()
        await asyncio.wait([task])
        # Older releases of asyncio cannot show a task that has ended.
        shows_ended = sys.version_info >= (3, 14, 10)
        return text, asyncio.format_call_graph(task) if shows_ended else ""

    waiting, ended = run(main)
    names = [line.rpartition(" ")[2] for line in waiting.splitlines()[2:]]
    outer_name, inner_name = outer.__qualname__, inner.__qualname__
    assert names == ["sleep()", f"{inner_name}()", "wait_for()", f"{outer_name}()"]
    assert "sleep" not in ended


@pytest.mark.parametrize("name", ["Queue", "Event"])
@pytest.mark.parametrize("aio", [primutil.ASYNCIO, primutil.FASTAIO], ids=["asyncio", "own"])
def test_what_inspect_tells(run, aio, name):
    """The state of a coroutine, and what it awaits."""

    async def main():
        it = getattr(aio, name)()
        method = it.join if name == "Queue" else it.wait
        if name == "Queue":
            it.put_nowait(1)
        coro = method()
        seen = [inspect.getcoroutinestate(coro), coro.cr_await, inspect.getcoroutinelocals(coro)]
        frame = coro.cr_frame
        seen += [frame.f_code.co_name, frame.f_code.co_qualname, frame.f_back]
        coro.send(None)
        seen.append(inspect.getcoroutinestate(coro))
        seen.append(getattr(coro.cr_await, "__name__", None))
        coro.close()
        seen += [inspect.getcoroutinestate(coro), coro.cr_frame, coro.cr_await]
        seen.append(inspect.getcoroutinelocals(coro))
        return seen

    seen = run(main)
    name = "join" if name == "Queue" else "wait"
    assert seen[:2] == ["CORO_CREATED", None]
    assert seen[3] == name
    assert seen[4].endswith(f".{name}")
    assert seen[5:7] == [None, "CORO_SUSPENDED"]
    assert seen[7] == ("wait" if name == "join" else None)
    assert seen[8:] == ["CORO_CLOSED", None, None, {}]
