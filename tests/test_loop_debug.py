"""Debug mode, and what is set on a loop or overridden in a subclass from outside."""

import asyncio
import logging
import math
import os
import re
import socket
import sys
import threading
import time

import pytest

from .support import GUARD, PYTHON_312, collect, describe, run_python


async def nothing():
    return None


async def returning(value):
    await asyncio.sleep(0)
    return value


def turn(loop):
    loop.call_soon(loop.stop)
    loop.run_forever()


# Debug mode


def test_switching_it(loop):
    assert loop.get_debug() is False
    assert loop._debug is False
    loop.set_debug(True)
    assert loop.get_debug() is True
    assert loop._debug is True
    assert loop.slow_callback_duration == 0.1
    loop.slow_callback_duration = 5
    assert loop.slow_callback_duration == 5


def test_slow_callbacks_are_logged(loop, caplog):
    loop.set_debug(True)
    loop.slow_callback_duration = 0.01

    def slow():
        time.sleep(0.02)

    async def slow_task():
        time.sleep(0.02)

    with caplog.at_level(logging.WARNING, logger="asyncio"):
        loop.call_soon(slow)
        turn(loop)
        task = loop.create_task(slow_task())
        turn(loop)
    texts = [r.getMessage() for r in caplog.records if "took" in r.getMessage()]
    assert texts[0].startswith("Executing <Handle test_slow_callbacks_are_logged.<locals>.slow()")
    assert "test_loop_debug.py" in texts[0]
    assert any("slow_task()" in text and "Task" in text for text in texts[1:])
    assert all(re.search(r" took \d+\.\d{3} seconds$", text) for text in texts)
    assert task.done()


@pytest.mark.parametrize("limit", [math.nan, math.inf, 3600, 0])
def test_limits_of_slow_callbacks(same_outcome, caplog, limit):
    def scenario(env):
        env.loop.set_debug(True)
        env.loop.slow_callback_duration = limit
        caplog.clear()
        env.loop.call_soon(print, "cancelled").cancel()
        env.loop.call_soon(int, 0)
        env.turn()
        texts = [record.getMessage() for record in caplog.records]
        slow = [text for text in texts if text.startswith("Executing ")]
        return env.loop.slow_callback_duration == limit, len(slow)

    with caplog.at_level(logging.WARNING, logger="asyncio"):
        result, _ = same_outcome(scenario)
    assert result == ("returned", [not math.isnan(limit), 0 if limit else 2])


def test_quick_callbacks_are_not_logged(loop, caplog):
    loop.set_debug(True)
    loop.slow_callback_duration = 3600
    with caplog.at_level(logging.WARNING, logger="asyncio"):
        loop.run_until_complete(returning(1))
    assert [record for record in caplog.records if "took" in record.getMessage()] == []


def test_calls_from_the_wrong_thread(loop):
    loop.set_debug(True)
    errors = []

    def wrong():
        for method, *args in (
            (loop.call_soon, print),
            (loop.call_later, 1, print),
            (loop.call_at, 1, print),
        ):
            try:
                method(*args)
            except RuntimeError as exc:
                errors.append(str(exc))

    async def main():
        await asyncio.wait_for(loop.run_in_executor(None, wrong), GUARD)

    loop.run_until_complete(main())
    expected = "Non-thread-safe operation invoked on an event loop other than the current one"
    assert [error[: len(expected)] for error in errors] == [expected] * 3


def test_the_right_ways_from_another_thread_are_allowed(loop):
    loop.set_debug(True)
    seen = []

    async def main():
        fut = loop.create_future()
        thread = threading.Thread(
            target=loop.call_soon_threadsafe, args=(fut.set_result, "threadsafe")
        )
        thread.start()
        seen.append(await asyncio.wait_for(fut, GUARD))
        thread.join(GUARD)

    loop.run_until_complete(main())
    assert seen == ["threadsafe"]


def test_the_origin_of_coroutines_is_tracked_while_running(loop):
    before = sys.get_coroutine_origin_tracking_depth()

    async def depth():
        return sys.get_coroutine_origin_tracking_depth()

    assert loop.run_until_complete(depth()) == before
    loop.set_debug(True)
    assert loop.run_until_complete(depth()) > 0
    assert sys.get_coroutine_origin_tracking_depth() == before

    async def switch_off():
        loop.set_debug(False)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return sys.get_coroutine_origin_tracking_depth()

    assert loop.run_until_complete(switch_off()) == before


def test_a_coroutine_never_awaited_shows_its_origin(loop):
    loop.set_debug(True)

    async def main():
        nothing()
        collect()

    with pytest.warns(RuntimeWarning, match="was never awaited(.|\n)*Coroutine created at"):
        loop.run_until_complete(main())


@pytest.mark.parametrize("name", ["sock_recv", "StreamReader.read"])
def test_a_native_coroutine_never_awaited_shows_its_origin(loop, name):
    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    def forget(function, *args):
        coro = function(*args)
        assert sys.get_coroutine_origin_tracking_depth() > 0
        origin = coro.cr_origin
        del coro
        collect()
        return origin

    async def main():
        if name == "sock_recv":
            return forget(loop.sock_recv, ours, 1)
        reader, writer = await asyncio.open_connection(sock=ours)
        try:
            return forget(reader.read, 1)
        finally:
            writer.close()
            await writer.wait_closed()

    loop.set_debug(True)
    with pytest.warns(RuntimeWarning, match="was never awaited") as caught:
        origin = loop.run_until_complete(main())
    ours.close()
    theirs.close()
    assert [place[2] for place in origin][:2] == ["forget", "main"]
    assert [place[0] for place in origin][:2] == [__file__] * 2
    lines = str(caught[0].message).splitlines()
    assert lines[0].endswith("was never awaited")
    assert lines[1] == "Coroutine created at (most recent call last)"
    assert lines[-1].strip() == "coro = function(*args)"


def test_without_debug_mode_no_origin_is_kept(loop):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        coro = loop.sock_recv(ours, 1)
        assert coro.cr_origin is None
        coro.close()


def test_source_tracebacks(loop):
    loop.set_debug(True)
    handle = loop.call_soon(int)
    timer = loop.call_later(0, int)
    threadsafe = loop.call_soon_threadsafe(int)
    future = loop.create_future()
    task = loop.create_task(nothing())
    for thing in (handle, timer, threadsafe, future, task):
        # asyncio's own create_future is written in Python, and so the last entry.
        names = [entry.name for entry in thing._source_traceback[-2:]]
        assert "test_source_tracebacks" in names
    loop.run_until_complete(task)


def test_the_report_of_a_callback_has_its_source(loop):
    contexts = []
    loop.set_debug(True)
    loop.set_exception_handler(lambda loop, context: contexts.append(context))

    def bad():
        raise ValueError

    loop.call_soon(bad)
    turn(loop)
    assert contexts[0]["source_traceback"][-1].filename == __file__
    assert isinstance(contexts[0]["handle"], asyncio.Handle)


def test_reports_of_a_connection_have_their_source(same_outcome):
    def scenario(env):
        class Failing(asyncio.Protocol):
            def connection_made(self, transport):
                raise ValueError("made")

            def connection_lost(self, exc):
                raise ValueError("lost")

        async def connect():
            transport, _ = await env.loop.create_connection(Failing, sock=ours)
            return transport

        async def close(transport):
            transport.close()

        contexts = []
        env.loop.set_debug(True)
        env.loop.set_exception_handler(lambda loop, context: contexts.append(context))
        ours, theirs = socket.socketpair()
        with theirs:
            env.run(close(env.run(connect())))
            env.turn(3)
        seen = []
        for context in contexts:
            names = [frame.name for frame in context["source_traceback"]]
            called = [name for name in ("connect", "close") if name in names]
            seen.append((list(context), context["exception"], called))
        return seen

    same_outcome(scenario)


@pytest.mark.parametrize("method", ["add_reader", "add_writer"])
def test_the_report_of_a_watched_descriptor_has_its_source(same_outcome, method):
    def scenario(env):
        def ready():
            remove(ours)
            raise ValueError(method)

        contexts = []
        env.loop.set_debug(True)
        env.loop.set_exception_handler(lambda loop, context: contexts.append(context))
        remove = getattr(env.loop, method.replace("add", "remove"))
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.send(b"x")
            getattr(env.loop, method)(ours, ready)
            env.turn(3)
        return [
            (
                list(context),
                context["exception"],
                "scenario" in [frame.name for frame in context["source_traceback"]],
            )
            for context in contexts
        ]

    same_outcome(scenario)


def test_debug_by_the_environment(loop_factory_source):
    source = f"print(({loop_factory_source})().get_debug())"
    environment = {**os.environ, "PYTHONASYNCIODEBUG": "1"}
    assert run_python(source, env=environment).stdout.strip() == "True"
    environment["PYTHONASYNCIODEBUG"] = ""
    assert run_python(source, env=environment).stdout.strip() == "False"


# Set on a loop


def recording(loop, name):
    """Put a recorder in the place of a method of `loop`; returns its calls."""
    calls = []
    original = getattr(loop, name)

    def recorder(*args, **kwargs):
        calls.append((args, kwargs))
        return original(*args, **kwargs)

    setattr(loop, name, recorder)
    return calls


def test_any_attribute_can_be_set(loop):
    loop.something_of_mine = 5
    assert loop.something_of_mine == 5
    assert loop.__dict__["something_of_mine"] == 5
    del loop.something_of_mine
    assert not hasattr(loop, "something_of_mine")


def test_call_soon_is_used_by_connections(same_outcome):
    def scenario(env):
        async def connect():
            transport, _ = await env.loop.create_connection(asyncio.Protocol, sock=ours)
            transport.close()

        ours, theirs = socket.socketpair()
        with theirs:
            calls = recording(env.loop, "call_soon")
            env.run(connect())
            env.turn(3)
        names = [getattr(args[0], "__name__", "") for args, _ in calls]
        return [name for name in ("connection_made", "_call_connection_lost") if name in names]

    same_outcome(scenario)


def test_call_soon_is_used_by_futures_and_tasks(same_outcome):
    def scenario(env):
        calls = recording(env.loop, "call_soon")
        seen = []
        fut = env.future()
        fut.add_done_callback(seen.append)
        fut.set_result(None)
        seen.append([args[0] == seen.append or args[1] == fut for args, _ in calls])
        before = len(calls)
        env.run(env.loop.create_task(returning(3)))
        seen.append(len(calls) - before)
        del env.loop.call_soon
        env.turn()
        return describe(seen)

    same_outcome(scenario)


def test_a_call_soon_that_refuses(same_outcome):
    def scenario(env):
        def refuse(*args, **kwargs):
            raise ValueError("refused")

        env.loop.call_soon = refuse
        fut = env.future()
        fut.add_done_callback(print)
        fut.set_result(None)

    result, _ = same_outcome(scenario)
    assert result == ("raised", ("ValueError", "refused"))


def test_call_soon_runs_when_removed_again(loop):
    calls = recording(loop, "call_soon")
    assert loop.run_until_complete(returning(1)) == 1
    assert calls
    del loop.call_soon
    calls.clear()
    assert loop.run_until_complete(returning(2)) == 2
    assert calls == []


def test_create_future_is_used(same_outcome):
    def scenario(env):
        calls = recording(env.loop, "create_future")

        async def main():
            await asyncio.sleep(0.0001)
            executor = asyncio.ensure_future(asyncio.sleep(0, "value"))
            return await asyncio.gather(executor, asyncio.wait_for(returning(1), 10))

        result = env.run(main())
        return result, len(calls) > 0

    (_, (result, used)), _ = same_outcome(scenario)
    assert result == ["value", 1]
    assert used


def test_create_task_is_used(same_outcome):
    def scenario(env):
        calls = recording(env.loop, "create_task")

        async def main():
            async with asyncio.TaskGroup() as group:
                group.create_task(returning(1), name="in a group")
            return await asyncio.create_task(returning(2), name="named")

        env.run(main())
        return [sorted(kwargs) for _, kwargs in calls]

    same_outcome(scenario)


def test_call_exception_handler_is_used(same_outcome):
    def scenario(env):
        seen = []
        env.loop.call_exception_handler = lambda context: seen.append(context["message"])

        def bad(*args):
            raise ValueError("bad")

        async def failing():
            raise ValueError("never retrieved")

        env.loop.call_soon(bad)
        env.loop.call_later(0, bad)
        fut = env.future()
        fut.add_done_callback(bad)
        fut.set_result(None)
        env.loop.create_task(failing())
        forgotten = env.future()
        forgotten.set_exception(ValueError("never retrieved"))
        del forgotten, fut
        collect()
        env.turn(3)
        collect()
        return sorted(seen)

    (_, seen), _ = same_outcome(scenario)
    assert len(seen) == 5


def test_get_debug_is_used(same_outcome):
    def scenario(env):
        env.loop.get_debug = lambda: True
        return env.future()._source_traceback is not None

    same_outcome(scenario)


def test_shutdown_asyncgens_is_used(loop_factory):
    calls = []
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        loop = runner.get_loop()
        original = loop.shutdown_asyncgens

        async def recorder():
            calls.append("shutdown_asyncgens")
            await original()

        loop.shutdown_asyncgens = recorder
        runner.run(nothing())
    assert calls == ["shutdown_asyncgens"]


def test_call_later_uses_call_at_and_time(same_outcome):
    def scenario(env):
        calls = recording(env.loop, "call_at")
        env.loop.time = lambda: 1000.0
        env.loop.call_later(5, print, "x").cancel()
        return [(args[0], args[2:]) for args, _ in calls]

    (_, calls), _ = same_outcome(scenario)
    assert calls == [[1005.0, ["x"]]]


# Subclasses


def loop_class(loop_factory):
    loop = loop_factory()
    loop.close()
    return type(loop)


def test_a_subclass_that_overrides_scheduling(loop_factory):
    calls = []

    class Recording(loop_class(loop_factory)):
        def call_soon(self, callback, *args, context=None):
            calls.append("call_soon")
            return super().call_soon(callback, *args, context=context)

        def call_at(self, when, callback, *args, context=None):
            calls.append("call_at")
            return super().call_at(when, callback, *args, context=context)

        def create_future(self):
            calls.append("create_future")
            return super().create_future()

        def create_task(self, coro, **kwargs):
            calls.append("create_task")
            return super().create_task(coro, **kwargs)

        def call_exception_handler(self, context):
            calls.append(context["message"].split(" ")[0])

    loop = Recording()
    try:

        async def main():
            await asyncio.sleep(0.0001)
            await asyncio.create_task(returning(1))
            loop.call_soon(lambda: 1 / 0)
            await asyncio.sleep(0)

        loop.run_until_complete(main())
    finally:
        loop.close()
    assert {"call_soon", "call_at", "create_future", "create_task", "Exception"} <= set(calls)


def test_a_subclass_with_its_own_state(loop_factory):
    class Mine(loop_class(loop_factory)):
        def __init__(self):
            super().__init__()
            self.extra = []

        def stop(self):
            self.extra.append("stop")
            super().stop()

        def close(self):
            self.extra.append("close")
            super().close()

    loop = Mine()
    assert loop.run_until_complete(returning(1)) == 1
    assert loop.extra == ["stop"]
    loop.close()
    assert loop.extra == ["stop", "close"]


@pytest.mark.skipif(not PYTHON_312, reason="task factories take names and more since 3.12")
def test_a_subclass_that_makes_its_own_tasks(loop_factory, task_type):
    class MyTask(task_type):
        pass

    class Mine(loop_class(loop_factory)):
        def create_task(self, coro, **kwargs):
            return MyTask(coro, loop=self, **kwargs)

    loop = Mine()
    try:

        async def main():
            assert type(asyncio.current_task()) is MyTask
            return await asyncio.create_task(returning("value"), name="n")

        assert loop.run_until_complete(main()) == "value"
    finally:
        loop.close()
