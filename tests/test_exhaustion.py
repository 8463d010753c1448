"""Without memory or descriptors: an exception or a report, never a crash or a lost event."""

import asyncio
import contextlib
import io
import os
import socket
import sys
import threading
import warnings

import pytest

from .hardship import (
    Recorder,
    connect,
    quiet_loop,
    survives,
    turn,
    wait_for,
)
from .support import GUARD

pytestmark = [
    pytest.mark.fastaio_only,
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


# Lack of memory


def operations(loop):
    """What is tried with one allocation after another failing: name and action."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    other, peer = socket.socketpair()
    other.setblocking(False)
    fut = loop.create_future()

    async def nothing():
        await asyncio.sleep(0)

    def run_once():
        """A turn without the Python code of run_forever() around it."""
        loop.call_soon(print_nothing)
        loop._run_once()

    def task():
        coro = nothing()
        try:
            return loop.create_task(coro)
        except BaseException:
            coro.close()
            raise

    def small_run():
        waiting = task()
        try:
            for _ in range(3):
                run_once()
        finally:
            waiting.cancel()

    def settle():
        mine = loop.create_future()
        mine.add_done_callback(print_nothing)
        mine.add_done_callback(print_nothing)
        mine.set_result(None)
        return mine

    def fail():
        mine = loop.create_future()
        mine.set_exception(ValueError)
        return mine.exception()

    def receive():
        theirs.send(b"data")
        return step(loop.sock_recv(ours, 100))

    def wait_to_receive():
        with contextlib.suppress(BlockingIOError):
            ours.recv(1000)
        return step(loop.sock_recv(ours, 100))

    def step(coro):
        try:
            coro.send(None)
        except StopIteration as stop:
            return stop.value
        finally:
            coro.close()

    def watch():
        loop.add_reader(other, print_nothing)
        loop.add_writer(other, print_nothing)
        run_once()
        loop.remove_reader(other)
        loop.remove_writer(other)

    def transport_of_its_own():
        one, two = socket.socketpair()
        try:
            one.setblocking(False)
            transport = loop._make_stream_transport(one, Recorder())
            run_once()
            transport.write(b"x")
            run_once()
            transport.close()
            run_once()
        finally:
            one.close()
            two.close()

    def many_callbacks():
        for _ in range(1000):
            loop.call_soon(print_nothing, 1, 2, 3, 4, 5, 6)
            loop.call_later(0, print_nothing)
            loop.call_soon_threadsafe(print_nothing)
        run_once()

    return {
        "create_future": loop.create_future,
        "create_task": task,
        "call_soon": lambda: loop.call_soon(print_nothing, *range(20)),
        "call_later": lambda: loop.call_later(0, print_nothing),
        "call_later by int": lambda: loop.call_later(1000, print_nothing).cancel(),
        "threadsafe": lambda: loop.call_soon_threadsafe(print_nothing),
        "many callbacks": many_callbacks,
        "run": small_run,
        "turn": run_once,
        "set_result": settle,
        "set_exception": fail,
        "repr": lambda: repr(fut),
        "sock_recv": receive,
        "sock_recv that waits": wait_to_receive,
        "watch": watch,
        "transport": transport_of_its_own,
        "metrics": loop.metrics,
        "all_tasks": lambda: asyncio.all_tasks(loop),
    }


def print_nothing(*args):
    """A callback."""


OPERATIONS = [
    "create_future",
    "create_task",
    "call_soon",
    "call_later",
    "call_later by int",
    "threadsafe",
    "many callbacks",
    "run",
    "turn",
    "set_result",
    "set_exception",
    "repr",
    "sock_recv",
    "sock_recv that waits",
    "watch",
    "transport",
    "metrics",
    "all_tasks",
]


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_allocation_may_fail(name):
    # Not in debug mode, where the interpreter's own traceback module breaks first.
    testcapi = pytest.importorskip("_testcapi")

    def action():
        warnings.simplefilter("ignore")
        sys.stderr = io.StringIO()
        sys.unraisablehook = lambda unraisable: None
        loop = quiet_loop()
        operation = operations(loop)[name]

        def attempt(number):
            asyncio._set_running_loop(loop)
            loop._thread_id = threading.get_ident()
            testcapi.set_nomemory(number, number + 1)
            try:
                operation()
            finally:
                testcapi.remove_mem_hooks()
                loop._thread_id = None
                asyncio._set_running_loop(None)

        for _ in range(3):  # caches, free lists and imports are filled
            attempt(10**8)
        turn(loop, 2)
        completed = 0
        for number in range(3000):
            try:
                attempt(number)
                completed += 1
            except MemoryError:
                completed = 0
            # The loop is as good as before: what could not be reported is gone, nothing more.
            loop.reports.clear()
            assert loop.run_until_complete(asyncio.sleep(0, number)) == number
            if completed > 60:
                break
        loop.close()
        return number > 61

    survives(action)


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_transport_without_memory_says_so_or_goes_on(size):
    testcapi = pytest.importorskip("_testcapi")

    def action():
        warnings.simplefilter("ignore")
        sys.stderr = io.StringIO()
        sys.unraisablehook = lambda unraisable: None
        loop = quiet_loop()
        outcomes = set()
        for number in range(60):
            transport, protocol, theirs = connect(loop)
            data = b"x" * size
            theirs.send(b"answer")
            loop.stop()  # so that no turn waits
            testcapi.set_nomemory(number, number + 1)
            try:
                transport.write(data)
                loop._run_once()
                loop._run_once()
            except MemoryError:
                outcomes.add("raised")
            finally:
                testcapi.remove_mem_hooks()
            loop._stopping = False
            turn(loop, 2)
            lost = [item for item in protocol.heard if item[0] == "lost"]
            if lost or loop.reports:
                outcomes.add("reported")
            else:
                wait_for(loop, lambda protocol=protocol: b"answer" in protocol.heard)
                outcomes.add("answered")
            loop.reports.clear()
            transport.abort()
            turn(loop, 2)
            theirs.close()
        loop.close()
        assert "answered" in outcomes

    survives(action)


def test_events_are_not_lost_for_lack_of_memory():
    testcapi = pytest.importorskip("_testcapi")

    def action():
        failures = 0
        for number in range(8):
            loop = quiet_loop()
            # The queue of a new loop must grow for so many events.
            pairs = [connect(loop) for _ in range(80)]
            for _, _, theirs in pairs:
                theirs.send(b"data")
            testcapi.set_nomemory(number, number + 1)
            try:
                loop._run_once()
            except MemoryError:
                failures += 1
            finally:
                testcapi.remove_mem_hooks()
            heard = [protocol.heard for _, protocol, _ in pairs]
            wait_for(loop, lambda heard=heard: all(len(item) > 1 for item in heard))
            assert sum(b"data" not in item for item in heard) <= 1
            for transport, _, theirs in pairs:
                transport.abort()
                theirs.close()
            turn(loop, 2)
            loop.close()
        return failures > 0

    assert survives(action) == "True"


# Lack of descriptors


def test_no_descriptors_left():
    import resource

    def action():
        warnings.simplefilter("ignore")
        loop = quiet_loop()
        loop.run_until_complete(asyncio.sleep(0))  # imports what a first task does
        limit = max(map(int, os.listdir("/proc/self/fd"))) + 3
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        held = []
        with contextlib.suppress(OSError):
            while True:
                held.append(os.dup(0))
        with pytest.raises(OSError):
            quiet_loop()
        with pytest.raises(OSError):
            loop.run_until_complete(asyncio.open_connection("127.0.0.1", 9))
        with contextlib.suppress(OSError):  # before 3.13 asyncio makes a server of no sockets
            loop.run_until_complete(asyncio.start_server(lambda *args: None, "127.0.0.1", 0))
        assert loop.run_until_complete(asyncio.sleep(0.001, 5)) == 5
        for fd in held:
            os.close(fd)
        quiet_loop().close()
        loop.close()

    survives(action)


def test_accepting_without_descriptors(loop):
    def action():
        import resource

        loop = quiet_loop()
        served = []

        async def serve(reader, writer):
            served.append(await reader.read(5))
            writer.close()

        async def main():
            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            address = server.sockets[0].getsockname()
            client = socket.create_connection(address)
            client.send(b"hello")
            limit = resource.getrlimit(resource.RLIMIT_NOFILE)
            used = max(map(int, os.listdir("/proc/self/fd"))) + 1
            resource.setrlimit(resource.RLIMIT_NOFILE, (used, limit[1]))
            held = []
            with contextlib.suppress(OSError):
                while True:
                    held.append(os.dup(0))
            while not loop.reports:
                await asyncio.sleep(0.001)
            assert "out of system resource" in loop.reports[0]["message"]
            assert not served
            resource.setrlimit(resource.RLIMIT_NOFILE, limit)
            for fd in held:
                os.close(fd)
            while not served:  # a second later it tries again
                await asyncio.sleep(0.01)
            client.close()
            server.close()

        loop.run_until_complete(asyncio.wait_for(main(), GUARD))
        loop.close()
        return served

    assert survives(action) == repr([b"hello"])
