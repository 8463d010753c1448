"""Future as an object: private attributes, repr, references, reports, and strangers' loops."""

import asyncio
import concurrent.futures
import contextvars
import threading
import types
import weakref

import pytest

from .support import GUARD, collect


@pytest.fixture
def future(loop, future_type):
    return future_type(loop=loop)


def turn(loop):
    loop.call_soon(loop.stop)
    loop.run_forever()


# Private attributes that libraries use


def test_private_attributes(same_outcome):
    names = (
        "_state",
        "_result",
        "_exception",
        "_callbacks",
        "_log_traceback",
        "_asyncio_future_blocking",
        "_cancel_message",
        "_source_traceback",
    )

    def scenario(env):
        def callback(fut):
            raise AssertionError("never run")

        def look(fut):
            return [getattr(fut, name) for name in names] + [fut._loop is env.loop]

        fresh, waited, many, good, bad, cancelled = (env.future() for _ in range(6))
        context = contextvars.Context()
        waited.add_done_callback(callback, context=context)
        for _ in range(3):
            many.add_done_callback(callback, context=context)
        good.set_result("value")
        bad.set_exception(ValueError("error"))
        cancelled.cancel("message")
        seen = [look(fut) for fut in (fresh, waited, many, good, bad, cancelled)]
        bad.exception()
        return seen, bad._log_traceback

    same_outcome(scenario)


@pytest.mark.parametrize("name", ["_asyncio_future_blocking", "_log_traceback"])
def test_flags_cannot_be_deleted(future, name):
    with pytest.raises(AttributeError):
        delattr(future, name)
    assert getattr(future, name) is False


def test_the_cancel_message_can_be_set(future):
    future._cancel_message = "set"
    assert future._cancel_message == "set"
    error = future._make_cancelled_error()
    assert type(error) is asyncio.CancelledError
    assert error.args == ("set",)
    plain = type(future)(loop=future.get_loop())._make_cancelled_error()
    assert plain.args == ()


def test_a_source_traceback_in_debug_mode(loop, future_type):
    assert future_type(loop=loop)._source_traceback is None
    loop.set_debug(True)
    traceback = future_type(loop=loop)._source_traceback
    assert traceback[-1].filename == __file__
    assert traceback[-1].name == "test_a_source_traceback_in_debug_mode"


# repr, types, references


def shaped(prepare):
    def scenario(env):
        def callback(fut):
            raise AssertionError("never run")

        fut = env.future()
        prepare(fut, callback)
        text = repr(fut)
        if fut.done() and not fut.cancelled():
            fut.exception()
        return text

    return scenario


SHAPES = {
    "pending": lambda f, cb: None,
    "one callback": lambda f, cb: f.add_done_callback(cb),
    "two callbacks": lambda f, cb: [f.add_done_callback(cb) for _ in range(2)],
    "three callbacks": lambda f, cb: [f.add_done_callback(cb) for _ in range(3)],
    "five callbacks": lambda f, cb: [f.add_done_callback(cb) for _ in range(5)],
    "result": lambda f, cb: f.set_result({"a": [1, 2]}),
    "long result": lambda f, cb: f.set_result("x" * 1000),
    "recursive result": lambda f, cb: f.set_result(f),
    "exception": lambda f, cb: f.set_exception(ValueError("text")),
    "cancelled": lambda f, cb: f.cancel("message"),
}


@pytest.mark.parametrize("prepare", SHAPES.values(), ids=SHAPES)
def test_repr(prepare, same_outcome):
    (_, text), _ = same_outcome(shaped(prepare))
    assert text.startswith("<Future ")


def test_repr_in_debug_mode(same_outcome):
    def scenario(env):
        env.loop.set_debug(True)
        return repr(env.future())

    (_, text), _ = same_outcome(scenario)
    assert text.startswith("<Future pending created at ")


def test_repr_of_a_subclass(future_type, loop):
    class Mine(future_type):
        pass

    assert repr(Mine(loop=loop)) == "<Mine pending>"


@pytest.mark.parametrize("kind_of_object", ["future", "task", "subclass"])
def test_weak_references_die_before_what_the_future_holds(same_outcome, kind_of_object):
    def scenario(env):
        seen = []

        class Result:
            def __del__(self):
                seen.append("result")

        async def give():
            return Result()

        if kind_of_object == "task":
            fut = env.task(give())
            env.turn(2)
        else:
            kind = env.Future if kind_of_object == "future" else type("Sub", (env.Future,), {})
            fut = kind(loop=env.loop)
            fut.set_result(Result())
        ref = weakref.ref(fut, lambda ref: seen.append("weak reference"))
        del fut
        return seen, ref()

    assert same_outcome(scenario)[0][1] == [["weak reference", "result"], None]


def test_weak_references(loop, future_type):
    died = []
    fut = future_type(loop=loop)
    ref = weakref.ref(fut, died.append)
    assert ref() is fut
    del fut
    collect()
    assert ref() is None
    assert died == [ref]


def test_a_cycle_is_collected(loop, future_type):
    fut = future_type(loop=loop)
    fut.add_done_callback(lambda f, fut=fut: None)
    fut.set_result(fut)
    ref = weakref.ref(fut)
    del fut
    turn(loop)
    collect()
    assert ref() is None


def test_generic_alias(future_type):
    alias = future_type[int]
    assert isinstance(alias, types.GenericAlias)
    assert alias.__origin__ is future_type
    assert alias.__args__ == (int,)


def test_it_is_a_real_subclass(future_type):
    assert issubclass(future_type, asyncio.Future)


def test_subclassing(loop, future_type):
    class Counting(future_type):
        extra = "class attribute"

        def __init__(self, *, loop):
            super().__init__(loop=loop)
            self.results = 0

        def set_result(self, result):
            self.results += 1
            super().set_result(result)

    fut = Counting(loop=loop)
    fut.anything = "settable"
    loop.call_soon(fut.set_result, 5)
    assert loop.run_until_complete(fut) == 5
    assert (fut.results, fut.extra, fut.anything) == (1, "class attribute", "settable")


def test_a_subclass_that_overrides_what_a_task_calls(loop, future_type):
    calls = []

    class Watched(future_type):
        def add_done_callback(self, fn, *, context=None):
            calls.append("add_done_callback")
            super().add_done_callback(fn, context=context)

        def cancel(self, msg=None):
            calls.append("cancel")
            return super().cancel(msg)

        def get_loop(self):
            calls.append("get_loop")
            return super().get_loop()

    async def main():
        fut = Watched(loop=loop)
        task = asyncio.ensure_future(wait_for(fut))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    async def wait_for(fut):
        await fut

    loop.run_until_complete(main())
    assert {"add_done_callback", "cancel"} <= set(calls)


@pytest.mark.parametrize("end", ["result", "exception", "cancellation"])
@pytest.mark.parametrize("raises", [False, True])
def test_a_subclass_that_overrides_result(same_outcome, end, raises):
    """A task asks for the result when it is woken."""

    def scenario(env):
        seen = []

        class Watched(env.Future):
            def result(self):
                seen.append("asked")
                if raises:
                    raise KeyError("from result()")
                return super().result()

        async def main():
            fut = Watched(loop=env.loop)
            task = asyncio.ensure_future(wait_for(fut))
            await asyncio.sleep(0)
            if end == "result":
                fut.set_result(1)
            elif end == "exception":
                fut.set_exception(ValueError("from set_exception()"))
                fut.exception()
            else:
                fut.cancel()
            await asyncio.wait([task])
            return seen, task.cancelled() or task.exception()

        async def wait_for(fut):
            seen.append(await fut)

        return env.run(main())

    (_, (seen, _)), _ = same_outcome(scenario)
    assert seen[0] == "asked"


# Reports


def forgotten(use):
    def scenario(env):
        fut = env.future()
        fut.set_exception(ValueError("forgotten"))
        use(fut)

    return scenario


RETRIEVED = {
    "result": lambda f: pytest.raises(ValueError, f.result),
    "exception": lambda f: f.exception(),
    "log_traceback cleared": lambda f: setattr(f, "_log_traceback", False),
}


def test_an_exception_never_retrieved_is_reported(same_outcome):
    _, reports = same_outcome(forgotten(lambda fut: None))
    assert len(reports) == 1
    assert reports[0]["message"] == "Future exception was never retrieved"
    assert reports[0]["exception"] == ("ValueError", "forgotten")
    assert set(reports[0]) == {"message", "exception", "future"}


@pytest.mark.parametrize("use", RETRIEVED.values(), ids=RETRIEVED)
def test_a_retrieved_exception_is_not_reported(use, same_outcome):
    _, reports = same_outcome(forgotten(use))
    assert reports == []


def test_the_report_shows_where_the_future_was_made(loop, future_type):
    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))
    loop.set_debug(True)
    fut = future_type(loop=loop)
    fut.set_exception(ValueError())
    del fut
    collect()
    assert contexts[0]["source_traceback"][-1].filename == __file__


def test_the_report_of_a_subclass_names_it(loop, future_type):
    class Mine(future_type):
        pass

    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))
    fut = Mine(loop=loop)
    fut.set_exception(ValueError())
    del fut
    collect()
    assert contexts[0]["message"] == "Mine exception was never retrieved"


def test_a_report_may_bring_the_future_back(loop, future_type):
    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))
    fut = future_type(loop=loop)
    error = ValueError("kept")
    fut.set_exception(error)
    del fut
    collect()
    revived = contexts[0]["future"]
    assert revived.exception() is error
    contexts.clear()
    del revived
    collect()
    assert contexts == []


# Other futures, other loops


def test_wrap_future(run):
    async def main():
        outer = concurrent.futures.Future()
        wrapped = asyncio.wrap_future(outer)
        assert wrapped.get_loop() is asyncio.get_running_loop()
        thread = threading.Thread(target=outer.set_result, args=("from a thread",))
        thread.start()
        assert await asyncio.wait_for(wrapped, GUARD) == "from a thread"
        thread.join()

    run(main)


def test_cancelling_a_wrapped_future_reaches_the_inner_one(run):
    async def main():
        inner = concurrent.futures.Future()
        wrapped = asyncio.wrap_future(inner)
        wrapped.cancel()
        await asyncio.sleep(0)
        assert inner.cancelled()

    run(main)


def test_a_future_of_asyncio_on_the_loop(run):
    async def main():
        loop = asyncio.get_running_loop()
        for cls in (asyncio.Future, asyncio.futures._PyFuture):
            fut = cls(loop=loop)
            loop.call_soon(fut.set_result, cls)
            assert await fut is cls
            assert await asyncio.wait_for(asyncio.shield(fut), GUARD) is cls

    run(main)


def test_a_future_on_a_foreign_loop(future_type):
    foreign = asyncio.SelectorEventLoop()
    try:
        fut = future_type(loop=foreign)
        assert fut.get_loop() is foreign
        seen = []
        fut.add_done_callback(seen.append)
        foreign.call_soon(fut.set_result, 3)
        assert foreign.run_until_complete(fut) == 3
        assert seen == [fut]

        async def wait_for(fut):
            return await fut

        other = future_type(loop=foreign)
        foreign.call_later(0.001, other.set_result, 4)
        assert foreign.run_until_complete(wait_for(other)) == 4
    finally:
        foreign.close()


class RecordingLoop:
    """The least that a Future asks of a loop."""

    def __init__(self):
        self.calls = []

    def get_debug(self):
        return False

    def call_soon(self, callback, *args, context=None):
        self.calls.append((callback, args, context))

    def call_exception_handler(self, context):
        raise AssertionError(context)


def test_the_least_of_a_loop_is_enough(future_type):
    loop = RecordingLoop()
    fut = future_type(loop=loop)
    context = contextvars.copy_context()
    fut.add_done_callback(print, context=context)
    fut.set_result(1)
    assert loop.calls == [(print, (fut,), context)]
    fut.add_done_callback(repr, context=context)
    assert loop.calls[1:] == [(repr, (fut,), context)]


def test_a_loop_that_refuses_leaves_the_future_done(future_type):
    class Refusing(RecordingLoop):
        def call_soon(self, callback, *args, context=None):
            raise RuntimeError("refused")

    fut = future_type(loop=Refusing())
    fut.add_done_callback(print)
    with pytest.raises(RuntimeError, match="refused"):
        fut.set_result(1)
    assert fut.done()


def test_settling_on_a_closed_loop(same_outcome):
    def scenario(env):
        fut = env.future()
        fut.add_done_callback(print)
        env.loop.close()
        fut.set_result(1)

    result, _ = same_outcome(scenario)
    assert result == ("raised", ("RuntimeError", "Event loop is closed"))


def test_attributes_end_with_their_object(same_outcome):
    """An object made from the memory of another one has none of its attributes."""

    def scenario(env):
        ended = []

        class Value:
            def __del__(self):
                ended.append(1)

        async def nop():
            pass

        async def main():
            for _ in range(3):
                fut = env.loop.create_future()
                assert not hasattr(fut, "value")
                fut.value = Value()
                del fut
                fut = env.loop.create_future()
                fut.value = Value()
                del fut.value
                del fut
                task = env.loop.create_task(nop())
                assert not hasattr(task, "value")
                task.value = Value()
                await task
                del task
            return len(ended)

        return env.run(main()), len(ended)

    assert same_outcome(scenario) == (("returned", [8, 9]), [])


@pytest.mark.parametrize("name", ["throw", "close", "send"])
@pytest.mark.parametrize("where", ["instance", "class"])
@pytest.mark.parametrize("what", ["future", "task"])
def test_names_that_the_interpreter_looks_for(same_outcome, name, where, what):
    """What a user has called `throw` or `close` is not called when who awaits is cancelled."""

    def scenario(env):
        called = []

        def method(*args):
            called.append(args)
            return None

        async def forever():
            await env.loop.create_future()

        async def wait(fut):
            try:
                await fut
            finally:
                called.append("end")

        base = {"future": env.Future, "task": env.Task}[what]
        kind = base
        if where == "class":
            kind = type("Kind", (base,), {name: method})
        args = [forever()] if what == "task" else []
        fut = kind(*args, loop=env.loop)
        if where == "instance":
            setattr(fut, name, method)
        coro = wait(fut)
        coro.send(None)
        try:
            coro.throw(ZeroDivisionError)
        except ZeroDivisionError:
            called.append("thrown")
        coro = wait(env.loop.create_future() if fut.done() else fut)
        fut._asyncio_future_blocking = False
        coro.send(None)
        coro.close()
        task = env.task(wait(fut))
        fut._asyncio_future_blocking = False
        env.turn(2)
        task.cancel()
        env.turn(3)
        if what == "task":
            fut.cancel()
            env.turn(3)
        return called, task.cancelled()

    assert same_outcome(scenario)[0][0] == "returned"
