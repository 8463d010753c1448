"""What tracers, mocks and test tools replace in asyncio, or look at, works on every loop."""

import asyncio
import asyncio.events
import collections
import heapq
import os
import random
import socket
import time
from unittest import mock

import pytest

from .support import GUARD, PYTHON_312, collect
from .tlsutil import HOST, client_context, server_context

HOUR = 3600.0


# ---- loop._scheduled and loop._ready -------------------------------------------------------------


def test_scheduled_lists_the_pending_timers(loop):
    start = loop.time()
    delays = [random.Random(7).random() * HOUR + HOUR for _ in range(50)]
    timers = [loop.call_later(delay, print) for delay in delays]
    scheduled = loop._scheduled
    assert type(scheduled) is list
    assert set(map(id, scheduled)) == set(map(id, timers))
    assert all(isinstance(timer, asyncio.TimerHandle) for timer in scheduled)
    assert scheduled[0].when() == min(timer.when() for timer in timers) >= start + min(delays)
    in_heap_order = list(scheduled)
    heapq.heapify(in_heap_order)
    assert [timer.when() for timer in in_heap_order] == [timer.when() for timer in scheduled]


def test_scheduled_lists_cancelled_timers_too(loop):
    first = loop.call_later(HOUR, print)
    second = loop.call_later(2 * HOUR, print)
    loop.call_later(3 * HOUR, print)
    second.cancel()
    assert second in loop._scheduled and second.cancelled()
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert first in loop._scheduled


def test_a_fired_timer_is_not_scheduled(loop):
    loop.call_later(0, loop.stop)
    kept = loop.call_later(HOUR, print)
    loop.run_forever()
    assert loop._scheduled == [kept]


def test_time_is_moved_by_running_what_is_scheduled(run):
    """As zeroconf's tests and Home Assistant's helper do."""

    async def main():
        loop = asyncio.get_running_loop()
        fired = []
        soon = loop.call_later(60, fired.append, "soon")
        loop.call_later(2 * HOUR, fired.append, "late")
        loop.call_later(30, fired.append, "cancelled").cancel()
        sleeper = asyncio.create_task(asyncio.sleep(90, "slept"))
        await asyncio.sleep(0)
        for timer in list(loop._scheduled):
            if not isinstance(timer, asyncio.TimerHandle) or timer.cancelled():
                continue
            if timer.when() - loop.time() < HOUR:
                timer._run()
                timer.cancel()
        assert soon.cancelled()
        assert fired == ["soon"]
        async with asyncio.timeout(GUARD):
            assert await sleeper == "slept"
        assert [timer for timer in loop._scheduled if not timer.cancelled()] != []

    run(main)


def test_ready_lists_what_runs_next(run):
    async def main():
        loop = asyncio.get_running_loop()
        assert not loop._ready
        future = loop.create_future()
        future.add_done_callback(calls.append)
        waiter = asyncio.create_task(wait_for(future))
        await asyncio.sleep(0)
        handle = loop.call_soon(calls.append, "soon")
        task = asyncio.create_task(nothing(), name="new")
        future.set_result(5)
        ready = loop._ready
        assert isinstance(ready, collections.deque)
        assert all(isinstance(entry, asyncio.Handle) for entry in ready)
        assert ready[0] is handle and handle in loop._ready
        assert [type(entry._loop) for entry in ready] == [type(loop)] * 4
        assert ready[0]._callback == calls.append and ready[0]._args == ("soon",)
        assert ready[1]._callback.__self__ is task and ready[1]._args == ()
        assert ready[2]._callback == calls.append and ready[2]._args == (future,)
        assert ready[3]._callback.__self__ is waiter and ready[3]._args == (future,)
        assert all(entry._context is not None for entry in ready)
        assert [repr(entry) for entry in ready] == [repr(entry) for entry in loop._ready]
        await asyncio.sleep(0)
        assert calls == ["soon", future]
        assert await waiter == 5
        await task

    async def wait_for(future):
        return await future

    async def nothing():
        pass

    calls = []
    run(main)


def test_what_is_ready_may_be_cancelled(run):
    async def main():
        loop = asyncio.get_running_loop()
        loop.call_soon(calls.append, 1)
        future = loop.create_future()
        future.add_done_callback(calls.append)
        future.set_result(None)
        for handle in loop._ready:
            handle.cancel()
        assert all(handle.cancelled() for handle in loop._ready)
        await asyncio.sleep(0)
        assert calls == []

    calls = []
    run(main)


def test_what_is_ready_may_be_run_from_outside(loop):
    """The entry is the same one for the loop and for whoever has looked."""
    steps = []

    async def body():
        steps.append(asyncio.current_task(loop))
        await asyncio.sleep(0)
        steps.append(asyncio.current_task(loop))

    async def others():
        asyncio.create_task(body())
        handle = loop._ready[0]
        loop.call_soon(lambda: (handle._run(), steps.append(asyncio.current_task())))
        loop._ready = collections.deque(list(loop._ready)[1:])
        for _ in range(3):
            await asyncio.sleep(0)

    loop.run_until_complete(others())
    assert steps[0] is steps[2] is not None and steps[1] is None


def test_the_queues_may_be_assigned(loop):
    calls = []
    handles = [loop.call_soon(calls.append, i) for i in range(3)]
    foreign = asyncio.Handle(calls.append, ("foreign",), loop)
    loop._ready = collections.deque([handles[2], foreign, handles[0]])
    timer = loop.call_later(HOUR, calls.append, "timer")
    loop.call_later(2 * HOUR, calls.append, "forgotten")
    loop._scheduled = [timer]
    assert loop._scheduled == [timer]
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert calls == [2, "foreign", 0]


def test_nothing_is_ready_or_scheduled_once_the_loop_is_closed(loop):
    loop.call_soon(print)
    loop.call_later(HOUR, print)
    loop.close()
    assert not loop._ready and not loop._scheduled


def test_looking_while_a_collection_changes_the_queue(loop):
    """Making the list may run a finalizer, which calls call_soon()."""

    class Busy:
        def __del__(self):
            for _ in range(100):
                loop.call_soon(done.append, None)
            loop.call_later(HOUR, print)

    done = []
    for _ in range(60):
        busy = Busy()
        busy.itself = busy
        loop.create_future().set_result(None)
        future = loop.create_future()
        future.add_done_callback(done.append)
        future.set_result(None)
        loop.call_later(HOUR, print)
    del busy
    ready, scheduled = loop._ready, loop._scheduled
    assert len(ready) >= 60 and len(scheduled) >= 60
    del ready, scheduled
    collect()
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert len(done) == 60 + 60 * 100


# ---- Handle._run ---------------------------------------------------------------------------------


class Tracer:
    """In the place of Handle._run: notes every handle, and runs it."""

    def __init__(self, monkeypatch, type=asyncio.events.Handle):
        self.handles = []
        original = type._run

        def _run(handle):
            self.handles.append(handle)
            self.seen(handle)
            return original(handle)

        monkeypatch.setattr(type, "_run", _run)

    def seen(self, handle):
        pass


def test_a_tracer_sees_each_callback_and_step_once(run, monkeypatch):
    async def main():
        loop = asyncio.get_running_loop()
        tracer = Tracer(monkeypatch)
        await asyncio.sleep(0)
        tracer.handles.clear()
        loop.call_soon(calls.append, "soon")
        loop.call_later(0, calls.append, "later")
        loop.call_soon_threadsafe(calls.append, "threadsafe")
        loop.call_soon(calls.append, "never").cancel()
        future = loop.create_future()
        future.add_done_callback(calls.append)
        future.set_result(1)
        task = asyncio.create_task(step(loop))
        assert await task == "done"
        traced = [(handle._callback, handle._args) for handle in tracer.handles]
        for call in [("soon",), ("later",), ("threadsafe",), (future,)]:
            assert traced.count((calls.append, call)) == 1
            assert calls.count(call[0]) == 1
        assert "never" not in calls
        steps = [h for h in tracer.handles if getattr(h._callback, "__self__", None) is task]
        assert len(steps) == 3
        for handle in tracer.handles:
            assert isinstance(handle, asyncio.Handle)
            assert handle._loop is loop
            assert handle._context is not None

    async def step(loop):
        await asyncio.sleep(0)
        future = loop.create_future()
        loop.call_soon(future.set_result, None)
        await future
        return "done"

    calls = []
    run(main)


def test_a_tracer_names_the_task_like_asyncio(run, monkeypatch):
    from asyncio.base_events import _format_handle

    async def main():
        tracer = Tracer(monkeypatch)
        task = asyncio.create_task(asyncio.sleep(0), name="the task")
        await task
        assert any("the task" in _format_handle(handle) for handle in tracer.handles)

    run(main)


def test_a_tracer_of_timers_sees_timers_only(run, monkeypatch):
    async def main():
        loop = asyncio.get_running_loop()
        tracer = Tracer(monkeypatch, asyncio.events.TimerHandle)
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        loop.call_soon(int)
        await asyncio.sleep(0.001)
        assert len(tracer.handles) == 2
        assert all(isinstance(handle, asyncio.TimerHandle) for handle in tracer.handles)

    run(main)


def test_the_current_task_in_a_tracer(run, monkeypatch):
    class Current(Tracer):
        def seen(self, handle):
            current.append(asyncio.current_task())

    async def main():
        Current(monkeypatch)
        for _ in range(3):
            await asyncio.sleep(0)
            assert asyncio.current_task() is not None
        monkeypatch.undo()

    current = []
    run(main)
    assert current and set(current) == {None}


def test_a_tracer_that_has_gone_sees_nothing(run, monkeypatch):
    async def main():
        tracer = Tracer(monkeypatch)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert tracer.handles
        monkeypatch.undo()
        await asyncio.sleep(0)
        count = len(tracer.handles)
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(tracer.handles) == count

    run(main)


def test_traced_callbacks_report_as_ever(same_outcome, monkeypatch):
    def scenario(env):
        def fail():
            raise ValueError("traced")

        async def fail_in_task():
            raise LookupError("in a task")

        with pytest.MonkeyPatch.context() as patch:
            Tracer(patch)
            env.loop.call_soon(fail)
            future = env.future()
            future.add_done_callback(lambda future: 1 / 0)
            future.set_result(None)
            task = env.task(fail_in_task())
            env.turn(3)
        return task.exception()

    result, reports = same_outcome(scenario)
    assert len(reports) == 2


def test_what_a_tracer_raises_leaves_the_loop(same_outcome):
    def scenario(env):
        def _run(handle):
            raise RuntimeError("the tracer's own")

        with pytest.MonkeyPatch.context() as patch:
            env.loop.call_soon(print)
            patch.setattr(asyncio.events.Handle, "_run", _run)
            env.loop.run_forever()

    result, reports = same_outcome(scenario)
    assert result[0] == "raised" and reports == []


@pytest.mark.parametrize("leaving", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("in_task", [False, True])
def test_what_leaves_a_traced_loop(same_outcome, leaving, in_task):
    def scenario(env):
        def fail():
            raise leaving

        async def fail_in_task():
            raise leaving

        with pytest.MonkeyPatch.context() as patch:
            Tracer(patch)
            if in_task:
                task = env.task(fail_in_task())
            else:
                task = env.loop.call_soon(fail)
            try:
                env.loop.run_forever()
            finally:
                if in_task:
                    env.reports.append(repr(task.exception()))

    assert same_outcome(scenario)[0][0] == "raised"


def test_a_traced_callback_that_a_mock_swallows(run):
    async def main():
        loop = asyncio.get_running_loop()
        calls = []
        with mock.patch.object(asyncio.events.Handle, "_run") as swallow:
            loop.call_soon(calls.append, 1)
            loop.call_soon(calls.append, 2)
            loop._run_once()
        assert calls == []
        assert swallow.mock_calls == [mock.call(), mock.call()]

    run(main)


def test_tracing_slow_callbacks_in_debug_mode(run, monkeypatch, caplog):
    async def main():
        loop = asyncio.get_running_loop()
        tracer = Tracer(monkeypatch)
        loop.slow_callback_duration = 0.01
        await asyncio.sleep(0)
        loop.call_soon(time.sleep, 0.02)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert tracer.handles

    with caplog.at_level("WARNING", logger="asyncio"):
        run(main, debug=True)
    assert "sleep" in caplog.text and "took" in caplog.text


async def serve_and_echo(address, context=None):
    """A round through a server's and a client's transport."""
    done = asyncio.get_running_loop().create_future()

    async def echo(reader, writer):
        writer.write(await reader.readexactly(5))
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        done.set_result(None)

    server = await asyncio.start_server(echo, *address, ssl=context)
    port = server.sockets[0].getsockname()[1]
    options = {} if context is None else {"ssl": client_context(), "server_hostname": HOST}
    reader, writer = await asyncio.open_connection(address[0], port, **options)
    writer.write(b"hello")
    assert await reader.read() == b"hello"
    writer.close()
    await writer.wait_closed()
    server.close()
    await done


@pytest.mark.parametrize("encrypted", [False, True])
def test_traced_connections(run, monkeypatch, encrypted):
    async def main():
        Tracer(monkeypatch)
        async with asyncio.timeout(GUARD):
            await serve_and_echo(("127.0.0.1", 0), server_context() if encrypted else None)

    run(main)


def test_traced_readers_sockets_pipes_and_datagrams(run, monkeypatch):
    class Echo(asyncio.DatagramProtocol):
        def __init__(self):
            self.received = asyncio.get_running_loop().create_future()

        def datagram_received(self, data, addr):
            self.received.set_result(data)

    async def main():
        loop = asyncio.get_running_loop()
        Tracer(monkeypatch)
        async with asyncio.timeout(GUARD):
            near, far = socket.socketpair()
            with near, far:
                near.setblocking(False)
                far.setblocking(False)
                receiving = asyncio.create_task(loop.sock_recv(near, 10))
                await asyncio.sleep(0.001)
                await loop.sock_sendall(far, b"sock")
                assert await receiving == b"sock"
                readable = loop.create_future()
                loop.add_reader(near, lambda: readable.done() or readable.set_result(None))
                far.send(b"x")
                await readable
                loop.remove_reader(near)
            r, w = os.pipe()
            reader = asyncio.StreamReader()
            await loop.connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(r, "rb", 0)
            )
            transport, _ = await loop.connect_write_pipe(
                asyncio.BaseProtocol, os.fdopen(w, "wb", 0)
            )
            transport.write(b"piped")
            assert await reader.readexactly(5) == b"piped"
            transport.close()
            assert await reader.read() == b""
            udp, protocol = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
            udp.sendto(b"datagram", udp.get_extra_info("sockname"))
            assert await protocol.received == b"datagram"
            udp.close()
            assert await loop.run_in_executor(None, os.getpid) == os.getpid()

    run(main)


# ---- time.monotonic ------------------------------------------------------------------------------


class FakeClock:
    def __init__(self, now):
        self.now = now

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    """time.monotonic(), replaced: stands still until somebody moves it."""
    clock = FakeClock(1000.0)
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def test_a_replaced_clock_is_the_loops(loop, monkeypatch):
    real = loop.time()
    clock = FakeClock(5.5)
    monkeypatch.setattr(time, "monotonic", clock)
    assert loop.time() == 5.5
    clock.now = 7
    assert loop.time() == 7 and type(loop.time()) is int
    monkeypatch.undo()
    assert 0 <= loop.time() - real < GUARD


def test_timers_go_by_a_replaced_clock(run, clock):
    async def main():
        loop = asyncio.get_running_loop()
        fired = []
        timer = loop.call_later(60, fired.append, "timer")
        assert timer.when() == 1060.0
        sleeper = asyncio.create_task(asyncio.sleep(30, "slept"))
        for _ in range(5):
            await asyncio.sleep(0)
        assert fired == [] and not sleeper.done()
        clock.now += 31
        for _ in range(5):
            await asyncio.sleep(0)
        assert fired == [] and sleeper.result() == "slept"
        clock.now += 30
        for _ in range(5):
            await asyncio.sleep(0)
        assert fired == ["timer"]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                clock.now += 11
                await loop.create_future()

    run(main)


def test_a_clock_that_is_replaced_while_a_timer_waits(run, monkeypatch):
    async def main():
        loop = asyncio.get_running_loop()
        clock = FakeClock(time.monotonic())
        future = loop.create_future()
        loop.call_later(HOUR, future.set_result, None)
        await asyncio.sleep(0)
        monkeypatch.setattr(time, "monotonic", clock)
        await asyncio.sleep(0)
        assert not future.done()
        clock.now += HOUR + 1
        async with asyncio.timeout(GUARD):
            await future
        monkeypatch.undo()

    run(main)


def test_the_module_time_replaced_in_base_events(loop):
    with mock.patch("asyncio.base_events.time") as module:
        module.monotonic.return_value = 42.0
        assert loop.time() == 42.0
    assert loop.time() != 42.0


def test_asyncios_own_time_replaced(loop):
    with mock.patch("asyncio.base_events.BaseEventLoop.time", lambda self: 43.0):
        assert loop.time() == 43.0
        assert loop.call_later(1, print).when() == 44.0
    assert loop.time() != 43.0


def test_a_clock_that_fails(run, monkeypatch):
    async def main():
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(time, "monotonic", mock.Mock(side_effect=OSError("no clock")))
        with pytest.raises(OSError, match="no clock"):
            loop.time()
        with pytest.raises(OSError, match="no clock"):
            loop.call_later(1, print)
        monkeypatch.undo()

    run(main)


# ---- get_extra_info() ----------------------------------------------------------------------------


def transports_of(name):
    """An async context: a client's transport of one kind."""
    import contextlib

    @contextlib.asynccontextmanager
    async def connected():
        loop = asyncio.get_running_loop()
        if name in ("tcp", "tls"):
            secret = name == "tls"
            server = await loop.create_server(
                asyncio.Protocol, "127.0.0.1", 0, ssl=server_context() if secret else None
            )
            options = {"ssl": client_context(), "server_hostname": HOST} if secret else {}
            transport, _ = await loop.create_connection(
                asyncio.Protocol, *server.sockets[0].getsockname(), **options
            )
            yield transport
            transport.abort()
            server.close()
        elif name == "udp":
            transport, _ = await loop.create_datagram_endpoint(
                asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
            )
            yield transport
            transport.close()
        elif name == "unix":
            near, far = socket.socketpair()
            with far:
                transport, _ = await loop.create_connection(asyncio.Protocol, sock=near)
                yield transport
                transport.abort()
        else:
            r, w = os.pipe()
            reader, _ = await loop.connect_read_pipe(asyncio.Protocol, os.fdopen(r, "rb", 0))
            writer, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(w, "wb", 0))
            yield reader if name == "read pipe" else writer
            writer.close()
            reader.close()

    return connected()


@pytest.mark.parametrize("name", ["tcp", "unix", "tls", "udp", "read pipe", "write pipe"])
@pytest.mark.parametrize("owner", ["asyncio.BaseTransport", "asyncio.transports.BaseTransport"])
def test_get_extra_info_replaced(run, name, owner):
    async def main():
        async with asyncio.timeout(GUARD), transports_of(name) as transport:
            key = "pipe" if "pipe" in name else "peername" if name != "udp" else "sockname"
            real = transport.get_extra_info(key)
            with mock.patch(f"{owner}.get_extra_info", return_value=("1.2.3.4", 5)) as info:
                assert transport.get_extra_info(key) == ("1.2.3.4", 5)
                assert transport.get_extra_info(key, "default") == ("1.2.3.4", 5)
                assert info.call_args_list[-1] == mock.call(key, "default")
            with mock.patch(f"{owner}.get_extra_info", autospec=True) as info:
                transport.get_extra_info("other")
                assert isinstance(info.call_args.args[0], asyncio.BaseTransport)
            assert transport.get_extra_info(key) == real

    run(main)


# ---- methods of the loop, replaced in its class --------------------------------------------------


def test_time_replaced_in_the_class(loop):
    with mock.patch.object(type(loop), "time", return_value=77.0):
        assert loop.time() == 77.0
        timer = loop.call_later(1, print)
        assert timer.when() == 78.0
        loop.call_at(76, loop.stop)
        loop.run_forever()
    assert loop.time() != 77.0


def test_call_soon_replaced_in_the_class(run):
    async def main():
        loop = asyncio.get_running_loop()
        original = type(loop).call_soon
        callbacks = []

        def call_soon(self, callback, *args, context=None):
            callbacks.append(callback)
            return original(self, callback, *args, context=context)

        async def nothing():
            pass

        with mock.patch.object(type(loop), "call_soon", call_soon):
            future = loop.create_future()
            future.add_done_callback(done.append)
            future.set_result(None)
            assert callbacks == [done.append]
            task = asyncio.create_task(nothing())
            assert callbacks[1].__self__ is task
            await task
            assert callbacks[2].__self__ is asyncio.current_task()
        count = len(callbacks)
        await asyncio.sleep(0)
        assert len(callbacks) == count
        assert done == [future]

    done = []
    run(main)


def test_call_at_replaced_in_the_class(loop):
    with mock.patch.object(type(loop), "call_at") as call_at:
        loop.call_later(5, print, 1)
    assert call_at.call_count == 1
    assert call_at.call_args.args[1:] == (print, 1)


def test_get_debug_replaced_in_the_class(loop):
    with mock.patch.object(type(loop), "get_debug", return_value=True):
        assert loop.create_future()._source_traceback is not None
    assert loop.create_future()._source_traceback is None


def test_write_to_self_replaced_in_the_class(loop):
    with mock.patch.object(type(loop), "_write_to_self") as wake:
        loop.call_soon_threadsafe(print)
    assert wake.call_count == 1


def test_process_events_replaced_in_the_class(loop):
    with mock.patch.object(type(loop), "_process_events") as process:
        loop.call_soon(loop.stop)
        loop.run_forever()
    assert process.call_count >= 1


@pytest.mark.parametrize("name", ["create_task", "create_future", "call_exception_handler"])
def test_other_methods_replaced_in_the_class(run, name):
    async def main():
        loop = asyncio.get_running_loop()
        original = getattr(type(loop), name)
        calls = []

        def replacement(self, *args, **kwargs):
            calls.append(args)
            return original(self, *args, **kwargs)

        with mock.patch.object(type(loop), name, replacement):
            if name == "create_task":
                await asyncio.create_task(asyncio.sleep(0))
            elif name == "create_future":
                await asyncio.sleep(0.001)
            else:
                with mock.patch.object(loop, "default_exception_handler", lambda context: None):
                    loop.call_soon(lambda: 1 / 0)
                    await asyncio.sleep(0)
        assert len(calls) == 1

    run(main)


@pytest.mark.parametrize("name", ["sock_recv", "sock_sendall"])
def test_socket_methods_replaced_in_the_class(run, name):
    async def replacement(self, sock, arg):
        return (name, arg)

    async def main():
        loop = asyncio.get_running_loop()
        near, far = socket.socketpair()
        with near, far, mock.patch.object(type(loop), name, replacement):
            assert await getattr(loop, name)(near, b"data") == (name, b"data")

    run(main)


def test_a_class_that_changes_and_changes_back(loop):
    cls = type("Loop", (type(loop),), {})
    other = cls()
    try:
        real = other.time()
        for _ in range(3):
            cls.time = lambda self: 1.0
            assert other.time() == 1.0
            assert other.call_later(1, print).when() == 2.0
            del cls.time
            assert other.time() >= real
            assert other.call_later(1, print).when() > real
    finally:
        other.close()


# ---- _run_once() ---------------------------------------------------------------------------------


def test_run_once_of_a_subclass_is_called(loop_factory):
    class Counting(type(loop_factory())):
        turns = 0

        def _run_once(self):
            assert asyncio._get_running_loop() is self
            assert asyncio.current_task() is None
            self.turns += 1
            super()._run_once()

    async def main():
        for _ in range(10):
            await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        return "result"

    loop = Counting()
    try:
        assert loop.run_until_complete(main()) == "result"
        assert 11 <= loop.turns < 10000
    finally:
        loop.close()


def test_run_once_of_an_instance_is_called(loop):
    turns = []
    original = loop._run_once

    def run_once():
        turns.append(len(loop._ready))
        original()

    loop._run_once = run_once
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert turns == [1]
    del loop._run_once
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert turns == [1]


def test_run_once_replaced_while_the_loop_runs(run):
    async def main():
        loop = asyncio.get_running_loop()
        original = type(loop)._run_once
        turns = []

        def run_once(self):
            turns.append(None)
            return original(self)

        with mock.patch.object(type(loop), "_run_once", run_once):
            for _ in range(5):
                await asyncio.sleep(0)
        assert len(turns) in (4, 5, 6)

    run(main)


def test_what_run_once_raises_leaves_the_loop(loop):
    with mock.patch.object(type(loop), "_run_once", side_effect=RuntimeError("turned")):
        with pytest.raises(RuntimeError, match="turned"):
            loop.run_forever()
    assert not loop.is_running()


def test_turning_until_nothing_is_left(loop):
    """As helpers do that drain a loop by hand."""
    done = []
    loop.call_soon(loop.call_soon, loop.call_later, 0.001, done.append, 1)
    while loop._ready or loop._scheduled:
        loop._run_once()
    assert done == [1]


@pytest.mark.skipif(not PYTHON_312, reason="3.12 has eager tasks first")
def test_traced_eager_tasks(run, monkeypatch):
    async def main():
        loop = asyncio.get_running_loop()
        Tracer(monkeypatch)
        loop.set_task_factory(asyncio.eager_task_factory)
        await asyncio.sleep(0)
        assert await asyncio.create_task(asyncio.sleep(0, "eager")) == "eager"

    run(main)
