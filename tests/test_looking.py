"""Looking at an object, as debuggers, mocks and inspect do, changes nothing about it."""

import asyncio
import copy
import inspect
import os
import pickle
import socket
import subprocess
import sys
from unittest import mock

import pytest

from .ioutil import no_new_descriptors, open_descriptors
from .support import GUARD


def members(thing):
    return inspect.getmembers(thing)


def static_members(thing):
    return inspect.getmembers_static(thing)


def every_name(thing):
    for name in dir(thing):
        try:
            value = getattr(thing, name)
        except Exception:
            continue
        try:
            repr(value)
        except Exception:
            continue


def autospec(thing):
    return mock.create_autospec(thing)


def specced(thing):
    return mock.MagicMock(spec=thing)


def copied(thing):
    try:
        pickle.dumps(thing)
    except Exception:
        return


def described(thing):
    return repr(thing), str(thing), vars(thing) if hasattr(thing, "__dict__") else None


LOOKS = [members, static_members, every_name, autospec, specced, copied, described]


@pytest.fixture(params=LOOKS, ids=lambda look: look.__name__)
def look(request):
    return request.param


def test_a_loop_that_was_looked_at_does_not_nest(run, look):
    async def main():
        loop = asyncio.get_running_loop()
        look(loop)
        look(loop)
        inner = asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="already running"):
            loop.run_until_complete(inner)
        inner.close()
        with pytest.raises(RuntimeError, match="already running"):
            loop.run_forever()
        return "done"

    assert run(main) == "done"


def test_a_loop_that_was_looked_at_opens_nothing(loop, look):
    before = open_descriptors()
    look(loop)
    assert open_descriptors() == before
    assert not loop.is_running() and not loop.is_closed()


def test_a_loop_that_was_looked_at_works(run, look):
    async def main():
        loop = asyncio.get_running_loop()
        calls = []
        future = loop.create_future()
        waiter = asyncio.create_task(wait_for(future))
        timer = loop.call_later(0.001, future.set_result, "timer")
        loop.call_soon(calls.append, 1)
        kept = loop.call_later(3600, print)
        look(loop)
        loop.call_soon(calls.append, 2)
        look(timer)
        look(waiter)
        look(future)
        async with asyncio.timeout(GUARD):
            assert await waiter == "timer"
        assert calls == [1, 2]
        assert kept in loop._scheduled
        kept.cancel()
        assert loop.get_debug() is False and loop.slow_callback_duration == 0.1

    async def wait_for(future):
        return await future

    run(main)


def test_a_connection_that_was_looked_at_works(run, look):
    async def main():
        async with no_new_descriptors(), asyncio.timeout(GUARD):
            near, far = socket.socketpair()
            with far:
                far.setblocking(False)
                reader, writer = await asyncio.open_connection(sock=near)
                for thing in (reader, writer, writer.transport, writer.transport.get_protocol()):
                    look(thing)
                writer.write(b"out")
                for thing in (reader, writer, writer.transport, writer.transport.get_protocol()):
                    look(thing)
                far.send(b"in, and more")
                assert await reader.readexactly(2) == b"in"
                look(reader)
                assert await reader.readexactly(10) == b", and more"
                assert far.recv(100) == b"out"
                assert writer.transport.is_reading() and not writer.is_closing()
                writer.close()
                await writer.wait_closed()

    run(main)


def test_pipes_and_datagrams_that_were_looked_at_work(run, look):
    class Receiver(asyncio.DatagramProtocol):
        def __init__(self):
            self.received = asyncio.get_running_loop().create_future()

        def datagram_received(self, data, addr):
            self.received.set_result(data)

    async def main():
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(GUARD):
            r, w = os.pipe()
            reader = asyncio.StreamReader()
            source, _ = await loop.connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(r, "rb", 0)
            )
            sink, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(w, "wb", 0))
            udp, protocol = await loop.create_datagram_endpoint(
                Receiver, local_addr=("127.0.0.1", 0)
            )
            for thing in (source, sink, udp):
                look(thing)
            sink.write(b"piped")
            look(sink)
            assert await reader.readexactly(5) == b"piped"
            udp.sendto(b"datagram", udp.get_extra_info("sockname"))
            look(udp)
            assert await protocol.received == b"datagram"
            sink.close()
            source.close()
            udp.close()

    run(main)


def test_a_loop_cannot_be_pickled_and_stays_open(loop):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
            pickle.dumps(loop, protocol)
    assert loop.run_until_complete(asyncio.sleep(0, "runs")) == "runs"


@pytest.mark.fastaio_only
def test_a_native_loop_cannot_be_copied(loop):
    for copier in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            copier(loop)


NESTED = """
import asyncio
loop = {factory}()

async def value(n):
    await asyncio.sleep(0)
    return n

def refused(coro):
    try:
        loop.run_until_complete(coro)
    except RuntimeError:
        coro.close()
        return True

async def main():
    assert not hasattr(loop, "_nest_patched")
    assert refused(value(0))
    import {module} as nest
    assert refused(value(0))
    nest.apply()
    assert loop._nest_patched is True
    assert loop.run_until_complete(value(1)) == 1
    print("nested")

asyncio.set_event_loop(loop)
loop.run_until_complete(main())
"""


@pytest.mark.parametrize("module", ["nest_asyncio", "nest_asyncio2"])
def test_who_applies_nest_asyncio_may_nest(loop_factory_source, module):
    pytest.importorskip(module)
    program = NESTED.format(factory=loop_factory_source, module=module)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=GUARD
    )
    assert done.stdout == "nested\n", done.stderr
