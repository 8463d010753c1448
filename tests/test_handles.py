"""Handle and TimerHandle: what call_soon, call_later and call_at return."""

import asyncio
import contextvars
import fractions
import functools
import gc
import sys
import weakref

import pytest

from .support import PYTHON_312, collect


def never(*args):
    raise AssertionError("never run")


def turn(loop):
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_types(loop):
    for handle in (loop.call_soon(never), loop.call_soon_threadsafe(never)):
        assert isinstance(handle, asyncio.Handle)
        assert not isinstance(handle, asyncio.TimerHandle)
        handle.cancel()
    for handle in (loop.call_later(1000, never), loop.call_at(loop.time() + 1000, never)):
        assert isinstance(handle, asyncio.Handle)
        assert isinstance(handle, asyncio.TimerHandle)
        handle.cancel()


def test_arguments_are_passed(loop):
    seen = []

    def callback(*args):
        seen.append(args)

    for count in range(8):
        loop.call_soon(callback, *range(count))
        loop.call_later(0, callback, *range(count))
        loop.call_soon_threadsafe(callback, *range(count))
    turn(loop)
    turn(loop)
    assert sorted(seen) == sorted(tuple(range(count)) for count in range(8) for _ in range(3))


def test_a_cancelled_handle_does_not_run(loop):
    seen = []
    handle = loop.call_soon(seen.append, "no")
    timer = loop.call_later(0, seen.append, "no")
    assert not handle.cancelled()
    assert handle.cancel() is None
    timer.cancel()
    timer.cancel()
    assert handle.cancelled()
    assert timer.cancelled()
    loop.call_soon(seen.append, "yes")
    turn(loop)
    turn(loop)
    assert seen == ["yes"]


def test_cancelling_within_the_turn(loop):
    seen = []
    loop.call_soon(lambda: handle.cancel())
    handle = loop.call_soon(seen.append, "no")
    turn(loop)
    assert seen == []


def test_cancelling_releases_what_is_held(loop):
    class Thing:
        def __call__(self, other):
            raise AssertionError

    for schedule in (loop.call_soon, functools.partial(loop.call_later, 1000)):
        thing, argument = Thing(), Thing()
        refs = [weakref.ref(thing), weakref.ref(argument)]
        handle = schedule(thing, argument)
        handle.cancel()
        del thing, argument
        collect()
        assert [ref() for ref in refs] == [None, None]


def test_a_handle_that_ran_is_not_cancelled(loop):
    seen = []
    handle = loop.call_soon(seen.append, 1)
    turn(loop)
    assert not handle.cancelled()
    handle.cancel()
    assert handle.cancelled()
    assert seen == [1]


def test_a_callback_may_cancel_its_own_handle(loop):
    seen = []

    def callback():
        handle.cancel()
        seen.append("ran")

    handle = loop.call_soon(callback)
    turn(loop)
    assert seen == ["ran"]


def test_running_by_hand(loop):
    seen = []
    handle = loop.call_soon(seen.append, "x")
    handle._run()
    assert seen == ["x"]
    handle.cancel()


def test_arguments_that_look_at_their_handle_when_they_go(same_outcome):
    def scenario(env):
        seen = []

        class Nosy:
            def __del__(self):
                seen.append(handle._args)

        for count in (1, 9):
            handle = env.loop.call_soon(never, *[Nosy() for _ in range(count)])
            handle._args = ("new",)
            handle._args = (Nosy(),)
            handle.cancel()
        return seen

    same_outcome(scenario)


def test_private_attributes(same_outcome):
    def scenario(env):
        context = contextvars.Context()
        handle = env.loop.call_soon(never, 1, 2, context=context)
        timer = env.loop.call_at(12345.5, never, context=context)
        names = ("_callback", "_args", "_cancelled", "_source_traceback", "_when")

        def look(handle):
            seen = [getattr(handle, name, "missing") for name in names]
            return seen + [handle._context is context, handle._loop is env.loop, handle._repr]

        seen = [look(handle), look(timer), timer._scheduled]
        handle.cancel()
        timer.cancel()
        return seen + [look(handle), look(timer)]

    same_outcome(scenario)


def test_the_repr_of_a_cancelled_handle_keeps_its_source(same_outcome):
    def scenario(env):
        env.loop.set_debug(True)
        handles = [env.loop.call_soon(never, 1), env.loop.call_later(1000, never)]
        seen = [repr(handle) for handle in handles]
        for handle in handles:
            seen.append(handle._source_traceback[-1].name)
            handle.cancel()
        return seen + [repr(handle) for handle in handles]

    same_outcome(scenario)


class Named:
    def method(self):
        raise AssertionError

    def __call__(self):
        raise AssertionError

    def __repr__(self):
        return "<Named>"


CALLBACKS = {
    "function": never,
    "lambda": lambda: None,
    "method": Named().method,
    "object": Named(),
    "builtin": len,
    "partial": functools.partial(never, 1, key="value"),
    "nested partial": functools.partial(functools.partial(never, 1), 2),
    "class": dict,
    "builtin method": [].append,
}


@pytest.mark.parametrize("callback", CALLBACKS.values(), ids=CALLBACKS)
@pytest.mark.parametrize("debug", [False, True])
def test_repr(callback, debug, same_outcome):
    def scenario(env):
        env.loop.set_debug(debug)
        handle = env.loop.call_soon(callback, 1, "two")
        timer = env.loop.call_later(1000, callback)
        seen = [repr(handle), repr(timer)]
        handle.cancel()
        timer.cancel()
        return seen + [repr(handle), repr(timer)]

    (_, seen), _ = same_outcome(scenario)
    assert seen[0].startswith("<Handle ")
    assert seen[1].startswith("<TimerHandle ")


def test_timer_when(loop):
    deadline = loop.time() + 1000.125
    handle = loop.call_at(deadline, never)
    assert handle.when() == deadline
    assert handle._when == deadline
    before = loop.time()
    later = loop.call_later(1000, never)
    assert before + 1000 <= later.when() <= loop.time() + 1000
    handle.cancel()
    later.cancel()
    assert handle.when() == deadline


def test_timers_are_ordered(loop):
    first, second = loop.call_at(1e9, never), loop.call_at(2e9, never)
    same = loop.call_at(1e9, never)
    assert first < second and first <= second and second > first and second >= first
    assert not (second < first or second <= first or first > second or first >= second)
    assert first == same and not first != same and first <= same and first >= same
    assert first != second
    assert not first < same
    assert hash(first) == hash(1e9)
    assert sorted([second, first]) == [first, second]
    same.cancel()
    assert first != same
    first.cancel()
    second.cancel()


def test_timers_against_others(same_outcome):
    def scenario(env):
        timer = env.loop.call_at(1e9, never)
        seen = [timer == 5, timer != "x", timer == env.loop.call_soon(print), timer == timer]
        timer.cancel()
        return seen, timer < 5

    same_outcome(scenario)


def test_a_timer_that_another_loop_made(loop):
    other = asyncio.SelectorEventLoop()
    try:
        ours, theirs = loop.call_at(1e9, never), other.call_at(2e9, never)
        assert ours < theirs
        assert theirs > ours
        ours.cancel()
        theirs.cancel()
    finally:
        other.close()


def test_scheduled_is_true_until_it_fires(loop):
    fired = loop.create_future()
    handle = loop.call_later(0.001, fired.set_result, None)
    assert handle._scheduled is True
    loop.run_until_complete(fired)
    assert handle._scheduled is False


def test_weak_references(loop):
    handle = loop.call_soon(never)
    ref = weakref.ref(handle)
    assert ref() is handle
    handle.cancel()
    del handle
    turn(loop)
    collect()
    assert ref() is None


def test_handles_have_slots(same_outcome):
    def scenario(env):
        handle = env.loop.call_soon(print)
        handle.cancel()
        handle.unknown = 1

    (how, (name, _)), _ = same_outcome(scenario)
    assert (how, name) == ("raised", "AttributeError")


@pytest.mark.skipif(not PYTHON_312, reason="get_context is new in 3.12")
def test_get_context(loop):
    context = contextvars.copy_context()
    handle = loop.call_soon(never, context=context)
    assert handle.get_context() is context
    handle.cancel()


def test_callbacks_run_in_their_context(loop):
    var = contextvars.ContextVar("var", default="default")
    seen = []
    context = contextvars.copy_context()
    context.run(var.set, "given")
    look = lambda: seen.append(var.get())  # noqa: E731 - one name for three schedules
    token = var.set("current")
    loop.call_soon(look)
    loop.call_soon(look, context=context)
    loop.call_soon_threadsafe(look, context=context)
    loop.call_later(0, look, context=context)
    var.reset(token)
    loop.call_soon(look)
    turn(loop)
    turn(loop)
    assert seen == ["current", "given", "given", "default", "given"]


def test_what_a_callback_sets_stays_in_its_context(loop):
    var = contextvars.ContextVar("var", default="default")
    context = contextvars.copy_context()
    loop.call_soon(var.set, "changed", context=context)
    turn(loop)
    assert context[var] == "changed"
    assert var.get() == "default"


def test_arguments_are_released_after_the_run(loop):
    class Thing:
        pass

    thing = Thing()
    ref = weakref.ref(thing)
    loop.call_soon(lambda thing: None, thing)
    del thing
    turn(loop)
    collect()
    assert ref() is None


CHANGES = {
    "cancel": lambda handle: handle.cancel(),
    "arguments": lambda handle: setattr(handle, "_args", ("other",)),
    "callback": lambda handle: setattr(handle, "_callback", never),
    "look": repr,
}


@pytest.mark.parametrize("count", [1, 9])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_callback_that_finds_its_handle_by_the_collector(loop, change, count):
    class Thing:
        alive = True

        def __del__(self):
            self.alive = False

    found, things, context = [], [], contextvars.Context()

    class Callback(Thing):
        def __call__(self, *args):
            for obj in gc.get_objects():
                if isinstance(obj, asyncio.Handle) and obj._context is context:
                    found.append(obj)
                    change(obj)
            assert self.alive and len(args) == count and all(thing.alive for thing in args)
            things.extend(weakref.ref(thing) for thing in (self, *args))

    loop.call_soon(Callback(), *(Thing() for _ in range(count)), context=context)
    turn(loop)
    assert len(found) == 1 and len(things) == count + 1
    found.clear()
    collect()
    assert [ref() for ref in things] == [None] * (count + 1)


def test_reference_counts_of_what_is_scheduled(loop):
    callback, argument = Named().method, object()
    before = sys.getrefcount(callback), sys.getrefcount(argument)
    for _ in range(100):
        loop.call_soon(callback, argument).cancel()
        loop.call_later(1000, callback, argument).cancel()
    turn(loop)
    collect()
    assert (sys.getrefcount(callback), sys.getrefcount(argument)) == before


BAD_CALLS = {
    "call_soon without a callback": lambda loop: loop.call_soon(),
    "call_soon of None": lambda loop: loop.call_soon(None),
    "call_soon with a keyword": lambda loop: loop.call_soon(print, sep=""),
    "call_later without a callback": lambda loop: loop.call_later(1),
    "call_later without anything": lambda loop: loop.call_later(),
    "call_later of a string": lambda loop: loop.call_later("1", print),
    "call_later of None": lambda loop: loop.call_later(None, print),
    "call_at of None": lambda loop: loop.call_at(None, print),
    "call_soon_threadsafe without a callback": lambda loop: loop.call_soon_threadsafe(),
    "bad context": lambda loop: loop.call_soon(print, context=5)._repr,
    "debug, call_soon of an int": lambda loop: (loop.set_debug(True), loop.call_soon(5)),
    "debug, call_later of an int": lambda loop: (loop.set_debug(True), loop.call_later(1, 5)),
    "debug, call_at of an int": lambda loop: (loop.set_debug(True), loop.call_at(1, 5)),
    "debug, threadsafe int": lambda loop: (loop.set_debug(True), loop.call_soon_threadsafe(5)),
}


async def coroutine_function():
    return None


for _name in ("call_soon", "call_soon_threadsafe"):
    BAD_CALLS[f"debug, {_name} of a coroutine function"] = lambda loop, name=_name: (
        loop.set_debug(True),
        getattr(loop, name)(coroutine_function),
    )


@pytest.mark.parametrize("call", BAD_CALLS.values(), ids=BAD_CALLS)
def test_bad_calls(call, same_outcome):
    def scenario(env):
        call(env.loop)
        return "accepted"

    same_outcome(scenario)


def test_a_coroutine_object_in_debug_mode(same_outcome):
    def scenario(env):
        env.loop.set_debug(True)
        coro = coroutine_function()
        try:
            env.loop.call_soon(coro)
        finally:
            coro.close()

    result, _ = same_outcome(scenario)
    assert result == ("raised", ("TypeError", "coroutines cannot be used with call_soon()"))


@pytest.mark.parametrize("name", ["call_soon", "call_later", "call_at", "call_soon_threadsafe"])
def test_a_closed_loop_takes_nothing(name, same_outcome):
    def scenario(env):
        env.loop.close()
        arguments = [1] if name in ("call_later", "call_at") else []
        getattr(env.loop, name)(*arguments, print)

    result, _ = same_outcome(scenario)
    assert result == ("raised", ("RuntimeError", "Event loop is closed"))


class Alike:
    """A callback that equals others by its name; comparing is counted."""

    def __init__(self, name, asked):
        self.name = name
        self.asked = asked

    def __call__(self):
        pass

    def __eq__(self, other):
        self.asked.append(self.name)
        return self.name == getattr(other, "name", None)

    __hash__ = None


def test_timers_compare_by_what_they_call(same_outcome):
    def scenario(env):
        loop, asked = env.loop, []
        when = loop.time() + 1000
        timers = [
            loop.call_at(when, Alike("a", asked)),
            loop.call_at(when, Alike("a", asked)),
            loop.call_at(when, Alike("b", asked)),
            loop.call_at(when + 1, Alike("a", asked)),
            loop.call_at(when, Alike("a", asked), 1),
            loop.call_at(when, Alike("a", asked), 1.0),
            loop.call_at(int(when) + 10**6, print),
            loop.call_at(fractions.Fraction(int(when) + 10**6), print),
            loop.call_at(when, [].append),
            loop.call_at(when, [].append),
            loop.call_at(when, Alike("a", asked)),
            loop.call_at(when, Alike("b", asked)),
        ]
        for timer in timers[-2:]:
            timer.cancel()
        table = []
        for first in timers:
            for second in timers:
                asked.clear()
                table.append(
                    (
                        first == second,
                        first != second,
                        first < second,
                        first <= second,
                        first > second,
                        first >= second,
                        hash(first) == hash(second),
                        list(asked),
                    )
                )
        return table, [timers[0] == other for other in (None, 1, "x")]

    assert same_outcome(scenario)[0][0] == "returned"


def test_comparing_that_cancels_the_timers(loop):
    class Cancelling:
        def __call__(self):
            pass

        def __eq__(self, other):
            for timer in timers:
                timer.cancel()
            return True

        __hash__ = None

    timers = [loop.call_at(1e9, Cancelling()) for _ in range(2)]
    assert timers[0] == timers[1]
    assert timers[0]._callback is timers[1]._callback is None


@pytest.mark.parametrize("debug", [False, True])
def test_the_report_of_a_failure_names_the_call(same_outcome, debug):
    def scenario(env):
        def fail(*args):
            raise ValueError

        messages = []
        env.loop.set_exception_handler(lambda loop, context: messages.append(context["message"]))
        env.loop.set_debug(debug)
        env.loop.call_soon(fail, 1, "x")
        env.loop.call_soon(functools.partial(fail, 2, b=3), 4)
        env.loop.call_soon_threadsafe(fail, 5)
        env.loop.call_later(0, fail, "later")
        env.future().add_done_callback(fail)
        fut = env.future()
        fut.add_done_callback(fail)
        fut.set_result("done")
        env.turn(3)
        return messages

    result, _ = same_outcome(scenario)
    assert result[0] == "returned"


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failing_report_is_made_once(same_outcome, debug, error):
    def scenario(env):
        calls = []

        def call_exception_handler(context):
            calls.append(context["message"])
            raise error

        def fail():
            raise ZeroDivisionError

        env.loop.set_debug(debug)
        env.loop.call_exception_handler = call_exception_handler
        env.loop.call_soon(fail)
        try:
            env.turn(2)
        except error as exc:
            calls.append(type(exc))
        env.turn(2)
        return calls

    assert len(same_outcome(scenario)[0][1]) == 2
