"""A connection that the peer resets tells so, whatever was still to be sent."""

import asyncio
import socket

import pytest

from .ioutil import Recorder, fill, reset, small_buffers, tcp_sockets, turns
from .support import ASYNCIO
from .test_short_reads import Buffered
from .tlsutil import cipher, secured  # noqa: F401 - a fixture

MUCH = b"x" * 4_000_000


class Noting(Recorder):
    """A Recorder whose `log` has what each callback was called with."""

    def note(self, event):
        super().note(event)
        self.log = [*getattr(self, "log", []), event]

    def connection_lost(self, exc):
        super().connection_lost(exc)
        self.log.append(type(exc))


class NotingBuffered(Noting, Buffered):
    """The same, reading into its own buffer."""


class Failing(Noting):
    def data_received(self, data):
        super().data_received(data)
        raise ZeroDivisionError("data_received")


class Answering(Noting):
    """Writes whenever it gets something."""

    def data_received(self, data):
        super().data_received(data)
        self.transport.write(b"answer")


# What happens to a connection before and after its peer resets it. Each step is a function of the
# transport, its protocol and the peer's socket.


def refused_output(transport, protocol, peer):
    """More than the kernel takes, by far."""
    transport.write(MUCH)


def output(transport, protocol, peer):
    transport.write(b"last words")


def large_output(transport, protocol, peer):
    transport.write(MUCH)


def pause_reading(transport, protocol, peer):
    transport.pause_reading()


def resume_reading(transport, protocol, peer):
    transport.resume_reading()


def input_from_peer(transport, protocol, peer):
    peer.send(b"input")


def reset_by_peer(transport, protocol, peer):
    reset(peer)


def close(transport, protocol, peer):
    transport.close()


def abort(transport, protocol, peer):
    transport.abort()


def write_eof(transport, protocol, peer):
    transport.write_eof()


def a_turn(transport, protocol, peer):
    """Handled by play()."""


STORIES = {
    "nothing to send": [reset_by_peer],
    "output refused": [refused_output, reset_by_peer],
    "output refused a turn ago": [refused_output, a_turn, reset_by_peer],
    "output after the reset": [reset_by_peer, output],
    "much output after the reset": [reset_by_peer, large_output],
    "output before the reset": [output, reset_by_peer],
    "refused, and more after the reset": [refused_output, a_turn, reset_by_peer, output],
    "input before the reset": [input_from_peer, reset_by_peer],
    "refused, input, reset": [refused_output, a_turn, input_from_peer, reset_by_peer],
    "refused, input, reset, output": [
        refused_output,
        a_turn,
        input_from_peer,
        reset_by_peer,
        output,
    ],
    "paused": [pause_reading, reset_by_peer],
    "paused and resumed": [pause_reading, reset_by_peer, a_turn, resume_reading],
    "paused, output refused": [pause_reading, refused_output, a_turn, reset_by_peer],
    "paused, refused, resumed": [
        pause_reading,
        refused_output,
        a_turn,
        reset_by_peer,
        resume_reading,
    ],
    "closed with output refused": [refused_output, close, a_turn, reset_by_peer],
    "reset, then closed": [refused_output, a_turn, reset_by_peer, close],
    "reset, then aborted": [refused_output, a_turn, reset_by_peer, abort],
    "output after the reset, aborted": [reset_by_peer, output, abort],
    "output after the reset, closed": [reset_by_peer, output, close],
    "ended, then reset": [output, write_eof, a_turn, reset_by_peer],
    "refused, ended, then reset": [refused_output, write_eof, a_turn, reset_by_peer],
}


async def play(factory, story):
    """The protocol's log and what was reported, once the connection is lost."""
    loop = asyncio.get_running_loop()
    reports = []
    loop.set_exception_handler(
        lambda loop, context: reports.append((context["message"], type(context["exception"])))
    )
    ours, theirs = tcp_sockets()
    small_buffers(ours, theirs)
    with theirs:
        transport, protocol = await loop.create_connection(factory, sock=ours)
        await turns(3)
        for step in story:
            step(transport, protocol, theirs)
            if step is a_turn:
                await turns(3)
        if pause_reading in story and resume_reading not in story and refused_output not in story:
            # Nobody looks: the loop must not say anything.
            await turns(10)
            transport.abort()
        async with asyncio.timeout(20):
            await protocol.lost
        await turns(3)
    return protocol.log, reports


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("factory", [Noting, NotingBuffered, Failing, Answering])
def test_protocols(run, factory, story):
    with asyncio.Runner(loop_factory=ASYNCIO.loop_factory) as runner:
        expected = runner.run(play(factory, STORIES[story]))
    assert run(play(factory, STORIES[story])) == expected


async def attempt(awaitable):
    """The type of what this raises, or None."""
    try:
        async with asyncio.timeout(20):
            await awaitable
    except Exception as exc:
        return type(exc)
    return None


async def play_streams(much, drains_first):
    ours, theirs = tcp_sockets()
    small_buffers(ours, theirs)
    with theirs:
        reader, writer = await asyncio.open_connection(sock=ours)
        await turns(3)
        writer.write(MUCH if much else b"few")
        draining = asyncio.create_task(attempt(writer.drain())) if drains_first else None
        await turns(3)
        reset(theirs)
        outcomes = [await draining] if draining else []
        outcomes += [
            await attempt(reader.read(10)),
            await attempt(writer.drain()),
            await attempt(writer.drain()),
            await attempt(reader.readline()),
            writer.is_closing(),
        ]
        writer.write(b"more")
        outcomes.append(await attempt(writer.drain()))
        writer.close()
        outcomes.append(await attempt(writer.wait_closed()))
    return outcomes


@pytest.mark.parametrize("drains_first", [False, True])
@pytest.mark.parametrize("much", [False, True])
def test_streams(run, much, drains_first):
    with asyncio.Runner(loop_factory=ASYNCIO.loop_factory) as runner:
        expected = runner.run(play_streams(much, drains_first))
    assert run(play_streams(much, drains_first)) == expected
    assert ConnectionResetError in expected
    assert BrokenPipeError not in expected


async def play_tls(story):
    def small(ours, theirs):
        small_buffers(ours, theirs)

    async with secured(Noting, before=small) as (transport, protocol, peer):
        await turns(10)
        for step in story:
            step(transport, protocol, peer.sock)
            if step is a_turn:
                await turns(3)
        async with asyncio.timeout(20):
            await protocol.lost
    return protocol.log


TLS_STORIES = [
    name
    for name, story in STORIES.items()
    if not {write_eof, pause_reading, close, input_from_peer} & {*story}
]


@pytest.mark.parametrize("story", TLS_STORIES)
def test_tls(run, cipher, story):  # noqa: F811
    with asyncio.Runner(loop_factory=ASYNCIO.loop_factory) as runner:
        expected = runner.run(play_tls(STORIES[story]))
    assert run(play_tls(STORIES[story])) == expected


def test_nothing_is_sent_after_the_reset(run):
    """A socket that notes each call: none but close() comes after the one that failed."""

    class Noter(socket.socket):
        def recv(self, size):
            calls.append("recv")
            if failing:
                raise ConnectionResetError
            return super().recv(size)

        def send(self, data):
            calls.append("send")
            return super().send(data)

    calls = []
    failing = False

    async def main():
        nonlocal failing
        ours, theirs = tcp_sockets()
        small_buffers(ours, theirs)
        with theirs:
            sock = Noter(fileno=ours.detach())
            loop = asyncio.get_running_loop()
            transport, protocol = await loop.create_connection(Noting, sock=sock)
            await turns(3)
            fill(sock)
            transport.write(b"refused")
            await turns(3)
            failing = True
            calls.clear()
            theirs.send(b"x")
            assert type(await protocol.lost) is ConnectionResetError
            assert calls == ["recv"]

    run(main)
