"""Transports, loops and what is called from within their own callbacks."""

import asyncio
import contextlib
import gc
import io
import os
import socket
import sys
import warnings
import weakref

import pytest

from .hardship import (
    KINDS,
    Recorder,
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


class Meddling(Recorder):
    """Does something to its transport in the middle of a callback."""

    def __init__(self, when, what):
        super().__init__()
        self.when = when
        self.what = what
        self.entered = False

    def meddle(self, when):
        if when == self.when and not self.entered:
            self.entered = True
            self.what(self.transport)

    def connection_made(self, transport):
        super().connection_made(transport)
        self.meddle("made")

    def data_received(self, data):
        super().data_received(data)
        self.meddle("data")

    def eof_received(self):
        super().eof_received()
        self.meddle("eof")
        return True

    def pause_writing(self):
        self.meddle("pause")

    def resume_writing(self):
        self.meddle("resume")

    def connection_lost(self, exc):
        super().connection_lost(exc)
        self.meddle("lost")


class MeddlingBuffered(Meddling, asyncio.BufferedProtocol):
    def get_buffer(self, size):
        self.meddle("buffer")
        return bytearray(10)

    def buffer_updated(self, count):
        self.meddle("data")


def lose_now(transport):
    transport._call_connection_lost(None)


def swap_protocol(transport):
    transport.set_protocol(Recorder())
    gc.collect()


def write_much(transport):
    transport.write(b"x" * 1_000_000)
    transport.writelines([bytearray(10), b"y" * 70_000])


def close_loop_by_force(transport):
    transport._loop._thread_id = None
    transport._loop._close_native()


def drop_socket(transport):
    transport.get_extra_info("socket")._sock.detach()


MEDDLING = {
    "abort": lambda transport: transport.abort(),
    "close": lambda transport: transport.close(),
    "lose": lose_now,
    "swap": swap_protocol,
    "write": write_much,
    "close the loop": close_loop_by_force,
    "pause and resume": lambda transport: (transport.pause_reading(), transport.resume_reading()),
    "eof": lambda transport: transport.write_eof(),
    "fatal": lambda transport: transport._fatal_error(ValueError("fatal")),
    "detach": drop_socket,
    "fail": lambda transport: 1 // 0,
}


@pytest.mark.parametrize("when", ["made", "data", "buffer", "eof", "pause", "resume", "lost"])
@pytest.mark.parametrize("what", MEDDLING.values(), ids=MEDDLING)
def test_transports_changed_by_their_own_callbacks(when, what):
    def action():
        warnings.simplefilter("ignore")
        sys.stderr = io.StringIO()
        for kind in (Meddling, MeddlingBuffered):
            loop = quiet_loop()
            with contextlib.suppress(RuntimeError):
                transport, protocol, theirs = connect(loop, kind(when, what))
                transport.set_write_buffer_limits(1000)
                transport.write(b"x" * 3_000_000)
                turn(loop)
                for _ in range(3):
                    with contextlib.suppress(BlockingIOError):
                        while theirs.recv(1_000_000):
                            turn(loop)
                    turn(loop)
                with contextlib.suppress(BrokenPipeError):
                    theirs.send(b"some data")
                    turn(loop, 2)
                    theirs.shutdown(socket.SHUT_WR)
                turn(loop, 3)
                transport.abort()
                turn(loop, 3)
                assert protocol.entered or when == "buffer", protocol.heard
            loop.close()
            collect()

    survives(action)


class ForeignSocket(socket.socket):
    """A socket whose methods do something of their own first."""

    meddle = None

    def _do(self):
        action, type(self).meddle = type(self).meddle, None
        if action:
            action()

    def recv(self, *args):
        self._do()
        return super().recv(*args)

    def recv_into(self, *args):
        self._do()
        return super().recv_into(*args)

    def send(self, *args):
        self._do()
        return super().send(*args)

    def sendmsg(self, *args):
        self._do()
        return super().sendmsg(*args)


def blocking():
    raise BlockingIOError


def failing():
    raise ZeroDivisionError


@pytest.mark.parametrize("side", ["read", "write"])
@pytest.mark.parametrize("then", [None, blocking, failing], ids=["", "blocking", "failing"])
@pytest.mark.parametrize("what", MEDDLING.values(), ids=MEDDLING)
def test_sockets_whose_methods_change_the_transport(side, then, what):
    def action():
        warnings.simplefilter("ignore")
        sys.stderr = io.StringIO()
        for kind in (Meddling, MeddlingBuffered):
            loop = quiet_loop()
            first, theirs = socket.socketpair()
            ours = ForeignSocket(first.family, first.type, fileno=first.detach())
            with contextlib.suppress(RuntimeError):
                transport, _, _ = connect(loop, kind("never", None), (ours, theirs))

                def meddle(transport=transport):
                    what(transport)
                    if then:
                        then()

                if side == "write":
                    transport.write(b"before")
                ForeignSocket.meddle = staticmethod(meddle)
                theirs.send(b"data")
                with contextlib.suppress(ZeroDivisionError):
                    turn(loop, 3)
                transport.abort()
                turn(loop, 3)
            ForeignSocket.meddle = None
            loop.close()
            collect()

    survives(action)


def test_buffers_that_change_the_transport():
    def action():
        warnings.simplefilter("ignore")

        class Bytes(bytes):
            def __del__(self):
                transport.abort()
                transport.write(b"more")

        class Sized(bytearray):
            def __len__(self):
                lose_now(transport)
                return 10

        class Exporting(bytearray):
            def __buffer__(self, flags):
                lose_now(transport)
                return memoryview(b"0123456789")

        for kind in (Bytes, Sized, Exporting):
            for size in (10, 100_000):
                loop = quiet_loop()
                transport, _, theirs = connect(loop)
                transport.write(b"first")
                for _ in range(3):
                    transport.write(kind(b"x" * size))
                transport.writelines([kind(b"x" * size), b"y", kind(b"z" * size)])
                turn(loop, 3)
                transport.abort()
                turn(loop, 2)
                loop.close()
                theirs.close()
        return None

    survives(action)


@pytest.mark.skipif(not PYTHON_312, reason="__buffer__() is new in 3.12")
@pytest.mark.parametrize("when", ["__buffer__", "__release_buffer__", "__del__", "__len__"])
@pytest.mark.parametrize("what", MEDDLING.values(), ids=MEDDLING)
def test_buffers_of_a_protocol_that_change_the_transport(when, what):
    def action():
        warnings.simplefilter("ignore")
        sys.stderr = io.StringIO()

        class Buffer:
            def __init__(self, transport):
                self.transport = transport
                self.entered = False

            def meddle(self, name):
                if name == when and not self.entered:
                    self.entered = True
                    what(self.transport)

            def __len__(self):
                self.meddle("__len__")
                return 10

            def __buffer__(self, flags):
                self.meddle("__buffer__")
                return memoryview(bytearray(10))

            def __release_buffer__(self, view):
                self.meddle("__release_buffer__")

            def __del__(self):
                self.meddle("__del__")

        class Protocol(Recorder, asyncio.BufferedProtocol):
            def get_buffer(self, size):
                return Buffer(self.transport)

            def buffer_updated(self, count):
                pass

        loop = quiet_loop()
        with contextlib.suppress(RuntimeError):
            transport, _, theirs = connect(loop, Protocol())
            theirs.send(b"some data")
            turn(loop, 3)
            theirs.close()
            turn(loop, 3)
            transport.abort()
            turn(loop, 2)
        loop.close()

    survives(action)


@pytest.mark.parametrize("name", ["send", "sendmsg"])
@pytest.mark.parametrize("what", MEDDLING.values(), ids=MEDDLING)
def test_looking_for_a_method_of_the_socket_changes_the_transport(name, what):
    def action():
        warnings.simplefilter("ignore")
        sys.stderr = io.StringIO()

        class Hiding(socket.socket):
            armed = False

            def __getattribute__(self, attribute):
                if attribute == name and Hiding.armed:
                    Hiding.armed = False
                    what(transport)
                if attribute == "sendmsg":
                    raise AttributeError(attribute)
                return super().__getattribute__(attribute)

        loop = quiet_loop()
        first, theirs = socket.socketpair()
        ours = Hiding(first.family, first.type, fileno=first.detach())
        with contextlib.suppress(RuntimeError):
            transport, _, _ = connect(loop, None, (ours, theirs))
            transport.write(b"x" * 3_000_000)
            turn(loop)
            Hiding.armed = True
            with contextlib.suppress(BlockingIOError, ZeroDivisionError):
                while theirs.recv(1_000_000):
                    turn(loop)
            Hiding.armed = True
            with contextlib.suppress(ZeroDivisionError):
                transport.write(b"y")
                turn(loop)
            transport.abort()
            turn(loop, 2)
        loop.close()

    survives(action)


def test_names_whose_comparison_replaces_what_is_searched():
    def action():
        class Name(str):
            def __eq__(self, other):
                transport._extra = {}
                gc.collect()
                return False

            __hash__ = str.__hash__

        loop = quiet_loop()
        transport, _, theirs = connect(loop)
        for name in ("sockname", "peername", "socket"):
            transport._extra = {name: 1, "more": 2}
            assert transport.get_extra_info(Name(name), "none") == "none"
        transport.abort()
        turn(loop)
        loop.close()
        theirs.close()

    survives(action)


def test_a_waiter_that_is_taken_away_while_it_is_made():
    def action():
        loop = quiet_loop()
        transport, _, theirs = connect(loop)

        class Waiter(asyncio.Future):
            def done(self):
                transport._reset_empty_waiter()
                return super().done()

        loop.create_future = lambda: Waiter(loop=loop)
        assert isinstance(transport._make_empty_waiter(), Waiter)
        transport.abort()
        turn(loop)
        loop.close()
        theirs.close()

    survives(action)


@pytest.mark.parametrize("what", MEDDLING.values(), ids=MEDDLING)
def test_a_count_of_a_socket_that_changes_the_transport(what):
    def action():
        warnings.simplefilter("ignore")
        sys.stderr = io.StringIO()

        class Count:
            def __index__(self):
                what(transport)
                return 4

        class Counting(socket.socket):
            def recv_into(self, *args):
                super().recv_into(*args)
                return Count()

        loop = quiet_loop()
        first, theirs = socket.socketpair()
        ours = Counting(first.family, first.type, fileno=first.detach())
        with contextlib.suppress(RuntimeError):
            transport, _, _ = connect(loop, MeddlingBuffered("never", None), (ours, theirs))
            theirs.send(b"data")
            turn(loop, 3)
            transport.abort()
            turn(loop, 3)
        loop.close()

    survives(action)


@pytest.mark.skipif(not PYTHON_312, reason="__buffer__() is new in 3.12")
@pytest.mark.parametrize("what", MEDDLING.values(), ids=MEDDLING)
def test_large_buffers_that_change_the_transport(what):
    def action():
        warnings.simplefilter("ignore")
        sys.stderr = io.StringIO()

        class Large(bytearray):
            def __buffer__(self, flags):
                what(transport)
                return memoryview(b"x" * 300_000)

        loop = quiet_loop()
        transport, _, theirs = connect(loop)
        with contextlib.suppress(ZeroDivisionError, RuntimeError):
            transport.write(Large(300_000))
            turn(loop, 2)
            transport.writelines([Large(300_000), b"y"])
            turn(loop, 2)
        transport.abort()
        with contextlib.suppress(RuntimeError):
            turn(loop, 2)
        loop.close()
        theirs.close()

    survives(action)


class Datagrams(asyncio.DatagramProtocol):
    """Does something to its transport with each datagram."""

    def __init__(self, what=lambda transport: None):
        self.what = what

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.what(self.transport)


def endpoint(loop, protocol=None, **options):
    """A datagram transport, and a socket that sends to it."""
    ours = socket.socket(type=socket.SOCK_DGRAM)
    ours.bind(("127.0.0.1", 0))
    theirs = socket.socket(type=socket.SOCK_DGRAM)
    theirs.bind(("127.0.0.1", 0))
    theirs.connect(ours.getsockname())
    ours.setblocking(False)
    transport = loop._make_datagram_transport(ours, protocol or Datagrams(), **options)
    turn(loop, 2)
    return transport, theirs


def set_socket(sock):
    def set_socket(transport):
        transport._sock = sock

    return set_socket


def forget_address(transport):
    transport._address = None
    transport._extra = {}
    gc.collect()


DATAGRAM_MEDDLING = {
    "abort": lambda transport: transport.abort(),
    "close": lambda transport: transport.close(),
    "lose": lose_now,
    "send": lambda transport: transport.sendto(b"more", ("127.0.0.1", 9)),
    "no socket": set_socket(None),
    "no real socket": set_socket(object()),
    "no address": forget_address,
    "fail": lambda transport: 1 // 0,
}


@pytest.mark.skipif(not PYTHON_312, reason="__buffer__() is new in 3.12")
@pytest.mark.parametrize("known", [False, True], ids=["any", "peer"])
@pytest.mark.parametrize("what", DATAGRAM_MEDDLING.values(), ids=DATAGRAM_MEDDLING)
def test_buffers_that_change_the_datagram_transport(what, known):
    def action():
        warnings.simplefilter("ignore")
        sys.stderr = io.StringIO()

        class Data(bytearray):
            def __buffer__(self, flags):
                what(transport)
                return memoryview(b"0123456789")

        def peer():
            return "127.0.0.1", theirs.getsockname()[1]

        for _ in range(2):  # the second time the address is one that has been used
            loop = quiet_loop()
            transport, theirs = endpoint(loop)
            if known:
                transport._address = peer()
            for _ in range(3):
                with contextlib.suppress(AttributeError, ZeroDivisionError):
                    transport.sendto(Data(10), None if known else peer())
            with contextlib.suppress(AttributeError):
                turn(loop, 3)
                transport.abort()
                turn(loop)
            loop.close()
            theirs.close()

    survives(action)


@pytest.mark.parametrize("what", DATAGRAM_MEDDLING.values(), ids=DATAGRAM_MEDDLING)
def test_datagram_transports_changed_by_their_own_callbacks(what):
    def action():
        warnings.simplefilter("ignore")
        sys.stderr = io.StringIO()

        def meddle(transport):
            nonlocal count
            count += 1
            if count % 7 == 0:
                loop.call_soon(list)  # so that the next datagram waits for the next turn
                what(transport)

        count = 0
        loop = quiet_loop()
        for number in range(20):
            transport, theirs = endpoint(loop, Datagrams(meddle))
            with contextlib.suppress(OSError):
                for _ in range(number):
                    for _ in range(number):
                        theirs.send(b"data")
                    turn(loop)
            with contextlib.suppress(AttributeError):
                transport.abort()
                turn(loop)
            theirs.close()
        loop.close()
        assert count > 100

    survives(action)


@pytest.mark.skipif(not PYTHON_312, reason="__buffer__() is new in 3.12")
@pytest.mark.parametrize("method", ["abort", "close"])
def test_a_buffer_that_closes_the_pipe(method):
    """Nothing of it is written any more, and nobody waits for room."""

    def action():
        warnings.simplefilter("ignore")

        class Data(bytearray):
            def __buffer__(self, flags):
                getattr(transport, method)()
                return memoryview(bytes(1_000_000))

        loop = quiet_loop()
        out, into = os.pipe()
        file = os.fdopen(into, "wb", 0)
        transport = loop._make_write_pipe_transport(file, asyncio.Protocol())
        turn(loop, 2)
        transport.write(Data(10))
        assert transport.get_write_buffer_size() == 0
        turn(loop, 2)
        assert file.closed
        assert os.read(out, 10) == b""
        assert not loop._watched(into)
        loop.close()

    survives(action)


def test_loops_closed_with_everything_pending():
    def action():
        warnings.simplefilter("ignore")
        sys.stderr = io.StringIO()
        loop = quiet_loop()
        things = objects(loop)
        things["transport"].write(b"x" * 3_000_000)
        things["listener"].start()
        loop.call_soon(int)
        loop.call_soon_threadsafe(int)
        loop.close()
        for kind in KINDS:
            if kind != "loop":
                poke(things[kind])
        refs = [weakref.ref(loop), weakref.ref(things["transport"])]
        things.clear()
        del loop
        collect()
        return [ref() for ref in refs]

    assert survives(action) == "[None, None]"
