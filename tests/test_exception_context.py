"""An exception that something of the loop's raises within an `except` has what is handled there as
its `__context__`, as one that `raise` raises. The exception handler is called within an `except`.
"""

import asyncio
import contextlib
import os
import socket
import sys

import pytest

from .ioutil import connected, until
from .tlsutil import both_ends


def chain(exc):
    """The types of an exception and of what it was raised in the handling of."""
    types = []
    while exc is not None and len(types) < 10:
        types.append(type(exc).__name__)
        exc = exc.__context__
    return types


async def caught(awaitable):
    """The chain of what awaiting raises while a ValueError is handled."""
    try:
        raise ValueError
    except ValueError:
        try:
            await awaitable
        except BaseException as exc:  # noqa: BLE001 - CancelledError too
            return chain(exc)


def called(function, *args):
    try:
        raise ValueError
    except ValueError:
        try:
            function(*args)
        except BaseException as exc:  # noqa: BLE001
            return chain(exc)


def failed(env):
    fut = env.future()
    fut.set_exception(KeyError())
    return fut


def cancelled(env):
    fut = env.future()
    fut.cancel()
    return fut


@pytest.mark.parametrize("make", [failed, cancelled])
def test_a_finished_future(same_outcome, make):
    def scenario(env):
        async def main():
            return [
                await caught(make(env)),
                called(make(env).result),
                called(make(env).exception),
                called(make(env).__await__().send, None),
                called(next, make(env).__await__()),
            ]

        return env.run(main())

    assert same_outcome(scenario)[0][0] == "returned"


@pytest.mark.parametrize("late", [False, True])
def test_a_finished_task(same_outcome, late):
    def scenario(env):
        async def fail():
            raise KeyError

        async def wait():
            await asyncio.sleep(100)

        async def main():
            chains = []
            for coro in (fail, wait):
                task = env.task(coro())
                await asyncio.sleep(0)
                if coro is wait:
                    task.cancel()
                if late:
                    await asyncio.sleep(0)
                chains.append(await caught(task))
            return chains

        return env.run(main())

    assert same_outcome(scenario)[0][0] == "returned"


def test_the_same_exception_twice(same_outcome):
    def scenario(env):
        async def main():
            fut = failed(env)
            try:
                await fut
            except KeyError as exc:
                try:
                    await fut
                except KeyError as again:
                    return exc is again, chain(again)

        return env.run(main())

    assert same_outcome(scenario)[0][0] == "returned"


def test_a_failing_future_in_the_middle_of_a_wait(same_outcome):
    def scenario(env):
        async def main():
            fut, other = env.future(), env.future()
            env.loop.call_soon(fut.set_exception, KeyError())
            env.loop.call_soon(other.cancel)
            return [await caught(fut), await caught(other)]

        return env.run(main())

    assert same_outcome(scenario)[0][0] == "returned"


def test_a_loop_that_runs_within_an_except(same_outcome):
    def scenario(env):
        async def main():
            fut = env.future()
            env.loop.call_soon(fut.set_exception, KeyError())
            try:
                await fut
            except KeyError as exc:
                return chain(exc)

        try:
            raise ValueError
        except ValueError:
            return env.run(main())

    assert same_outcome(scenario)[0][0] == "returned"


def overrun(reader):
    reader.feed_data(b"x" * 100)


READS = {
    "readexactly at the end": (
        lambda reader: reader.readexactly(10),
        asyncio.StreamReader.feed_eof,
    ),
    "readuntil at the end": (lambda reader: reader.readuntil(), asyncio.StreamReader.feed_eof),
    "readuntil of too much": (lambda reader: reader.readuntil(), overrun),
    "readline of too much": (lambda reader: reader.readline(), overrun),
    "a set exception": (
        lambda reader: reader.read(),
        lambda reader: reader.set_exception(KeyError()),
    ),
}


@pytest.mark.parametrize(("read", "prepare"), READS.values(), ids=READS)
def test_a_read_of_a_stream(run, read, prepare):
    async def main():
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=ours, limit=10)
        prepare(reader)
        outcome = await caught(read(reader))
        plain = asyncio.StreamReader(limit=10)
        prepare(plain)
        expected = await caught(read(plain))
        writer.close()
        theirs.close()
        return outcome, expected

    outcome, expected = run(main)
    assert outcome == expected
    assert outcome[-1] == "ValueError"


@pytest.mark.parametrize("what", ["cancel", "fail"])
def test_a_wait_for_a_socket(run, what):
    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        for sock in (ours, theirs):
            sock.setblocking(False)
        try:
            if what == "fail":
                return await caught(loop.sock_sendto(ours, b"", "no address"))
            task = loop.create_task(caught(loop.sock_recv(ours, 10)))
            await asyncio.sleep(0)
            task.cancel()
            return await task
        finally:
            ours.close()
            theirs.close()

    assert run(main)[-1] == "ValueError"


# The exception handler


class Fails(asyncio.Protocol):
    """One method raises KeyError."""

    def __init__(self, method):
        self.failing = method

    def fail(self, method):
        if method == self.failing:
            raise KeyError

    def data_received(self, data):
        self.fail("data_received")

    def eof_received(self):
        self.fail("eof_received")

    def pause_writing(self):
        self.fail("pause_writing")

    def connection_lost(self, exc):
        self.fail("connection_lost")


class FailsEarly(asyncio.BufferedProtocol):
    def get_buffer(self, sizehint):
        raise KeyError


class FailsLate(asyncio.BufferedProtocol):
    def get_buffer(self, sizehint):
        return bytearray(10)

    def buffer_updated(self, nbytes):
        raise KeyError


async def in_callback(stack):
    asyncio.get_running_loop().call_soon({}.pop, 1)


async def in_timer(stack):
    asyncio.get_running_loop().call_later(0, {}.pop, 1)


async def in_callback_from_a_thread(stack):
    asyncio.get_running_loop().call_soon_threadsafe({}.pop, 1)


async def in_done_callback(stack):
    fut = asyncio.get_running_loop().create_future()
    fut.add_done_callback({}.pop)
    fut.set_result(None)


def in_protocol(factory, end):
    async def fail(stack):
        transport, _, peer = await stack.enter_async_context(connected(factory))
        end(transport, peer)

    return fail


async def in_pipe(stack):
    reader, writer = os.pipe()
    os.write(writer, b"data")
    os.close(writer)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: Fails("data_received"), os.fdopen(reader, "rb", 0)
    )
    stack.callback(transport.close)


async def in_tls(stack):
    ends = await stack.enter_async_context(both_ends(lambda: Fails("data_received")))
    ends[2].write(b"data")


FAILURES = {
    "callback": in_callback,
    "timer": in_timer,
    "callback from a thread": in_callback_from_a_thread,
    "done callback": in_done_callback,
    "data_received": in_protocol(
        lambda: Fails("data_received"), lambda transport, peer: peer.sock.send(b"data")
    ),
    "eof_received": in_protocol(
        lambda: Fails("eof_received"), lambda transport, peer: peer.shutdown()
    ),
    "pause_writing": in_protocol(
        lambda: Fails("pause_writing"), lambda transport, peer: transport.write(bytes(50_000_000))
    ),
    "connection_lost": in_protocol(
        lambda: Fails("connection_lost"), lambda transport, peer: transport.abort()
    ),
    "get_buffer": in_protocol(FailsEarly, lambda transport, peer: peer.sock.send(b"data")),
    "buffer_updated": in_protocol(FailsLate, lambda transport, peer: peer.sock.send(b"data")),
    "pipe": in_pipe,
    "TLS": in_tls,
}


@pytest.mark.parametrize("fail", FAILURES.values(), ids=FAILURES)
def test_the_handler_is_called_while_the_exception_is_handled(run, fail):
    async def main():
        loop, seen = asyncio.get_running_loop(), []

        def handler(loop, context):
            seen.append(sys.exc_info()[1] is context["exception"])

        loop.set_exception_handler(handler)
        async with contextlib.AsyncExitStack() as stack:
            await fail(stack)
            assert sys.exc_info() == (None, None, None)
            await until(lambda: seen)
            loop.call_soon(lambda: seen.append(sys.exc_info()[1]))
            await asyncio.sleep(0)
            return list(seen)

    assert run(main) == [True, None]


def test_the_handler_raises(same_outcome):
    def scenario(env):
        def handler(loop, context):
            raise SystemExit

        env.loop.set_exception_handler(handler)
        env.loop.call_soon({}.pop, 1)
        try:
            env.turn(2)
        except SystemExit as exc:
            return chain(exc)

    assert same_outcome(scenario)[0] == ("returned", ["SystemExit", "KeyError"])
