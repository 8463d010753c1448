"""Loops that several threads run, close, fork and look at.

Without a GIL the threads do that at the same time. What asyncio answers to bad
use is asked of both.
"""

import asyncio
import concurrent.futures
import gc
import os
import signal
import socket
import ssl
import sys
import threading
import time
import warnings

import pytest

from .support import FREE_THREADED, GUARD, run_python
from .test_free_threading_net import in_threads, new_loop, survives

without_gil = pytest.mark.skipif(not FREE_THREADED, reason="this interpreter has a GIL")


def started(loop):
    """Run a loop in a thread, which is returned once the loop runs."""
    runs = threading.Event()
    loop.call_soon(runs.set)
    thread = threading.Thread(target=loop.run_forever, name="runner")
    thread.start()
    assert runs.wait(GUARD)
    return thread


def stopped(loop, thread):
    loop.call_soon_threadsafe(loop.stop)
    thread.join(GUARD)
    assert not thread.is_alive()
    loop.close()


def error_in_thread(function):
    """Return the exception that a function raises in a thread named "stranger"; None: none."""
    errors = []

    def run():
        try:
            function()
        except Exception as exc:  # noqa: BLE001 - returned
            errors.append(exc)

    thread = threading.Thread(target=run, name="stranger")
    thread.start()
    thread.join(GUARD)
    assert not thread.is_alive()
    return errors[0] if errors else None


# Bad use, as on asyncio


def test_a_loop_that_runs_in_a_thread_is_not_run_in_another(loop_factory):
    loop = loop_factory()
    thread = started(loop)
    with pytest.raises(RuntimeError, match="This event loop is already running"):
        loop.run_forever()
    coro = asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="This event loop is already running"):
        loop.run_until_complete(coro)
    coro.close()
    assert loop.is_running()
    stopped(loop, thread)


def test_a_loop_that_runs_is_not_closed_by_another_thread(loop_factory):
    loop = loop_factory()
    thread = started(loop)
    with pytest.raises(RuntimeError, match="Cannot close a running event loop"):
        loop.close()
    assert not loop.is_closed()
    stopped(loop, thread)


def test_a_future_of_a_loop_is_not_awaited_in_another(loop_factory):
    loop, other = loop_factory(), loop_factory()
    thread = started(other)

    async def make():
        return asyncio.get_running_loop().create_future()

    async def wait(future):
        await future

    future = asyncio.run_coroutine_threadsafe(make(), other).result(GUARD)
    with pytest.raises(RuntimeError, match="attached to a different loop"):
        loop.run_until_complete(wait(future))
    with pytest.raises(ValueError, match="The future belongs to a different loop"):
        asyncio.wrap_future(asyncio.ensure_future(future, loop=loop))
    stopped(other, thread)
    loop.close()


@pytest.mark.parametrize("use", ["lock", "queue", "event", "condition"])
def test_a_primitive_of_a_loop_is_not_awaited_in_another(loop_factory, use):
    loop, other = loop_factory(), loop_factory()
    thread = started(other)
    lock, queue, event = asyncio.Lock(), asyncio.Queue(), asyncio.Event()
    condition = asyncio.Condition()

    async def wait():
        if use == "lock":
            async with lock:
                await lock.acquire()
        elif use == "queue":
            await queue.get()
        elif use == "event":
            await event.wait()
        else:
            async with condition:
                await condition.wait()

    waiting = asyncio.run_coroutine_threadsafe(wait(), other)

    def waits():
        return {"lock": lock, "queue": queue, "event": event, "condition": condition}[use]

    deadline = time.monotonic() + GUARD
    while getattr(waits(), "_loop", None) is None:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    with pytest.raises(RuntimeError, match="is bound to a different event loop"):
        loop.run_until_complete(asyncio.wait_for(wait(), GUARD))
    waiting.cancel()
    stopped(other, thread)
    loop.close()


def test_a_closed_loop_refuses_the_calls_of_threads(loop_factory):
    """A call raises asyncio's error, or came before the loop was closed."""
    for _ in range(30):
        loop = loop_factory()
        ready = threading.Barrier(4)
        closed = threading.Event()
        late = []

        def call(loop=loop, ready=ready, closed=closed, late=late):
            ready.wait(GUARD)
            while True:
                was_closed = closed.is_set()
                try:
                    loop.call_soon_threadsafe(int)
                except RuntimeError as exc:
                    assert str(exc) == "Event loop is closed"  # noqa: PT017
                    return
                late.append(was_closed)

        def close(loop=loop, ready=ready, closed=closed):
            ready.wait(GUARD)
            loop.call_soon(loop.stop)
            loop.run_forever()
            loop.close()
            closed.set()

        in_threads(lambda i, call=call, close=close: call() if i else close(), 4)
        assert True not in late


# Strangers


@without_gil
@pytest.mark.fastaio_only
def test_slots_of_handles_are_guarded(run):
    async def main():
        loop = asyncio.get_running_loop()
        timers = [loop.call_at(loop.time() + 10, print) for _ in range(2)]
        handle = loop.call_soon(print)
        for compare in (
            lambda: timers[0] == timers[1],
            lambda: timers[0] <= timers[1],
            lambda: timers[0] != timers[1],
        ):
            error = error_in_thread(compare)
            assert isinstance(error, RuntimeError)
            assert "'MainThread'" in str(error)
            assert "'stranger'" in str(error)
        texts = []
        assert error_in_thread(lambda: texts.extend(map(repr, [handle, *timers]))) is None
        assert all(text.endswith("of a loop in another thread>") for text in texts)
        assert error_in_thread(lambda: texts.append(hash(timers[0]))) is None
        assert texts[-1] == hash(timers[0])
        for one in (handle, *timers):
            one.cancel()

    run(main)


@without_gil
@pytest.mark.fastaio_only
def test_a_native_callback_is_not_called_by_a_stranger(run):
    async def main():
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.transport.abort()  # connection_lost() is queued
        calls = [h._callback for h in loop._ready if type(h._callback).__name__ == "NativeCall"]
        assert calls
        error = error_in_thread(calls[0])
        assert isinstance(error, RuntimeError)
        assert "'stranger'" in str(error)
        assert calls[0]() is None
        server.close()

    run(main)


@without_gil
@pytest.mark.fastaio_only
def test_the_ssl_object_belongs_to_the_thread_of_the_loop(run):
    async def main():
        from .tlsutil import both_ends

        async with both_ends() as (transport, protocol, _, _):
            ssl_object = transport.get_extra_info("ssl_object")
            assert isinstance(ssl_object, ssl.SSLObject)
            assert ssl_object.version() == "TLSv1.3"
            assert ssl_object.getpeercert()["subject"]
            assert ssl_object.cipher() == transport.get_extra_info("cipher")
            assert isinstance(ssl_object.context, ssl.SSLContext)
            ssl_object.context = ssl_object.context
            assert not ssl_object.server_side
            for use in (
                ssl_object.version,
                ssl_object.getpeercert,
                lambda: ssl_object.read(10),
                lambda: ssl_object.write(b"x"),
                lambda: ssl_object.context,
                lambda: setattr(ssl_object, "context", None),
            ):
                error = error_in_thread(use)
                assert isinstance(error, RuntimeError)
                assert "'MainThread'" in str(error)
                assert "'stranger'" in str(error)
            assert transport.get_protocol() is protocol

    run(main)


@pytest.mark.fastaio_only
def test_any_thread_looks_at_accounts(run):
    async def main():
        loop = asyncio.get_running_loop()
        accounts = loop.account("name")
        over = threading.Event()
        errors = []

        def look():
            from fastaio import top

            try:
                while not over.is_set():
                    for row in accounts.rows():
                        assert row["steps"] >= 0
                    accounts.clear()
                    loop.account("name")
                    assert top.snapshot()["loops"]
            except Exception as exc:  # noqa: BLE001 - checked below
                errors.append(exc)

        class Name(str):
            def __eq__(self, other):
                raise AssertionError("the accounts compared a name")

            __hash__ = str.__hash__

        async def short():
            await asyncio.sleep(0)

        threads = [threading.Thread(target=look) for _ in range(3)]
        for thread in threads:
            thread.start()
        for round_ in range(100):
            names = [Name(f"{round_} {number}") for number in range(20)]
            await asyncio.gather(*(loop.create_task(short(), name=name) for name in names))
        over.set()
        await asyncio.to_thread(lambda: [thread.join(GUARD) for thread in threads])
        assert errors == []

    run(main)


# Ends


def handed_over_when_closed():
    """A thread collects a connection while the loop is claimed; then the loop is closed."""
    warnings.simplefilter("always")
    told = []
    warnings.showwarning = lambda message, *args, **kwargs: told.append(str(message))
    loop = new_loop()

    async def connect():
        ours, theirs = socket.socketpair()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        transport.pause_reading()  # so that the loop holds no reference
        return transport, theirs

    transport, theirs = loop.run_until_complete(connect())
    cycle = [transport]
    cycle.append(cycle)
    gc.collect()
    gc.disable()
    del transport, cycle
    loop._claim()
    thread = threading.Thread(target=gc.collect)
    thread.start()
    thread.join(GUARD)
    assert not [text for text in told if "transport" in text], told
    loop._unclaim()
    loop.close()
    assert [text for text in told if text.startswith("unclosed transport <")], told
    theirs.settimeout(GUARD)
    assert theirs.recv(1) == b""
    theirs.close()


@without_gil
@pytest.mark.fastaio_only
def test_what_was_handed_over_ends_with_the_loop():
    survives(handed_over_when_closed)


def writers_dropped_elsewhere():
    """Another thread drops stream writers: they are closed, with a warning and without an error."""
    warnings.simplefilter("always")
    told, errors = [], []
    warnings.showwarning = lambda message, *args, **kwargs: told.append(str(message))
    sys.unraisablehook = lambda unraisable: errors.append(unraisable.exc_value)
    loop = new_loop()

    async def connect(tls, left, right):
        from .tlsutil import HOST, client_context, server_context

        kwargs = {"ssl": client_context(), "server_hostname": HOST} if tls else {}
        opening = asyncio.create_task(asyncio.open_connection(sock=left, **kwargs))
        if tls:
            await loop.connect_accepted_socket(asyncio.Protocol, right, ssl=server_context())
        _, writer = await opening
        writer.cycle = writer  # for the collector, in the other thread

    async def main():
        for tls in (False, True):
            left, right = socket.socketpair()
            right.setblocking(False)
            told.clear()
            gc.disable()
            await asyncio.create_task(connect(tls, left, right))
            del left
            await asyncio.sleep(0)
            await asyncio.to_thread(gc.collect)
            async with asyncio.timeout(GUARD):
                while not [text for text in told if text.startswith("unclosed StreamWriter of <")]:
                    await asyncio.sleep(0.001)
                if not tls:
                    assert await loop.sock_recv(right, 1) == b""
            right.close()

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    assert errors == []


@without_gil
@pytest.mark.fastaio_only
def test_a_writer_that_another_thread_drops_is_closed():
    survives(writers_dropped_elsewhere)


# Forks


def forks_beside_calls():
    """A thread forks while others queue calls. In the child the loops take calls and run."""
    warnings.simplefilter("ignore")
    loop = new_loop()
    other = new_loop()
    runner = started(other)
    stop = threading.Event()

    def call():
        while not stop.is_set():
            loop.call_soon_threadsafe(int)
            other.call_soon_threadsafe(int)
            time.sleep(0)

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    for _ in range(40):
        pid = os.fork()
        if pid == 0:
            signal.alarm(int(GUARD))
            for copy in (loop, other):
                asyncio.events._set_running_loop(None)
                copy._thread_id = None
                copy.call_soon_threadsafe(copy.stop)
                copy.run_forever()
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        loop.call_soon(loop.stop)
        loop.run_forever()
    stop.set()
    for caller in callers:
        caller.join(GUARD)
    stopped(other, runner)
    loop.close()


@pytest.mark.fastaio_only
def test_a_fork_beside_calls_of_threads():
    survives(forks_beside_calls)


# Hand-overs


def single_results_arrive():
    """Each loop waits for one result at a time, so a lost wake-up is a hang."""

    def play(number):
        import fastaio.files

        loop = new_loop()
        path = f"/proc/self/task/{threading.get_native_id()}/comm"

        async def main():
            for step in range(150):
                assert await asyncio.to_thread(int, "7") == 7
                assert await loop.run_in_executor(None, max, step, 1) == max(step, 1)
                assert await loop.getaddrinfo("localhost", step + 1)
                assert await fastaio.files.read_bytes(path)
                future = loop.create_future()
                threading.Thread(
                    target=loop.call_soon_threadsafe, args=(future.set_result, step)
                ).start()
                assert await future == step
            await loop.shutdown_default_executor()

        loop.run_until_complete(asyncio.wait_for(main(), GUARD))
        loop.close()

    in_threads(play)


@pytest.mark.fastaio_only
def test_no_wake_up_is_lost():
    survives(single_results_arrive)


@pytest.mark.fastaio_only
def test_signals_interrupt_the_main_thread_alone():
    done = run_python(
        """
import asyncio, os, signal, threading, fastaio

heard = []

async def other(ready, stop):
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(signal.SIGUSR1, heard.append, "other")
    except (ValueError, RuntimeError) as error:
        heard.append(type(error).__name__)
    ready.set()
    await asyncio.to_thread(stop.wait)

async def main():
    loop = asyncio.get_running_loop()
    ready, stop = threading.Event(), threading.Event()
    threads = [threading.Thread(target=fastaio.run, args=(other(ready, stop),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    await asyncio.to_thread(ready.wait)
    got = asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR2, got.set)
    for _ in range(20):
        got.clear()
        threading.Thread(target=signal.pthread_kill,
                         args=(threads[0].ident, signal.SIGUSR2)).start()
        await asyncio.wait_for(got.wait(), 20)
    stop.set()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    print(len(heard), *sorted(set(heard)))

fastaio.run(main())
"""
    )
    assert done.stdout.split() == ["3", "RuntimeError"], done.stderr


def test_a_call_that_closes_its_loop_is_not_refused(loop_factory):
    """Its thread may see the closed loop before call_soon_threadsafe() returns."""
    for _ in range(200):
        loop, ready, called = loop_factory(), threading.Event(), []
        future = loop.create_future()

        def run(loop=loop, ready=ready, future=future):
            loop.call_soon(ready.set)
            loop.run_until_complete(future)
            loop.close()

        def call(future=future, called=called):
            called.append(True)
            future.set_result(None)

        thread = threading.Thread(target=run)
        thread.start()
        assert ready.wait(GUARD)
        loop.call_soon_threadsafe(call)
        thread.join(GUARD)
        assert called == [True]


# What any thread may do


def test_what_is_not_bound_to_a_moment_is_asked_for_in_any_thread(loop_factory):
    loop = loop_factory()
    loop.set_task_factory(asyncio.eager_task_factory if sys.version_info >= (3, 12) else None)
    handle = loop.call_later(GUARD, int)
    source = concurrent.futures.Future()
    found = []

    def ask():
        found.append(handle.when() - loop.time() > GUARD / 2)
        found.append(loop.get_task_factory())
        found.append(asyncio.wrap_future(source, loop=loop))

    thread = started(loop)
    assert error_in_thread(ask) is None
    source.set_result("set")
    assert found[:2] == [True, loop.get_task_factory()]
    assert asyncio.run_coroutine_threadsafe(as_coroutine(found[2]), loop).result(GUARD) == "set"
    assert error_in_thread(lambda: found.append(isinstance(handle, dict))) is None
    assert error_in_thread(lambda: found.append(handle.cancelled())) is None
    assert found[3:] == [False, False]
    loop.call_soon_threadsafe(handle.cancel)
    stopped(loop, thread)


async def as_coroutine(future):
    return await future


def test_another_thread_kills_a_child(run):
    async def main():
        child = await asyncio.create_subprocess_exec("sleep", str(GUARD))
        error = error_in_thread(child.kill)
        return error, await child.wait()

    assert run(main) == (None, -signal.SIGKILL)


@pytest.mark.fastaio_only
@pytest.mark.parametrize("look", ["repr", "add_reader"])
def test_a_look_from_outside_does_not_refuse_a_run(loop_factory, look):
    """The loop's thread runs again and again. Another one uses the moments between."""
    loop, over = loop_factory(), threading.Event()
    ours, theirs = socket.socketpair()
    handle = loop.call_later(GUARD, int)

    def use():
        while not over.is_set():
            if look == "repr":
                repr(handle)
            else:
                loop.add_reader(ours.fileno(), int)

    async def nothing():
        pass

    with ours, theirs:
        thread = threading.Thread(target=use)
        thread.start()
        try:
            for _ in range(200):
                loop.run_until_complete(nothing())
        finally:
            over.set()
            thread.join(GUARD)
        loop.remove_reader(ours.fileno())
        handle.cancel()
        loop.close()


def test_a_loop_that_says_it_does_not_run_can_be_used(loop_factory):
    for _ in range(100):
        loop = loop_factory()
        thread = started(loop)
        loop.call_soon_threadsafe(loop.stop)
        while loop.is_running():
            pass
        loop.close()
        thread.join(GUARD)


@without_gil
@pytest.mark.fastaio_only
def test_a_call_waits_for_the_claim_of_a_loop_that_does_not_run(loop_factory):
    loop, seen = loop_factory(), []

    def use():
        begun.set()
        loop.call_soon(seen.append, "ran")

    begun = threading.Event()
    thread = threading.Thread(target=use)
    loop._claim()
    try:
        thread.start()
        assert begun.wait(GUARD)
        time.sleep(0.1)  # who does not wait is refused by now
    finally:
        loop._unclaim()
    thread.join(GUARD)
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    assert seen == ["ran"]


ENDS_WHILE_ITS_MAKER_SLEEPS = """
import fastaio, socket, threading, warnings

warnings.simplefilter("always")
loop = fastaio.EventLoop()
told = threading.Event()
warnings.showwarning = lambda *args, **kwargs: told.set()
ours, theirs = socket.socketpair()
ours.setblocking(False)
coro = loop.sock_recv(ours, 1)
runs = threading.Event()
loop.call_soon(runs.set)
thread = threading.Thread(target=loop.run_forever)
thread.start()
runs.wait()
del coro
print(told.wait(30))  # in one call, which runs no code of this thread
loop.call_soon_threadsafe(loop.stop)
thread.join()
loop.close()
"""


@pytest.mark.fastaio_only
def test_what_a_waiting_thread_has_dropped_ends_in_the_loop():
    assert run_python(ENDS_WHILE_ITS_MAKER_SLEEPS).stdout == "True\n"


@pytest.mark.fastaio_only
@pytest.mark.skipif(not FREE_THREADED, reason="with a GIL nobody runs while another one looks")
def test_the_frames_of_a_task_that_may_run_are_not_shown(loop_factory):
    loop, tasks = loop_factory(), []

    async def wait():
        tasks.append(asyncio.current_task())
        await loop.create_future()

    loop.call_soon(lambda: loop.create_task(wait()))
    thread = started(loop)
    while not tasks:
        time.sleep(0.001)
    assert tasks[0].get_stack() == []
    loop.call_soon_threadsafe(loop.stop)
    thread.join(GUARD)
    assert len(tasks[0].get_stack()) == 1
    tasks[0].cancel()
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def test_an_exception_that_is_retrieved_at_once_is_not_reported(loop_factory):
    """The thread that sets it, and the loop that asks for it, are at work at the same time."""
    loop, reports = loop_factory(), []
    loop.set_exception_handler(lambda loop, context: reports.append(context["message"]))

    async def main():
        for _ in range(500):
            future = loop.create_future()
            thread = threading.Thread(target=future.set_exception, args=(ValueError(),))
            thread.start()
            while not future.done():
                await asyncio.sleep(0)
            assert isinstance(future.exception(), ValueError)
            thread.join()
            del future

    loop.run_until_complete(main())
    gc.collect()
    loop.close()
    assert reports == []
