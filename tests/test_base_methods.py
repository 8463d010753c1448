"""What asyncio.Future and asyncio.Task do to fastaio's objects when called unbound.

fastaio's types subclass asyncio's without initialising the base, so each of the base's methods and
getters must at worst raise. Every one runs in a forked process: a crash is a failed test.
"""

import asyncio
import contextlib
import faulthandler
import gc
import os
import signal
import sys
import warnings

import pytest

from .support import GUARD

pytestmark = [
    pytest.mark.fastaio_only,
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


async def nothing():
    return None


async def failing():
    raise ValueError


async def waiting(fut):
    await fut


def futures(fastaio, loop):
    """A future in every state."""
    states = [fastaio.Future(loop=loop) for _ in range(5)]
    _, done, failed, cancelled, watched = states
    done.set_result([1])
    failed.set_exception(ValueError())
    cancelled.cancel("message")
    watched.add_done_callback(repr)
    return [*states, fastaio.Future.__new__(fastaio.Future)]


def tasks(fastaio, loop):
    """A task in every state."""
    fut = fastaio.Future(loop=loop)
    done, failed, waits, cancelled = (
        fastaio.Task(coro, loop=loop) for coro in (nothing(), failing(), waiting(fut), waiting(fut))
    )
    loop.call_soon(loop.stop)
    loop.run_forever()
    cancelled.cancel()
    loop.call_soon(loop.stop)
    loop.run_forever()
    fresh = fastaio.Task(nothing(), loop=loop)
    cancelling = fastaio.Task(nothing(), loop=loop)
    cancelling.cancel()
    return [done, failed, waits, cancelled, fresh, cancelling]


def new_tasks(fastaio, loop):
    """Tasks whose __init__ never ran."""
    return [fastaio.Task.__new__(fastaio.Task)]


def new_asyncio_tasks(fastaio, loop):
    return [asyncio.Task.__new__(asyncio.Task)]


VALUES = [None, True, 5, "text", [], {}, repr, ValueError(), ValueError, asyncio.CancelledError()]


def attempts(attribute, loop):
    """Calls that try a method, getter or setter in every way that comes to mind."""
    if hasattr(attribute, "__set__"):
        yield lambda thing: attribute.__get__(thing)
        for value in [*VALUES, loop]:
            yield lambda thing, value=value: attribute.__set__(thing, value)
            yield lambda thing: attribute.__get__(thing)
        yield lambda thing: attribute.__delete__(thing)
        yield lambda thing: attribute.__get__(thing)
        return
    call = attribute.__get__(None, asyncio.Future) if not callable(attribute) else attribute
    yield lambda thing: call(thing)
    yield lambda thing: list(call(thing))
    yield lambda thing: next(iter(call(thing)))
    for value in [*VALUES, loop]:
        yield lambda thing, value=value: call(thing, value)
        yield lambda thing, value=value: call(thing, value, value)
    for name in ("loop", "context", "msg", "file", "limit", "name"):
        yield lambda thing, name=name: call(thing, **{name: None})
    yield lambda thing: call(thing, loop=loop)


def try_everything(attribute, make):
    import fastaio

    warnings.simplefilter("ignore")
    loop = fastaio.new_event_loop()
    loop.set_exception_handler(lambda loop, context: repr(context))
    count = sum(1 for _ in attempts(attribute, loop))
    for number in range(count):
        for thing in make(fastaio, loop):
            attempt = next(
                item for at, item in enumerate(attempts(attribute, loop)) if at == number
            )
            with contextlib.suppress(BaseException):
                attempt(thing)
            # It may have been ruined, but it still can be looked at, run and freed.
            for look in (repr, lambda thing: thing.done(), lambda thing: thing.cancel()):
                with contextlib.suppress(BaseException):
                    look(thing)
        with contextlib.suppress(BaseException):
            loop.call_soon(loop.stop)
            loop.run_forever()
        del thing, attempt
        if number % 8 == 0:
            gc.collect()
    loop.close()
    gc.collect()


def exit_code_of(action):
    """The exit code of a forked child that does `action()`; a signal is a negative one."""
    pid = os.fork()
    if not pid:
        status = 1
        try:
            # print_stack() and the interpreter's own complaints are of no interest
            sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - for the whole process
            faulthandler.disable()  # asyncio's own may crash, and that is no news
            signal.alarm(int(GUARD))
            action()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def methods(cls):
    skipped = {
        "__new__",
        "__doc__",
        "__module__",
        "__weakref__",
        "__dict__",
        "__static_attributes__",
    }
    return sorted(set(vars(cls)) - skipped)


@pytest.mark.parametrize("name", methods(asyncio.Future))
@pytest.mark.parametrize("make", [futures, tasks], ids=["futures", "tasks"])
def test_methods_of_future(name, make):
    attribute = vars(asyncio.Future)[name]
    assert exit_code_of(lambda: try_everything(attribute, make)) == 0


@pytest.mark.parametrize("name", methods(asyncio.Task))
def test_methods_of_task(name):
    attribute = vars(asyncio.Task)[name]
    assert exit_code_of(lambda: try_everything(attribute, tasks)) == 0


@pytest.mark.parametrize("name", methods(asyncio.Task))
def test_methods_of_task_on_new_ones(name):
    attribute = vars(asyncio.Task)[name]
    if exit_code_of(lambda: try_everything(attribute, new_asyncio_tasks)):
        pytest.skip("asyncio's own task crashes as well")
    assert exit_code_of(lambda: try_everything(attribute, new_tasks)) == 0


@pytest.mark.parametrize(
    ("kind", "things"), [("Future", "Future"), ("Task", "Task"), ("Future", "Task")]
)
def test_our_own_methods_stand_the_same(kind, things):
    import fastaio

    cls = getattr(fastaio, kind)

    def make(fastaio, loop):
        if things == "Future":
            return futures(fastaio, loop)
        return tasks(fastaio, loop) + new_tasks(fastaio, loop)

    failures = {
        name: code
        for name in methods(cls)
        if (code := exit_code_of(lambda name=name: try_everything(vars(cls)[name], make)))
    }
    assert failures == {}
