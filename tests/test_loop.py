"""Running, stopping and closing a loop; exception handlers; async generators."""

import asyncio
import contextlib
import contextvars
import gc
import logging
import sys
import threading
import weakref

import pytest

from .support import ASYNCIO, collect, describe, outcome


async def nothing():
    return None


async def returning(value):
    await asyncio.sleep(0)
    return value


# Running


def test_a_new_loop(loop):
    assert isinstance(loop, asyncio.AbstractEventLoop)
    assert not loop.is_running()
    assert not loop.is_closed()
    assert loop.get_debug() is False
    assert loop.get_task_factory() is None
    assert loop.get_exception_handler() is None


def test_run_until_complete(loop):
    assert loop.run_until_complete(returning(5)) == 5
    assert not loop.is_running()
    future = loop.create_future()
    loop.call_soon(future.set_result, "future")
    assert loop.run_until_complete(future) == "future"
    done = loop.create_future()
    done.set_result("already")
    assert loop.run_until_complete(done) == "already"


def test_one_turn_leaves_no_task_current(loop):
    task = loop.create_task(returning(5))
    asyncio._set_running_loop(loop)
    try:
        loop._run_once()
        assert asyncio.current_task() is None
    finally:
        asyncio._set_running_loop(None)
    assert loop.run_until_complete(task) == 5


def test_the_running_loop(loop):
    async def main():
        assert asyncio.get_running_loop() is loop
        assert loop.is_running()
        assert loop._thread_id == threading.get_ident()

    loop.run_until_complete(main())
    assert loop._thread_id is None
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()


def test_an_exception_comes_out(loop):
    async def failing():
        raise LookupError("lost")

    with pytest.raises(LookupError, match="lost"):
        loop.run_until_complete(failing())
    assert not loop.is_running()
    assert loop.run_until_complete(returning(1)) == 1


def test_run_forever_until_stopped(loop):
    seen = []
    loop.call_soon(seen.append, 1)
    loop.call_soon(loop.stop)
    loop.call_soon(seen.append, 2)
    assert loop.run_forever() is None
    assert seen == [1, 2]


def test_stop_before_running_runs_one_turn(loop):
    seen = []

    def again():
        seen.append(len(seen))
        loop.call_soon(again)

    loop.stop()
    again()
    loop.run_forever()
    assert seen == [0, 1]
    loop.stop()
    loop.run_forever()
    assert seen == [0, 1, 2]


def test_a_batch_is_what_was_queued_when_it_began(loop):
    seen = []

    def first():
        seen.append("first")
        loop.call_soon(seen.append, "next turn")
        loop.stop()

    loop.call_soon(first)
    loop.call_soon(seen.append, "second")
    loop.run_forever()
    assert seen == ["first", "second"]
    loop.stop()
    loop.run_forever()
    assert seen == ["first", "second", "next turn"]


def test_stop_from_a_timer(loop):
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    assert not loop.is_running()


MISUSE = {
    "run_until_complete of an int": lambda env: env.loop.run_until_complete(5),
    "run_until_complete of nothing": lambda env: env.loop.run_until_complete(),
    "run_until_complete of a foreign future": lambda env: foreign_future(env),
    "run_until_complete stopped": lambda env: stopped(env),
    "run_forever with an argument": lambda env: env.loop.run_forever(1),
    "run_forever nested": lambda env: nested(env, lambda loop: loop.run_forever()),
    "run_until_complete nested": lambda env: nested(env, run_nothing),
    "another loop nested": lambda env: other_nested(env, run_nothing),
    "another loop forever nested": lambda env: other_nested(env, lambda loop: loop.run_forever()),
    "close while running": lambda env: nested(env, lambda loop: loop.close()),
    "run_forever closed": lambda env: (env.loop.close(), env.loop.run_forever()),
    "another loop, closed, forever nested": lambda env: other_nested(
        env, lambda loop: (loop.close(), loop.run_forever())
    ),
    "run_until_complete closed": lambda env: (env.loop.close(), run_nothing(env.loop)),
    "create_task closed": lambda env: (env.loop.close(), create_nothing(env.loop)),
    "run_in_executor closed": lambda env: (
        env.loop.close(),
        env.loop.run_in_executor(None, print),
    ),
    "set_exception_handler of an int": lambda env: env.loop.set_exception_handler(5),
    "set_exception_handler of a string": lambda env: env.loop.set_exception_handler("x"),
    "call_exception_handler of nothing": lambda env: env.loop.call_exception_handler(),
    "default handler of nothing": lambda env: env.loop.default_exception_handler(),
    "closed twice": lambda env: (env.loop.close(), env.loop.close(), env.loop.is_closed()),
    "close, then repr": lambda env: (repr(env.loop), env.loop.close(), repr(env.loop)),
    "stop when closed": lambda env: (env.loop.close(), env.loop.stop()),
    "check closed": lambda env: (env.loop._check_closed(), env.loop.close(), check(env.loop)),
}


def check(loop):
    loop._check_closed()


def run_nothing(loop):
    coro = nothing()
    try:
        loop.run_until_complete(coro)
    finally:
        coro.close()


def create_nothing(loop):
    coro = nothing()
    try:
        loop.create_task(coro)
    finally:
        coro.close()


def foreign_future(env):
    other = env.new_loop()
    try:
        env.loop.run_until_complete(env.Future(loop=other))
    finally:
        other.close()


def stopped(env):
    env.loop.call_soon(env.loop.stop)
    env.loop.run_until_complete(env.future())


def nested(env, action):
    async def main():
        action(env.loop)

    env.run(main())


def other_nested(env, action):
    async def main():
        other = env.new_loop()
        try:
            action(other)
        finally:
            other.close()

    env.run(main())


@pytest.mark.parametrize("scenario", MISUSE.values(), ids=MISUSE)
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
def test_misuse(scenario, same_outcome):
    same_outcome(scenario)


def test_a_stopped_run_until_complete_can_be_continued(loop):
    future = loop.create_future()
    loop.call_soon(loop.stop)
    with pytest.raises(RuntimeError, match="Event loop stopped before Future completed."):
        loop.run_until_complete(future)
    loop.call_soon(future.set_result, "later")
    assert loop.run_until_complete(future) == "later"


def test_a_task_that_loses_its_loop_early_is_not_reported(same_outcome):
    def scenario(env):
        async def main():
            await asyncio.sleep(0)
            raise SystemExit(3)

        try:
            env.run(main())
        except SystemExit as exc:
            return exc.code

    result, reports = same_outcome(scenario)
    assert result == ("returned", 3)
    assert reports == []


@pytest.mark.parametrize("cls", [KeyboardInterrupt, SystemExit])
def test_leaving_a_callback(loop, cls):
    seen = []

    def leave():
        raise cls

    loop.call_soon(leave)
    loop.call_soon(seen.append, "later")
    with pytest.raises(cls):
        loop.run_forever()
    assert not loop.is_running()
    assert seen == []
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == ["later"]


def test_leaving_a_timer_and_a_future_callback(loop):
    def leave(*args):
        raise KeyboardInterrupt

    loop.call_later(0, leave)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    future = loop.create_future()
    future.add_done_callback(leave)
    future.set_result(None)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    assert loop.run_until_complete(returning(1)) == 1


def test_the_callback_that_anyio_looks_for(run):
    async def main():
        task = asyncio.current_task()
        return [callback for callback, _ in task._callbacks]

    assert asyncio.base_events._run_until_complete_cb in run(main)


# Closing


def test_closing_drops_what_is_queued(loop_factory):
    class Thing:
        pass

    loop = loop_factory()
    things = [Thing(), Thing(), Thing()]
    refs = [weakref.ref(thing) for thing in things]
    loop.call_soon(print, things[0])
    loop.call_later(1000, print, things[1])
    loop.call_soon_threadsafe(print, things[2])
    del things
    loop.close()
    assert loop.is_closed()
    collect()
    assert [ref() for ref in refs] == [None, None, None]


def test_a_loop_that_is_dropped_warns(loop_factory):
    loop = loop_factory()
    with pytest.warns(ResourceWarning, match="unclosed event loop"):
        del loop
        collect()


def test_a_closed_loop_that_is_dropped_does_not(loop_factory, recwarn):
    loop = loop_factory()
    loop.run_until_complete(returning(1))
    loop.close()
    del loop
    collect()
    assert [w for w in recwarn if issubclass(w.category, ResourceWarning)] == []


def test_cancelling_after_close(loop_factory):
    loop = loop_factory()
    handle, timer = loop.call_soon(print), loop.call_later(1000, print)
    loop.close()
    handle.cancel()
    timer.cancel()
    assert handle.cancelled() and timer.cancelled()


# Exception handlers


def test_a_callback_that_raises_is_reported_and_the_loop_goes_on(same_outcome):
    def scenario(env):
        seen = []

        def bad(text):
            raise ValueError(text)

        env.loop.call_soon(bad, "soon")
        env.loop.call_later(0, bad, "later")
        env.loop.call_soon_threadsafe(bad, "threadsafe")
        env.loop.call_soon(seen.append, "after")
        env.turn(2)
        return seen

    (_, seen), reports = same_outcome(scenario)
    assert seen == ["after"]
    texts = [report["exception"][1] for report in reports]
    assert sorted(texts) == ["later", "soon", "threadsafe"]


def test_the_handler_gets_the_loop_and_the_context(loop):
    seen = []
    handler = lambda *args: seen.append(args)  # noqa: E731 - compared by identity below
    loop.set_exception_handler(handler)
    assert loop.get_exception_handler() is handler
    assert loop._exception_handler is handler
    context = {"message": "text", "extra": 1}
    loop.call_exception_handler(context)
    assert seen == [(loop, context)]
    loop.set_exception_handler(None)
    assert loop.get_exception_handler() is None


def logged(caplog, act):
    caplog.clear()
    with caplog.at_level(logging.DEBUG, logger="asyncio"):
        act()
    return [(record.levelname, record.getMessage()) for record in caplog.records]


def handler_raising(cls):
    def handler(loop, context):
        raise cls("handler")

    return handler


HANDLERS = {
    "default": lambda env: env.loop.set_exception_handler(None),
    "raising": lambda env: env.loop.set_exception_handler(handler_raising(ValueError)),
    "leaving": lambda env: env.loop.set_exception_handler(handler_raising(KeyboardInterrupt)),
    "default raising": lambda env: (
        env.loop.set_exception_handler(None),
        setattr(env.loop, "default_exception_handler", lambda context: 1 / 0),
    ),
}


@pytest.mark.parametrize("prepare", HANDLERS.values(), ids=HANDLERS)
def test_handlers(prepare, kind, caplog):
    def scenario(env):
        def bad():
            raise ValueError("bad")

        prepare(env)
        env.loop.call_soon(bad)
        try:
            env.turn()
        except KeyboardInterrupt:
            return "left"
        env.loop.call_exception_handler({"message": "by hand", "future": env.future(), "x": [1]})
        return "went on"

    def play(kind):
        results = []
        messages = logged(caplog, lambda: results.append(outcome(scenario, kind)))
        return results, [(level, describe(message)) for level, message in messages]

    assert play(kind) == play(ASYNCIO)


def test_the_default_handler_logs(loop, caplog):
    loop.set_debug(True)
    future = loop.create_future()
    messages = logged(
        caplog,
        lambda: loop.default_exception_handler(
            {
                "message": "what happened",
                "exception": ValueError("why"),
                "future": future,
                "source_traceback": future._source_traceback,
            }
        ),
    )
    [(level, text)] = messages
    assert level == "ERROR"
    assert text.startswith("what happened\nfuture: <Future")
    assert "Object created at (most recent call last):" in text


def test_the_handler_runs_in_the_context_of_the_callback(loop):
    var = contextvars.ContextVar("var", default="default")
    seen = []
    loop.set_exception_handler(lambda loop, context: seen.append(var.get()))

    def bad():
        raise ValueError

    context = contextvars.copy_context()
    context.run(var.set, "inside")
    loop.call_soon(bad, context=context)
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == (["inside"] if sys.version_info >= (3, 12) else ["default"])


# Async generators


def test_shutdown_asyncgens(loop, recwarn):
    closed = []

    async def generator(name):
        try:
            while True:
                yield name
        finally:
            await asyncio.sleep(0)
            closed.append(name)

    kept = []

    async def main():
        for name in ("a", "b"):
            kept.append(generator(name))
            assert await anext(kept[-1]) == name
        assert set(loop._asyncgens) == set(kept)

    loop.run_until_complete(main())
    assert closed == []
    loop.run_until_complete(loop.shutdown_asyncgens())
    assert sorted(closed) == ["a", "b"]
    assert len(loop._asyncgens) == 0
    loop.run_until_complete(loop.shutdown_asyncgens())


def test_a_generator_that_is_dropped_is_closed_by_the_loop(loop):
    closed = []

    async def generator():
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            closed.append(asyncio.get_running_loop())

    async def main():
        async for _ in generator():
            break
        collect()
        for _ in range(5):
            await asyncio.sleep(0)
        return list(closed)

    assert loop.run_until_complete(main()) == [loop]


def test_a_generator_whose_close_raises_is_reported(same_outcome):
    def scenario(env):
        kept = []

        async def generator():
            try:
                yield 1
            finally:
                raise ValueError("closing")

        async def main():
            kept.append(generator())
            await anext(kept[0])

        env.run(main())
        env.run(env.loop.shutdown_asyncgens())
        return "done"

    result, reports = same_outcome(scenario)
    assert result == ("returned", "done")
    assert reports[0]["exception"] == ("ValueError", "closing")


def test_a_generator_started_after_the_shutdown_warns(loop):
    async def generator():
        yield 1

    async def main():
        await loop.shutdown_asyncgens()
        late = generator()
        with pytest.warns(ResourceWarning, match="was scheduled after loop.shutdown_asyncgens"):
            await anext(late)
        await late.aclose()

    loop.run_until_complete(main())


def test_the_hooks_of_the_thread_come_back(loop):
    first, last = (lambda agen: None), (lambda agen: None)
    before = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(first, last)
    try:

        async def main():
            return sys.get_asyncgen_hooks()

        inside = loop.run_until_complete(main())
        assert inside.firstiter is not first
        assert tuple(sys.get_asyncgen_hooks()) == (first, last)
        with contextlib.suppress(KeyboardInterrupt):
            loop.call_soon(handler_raising(KeyboardInterrupt), None, None)
            loop.run_forever()
        assert tuple(sys.get_asyncgen_hooks()) == (first, last)
    finally:
        sys.set_asyncgen_hooks(*before)


def test_the_garbage_collector_may_run_at_any_time(run):
    async def main():
        thresholds = gc.get_threshold()
        gc.set_threshold(1)
        try:
            return sum(await asyncio.gather(*(returning(number) for number in range(50))))
        finally:
            gc.set_threshold(*thresholds)

    assert run(main) == sum(range(50))
