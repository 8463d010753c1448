"""What a forked child does with its copies of loops and transports, its parent never notices."""

import asyncio
import gc
import os
import signal
import socket
import warnings

import pytest

from .hardship import (
    connect,
    survives,
    turn,
    wait_for,
)
from .support import GUARD

pytestmark = [
    pytest.mark.fastaio_only,
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


def echo(loop, transport, theirs):
    """That the connection works, both ways."""
    protocol = transport.get_protocol()
    protocol.heard.clear()
    transport.write(b"ping")
    theirs.send(b"pong")
    wait_for(loop, lambda: b"pong" in protocol.heard)
    return theirs.recv(100)


# What a child may do with its parent's loop, transport and watched socket.
CHILDREN = {
    "close the transport": lambda loop, transport, sock: transport.close(),
    "abort the transport": lambda loop, transport, sock: transport.abort(),
    "close the loop": lambda loop, transport, sock: (
        setattr(loop, "_thread_id", None),
        loop.close(),
    ),
    "remove the reader": lambda loop, transport, sock: loop.remove_reader(sock),
    "remove the writer": lambda loop, transport, sock: loop.remove_writer(sock),
    "add a reader": lambda loop, transport, sock: loop.add_reader(sock, int),
    "pause": lambda loop, transport, sock: transport.pause_reading(),
    "close the socket": lambda loop, transport, sock: transport._sock.close(),
    "drop everything": lambda loop, transport, sock: gc.collect(),
}


@pytest.mark.parametrize("what", CHILDREN.values(), ids=CHILDREN)
@pytest.mark.parametrize("running", [False, True], ids=["idle", "running"])
def test_a_childs_copies_do_not_disturb_the_parent(loop, what, running):
    transport, protocol, theirs = connect(loop)
    other, peer = socket.socketpair()
    other.setblocking(False)
    read, written = [], []

    def writable():
        written.append(None)

    loop.add_reader(other, lambda: read.append(other.recv(10)))
    turn(loop)

    def fork():
        loop.add_writer(other, writable)
        transport.write(b"the parent's")

        def child():
            warnings.simplefilter("ignore")
            what(loop, transport, other)
            gc.collect()

        survives(child)
        written.clear()

    if running:
        loop.call_soon(fork)
        turn(loop)
    else:
        fork()
    peer.send(b"data")
    wait_for(loop, lambda: read and written)
    assert read == [b"data"]
    assert theirs.recv(100) == b"the parent's"
    assert echo(loop, transport, theirs) == b"ping"
    loop.remove_writer(other)
    loop.remove_reader(other)
    transport.close()
    turn(loop, 2)
    other.close()
    peer.close()
    theirs.close()
    assert protocol.heard[-1] == ("lost", None)


def test_a_child_that_exits_sends_nothing_of_its_parents(loop):
    transport, _, theirs = connect(loop)
    sent = []

    def fork():
        transport.write(b"once")
        pid = os.fork()
        if not pid:
            try:
                # All that may flush: leaving the loop, closing, finalizers.
                loop._flush_transports()
                transport.get_write_buffer_size()
                repr(transport)
                transport.close()
            finally:
                os._exit(0)
        sent.append(os.waitpid(pid, 0)[1])

    loop.call_soon(fork)
    turn(loop, 2)
    assert sent == [0]
    assert theirs.recv(100) == b"once"
    with pytest.raises(BlockingIOError):
        theirs.recv(100)
    transport.close()
    turn(loop, 2)
    theirs.close()


def test_a_child_may_run_its_copy_of_the_loop(loop):
    transport, protocol, theirs = connect(loop)
    other, peer = socket.socketpair()
    loop.add_reader(other, int)
    transport.write(b"the parent's ")

    def child():
        loop.remove_reader(other)
        second, _, end = connect(loop)
        second.write(b"own")
        transport.write(b"the child's")
        result = loop.run_until_complete(asyncio.sleep(0.001, "slept"))
        assert end.recv(100) == b"own"
        loop.call_soon_threadsafe(loop.stop)
        loop.run_forever()
        loop.close()
        return result

    turn(loop)
    assert theirs.recv(100) == b"the parent's "
    assert survives(child) == repr("slept")
    assert theirs.recv(100) == b"the child's"
    assert echo(loop, transport, theirs) == b"ping"
    loop.remove_reader(other)
    transport.close()
    turn(loop, 2)
    for sock in (other, peer, theirs):
        sock.close()


def test_forking_in_a_loop_that_goes_on_in_the_child(loop):
    # As a server does that hands each connection to a process of its own.
    def ask(address):
        with socket.create_connection(address, GUARD) as sock:
            sock.send(b"question")
            with sock.makefile("rb") as stream:
                return stream.read()

    async def serve(reader, writer):
        question = await reader.readexactly(8)
        pid = os.fork()
        if not pid:
            try:
                writer.write(b"answer of the child to " + question)
                await writer.drain()
                writer.close()
                await writer.wait_closed()
            finally:
                os._exit(0)
        writer.transport.abort()
        await loop.run_in_executor(None, os.waitpid, pid, 0)

    server = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0))
    asking = loop.run_in_executor(None, ask, server.sockets[0].getsockname())
    answer = loop.run_until_complete(asyncio.wait_for(asking, GUARD))
    server.close()
    loop.run_until_complete(server.wait_closed())
    assert answer == b"answer of the child to question"


def test_a_childs_copy_of_the_loop_does_not_hear_the_parents_signals(loop):
    heard = []
    loop.add_signal_handler(signal.SIGUSR1, lambda: heard.append(os.getpid()))
    turn(loop)
    received, sent = os.pipe()

    def child():
        os.read(received, 1)
        turn(loop, 3)
        return heard

    os.kill(os.getpid(), signal.SIGUSR1)
    os.write(sent, b"!")
    assert survives(child) == "[]"
    wait_for(loop, lambda: heard)
    assert heard == [os.getpid()]
    os.close(received)
    os.close(sent)


def test_a_parent_does_not_hear_the_signals_of_a_childs_copy(loop):
    heard = []
    loop.add_signal_handler(signal.SIGUSR1, lambda: heard.append("signal"))
    turn(loop)

    def child():
        # The signal is in the pipe when the child ends, and the child's loop has not read it.
        def callback():
            os.kill(os.getpid(), signal.SIGUSR1)
            raise KeyboardInterrupt

        loop.call_soon(callback)
        with pytest.raises(KeyboardInterrupt):
            loop.run_forever()
        before = list(heard)
        wait_for(loop, lambda: heard)
        return before, heard

    def dying_child():
        turn(loop)  # the copy has its poller, and the process its pipe
        loop.call_soon(os.kill, os.getpid(), signal.SIGUSR1)
        loop.call_soon(os._exit, 0)
        loop.run_forever()

    assert survives(child) == "([], ['signal'])"
    survives(dying_child)
    turn(loop, 3)
    assert heard == []


def test_what_a_child_has_opened_under_the_numbers_of_the_pipe_stays(loop):
    heard = []
    loop.add_signal_handler(signal.SIGUSR1, heard.append, "signal")
    turn(loop)
    numbers = [loop._ssock.fileno(), loop._csock.fileno()]

    def child():
        ours, theirs = socket.socketpair()
        for number in numbers:
            os.dup2(ours.fileno(), number)
        turn(loop, 3)
        expected = os.fstat(ours.fileno()).st_ino
        return [os.fstat(number).st_ino == expected for number in numbers]

    assert survives(child) == "[True, True]"
    loop.call_soon(os.kill, os.getpid(), signal.SIGUSR1)
    wait_for(loop, lambda: heard)
