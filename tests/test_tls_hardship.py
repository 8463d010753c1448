"""Hard and strange use of TLS: meddling callbacks, half-made objects, no memory, forked copies."""

import asyncio
import contextlib
import gc
import io
import itertools
import os
import socket
import sys
import warnings

import pytest

import fastaio.tls

from .hardship import Refusal, connect, poke, quiet_loop, survives, turn, wait_for
from .support import GUARD, run_python
from .tlsutil import HOST, cipher, client_context, server_context  # noqa: F401 - a fixture

pytestmark = [
    pytest.mark.fastaio_only,
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


class Heard(asyncio.Protocol):
    """Keeps what it is told, and may do something to its transport in the middle of it."""

    def __init__(self, when=None, what=None):
        self.heard = []
        self.data = bytearray()
        self.when, self.what = when, what

    def note(self, event):
        self.heard.append(event)
        if event == self.when:
            self.when = None
            self.what(self.transport)

    def connection_made(self, transport):
        self.transport = transport
        self.note("made")

    def data_received(self, data):
        self.data += data
        self.note("data")

    def eof_received(self):
        self.note("eof")

    def connection_lost(self, exc):
        self.note("lost")

    def pause_writing(self):
        self.note("pause")

    def resume_writing(self):
        self.note("resume")


class HeardBuffered(Heard, asyncio.BufferedProtocol):
    def get_buffer(self, size):
        self.note("buffer")
        self.room = bytearray(100_000)
        return self.room

    def buffer_updated(self, count):
        self.data += self.room[:count]
        self.note("data")


def ends(loop, near_protocol=None, far_protocol=None, patience=GUARD):
    """Both transports of a TLS connection within one loop."""

    async def connect():
        left, right = socket.socketpair()
        accepting = loop.create_task(
            loop.connect_accepted_socket(
                lambda: far_protocol or Heard(), right, ssl=server_context()
            )
        )
        near, _ = await loop.create_connection(
            lambda: near_protocol or Heard(), sock=left, ssl=client_context(), server_hostname=HOST
        )
        far, _ = await accepting
        return near, far

    return loop.run_until_complete(asyncio.wait_for(connect(), patience))


def quiet():
    warnings.simplefilter("ignore")
    sys.stderr = io.StringIO()
    sys.unraisablehook = lambda unraisable: None


# Meddling


def forget(transport):
    transport.__dict__.clear()
    transport._ssl_protocol.__dict__.clear()
    gc.collect()


def lose_wire(transport):
    transport._ssl_protocol._transport._call_connection_lost(None)


def lose_now(transport):
    transport._ssl_protocol.connection_lost(None)


def swap(transport):
    transport.set_protocol(Heard())
    gc.collect()


def write_much(transport):
    transport.write(b"x" * 1_000_000)
    transport.writelines([bytearray(10), b"y" * 70_000, b"z"])


def replace_parts(transport):
    protocol = transport._ssl_protocol
    protocol._sslobj = protocol._incoming = protocol._outgoing = None
    gc.collect()


def feed_itself(transport):
    protocol = transport._ssl_protocol
    view = protocol.get_buffer(100)
    view[:3] = b"abc"
    protocol.buffer_updated(3)


def pump(transport):
    protocol = transport._ssl_protocol
    for name in ("_do_read", "_do_write", "_process_outgoing", "_flush", "_flush_last"):
        getattr(protocol, name)()


def close_loop(transport):
    transport._loop._thread_id = None
    transport._loop._close_native()


MEDDLING = {
    "abort": lambda transport: transport.abort(),
    "close": lambda transport: (transport.close(), transport.close()),
    "close the wire": lambda transport: transport._ssl_protocol._transport.close(),
    "lose": lose_now,
    "lose the wire": lose_wire,
    "swap": swap,
    "write": write_much,
    "pause and resume": lambda transport: (transport.pause_reading(), transport.resume_reading()),
    "fatal": lambda transport: transport._ssl_protocol._fatal_error(ValueError("fatal")),
    "fail": lambda transport: 1 // 0,
    "forget": forget,
    "replace": replace_parts,
    "feed": feed_itself,
    "pump": pump,
    "shut down": lambda transport: transport.get_extra_info("ssl_object").unwrap(),
    "close the loop": close_loop,
}


@pytest.mark.parametrize("when", ["made", "data", "buffer", "eof", "pause", "resume", "lost"])
@pytest.mark.parametrize("what", MEDDLING.values(), ids=MEDDLING)
def test_connections_changed_by_their_own_callbacks(when, what):
    def action():
        quiet()
        for kind, direct in itertools.product((Heard, HeardBuffered), (True, False)):
            fastaio.tls.SSLProtocol.direct = direct
            loop = quiet_loop()
            near_protocol, far_protocol = kind(when, what), Heard()
            near = far = None
            with contextlib.suppress(*Refusal, RuntimeError):
                # What is done to it in the middle of the handshake may well leave that undone.
                near, far = ends(loop, near_protocol, far_protocol, patience=0.5)
                near.set_write_buffer_limits(high=10_000)
                far.write(b"data" * 10_000)
                turn(loop, 3)
                far.pause_reading()
                for _ in range(10):
                    near.write(b"x" * 100_000)
                    turn(loop)
                far.resume_reading()
                turn(loop, 50)
                far.close()
                turn(loop, 20)
                near.abort()
                turn(loop, 5)
            del near_protocol, far_protocol, near, far
            with contextlib.suppress(RuntimeError):
                loop.close()
            gc.collect()

    survives(action)


# Half-made objects and wrong values


def test_objects_that_were_never_initialised():
    def action():
        quiet()
        from fastaio import _fastaio

        for make in (
            _fastaio.TlsProtocol,
            lambda: _fastaio.TlsTransport.__new__(_fastaio.TlsTransport),
            lambda: fastaio.tls.SSLProtocol.__new__(fastaio.tls.SSLProtocol),
            lambda: fastaio.tls.SSLTransport.__new__(fastaio.tls.SSLTransport),
        ):
            poke(make())
            gc.collect()

    survives(action)


@pytest.mark.usefixtures("cipher")
@pytest.mark.parametrize("which", ["transport", "protocol"])
def test_every_attribute_set_to_everything(which):
    def action():
        quiet()
        loop = quiet_loop()
        near, far = ends(loop)
        victim = near if which == "transport" else near._ssl_protocol
        far.write(b"data")
        near.write(b"data")
        poke(victim)
        with contextlib.suppress(*Refusal):
            far.write(b"more")
            turn(loop, 3)
            near.write(b"more")
            turn(loop, 3)
        far.abort()
        with contextlib.suppress(*Refusal):
            turn(loop, 3)
        del near, victim
        gc.collect()

    survives(action)


def test_another_loop_is_refused():
    with pytest.raises(TypeError, match="native TLS needs a native loop"):
        fastaio.tls.SSLProtocol(object(), Heard(), client_context(), None)


# No memory


@pytest.mark.usefixtures("cipher")
@pytest.mark.parametrize("size", [10, 100_000])
def test_without_memory_it_says_so_or_goes_on(size):
    testcapi = pytest.importorskip("_testcapi")

    def action():
        quiet()
        loop = quiet_loop()
        outcomes = set()
        for number in range(80):
            near_protocol, far_protocol = Heard(), Heard()
            near, far = ends(loop, near_protocol, far_protocol)
            data = b"x" * size
            far.write(b"answer")
            turn(loop)
            loop.stop()  # so that no turn waits
            testcapi.set_nomemory(number, number + 1)
            try:
                near.write(data)
                loop._run_once()
                loop._run_once()
                loop._run_once()
            except MemoryError:
                outcomes.add("raised")
            finally:
                testcapi.remove_mem_hooks()
            loop._stopping = False
            turn(loop, 3)
            if "lost" in near_protocol.heard + far_protocol.heard or loop.reports:
                outcomes.add("reported")
            else:
                wait_for(loop, lambda protocol=near_protocol: protocol.data == b"answer")
                outcomes.add("answered")
            loop.reports.clear()
            near.abort()
            far.abort()
            turn(loop, 3)
        loop.close()
        assert "answered" in outcomes
        return sorted(outcomes)

    survives(action)


# Forks


@pytest.mark.usefixtures("cipher")
def test_a_forked_child_does_not_send_what_its_parent_wrote():
    def action():
        quiet()
        loop = quiet_loop()
        far_protocol = Heard()
        near, far = ends(loop, Heard(), far_protocol)
        near.write(b"the parent's")
        pid = os.fork()
        if not pid:
            with contextlib.suppress(BaseException):
                loop._flush_transports()
                near.abort()
                gc.collect()
            os._exit(0)
        os.waitpid(pid, 0)
        wait_for(loop, lambda: far_protocol.data)
        assert far_protocol.data == b"the parent's"
        near.write(b", once")
        wait_for(loop, lambda: len(far_protocol.data) >= 18)
        assert far_protocol.data == b"the parent's, once"
        assert not loop.reports
        near.abort()
        far.abort()
        turn(loop, 3)
        loop.close()

    survives(action)


# The library behind Python's ssl


def test_another_layout_is_not_believed():
    """Objects of another kind than _ssl's go through their methods, whatever they are."""

    def action():
        quiet()
        loop = quiet_loop()
        near, far = ends(loop)
        protocol = near._ssl_protocol

        class Wrapped:
            def __init__(self, obj):
                self.obj = obj

            def __getattr__(self, name):
                return getattr(self.obj, name)

        for name in ("_sslobj", "_incoming", "_outgoing"):
            setattr(protocol, name, Wrapped(getattr(protocol, name)))
            near.write(b"one")
            wait_for(loop, lambda: far.get_protocol().data.endswith(b"one"))
            assert protocol._cipher == "ssl"
            far.get_protocol().data.clear()
        far.write(b"back")
        wait_for(loop, lambda: near.get_protocol().data == b"back")
        near.abort()
        far.abort()
        turn(loop, 3)
        loop.close()

    survives(action)


def test_reading_that_gives_too_much():
    class Generous:
        def __init__(self, obj):
            self.obj = obj

        def __getattr__(self, name):
            return getattr(self.obj, name)

        def read(self, size):
            return bytes(size + 1)

        def write(self, data):
            return len(data) + 1

    def action():
        quiet()
        loop = quiet_loop()
        for use in (
            lambda near, far: far.write(b"data"),
            lambda near, far: near.write(b"data"),
        ):
            near_protocol = Heard()
            near, far = ends(loop, near_protocol)
            near._ssl_protocol._sslobj = Generous(near._ssl_protocol._sslobj)
            use(near, far)
            wait_for(loop, lambda protocol=near_protocol: "lost" in protocol.heard)
            assert isinstance(loop.reports[0]["exception"], ValueError)
            loop.reports.clear()
            far.abort()
            turn(loop, 3)
        loop.close()

    survives(action)


def test_a_choice_of_the_cipher_that_pauses_reading():
    """What arrives is kept, although other data comes into the loop's receive buffer meanwhile."""

    def action():
        quiet()
        loop = quiet_loop()
        protocol = Heard()
        near, far = ends(loop, protocol)
        data = os.urandom(100_000)

        def direct(self):
            near.pause_reading()
            return True

        fastaio.tls.SSLProtocol.direct = property(direct)
        near._ssl_protocol._sslobj = near._ssl_protocol._sslobj  # it is chosen at the next use
        far.write(data)
        turn(loop, 5)
        assert not near.is_reading()
        assert near._ssl_protocol._cipher == "openssl"
        plain, _, theirs = connect(loop)
        theirs.send(bytes(200_000))
        turn(loop, 3)
        far.write(b"more")
        turn(loop, 3)
        near.resume_reading()
        wait_for(loop, lambda: len(protocol.data) == len(data) + 4)
        assert protocol.data == data + b"more"
        for transport in (near, far, plain):
            transport.abort()
        turn(loop, 3)
        loop.close()

    survives(action)


WITHOUT = """
import _ssl, asyncio, os, sys
del _ssl.__file__  # as where it is built into the interpreter
os.chdir(sys.argv[1])
sys.path.insert(0, sys.argv[1])
import fastaio
from tests.test_tls_hardship import ends, wait_for

loop = fastaio.new_event_loop()
near, far = ends(loop)
near.write(b"data")
wait_for(loop, lambda: far.get_protocol().data == b"data")
print(near._ssl_protocol._cipher)
near.abort(), far.abort()
loop.run_until_complete(asyncio.sleep(0.01))
loop.close()
"""


def test_without_openssl_the_methods_are_called():
    top = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    assert run_python(WITHOUT, top).stdout == "ssl\n"


def test_a_switch_in_the_environment():
    source = "import fastaio.tls; print(fastaio.tls.SSLProtocol.direct)"
    environment = {**os.environ, "FASTAIO_TLS": "ssl"}
    assert run_python(source, env=environment).stdout == "False\n"
