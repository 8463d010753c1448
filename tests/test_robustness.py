"""What no program should do, and what no program may crash by."""

import asyncio
import contextlib
import gc
import io
import os
import signal
import socket
import sys
import warnings

import pytest

from .hardship import (
    KINDS,
    VALUES,
    Recorder,
    Refusal,
    connect,
    objects,
    poke,
    quiet_loop,
    survives,
    turn,
)
from .support import PYTHON_312, collect

pytestmark = [
    pytest.mark.fastaio_only,
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


@pytest.fixture
def native():
    """The extension module."""
    import fastaio

    return fastaio._fastaio


# Half-made objects


NEW = ["Future", "Task", "Loop", "StreamTransport"]


@pytest.mark.parametrize("name", NEW)
def test_objects_whose_init_never_ran(native, name):
    def action():
        warnings.simplefilter("ignore")
        sys.stderr = io.StringIO()
        cls = getattr(native, name)
        poke(cls.__new__(cls))

        class Sub(cls):
            pass

        poke(Sub.__new__(Sub))

    survives(action)


@pytest.mark.parametrize("name", ["Handle", "TimerHandle", "FutureIter", "SockOp", "ReadOp"])
def test_types_that_only_the_module_makes(native, name):
    cls = getattr(native, name)
    with pytest.raises(TypeError):
        cls()
    with pytest.raises(TypeError):
        object.__new__(cls)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("debug", [False, True], ids=["", "debug"])
def test_every_attribute_of_living_objects(kind, debug):
    def action():
        warnings.simplefilter("ignore")
        sys.stdout = sys.stderr = io.StringIO()
        loop = quiet_loop()
        loop.set_debug(debug)
        things = objects(loop)
        if kind == "loop":
            poke_loop(loop)
        else:
            poke(things[kind])
        with contextlib.suppress(Exception):
            turn(loop, 3)
        with contextlib.suppress(Exception):
            loop.close()
        things.clear()
        collect()

    survives(action)


def poke_loop(loop):
    """As poke(), for what neither blocks nor closes the loop."""
    skipped = {"run_forever", "run_until_complete", "_run", "_run_once", "close", "_close_native"}
    for name in dir(type(loop)):
        if name in skipped or name.startswith("__"):
            continue
        with contextlib.suppress(*Refusal):
            method = getattr(loop, name)
            if callable(method):
                for args in [(), *((value,) for value in VALUES), (1, print), (2**30, print)]:
                    with contextlib.suppress(*Refusal):
                        result = method(*args)
                        if hasattr(result, "close") and hasattr(result, "send"):
                            result.close()
    for name in ("_thread_id", "_debug", "_closed", "_stopping", "_task_factory", "spin_us"):
        for value in VALUES:
            with contextlib.suppress(*Refusal):
                setattr(loop, name, value)
        with contextlib.suppress(*Refusal):
            delattr(loop, name)


def test_a_waking_callback_that_gets_a_future_without_init(native):
    def action():
        loop = quiet_loop()
        fut = loop.create_future()

        async def main():
            await fut

        task = loop.create_task(main())
        turn(loop)
        wakeup = fut._callbacks[0][0]
        loop.call_soon(wakeup, native.Future.__new__(native.Future))
        turn(loop, 2)
        loop.close()
        return type(task.exception())

    assert survives(action) == repr(asyncio.InvalidStateError)


# Handles and timers


def test_a_handle_without_its_callback():
    def action():
        loop = quiet_loop()
        for schedule in (loop.call_soon, lambda *args: loop.call_later(0, *args)):
            handle = schedule(print, 1)
            del handle._callback
            turn(loop, 2)
        loop.close()
        return [type(report["exception"]) for report in loop.reports]

    assert survives(action) == repr([TypeError, TypeError])


class BadRepr:
    def __call__(self):
        """Never called."""

    def __repr__(self):
        raise ZeroDivisionError


@pytest.mark.parametrize("others", [0, 10, 300])
def test_timers_whose_cancelling_fails(others):
    def action():
        loop = quiet_loop()
        timers = [loop.call_later(0.001 * number % 0.01, int) for number in range(others)]
        bad = [loop.call_later(0.005, BadRepr()) for _ in range(10)]
        timers += [loop.call_later(0.02, int) for number in range(others)]
        loop._debug = True
        for timer in bad:
            with pytest.raises(ZeroDivisionError):
                timer.cancel()
        loop._debug = False
        for timer in timers[: others // 2]:
            timer.cancel()
        turn(loop)
        loop.run_until_complete(asyncio.sleep(0.03))
        for timer in timers:
            timer.cancel()
        turn(loop)
        loop.close()

    survives(action)


class OnDeletion:
    """A callback argument that does something when it goes."""

    def __init__(self, action):
        self.action = action

    def __call__(self, *args):
        """Nothing to do."""

    def __del__(self):
        self.action()


def test_timers_that_make_and_cancel_timers_when_they_go():
    def action():
        loop = quiet_loop()
        made = []

        def again():
            made.append(loop.call_later(0.001, int))
            made.append(loop.call_later(1000, int))
            for timer in made[: len(made) // 2]:
                timer.cancel()

        for _ in range(300):
            loop.call_later(1000, OnDeletion(again)).cancel()
            loop.call_later(0.001, OnDeletion(again))
        timers = [loop.call_later(1000 - number, OnDeletion(again)) for number in range(300)]
        for timer in timers:
            timer.cancel()
        del timers
        turn(loop, 3)
        loop.run_until_complete(asyncio.sleep(0.01))
        # Closing drops timers, each of which cancels others.
        others = []
        for number in range(100):
            last = others[-1] if others else loop.call_later(1000, int)
            others.append(loop.call_later(1000 - number, OnDeletion(last.cancel)))
        others.clear()
        loop.close()
        return loop.reports

    assert survives(action) == "[]"


def test_a_loop_that_is_dropped_with_timers_that_cancel_others():
    def action():
        loop = quiet_loop()
        last = loop.call_later(1000, int)
        for number in range(100):
            last = loop.call_later(1000 - number, OnDeletion(last.cancel), loop)
        loop._closed = True  # __del__() need not complain
        del loop, last
        collect()

    survives(action)


def test_a_clock_that_moves_timers():
    def action():
        loop = quiet_loop()
        clock = loop.time

        def time():
            for _ in range(200):
                loop.call_at(clock() + 1000, int).cancel()
                loop.call_at(clock() - 1, int)
            return clock()

        loop.call_later(0.001, int)
        loop.time = time
        turn(loop, 3)
        loop.stop()
        loop.run_forever()
        loop.time = lambda: -1e300
        loop.call_at(1e300, int)
        loop.call_soon_threadsafe(loop.stop)
        loop.run_forever()
        loop.close()

    survives(action)


def test_a_sleep_cancelled_by_the_loops_own_call_soon():
    def action():
        loop = quiet_loop()

        async def sleeping():
            return await asyncio.sleep(0.001, "slept")

        task = loop.create_task(sleeping())
        turn(loop)
        (timer,) = [obj for obj in gc.get_objects() if type(obj).__name__ == "TimerHandle"]

        def call_soon(callback, *args, context=None):
            timer.cancel()
            gc.collect()
            return type(loop).call_soon(loop, callback, *args, context=context)

        loop.call_soon = call_soon
        return loop.run_until_complete(task)

    assert survives(action) == repr("slept")


# Futures and tasks


def test_cancelling_with_a_tuple_as_message(kind, same_outcome):
    def scenario(env):
        async def inner():
            await env.future()

        async def outer():
            await env.task(inner())

        task = env.task(outer())
        env.turn(3)
        task.cancel((1, 2))
        env.turn(4)
        try:
            task.result()
        except asyncio.CancelledError as exc:
            return exc.args
        return None

    same_outcome(scenario)


def test_callbacks_that_add_and_remove_callbacks():
    def action():
        loop = quiet_loop()
        fut = loop.create_future()
        calls = []

        class Nosy:
            def __init__(self, number):
                self.number = number

            def __call__(self, fut):
                calls.append(self.number)
                if self.number < 20:
                    fut.add_done_callback(Nosy(self.number + 10))

            def __eq__(self, other):
                if not fut.done():
                    fut.add_done_callback(Nosy(50))
                    if self.number == 2:
                        fut.set_result(None)
                return False

            __hash__ = None

        for number in range(5):
            fut.add_done_callback(Nosy(number))
        fut.remove_done_callback(print)
        turn(loop, 5)
        loop.close()
        return calls[:1], len(calls) > 5

    survives(action)


def test_init_called_again_from_anywhere(native):
    # From 3.15 on asyncio refuses this, and so do we.
    def action():
        loop = quiet_loop()

        async def restart():
            with contextlib.suppress(RuntimeError):
                task = asyncio.current_task()
                task.__init__(asyncio.sleep(0), loop=loop)
            await asyncio.sleep(0)
            with contextlib.suppress(RuntimeError):
                asyncio.current_task().__init__(asyncio.sleep(0), loop=quiet_loop())

        async def wait_for(fut):
            await fut

        sys.stderr = io.StringIO()
        warnings.simplefilter("ignore")
        task = loop.create_task(restart())
        turn(loop, 5)
        if PYTHON_312:

            async def eager():
                native.Task(restart(), loop=loop, eager_start=True)

            with contextlib.suppress(RuntimeError):
                loop.run_until_complete(eager())
        fut = loop.create_future()
        waiting = loop.create_task(wait_for(fut))
        turn(loop)
        with contextlib.suppress(RuntimeError):
            fut.__init__(loop=loop)
        fut.add_done_callback(OnDeletion(int))
        with contextlib.suppress(RuntimeError):
            fut.__init__(loop=loop)
        fut.set_result(None) if not fut.done() else None
        with contextlib.suppress(RuntimeError):
            waiting.__init__(wait_for(fut), loop=loop)
        with contextlib.suppress(RuntimeError, TypeError):
            waiting.__init__(5, loop=loop)
        turn(loop, 5)
        repr(task), repr(waiting)
        loop.close()

    survives(action)


def test_finalizers_that_use_the_loop():
    def action():
        loop = quiet_loop()
        done = []

        class Chatty:
            def __init__(self, partner=None):
                self.partner = partner
                self.me = self

            def __del__(self):
                loop.call_soon(done.append, 1)
                loop.call_soon_threadsafe(done.append, 1)
                loop.call_later(0, done.append, 1)
                fut = loop.create_future()
                fut.add_done_callback(done.append)
                fut.set_result(None)
                task = loop.create_task(asyncio.sleep(0))
                task.add_done_callback(done.append)

        async def hold(thing):
            await loop.create_future()

        for _ in range(10):
            task = loop.create_task(hold(Chatty()))
            task._log_destroy_pending = False
            turn(loop)
            task.cycle = None if not hasattr(task, "__dict__") else task
            Chatty(loop.create_future())
        del task
        gc.collect()
        turn(loop, 4)
        assert len(done) >= 50
        loop.call_soon(Chatty())
        loop.call_later(100, Chatty())
        loop.call_soon_threadsafe(Chatty())
        del Chatty.__del__
        loop.close()

    survives(action)


def test_tasks_destroyed_while_pending_by_the_collector():
    def action():
        loop = quiet_loop()

        async def main():
            fut = loop.create_future()
            task = asyncio.current_task()
            cycle = [task, fut]
            fut.add_done_callback(lambda _: cycle)
            try:
                await fut
            finally:
                loop.call_soon(int)

        for _ in range(20):
            loop.create_task(main())
        turn(loop, 2)
        collect()
        turn(loop, 2)
        loop.close()
        return len([r for r in loop.reports if "destroyed" in r["message"]])

    assert survives(action) == "20"


def interrupted(loop, plan):
    def fail(*args):
        raise KeyboardInterrupt

    plan(loop, fail)
    loop.call_later(5, loop.stop)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()


def by_future(loop, fail):
    fut = loop.create_future()
    fut.add_done_callback(fail)
    fut.set_result(None)


def by_task(loop, fail):
    async def main():
        fail()

    loop.create_task(main())


def by_woken_task(loop, fail):
    async def main():
        await asyncio.sleep(0.001)
        fail()

    loop.create_task(main())


def by_reader(loop, fail):
    ours, theirs = socket.socketpair()
    theirs.send(b"x")

    def read():
        loop.remove_reader(ours)
        fail()

    loop.add_reader(ours, read)
    loop.keep = ours, theirs


def by_protocol(name):
    def plan(loop, fail):
        protocol = Recorder()
        setattr(protocol, name, fail)
        transport, _, theirs = connect(loop, protocol)
        theirs.send(b"data")
        theirs.shutdown(socket.SHUT_WR)
        loop.keep = transport, theirs

    return plan


def by_signal(loop, fail):
    signal.signal(signal.SIGUSR1, fail)
    signal.setitimer(signal.ITIMER_REAL, 0)
    loop.call_soon(os.kill, os.getpid(), signal.SIGUSR1)


INTERRUPTIONS = {
    "handle": lambda loop, fail: loop.call_soon(fail),
    "timer": lambda loop, fail: loop.call_later(0, fail),
    "threadsafe": lambda loop, fail: loop.call_soon_threadsafe(fail),
    "future": by_future,
    "task": by_task,
    "woken task": by_woken_task,
    "reader": by_reader,
    "data_received": by_protocol("data_received"),
    "eof_received": by_protocol("eof_received"),
    "connection_lost": by_protocol("connection_lost"),
    "signal": by_signal,
}


@pytest.mark.parametrize("plan", INTERRUPTIONS.values(), ids=INTERRUPTIONS)
@pytest.mark.parametrize("debug", [False, True], ids=["", "debug"])
def test_keyboard_interrupt_in_each_kind_of_callback(plan, debug):
    def action():
        warnings.simplefilter("ignore")
        loop = quiet_loop()
        loop.set_debug(debug)
        interrupted(loop, plan)
        assert asyncio.current_task(loop) is None
        # The loop goes on as if nothing had been.
        assert loop.run_until_complete(asyncio.sleep(0.001, "still works")) == "still works"
        sys.stderr = io.StringIO()
        loop.close()

    survives(action)


def test_closing_by_force_while_running():
    def action():
        loop = quiet_loop()
        loop.call_soon(loop._close_native)
        loop.call_soon(loop.close)
        turn(loop)
        assert [type(report["exception"]) for report in loop.reports] == [RuntimeError] * 2

        def close_all_the_same():
            loop._thread_id = None
            loop._close_native()

        loop.call_soon(close_all_the_same)
        loop.call_soon(int)
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            loop.run_forever()

    survives(action)


def test_stopping_closing_and_rearming_from_within():
    def action():
        loop = quiet_loop()
        ours, theirs = socket.socketpair()
        other, peer = socket.socketpair()
        seen = []

        def reader():
            seen.append(ours.recv(1))
            loop.remove_reader(ours)
            loop.add_reader(ours, second)
            loop.remove_reader(other)

        def second():
            seen.append(ours.recv(1))
            loop.add_reader(ours, reader)
            loop.add_writer(ours, writer)

        def writer():
            loop.remove_writer(ours)
            loop.remove_reader(ours)
            ours.close()
            loop.stop()

        theirs.send(b"abc")
        peer.send(b"x")
        loop.add_reader(ours, reader)
        loop.add_reader(other, seen.append, "not any more")
        loop.run_forever()
        loop.close()
        return seen[0], len(seen)

    survives(action)


def test_a_fileno_that_closes_the_loop():
    def action():
        ours, theirs = socket.socketpair()

        class Closing:
            def fileno(self):
                loop.close()
                return ours.fileno()

        for name in ("add_reader", "add_writer", "remove_reader", "_watched"):
            loop = quiet_loop()
            if name == "remove_reader":
                loop.add_reader(ours, int)
            args = (int,) if name.startswith("add") else ()
            with contextlib.suppress(RuntimeError):
                getattr(loop, name)(Closing(), *args)
            loop.close()
        theirs.close()

    survives(action)


@pytest.mark.parametrize("fd", [-1, -5, 999, 2**30, 2**31 - 1, 2**31, 2**70])
def test_descriptors_that_are_none(loop, fd):
    before = resident_bytes()
    for method in (loop.add_reader, loop.add_writer):
        with pytest.raises((OSError, ValueError, OverflowError)):
            method(fd, int)
    assert resident_bytes() - before < 50_000_000


def resident_bytes():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Liar:
    """Looks like a listening or connected socket; its descriptor is nonsense."""

    family, type, proto = socket.AF_UNIX, socket.SOCK_STREAM, 0

    def __init__(self, fd):
        self.fd = fd

    def fileno(self):
        return self.fd

    def getsockname(self):
        return "name"

    getpeername = getsockname

    def close(self):
        """Nothing to close."""


@pytest.mark.parametrize("fd", [-1, -7, 999, 2**30, 2**40])
def test_transports_and_listeners_of_nonsense(native, fd):
    def action():
        loop = quiet_loop()
        with contextlib.suppress(OSError, ValueError, OverflowError):
            listener = native.Listener(loop, Liar(fd), Recorder, None, 5)
            listener.start()
        protocol = Recorder()
        with contextlib.suppress(OSError, ValueError, OverflowError):
            loop._make_stream_transport(Liar(fd), protocol)
        turn(loop, 4)
        loop.close()
        assert ("lost" in [item[0] for item in protocol.heard]) == ("made" in protocol.heard)

    survives(action)


def test_a_closed_socket_as_a_transport():
    def action():
        loop = quiet_loop()
        for make in (socket.socketpair, lambda: [socket.socket(), socket.socket()]):
            ours, theirs = make()
            ours.close()
            theirs.close()
            with contextlib.suppress(OSError, ValueError):
                loop._make_stream_transport(ours, Recorder())
            turn(loop, 3)
        loop.close()

    survives(action)
