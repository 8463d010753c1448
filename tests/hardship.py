"""What the tests of hard and strange use share.

Their scenarios run in a forked child each, so that a crash is a failed test and nothing more. What
a scenario leaves behind (half-made objects, exhausted memory) dies with the child.
"""

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import traceback

from .support import GUARD


def survives(action):
    """Run `action()` in a forked child, which must end well; return what it returned, as text."""
    read, write = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        status = 1
        try:
            os.close(read)
            signal.alarm(int(GUARD))
            gc.freeze()  # the collector need not look at what pytest has
            try:
                text = repr(action())
                gc.collect()
                status = 0
            except BaseException:  # noqa: BLE001 - a child must end here, whatever happened
                text = traceback.format_exc()
            with open(write, "w") as stream:
                stream.write(text)
        finally:
            os._exit(status)
    os.close(write)
    with open(read) as stream:
        text = stream.read()
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, text or f"status {status}"
    return text


def quiet_loop():
    import fastaio

    loop = fastaio.new_event_loop()
    loop.set_debug(False)  # also where python -X dev says otherwise
    loop.reports = []
    loop.set_exception_handler(lambda loop, context: loop.reports.append(context))
    return loop


def turn(loop, count=1):
    for _ in range(count):
        loop.call_soon(loop.stop)
        loop.run_forever()


class Recorder(asyncio.Protocol):
    """Keeps what it is told, in order."""

    def __init__(self):
        self.heard = []
        self.transport = None

    def connection_made(self, transport):
        self.transport = transport
        self.heard.append("made")

    def data_received(self, data):
        self.heard.append(bytes(data))

    def eof_received(self):
        self.heard.append("eof")

    def connection_lost(self, exc):
        self.heard.append(("lost", exc))


def connect(loop, protocol=None, sock=None):
    """A native transport over one end of a socket pair, and the other end."""
    ours, theirs = socket.socketpair() if sock is None else sock
    ours.setblocking(False)
    theirs.setblocking(False)
    protocol = protocol or Recorder()
    transport = loop._make_stream_transport(ours, protocol)
    turn(loop, 2)
    return transport, protocol, theirs


def wait_for(loop, condition):
    async def waiting():
        while not condition():
            await asyncio.sleep(0.001)

    loop.run_until_complete(asyncio.wait_for(waiting(), GUARD))


Refusal = (Exception, asyncio.CancelledError)

VALUES = [None, True, -1, 2**70, 1.5, "text", b"bytes", (), [], {}, object(), int, ValueError()]


def poke(thing):
    """Call every method, read, write and delete every attribute."""
    for name in dir(type(thing)):
        if name in ("__class__", "__dict__", "__new__", "__reduce__", "__reduce_ex__"):
            continue
        with contextlib.suppress(*Refusal):
            attribute = getattr(thing, name)
            if callable(attribute):
                for args in [(), *((value,) for value in VALUES), (1, print), (None, None)]:
                    with contextlib.suppress(*Refusal):
                        result = attribute(*args)
                        if hasattr(result, "close") and hasattr(result, "send"):
                            result.close()
        for value in VALUES:
            with contextlib.suppress(*Refusal):
                setattr(thing, name, value)
        with contextlib.suppress(*Refusal):
            delattr(thing, name)
    for look in (repr, str, hash, iter, list, bool, lambda thing: thing.__await__()):
        with contextlib.suppress(*Refusal):
            look(thing)


def objects(loop):
    """One of each kind, alive."""
    import fastaio

    async def waiting():
        await asyncio.sleep(100)

    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    task = loop.create_task(waiting())
    transport, _, other = connect(loop)
    fut = loop.create_future()
    awaiting = fut.__await__()
    next(awaiting)
    reading = loop.sock_recv(ours, 10)
    reading.send(None)
    reader = asyncio.StreamReader(loop=loop)
    _, _, sender = connect(loop, asyncio.StreamReaderProtocol(reader, loop=loop))
    stream_read = reader.read(10)
    stream_read.send(None)
    return {
        "future": loop.create_future(),
        "task": task,
        "iterator": awaiting,
        "handle": loop.call_soon(print),
        "timer": loop.call_later(100, print),
        "new operation": loop.sock_recv(ours, 10),
        "operation": reading,
        "reader": reader,
        "new read": reader.readline(),
        "read": stream_read,
        "transport": transport,
        "listener": fastaio._fastaio.Listener(loop, listening, Recorder, None, 10),
        "loop": loop,
        "peers": (theirs, other, ours, listening, sender),
    }


KINDS = [
    "future",
    "task",
    "iterator",
    "handle",
    "timer",
    "new operation",
    "operation",
    "reader",
    "new read",
    "read",
    "transport",
    "listener",
    "loop",
]
