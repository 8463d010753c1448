"""anyio: its run(), its networking, its threads and its pytest plugin."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import textwrap

import pytest

from ..support import GUARD
from .apps import pattern
from .support import environment, need

anyio = need("anyio")
need("anyio.from_thread")
need("anyio.to_thread")


@pytest.fixture
def play(loop_factory, loop_module):
    def play(main, *args):
        async def checked():
            loop = asyncio.get_running_loop()
            assert type(loop).__module__.partition(".")[0] == loop_module
            with anyio.fail_after(GUARD):
                return await main(*args)

        options = {"loop_factory": loop_factory}
        return anyio.run(checked, backend="asyncio", backend_options=options)

    return play


def test_task_groups_and_cancel_scopes(play):
    async def main():
        done = []

        async def worker(number, *, task_status):
            task_status.started(number)
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(0.001)
                    done.append(number)

        async with anyio.create_task_group() as group:
            for number in range(10):
                assert await group.start(worker, number) == number
            group.cancel_scope.cancel()
        assert sorted(done) == list(range(10))

        with anyio.move_on_after(0.01) as scope:
            await anyio.sleep(GUARD)
        assert scope.cancelled_caught
        with pytest.raises(TimeoutError):
            with anyio.fail_after(0.01):
                await anyio.sleep(GUARD)
        with pytest.raises(ExceptionGroup) as caught:
            async with anyio.create_task_group() as group:
                group.start_soon(fail)
                await anyio.sleep_forever()
        assert isinstance(caught.value.exceptions[0], ZeroDivisionError)

    async def fail():
        raise ZeroDivisionError

    play(main)


def test_streams_in_memory(play):
    async def main():
        send, receive = anyio.create_memory_object_stream(5)

        async def produce():
            async with send:
                for number in range(1000):
                    await send.send(number)

        async with anyio.create_task_group() as group:
            group.start_soon(produce)
            async with receive:
                assert [number async for number in receive] == list(range(1000))

    play(main)


def test_locks_events_and_limits(play):
    async def main():
        lock, event, limit = anyio.Lock(), anyio.Event(), anyio.CapacityLimiter(2)
        order = []

        async def worker(number):
            await event.wait()
            async with limit, lock:
                order.append(number)
                await anyio.sleep(0)

        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(worker, number)
            await anyio.wait_all_tasks_blocked()
            event.set()
        assert sorted(order) == list(range(20))

    play(main)


@pytest.mark.parametrize("size", [5, 10 * 1024 * 1024])
def test_tcp(play, size):
    data = pattern(size)

    async def handle(stream):
        async with stream:
            async for part in stream:
                await stream.send(part)

    async def main():
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        async with anyio.create_task_group() as group:
            group.start_soon(listener.serve, handle)
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:

                async def send():
                    await stream.send(data)
                    await stream.send_eof()

                group.start_soon(send)
                got = bytearray()
                async for part in stream:
                    got += part
                assert got == data
            group.cancel_scope.cancel()
        await listener.aclose()

    play(main)


@pytest.mark.parametrize("size", [5, 3_000_000])
def test_unix_sockets(play, tmp_path, size):
    """anyio reads and writes these by add_reader and add_writer."""
    data = pattern(size)
    path = tmp_path / "socket"

    async def handle(stream):
        async with stream:
            async for part in stream:
                await stream.send(part)

    async def main():
        listener = await anyio.create_unix_listener(path)
        async with anyio.create_task_group() as group:
            group.start_soon(listener.serve, handle)
            async with await anyio.connect_unix(path) as stream:

                async def send():
                    await stream.send(data)
                    await stream.send_eof()

                group.start_soon(send)
                got = bytearray()
                async for part in stream:
                    got += part
                assert got == data
            group.cancel_scope.cancel()
        await listener.aclose()

    play(main)


def test_wait_readable_and_writable(play):
    async def main():
        a, b = socket.socketpair()
        with a, b:
            a.setblocking(False)
            await anyio.wait_writable(a)
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.wait_readable, a)
                await anyio.wait_all_tasks_blocked()
                b.send(b"x")
            with anyio.move_on_after(0.01):
                await anyio.wait_readable(b)
            assert a.recv(10) == b"x"

    play(main)


def test_threads(play):
    async def main():
        def work():
            return anyio.from_thread.run(anyio.sleep, 0) or anyio.from_thread.run_sync(int, "5")

        assert await anyio.to_thread.run_sync(work) == 5
        results = []
        async with anyio.create_task_group() as group:

            async def one(number):
                results.append(await anyio.to_thread.run_sync(lambda: number * 2))

            for number in range(50):
                group.start_soon(one, number)
        assert sorted(results) == [number * 2 for number in range(50)]

    play(main)


def test_a_blocking_portal(loop_factory, loop_module):
    """A loop in another thread, driven from here."""

    async def where():
        await anyio.sleep(0)
        return type(asyncio.get_running_loop()).__module__.partition(".")[0]

    options = {"loop_factory": loop_factory}
    with anyio.from_thread.start_blocking_portal("asyncio", options) as portal:
        assert portal.call(where) == loop_module
        futures = [portal.start_task_soon(where) for _ in range(20)]
        assert [future.result(GUARD) for future in futures] == [loop_module] * 20


def test_signals(play):
    async def main():
        with anyio.open_signal_receiver(signal.SIGUSR1) as signals:
            os.kill(os.getpid(), signal.SIGUSR1)
            async for number in signals:
                assert number == signal.SIGUSR1
                break

    play(main)


SUITE = """
import asyncio
import anyio
import pytest

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend():
    return "asyncio", {{"loop_factory": {factory}}}


def module():
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]


@pytest.fixture
async def stream():
    assert module() == {module!r}
    send, receive = anyio.create_memory_object_stream(1)
    async with send, receive:
        yield send, receive


async def test_it(stream):
    assert module() == {module!r}
    await stream[0].send(5)
    assert await stream[1].receive() == 5


async def test_sleep():
    with anyio.move_on_after(0.01) as scope:
        await anyio.sleep(30)
    assert scope.cancelled_caught


async def test_a_failure_is_a_failure():
    raise ZeroDivisionError("as expected")
"""


def test_the_pytest_plugin(tmp_path, loop_factory_source, loop_module):
    suite = SUITE.format(factory=loop_factory_source, module=loop_module)
    tmp_path.joinpath("test_suite.py").write_text(textwrap.dedent(suite))
    tmp_path.joinpath("pytest.ini").write_text("[pytest]\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=2 * GUARD,
        env=environment(),
        check=False,
    )
    assert "1 failed, 2 passed" in done.stdout, done.stdout + done.stderr
    assert "ZeroDivisionError: as expected" in done.stdout
