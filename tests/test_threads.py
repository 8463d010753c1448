"""Loops and threads: waking a loop from outside, several loops, coroutines sent across."""

import asyncio
import concurrent.futures
import contextlib
import signal
import socket
import sys
import threading
import time

import pytest

from .support import GUARD, run_python


async def returning(value):
    await asyncio.sleep(0)
    return value


@contextlib.contextmanager
def running(loop_factory):
    """A loop that runs in another thread."""
    loop = loop_factory()
    thread = threading.Thread(target=loop.run_forever)
    started = threading.Event()
    loop.call_soon(started.set)
    thread.start()
    try:
        assert started.wait(GUARD)
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(GUARD)
        assert not thread.is_alive()
        loop.close()


# Waking a loop


def test_a_loop_that_is_driven_turn_by_turn_is_woken(loop_factory):
    """By somebody who calls _run_once() himself, so that the loop does not know of its thread."""
    loop = loop_factory()
    going = True

    def drive():
        while going:
            loop._run_once()

    def end():
        nonlocal going
        going = False

    thread = threading.Thread(target=drive)
    thread.start()
    try:
        for _ in range(200):
            answered = threading.Event()
            loop.call_soon_threadsafe(answered.set)
            assert answered.wait(GUARD)
    finally:
        loop.call_soon_threadsafe(end)
        thread.join(GUARD)
        assert not thread.is_alive()
        loop.close()


def test_many_threads_lose_nothing(loop_factory):
    count, threads = 2000, 8
    seen = []
    done = threading.Event()

    def receive(number, index):
        seen.append((number, index))
        if len(seen) == count * threads:
            done.set()

    with running(loop_factory) as loop:

        def send(number):
            for index in range(count):
                loop.call_soon_threadsafe(receive, number, index)

        senders = [threading.Thread(target=send, args=(number,)) for number in range(threads)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join(GUARD)
        assert done.wait(GUARD)
    assert len(seen) == count * threads
    for number in range(threads):
        assert [index for sender, index in seen if sender == number] == list(range(count))


def test_a_blocked_loop_wakes_up(loop_factory):
    with running(loop_factory) as loop:
        for _ in range(50):
            woken = threading.Event()
            time.sleep(0.0005)  # long enough for the loop to block again, which is not required
            loop.call_soon_threadsafe(woken.set)
            assert woken.wait(GUARD)


def test_a_wake_up_in_the_middle_of_a_long_timer(loop_factory):
    with running(loop_factory) as loop:
        loop.call_soon_threadsafe(loop.call_later, 3600, print)
        woken = threading.Event()
        loop.call_soon_threadsafe(woken.set)
        assert woken.wait(GUARD)


def test_what_another_thread_queues_while_the_loop_is_stopped(loop):
    seen = []
    thread = threading.Thread(target=loop.call_soon_threadsafe, args=(seen.append, "queued"))
    thread.start()
    thread.join(GUARD)
    loop.call_soon_threadsafe(loop.stop)
    loop.run_forever()
    assert seen == ["queued"]


def test_from_the_same_thread_the_order_is_kept(loop):
    seen = []
    loop.call_soon(seen.append, 1)
    loop.call_soon_threadsafe(seen.append, 2)
    loop.call_soon(seen.append, 3)
    loop.call_soon_threadsafe(loop.stop)
    loop.run_forever()
    assert seen == [1, 2, 3]


def in_a_thread(function, *args):
    """Call it in another thread and wait for its end."""
    thread = threading.Thread(target=function, args=args)
    thread.start()
    thread.join()


def test_one_order_for_all_threads(loop):
    """A call that another thread has made runs before what is scheduled after that."""
    seen = []

    async def task(name):
        seen.append(name)

    async def waiting(future):
        await future
        seen.append("woken")

    async def main():
        future, waited = loop.create_future(), loop.create_future()
        future.add_done_callback(lambda _: seen.append("future"))
        waiter = loop.create_task(waiting(waited))
        await asyncio.sleep(0)
        in_a_thread(loop.call_soon_threadsafe, seen.append, 1)
        loop.call_soon(seen.append, "call_soon")
        in_a_thread(loop.call_soon_threadsafe, seen.append, 2)
        created = loop.create_task(task("created"))
        in_a_thread(loop.call_soon_threadsafe, seen.append, 3)
        future.set_result(None)
        in_a_thread(loop.call_soon_threadsafe, seen.append, 4)
        waited.set_result(None)
        in_a_thread(loop.call_soon_threadsafe, seen.append, 5)
        await created
        await waiter

    loop.run_until_complete(main())
    assert seen == [1, "call_soon", 2, "created", 3, "future", 4, "woken", 5]


def test_one_order_across_a_stop(loop):
    seen = []

    def last():
        in_a_thread(loop.call_soon_threadsafe, seen.append, "posted")
        loop.call_soon(seen.append, "called")
        loop.stop()

    loop.call_soon(last)
    loop.run_forever()
    loop.call_soon(seen.append, "after the stop")
    in_a_thread(loop.call_soon_threadsafe, seen.append, "posted after the stop")
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == ["posted", "called", "after the stop", "posted after the stop"]


def test_what_is_posted_while_a_factory_blocks_comes_before_connection_made(loop):
    """The connection is accepted first, its protocol is told of it after the post."""
    seen = []

    class Told(asyncio.Protocol):
        def connection_made(self, transport):
            seen.append("connection_made")
            transport.close()
            loop.call_soon(loop.stop)

    def factory():
        in_a_thread(loop.call_soon_threadsafe, seen.append, "posted")
        return Told()

    async def serve():
        return await loop.create_server(factory, "127.0.0.1", 0)

    server = loop.run_until_complete(serve())
    with socket.create_connection(server.sockets[0].getsockname()):
        loop.run_forever()
    server.close()
    loop.run_until_complete(server.wait_closed())
    assert seen == ["posted", "connection_made"]


def test_cancelling_what_was_sent(loop_factory):
    with running(loop_factory) as loop:
        held, go, after = threading.Event(), threading.Event(), threading.Event()
        seen = []

        def hold():
            held.set()
            go.wait(GUARD)

        loop.call_soon_threadsafe(hold)
        assert held.wait(GUARD)
        handle = loop.call_soon_threadsafe(seen.append, "cancelled")
        loop.call_soon_threadsafe(after.set)
        handle.cancel()
        go.set()
        assert after.wait(GUARD)
    assert seen == []


# Handles of call_soon_threadsafe(): whoever asks or cancels while the callback runs has to wait

guarded = pytest.mark.skipif(
    not hasattr(asyncio.events, "_ThreadSafeHandle"), reason="asyncio has none before 3.14"
)


@guarded
def test_the_class_of_what_was_sent(loop):
    sent = loop.call_soon_threadsafe(int)
    assert isinstance(sent, asyncio.events._ThreadSafeHandle)
    assert isinstance(sent, asyncio.Handle)
    assert repr(sent).startswith("<_ThreadSafeHandle ")
    for other in (loop.call_soon(int), loop.call_later(0, int)):
        assert not isinstance(other, asyncio.events._ThreadSafeHandle)


@guarded
@pytest.mark.parametrize("name", ["cancel", "cancelled", "_run"])
@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("fails", [False, True], ids=["returns", "raises"])
def test_asking_while_it_runs(loop_factory, name, count, fails):
    runs, seen, asking, begun = [], [], threading.Barrier(count + 1), threading.Event()

    def callback():
        begun.set()
        if not runs:
            asking.wait(GUARD)
            time.sleep(0.05)  # who does not wait is through by now
        runs.append("ran")
        if fails:
            raise ValueError("it fails")

    def ask():
        asking.wait(GUARD)
        result = getattr(handle, name)()
        seen.append((result, runs[:1]))

    with running(loop_factory) as loop:
        loop.set_exception_handler(lambda loop, context: None)
        handle = loop.call_soon_threadsafe(callback)
        assert begun.wait(GUARD)
        threads = [threading.Thread(target=ask) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(GUARD)
    assert seen == [(False if name == "cancelled" else None, ["ran"])] * count
    assert len(runs) == (count + 1 if name == "_run" else 1)


@guarded
@pytest.mark.parametrize("name", ["cancel", "cancelled", "_run"])
@pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
def test_asking_while_its_exception_is_reported(loop_factory, name, debug):
    steps, asking, begun = [], threading.Barrier(2), threading.Event()

    def callback():
        steps.append("run")
        begun.set()
        raise ValueError("it fails")

    def report(loop, context):
        if steps.count("report") == 0:
            asking.wait(GUARD)
            time.sleep(0.05)  # who does not wait is through by now
        assert isinstance(context["exception"], ValueError)
        steps.append("report")

    with running(loop_factory) as loop:
        loop.set_debug(debug)
        loop.set_exception_handler(report)
        handle = loop.call_soon_threadsafe(callback)
        assert begun.wait(GUARD)
        asking.wait(GUARD)
        assert getattr(handle, name)() is (False if name == "cancelled" else None)
        steps.append("asked")
    again = ["run", "report"] if name == "_run" else []
    assert steps == ["run", "report", *again, "asked"]


@guarded
@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_a_callback_that_ends_the_run_is_over(loop, error):
    def callback():
        raise error("out")

    handle = loop.call_soon_threadsafe(callback)
    with pytest.raises(error, match="out"):
        loop.run_forever()
    asking = threading.Thread(target=handle.cancel)
    asking.start()
    asking.join(GUARD)
    assert not asking.is_alive() and handle.cancelled()


@guarded
def test_the_loop_does_not_wait_for_a_handle_that_has_cancelled_itself(loop):
    began, went_on = threading.Event(), threading.Event()
    seen = []

    def callback():
        handle.cancel()
        began.set()
        seen.append(went_on.wait(GUARD / 2))

    handle = loop.call_soon_threadsafe(callback)
    runner = threading.Thread(target=handle._run)
    runner.start()
    assert began.wait(GUARD)
    loop.call_soon(went_on.set)
    loop.call_soon(loop.stop)
    loop.run_forever()
    runner.join(GUARD)
    assert seen == [True]


def test_a_callback_that_cancels_itself(loop_factory):
    handles, seen = [], []

    def callback():
        handle = sent.result(GUARD)
        handle.cancel()
        seen.append((handle.cancelled(), handle._cancelled))
        handle._run()  # nothing to run any more

    with running(loop_factory) as loop:
        errors = []
        loop.set_exception_handler(lambda loop, context: errors.append(context))
        sent = concurrent.futures.Future()
        handles.append(loop.call_soon_threadsafe(callback))
        sent.set_result(handles[0])
        after = threading.Event()
        loop.call_soon_threadsafe(after.set)
        assert after.wait(GUARD)
    assert seen == [(True, True)]
    assert handles[0].cancelled()


@guarded
def test_a_callback_within_itself(loop, caplog):
    """The thread that runs it is not held up by itself; others wait for the outer end."""
    steps, asking = [], threading.Event()

    def ask():
        asking.set()
        handle.cancel()
        steps.append("cancelled")

    def callback():
        handle._run()
        thread.start()
        asking.wait(GUARD)
        time.sleep(0.05)  # who does not wait is through by now
        steps.append("ended")

    thread = threading.Thread(target=ask)
    handle = loop.call_soon_threadsafe(callback)
    loop.call_soon(loop.stop)
    loop.run_forever()
    thread.join(GUARD)
    assert steps == ["ended", "cancelled"]
    assert "already entered" in caplog.text
    assert handle.cancelled()


@guarded
def test_a_signal_while_it_waits(loop_factory):
    """Ctrl-C ends the wait of the main thread; the callback is not touched."""
    begun, release, done = threading.Event(), threading.Event(), []

    def callback():
        begun.set()
        release.wait(GUARD)
        done.append(handle._cancelled)

    def interrupt():
        signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)

    def on_signal(signum, frame):
        raise InterruptedError("a signal")

    before = signal.signal(signal.SIGUSR1, on_signal)
    try:
        with running(loop_factory) as loop:
            try:
                handle = loop.call_soon_threadsafe(callback)
                assert begun.wait(GUARD)
                timer = threading.Timer(0.05, interrupt)
                with pytest.raises(InterruptedError, match="a signal"):
                    timer.start()
                    handle.cancel()
            finally:
                release.set()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert done == [False]
    assert not handle.cancelled()


def test_stopping_from_another_thread(loop):
    thread = threading.Thread(target=loop.call_soon_threadsafe, args=(loop.stop,))
    loop.call_soon(thread.start)
    loop.run_forever()
    thread.join(GUARD)
    assert not loop.is_running()


def test_a_wake_up_while_the_loop_spins(loop, on_fastaio):
    if on_fastaio:
        loop.spin_us = 1000

    async def short_waits():
        for _ in range(40):
            await loop.run_in_executor(None, int)

    late = []
    for _ in range(20):
        loop.run_until_complete(short_waits())  # so that it spins before it blocks
        waiting = threading.Event()

        def stop(waiting=waiting):
            waiting.wait(GUARD)
            until = time.perf_counter() + 0.0003
            while time.perf_counter() < until:
                pass
            loop.stop()
            loop._write_to_self()

        thread = threading.Thread(target=stop)
        thread.start()
        guard = loop.call_later(GUARD, late.append, True)
        loop.call_soon(waiting.set)
        loop.run_forever()
        guard.cancel()
        thread.join(GUARD)
        assert not late


def test_a_loop_closed_while_others_send(loop_factory):
    loop = loop_factory()
    refused = []

    def send():
        try:
            while True:
                loop.call_soon_threadsafe(int)
        except RuntimeError as exc:
            refused.append(str(exc))

    senders = [threading.Thread(target=send) for _ in range(4)]
    for sender in senders:
        sender.start()
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    loop.close()
    for sender in senders:
        sender.join(GUARD)
    assert refused == ["Event loop is closed"] * 4


# Coroutines from another thread


def test_run_coroutine_threadsafe(loop_factory):
    with running(loop_factory) as loop:
        futures = [asyncio.run_coroutine_threadsafe(returning(n), loop) for n in range(100)]
        assert [future.result(GUARD) for future in futures] == list(range(100))

        async def failing():
            raise LookupError("lost")

        with pytest.raises(LookupError, match="lost"):
            asyncio.run_coroutine_threadsafe(failing(), loop).result(GUARD)


def test_cancelling_from_another_thread(loop_factory):
    with running(loop_factory) as loop:
        ended = threading.Event()
        begun = threading.Event()

        async def waiting():
            begun.set()
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                ended.set()
                raise

        future = asyncio.run_coroutine_threadsafe(waiting(), loop)
        assert begun.wait(GUARD)
        assert future.cancel()
        assert ended.wait(GUARD)
        with pytest.raises(concurrent.futures.CancelledError):
            future.result(GUARD)


def test_a_thread_of_its_own_with_asyncio_run(loop_factory):
    results = []

    def work():
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            results.append(runner.run(returning("value")))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(GUARD)
    assert results == ["value"]


def test_two_loops_play_ping_pong(loop_factory):
    with running(loop_factory) as first, running(loop_factory) as second:
        done = threading.Event()
        count = 0

        def hit(here, there):
            nonlocal count
            count += 1
            if count == 1000:
                done.set()
            else:
                there.call_soon_threadsafe(hit, there, here)

        first.call_soon_threadsafe(hit, first, second)
        assert done.wait(GUARD)


def test_a_daemon_thread_may_be_running_a_loop_at_exit(loop_factory_source):
    run_python(
        f"""
import asyncio, threading
loop = ({loop_factory_source})()
started = threading.Event()
loop.call_soon(started.set)

async def busy():
    while True:
        await asyncio.sleep(0.0001)

def work():
    loop.run_until_complete(busy())

threading.Thread(target=work, daemon=True).start()
assert started.wait({GUARD})
"""
    )


def test_switching_threads_often(loop_factory):
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with running(loop_factory) as first, running(loop_factory) as second:

            async def work():
                return sum(await asyncio.gather(*(returning(n) for n in range(50))))

            loops = [first, second] * 20
            futures = [asyncio.run_coroutine_threadsafe(work(), loop) for loop in loops]
            assert [future.result(GUARD) for future in futures] == [sum(range(50))] * 40
    finally:
        sys.setswitchinterval(interval)


# Loops that meet, or do not


def test_loops_do_not_meet(loop_factory):
    barrier = threading.Barrier(4)
    results = []

    def run():
        loop = loop_factory()

        async def main():
            barrier.wait(GUARD)
            assert asyncio.get_running_loop() is loop
            total = 0
            for number in range(500):
                total += await asyncio.create_task(returning(number))
            assert asyncio.all_tasks() == {asyncio.current_task()}
            return total

        try:
            results.append(loop.run_until_complete(main()))
        finally:
            loop.close()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(GUARD)
    assert results == [sum(range(500))] * 4


def test_made_here_run_there_closed_elsewhere(loop_factory):
    loop = loop_factory()
    results = []
    future = loop.create_future()
    loop.call_soon(future.set_result, "made here")

    def in_thread(action):
        thread = threading.Thread(target=action)
        thread.start()
        thread.join(GUARD)

    in_thread(lambda: results.append(loop.run_until_complete(future)))
    assert loop.run_until_complete(asyncio.sleep(0.001, "here again")) == "here again"
    in_thread(lambda: results.append(loop.run_until_complete(asyncio.sleep(0.001, "there"))))
    in_thread(loop.close)
    assert loop.is_closed()
    assert results == ["made here", "there"]


def test_a_loop_running_elsewhere_cannot_be_run_here(loop_factory):
    loop = loop_factory()
    thread = threading.Thread(target=loop.run_forever)
    running = threading.Event()
    loop.call_soon(running.set)
    thread.start()
    try:
        assert running.wait(GUARD)
        with pytest.raises(RuntimeError, match="Cannot close a running event loop"):
            loop.close()
        with pytest.raises(RuntimeError, match="This event loop is already running"):
            loop.run_forever()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(GUARD)
        loop.close()
