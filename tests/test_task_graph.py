"""Stacks of tasks, and who awaits whom."""

import asyncio
import io

import pytest

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
