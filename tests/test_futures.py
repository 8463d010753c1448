"""Future: states, callbacks, awaiting, repr, and what libraries reach for inside."""

import asyncio
import contextvars
import copy
import pickle

import pytest

from .support import FREE_THREADED


@pytest.fixture
def future(loop, future_type):
    return future_type(loop=loop)


def turn(loop):
    loop.call_soon(loop.stop)
    loop.run_forever()


# States


def test_a_new_future_is_pending(loop, future):
    assert not future.done()
    assert not future.cancelled()
    assert future.get_loop() is loop
    with pytest.raises(asyncio.InvalidStateError, match="Result is not set"):
        future.result()
    with pytest.raises(asyncio.InvalidStateError, match="Exception is not set"):
        future.exception()


def test_result(future):
    value = object()
    assert future.set_result(value) is None
    assert future.done()
    assert not future.cancelled()
    assert future.result() is value
    assert future.exception() is None
    assert not future.cancel()


def test_exception(future):
    error = ValueError("no")
    future.set_exception(error)
    assert future.done()
    assert future.exception() is error
    with pytest.raises(ValueError, match="no") as caught:
        future.result()
    assert caught.value is error


def test_an_exception_class_is_instantiated(future):
    future.set_exception(KeyError)
    assert type(future.exception()) is KeyError


def test_cancel(future):
    assert future.cancel("why")
    assert future.cancelled()
    assert future.done()
    assert not future.cancel()
    with pytest.raises(asyncio.CancelledError, match="why"):
        future.result()


def test_the_result_stays_the_same_traceback_does_not_grow(future):
    future.set_exception(ZeroDivisionError())
    depths = []
    for _ in range(3):
        try:
            future.result()
        except ZeroDivisionError as exc:
            tb, depth = exc.__traceback__, 0
            while tb is not None:
                tb, depth = tb.tb_next, depth + 1
            depths.append(depth)
    assert depths[0] == depths[1] == depths[2]


def settle(how):
    def scenario(env):
        fut = env.future()
        how(fut)
        return fut

    return scenario


BAD_SETTLING = {
    "result twice": lambda f: (f.set_result(1), f.set_result(2)),
    "exception after result": lambda f: (
        f.set_result(1),
        f.set_exception(ValueError()),
    ),
    "result after exception": lambda f: (
        f.set_exception(ValueError()),
        f.exception(),
        f.set_result(1),
    ),
    "result after cancel": lambda f: (f.cancel(), f.set_result(1)),
    "exception after cancel": lambda f: (f.cancel(), f.set_exception(ValueError())),
    "a string": lambda f: f.set_exception("no"),
    "a class that is no exception": lambda f: f.set_exception(int),
    "an exception class that raises": lambda f: f.set_exception(UnicodeDecodeError),
    "exception() when cancelled": lambda f: (f.cancel("m"), f.exception()),
    "result without argument": lambda f: f.set_result(),
    "a callback that cannot be called": lambda f: f.add_done_callback(None, context=3),
    "callback by keyword": lambda f: f.add_done_callback(fn=print),
    "log_traceback set true": lambda f: setattr(f, "_log_traceback", True),
    "cancel with too much": lambda f: f.cancel("a", "b"),
    "iterated by next": lambda f: next(iter(f)).unknown,
    "sent to": lambda f: f.__await__().send(1),
    "thrown a string": lambda f: f.__await__().throw("string"),
    "thrown an int": lambda f: f.__await__().throw(7),
    "thrown a class and a value": lambda f: f.__await__().throw(ValueError("deep")),
    "closed": lambda f: f.__await__().close(),
    "pickled": pickle.dumps,
    "copied": copy.copy,
}


@pytest.mark.parametrize("how", BAD_SETTLING.values(), ids=BAD_SETTLING)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_misuse(how, same_outcome):
    same_outcome(settle(how))


def test_a_stop_iteration_never_comes_out_as_one(future):
    try:
        future.set_exception(StopIteration("x"))
    except TypeError as exc:
        assert "StopIteration" in str(exc)
    else:
        assert type(future.exception()) is RuntimeError
        assert type(future.exception().__cause__) is StopIteration


CONSTRUCTORS = {
    "no running loop": lambda env: env.Future().get_loop() is env.loop,
    "positional": lambda env: env.Future(env.loop),
    "unknown keyword": lambda env: env.Future(lop=env.loop),
    "no loop at all": lambda env: env.Future(loop=5),
    "loop None": lambda env: env.Future(loop=None),
    "not initialised": lambda env: env.Future.__new__(env.Future).result(),
    "not initialised, get_loop": lambda env: env.Future.__new__(env.Future).get_loop(),
    "not initialised, cancel": lambda env: env.Future.__new__(env.Future).cancel(),
    "not initialised, set_result": lambda env: env.Future.__new__(env.Future).set_result(1),
    "not initialised, awaited": lambda env: next(iter(env.Future.__new__(env.Future))),
    "not initialised, repr": lambda env: env.Future.__new__(env.Future),
    "not initialised, callback": lambda env: env.Future.__new__(env.Future).add_done_callback(len),
}


@pytest.mark.parametrize("scenario", CONSTRUCTORS.values(), ids=CONSTRUCTORS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_construction(scenario, same_outcome):
    same_outcome(scenario)


def test_the_running_loop_is_the_default(run, future_type):
    async def main():
        fut = future_type()
        assert fut.get_loop() is asyncio.get_running_loop()

    run(main)


@pytest.mark.skipif(FREE_THREADED, reason="refused, see below")
def test_initialised_again(same_outcome):
    def scenario(env):
        fut = env.future()
        fut.set_result(1)
        fut.__init__(loop=env.loop)
        return fut.done(), fut

    same_outcome(scenario)


@pytest.mark.skipif(not FREE_THREADED, reason="only without a GIL, or from 3.15 on")
@pytest.mark.fastaio_only
def test_threads_use_the_loop_of_a_future_so_it_stays(loop, future_type):
    fut = future_type(loop=loop)
    with pytest.raises(RuntimeError, match="Future object is already initialized"):
        fut.__init__(loop=loop)
    assert fut.get_loop() is loop


def test_create_future_gives_one(loop, future_type):
    fut = loop.create_future()
    assert type(fut) is future_type
    assert isinstance(fut, asyncio.Future)
    assert asyncio.isfuture(fut)


# Callbacks


def test_callbacks_run_in_order_and_in_the_next_turn(loop, future):
    seen = []
    for number in range(5):
        future.add_done_callback(lambda f, number=number: seen.append((number, f)))
    future.set_result(None)
    assert seen == []
    turn(loop)
    assert seen == [(number, future) for number in range(5)]


def test_callbacks_share_one_queue_with_call_soon(loop, future):
    seen = []
    future.add_done_callback(lambda f: seen.append("first callback"))
    future.add_done_callback(lambda f: seen.append("second callback"))
    loop.call_soon(seen.append, "before")
    future.set_result(None)
    loop.call_soon(seen.append, "after")
    turn(loop)
    assert seen == ["before", "first callback", "second callback", "after"]


def test_a_callback_added_when_done_is_scheduled(loop, future):
    seen = []
    future.set_result(1)
    future.add_done_callback(seen.append)
    assert seen == []
    turn(loop)
    assert seen == [future]


def test_a_callback_added_by_a_callback_runs_one_turn_later(loop, future):
    seen = []

    def outer(fut):
        fut.add_done_callback(seen.append)
        loop.call_soon(seen.append, "between")

    future.add_done_callback(outer)
    future.set_result(None)
    turn(loop)
    assert seen == []
    turn(loop)
    assert seen == [future, "between"]


def test_remove_done_callback_counts(loop, future):
    seen = []

    def other(fut):
        seen.append("other")

    for _ in range(3):
        future.add_done_callback(seen.append)
    future.add_done_callback(other)
    assert future.remove_done_callback(seen.append) == 3
    assert future.remove_done_callback(seen.append) == 0
    future.set_result(None)
    turn(loop)
    assert seen == ["other"]


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_each_position_can_be_removed(loop, future_type, count):
    for position in range(count):
        seen = []
        fut = future_type(loop=loop)
        callbacks = [lambda f, n=n, seen=seen: seen.append(n) for n in range(count)]
        for callback in callbacks:
            fut.add_done_callback(callback)
        assert fut.remove_done_callback(callbacks[position]) == 1
        fut.set_result(None)
        turn(loop)
        assert seen == [n for n in range(count) if n != position]


def test_an_eq_that_changes_the_callbacks(loop, future):
    class Meddler:
        asked = 0

        def __eq__(self, other):
            Meddler.asked += 1
            if Meddler.asked == 1:
                future.remove_done_callback(print)
                future.add_done_callback(seen.append)
            return False

        def __call__(self, fut):
            seen.append("meddler")

    seen = []
    for _ in range(3):
        future.add_done_callback(Meddler())
    assert future.remove_done_callback(object()) == 0
    future.set_result(None)
    turn(loop)
    assert seen.count("meddler") <= 3
    assert set(seen) <= {"meddler", future}


def test_an_eq_that_raises_leaves_the_callbacks_alone(loop, future):
    class Bad:
        def __eq__(self, other):
            raise ZeroDivisionError

        def __call__(self, fut):
            seen.append("bad")

    seen = []
    future.add_done_callback(Bad())
    future.add_done_callback(seen.append)
    with pytest.raises(ZeroDivisionError):
        future.remove_done_callback(seen.append)
    future.set_result(None)
    turn(loop)
    assert seen == ["bad", future]


def test_a_callback_that_raises_is_reported_and_the_rest_runs(same_outcome):
    def scenario(env):
        seen = []

        def bad(fut):
            raise ValueError("callback")

        fut = env.future()
        fut.add_done_callback(bad)
        fut.add_done_callback(lambda f: seen.append("ran"))
        fut.set_result(None)
        env.turn()
        return seen

    (_, seen), reports = same_outcome(scenario)
    assert seen == ["ran"]
    assert reports[0]["exception"] == ("ValueError", "callback")


def test_a_callback_runs_in_its_context(loop, future):
    var = contextvars.ContextVar("var", default="default")
    seen = []
    own = contextvars.copy_context()
    own.run(var.set, "own")
    future.add_done_callback(lambda f: seen.append(var.get()), context=own)
    token = var.set("current")
    future.add_done_callback(lambda f: seen.append(var.get()))
    var.reset(token)
    future.add_done_callback(lambda f: seen.append(var.get()))
    future.set_result(None)
    turn(loop)
    assert seen == ["own", "current", "default"]


def test_a_future_settled_without_callbacks_schedules_nothing(loop, future):
    calls = []
    loop.call_soon = lambda *args, **kwargs: calls.append(args)
    try:
        future.set_result(1)
    finally:
        del loop.call_soon
    assert calls == []


# Awaiting


def test_await_gives_the_result(run, future_type):
    async def main():
        fut = future_type()
        asyncio.get_running_loop().call_soon(fut.set_result, 42)
        assert await fut == 42
        assert await fut == 42
        done = future_type()
        done.set_result("ready")
        assert await done == "ready"

    run(main)


def test_await_raises_the_exception(run, future_type):
    async def main():
        fut = future_type()
        asyncio.get_running_loop().call_soon(fut.set_exception, KeyError("k"))
        for _ in range(2):
            with pytest.raises(KeyError, match="k"):
                await fut

    run(main)


def test_many_tasks_may_await_one_future(run, future_type):
    async def main():
        fut = future_type()
        order = []

        async def waiter(number):
            order.append((number, await fut))

        tasks = [asyncio.create_task(waiter(number)) for number in range(10)]
        await asyncio.sleep(0)
        fut.set_result("x")
        await asyncio.gather(*tasks)
        assert order == [(number, "x") for number in range(10)]

    run(main)


def test_the_iterator_protocol(same_outcome):
    def scenario(env):
        fut = env.future()
        iterator = fut.__await__()
        steps = [
            iter(iterator) is iterator,
            next(iterator) is fut,
            fut._asyncio_future_blocking,
        ]
        fut.set_result("value")
        try:
            iterator.send(None)
        except StopIteration as exc:
            steps.append(exc.value)
        with pytest.raises(StopIteration):
            next(iterator)
        return steps

    (_, steps), _ = same_outcome(scenario)
    assert steps == [True, True, True, "value"]


def test_an_iterator_resumed_too_early(same_outcome):
    def scenario(env):
        iterator = iter(env.future())
        next(iterator)
        next(iterator)

    result, _ = same_outcome(scenario)
    assert result == ("raised", ("RuntimeError", "await wasn't used with future"))


RESULTS = [None, (1, 2), (), StopIteration(3), ValueError("a value, not raised"), type]


@pytest.mark.parametrize("value", RESULTS, ids=repr)
def test_any_value_can_be_a_result(run, future_type, value):
    async def through(fut):
        return await fut

    async def main():
        fut = future_type()
        fut.set_result(value)
        assert await fut is value
        waiting = future_type()
        task = asyncio.create_task(through(waiting))
        await asyncio.sleep(0)
        waiting.set_result(value)
        assert await task is value
        generator = fut.__await__()
        with pytest.raises(StopIteration) as stop:
            next(generator)
        assert stop.value.value is value

    run(main)


def test_the_blocking_flag_can_be_set(future):
    assert future._asyncio_future_blocking is False
    future._asyncio_future_blocking = True
    assert future._asyncio_future_blocking is True
    future._asyncio_future_blocking = False
    assert future._asyncio_future_blocking is False
