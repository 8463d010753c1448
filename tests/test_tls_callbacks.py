"""Callbacks of an SSL context that raise: the exception ends the connection, as on asyncio.

Python's ssl raises such an exception from the method that caused the call, so it shows in the data
path too, not only in the handshake.
"""

import asyncio
import contextlib
import socket
import ssl
import sys

import pytest

from .ioutil import Recorder, pattern, until
from .support import GUARD
from .tlsutil import (
    HOST,
    both_ends,
    cipher,  # noqa: F401 - a fixture
    client_context,
    secured,
    server_context,
)

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


class Bell:
    """A message callback that raises when it hears of the `count`-th matching message."""

    def __init__(self, exc, matches, count=1):
        self.exc, self.matches, self.count = exc, matches, count
        self.heard = 0
        self.armed = False

    def __call__(self, conn, direction, version, content_type, message_type, data):
        if self.armed and self.matches(direction, content_type, message_type):
            self.heard += 1
            if self.heard == self.count:
                raise self.exc


def is_record(direction):
    """Every record has a header."""
    return lambda way, content, message: way == direction and content == ssl._TLSContentType.HEADER


def is_ticket(way, content, message):
    return way == "read" and message == ssl._TLSMessageType.NEWSESSION_TICKET


@contextlib.contextmanager
def reports_of(loop):
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context))
    try:
        yield reports
    finally:
        loop.set_exception_handler(None)


def what_is_told(reports):
    return [(report["message"], report.get("exception")) for report in reports]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("size", [10, 40_000, 400_000])
def test_a_message_callback_that_raises_while_we_write(run, cipher, version, count, size):  # noqa: F811
    bell = Bell(ValueError("rung"), is_record("write"), count)
    client = client_context(version=version)
    client._msg_callback = bell

    async def main():
        with reports_of(asyncio.get_running_loop()) as reports:
            async with both_ends(client=client) as (near, near_protocol, _, far_protocol):
                bell.armed = True
                sent = 0
                while bell.heard < count:
                    near.write(pattern(size))
                    sent += size
                    await asyncio.sleep(0)
                await asyncio.wait_for(near_protocol.lost, GUARD)
                await asyncio.wait_for(far_protocol.lost, GUARD)
                assert near_protocol.lost.result() is bell.exc
                assert what_is_told(reports) == [("Fatal error on SSL protocol", bell.exc)]
                assert len(far_protocol.data) < sent

    run(main)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("size", [10, 40_000, 400_000])
def test_a_message_callback_that_raises_while_we_read(run, cipher, version, size):  # noqa: F811
    bell = Bell(ValueError("rung"), is_record("read"))
    client = client_context(version=version)
    client._msg_callback = bell

    async def main():
        with reports_of(asyncio.get_running_loop()) as reports:
            async with both_ends(client=client) as (_, near_protocol, far, _):
                far.write(b"before")
                await until(lambda: near_protocol.data == b"before")
                bell.armed = True
                far.write(pattern(size))
                await asyncio.wait_for(near_protocol.lost, GUARD)
                assert near_protocol.lost.result() is bell.exc
                assert near_protocol.data == b"before"
                assert what_is_told(reports) == [("Fatal error on SSL protocol", bell.exc)]

    run(main)


def test_a_message_callback_that_raises_at_a_message_after_the_handshake(run, cipher):  # noqa: F811
    """A session ticket: a call that gives no data swallows the exception, in Python's ssl."""
    bell = Bell(ValueError("rung"), is_ticket)
    bell.armed = True
    client = client_context(version=ssl.TLSVersion.TLSv1_3)
    client._msg_callback = bell

    async def main():
        with reports_of(asyncio.get_running_loop()) as reports:
            async with secured(client=client) as (transport, protocol, peer):
                # The tickets come on their own, before any data.
                await until(lambda: bell.heard)
                await peer.send(b"data")
                transport.write(b"x")
                assert await peer.recv(1) == b"x"
                await until(lambda: protocol.data == b"data")
                assert not reports

    run(main)


@pytest.mark.parametrize("exc", [KeyboardInterrupt(), SystemExit(3)], ids=repr)
def test_what_leaves_the_loop_leaves_it(loop_factory, cipher, exc):  # noqa: F811
    bell = Bell(exc, is_record("write"))
    client = client_context()
    client._msg_callback = bell

    async def main():
        async with both_ends(client=client) as (near, _, _, _):
            bell.armed = True
            near.write(pattern(100_000))
            await asyncio.sleep(GUARD)

    with (
        asyncio.Runner(loop_factory=loop_factory) as runner,
        pytest.raises(type(exc)),
    ):
        runner.run(main())


def test_a_callback_set_back_before_the_first_byte(run, cipher):  # noqa: F811
    """The connection was made with a callback: what stands there later is called."""
    bell = Bell(ValueError("rung"), is_record("write"))
    client = client_context()
    client._msg_callback = lambda *args: None

    async def main():
        with reports_of(asyncio.get_running_loop()) as reports:
            async with both_ends(client=client) as (near, near_protocol, _, far_protocol):
                client._msg_callback = None
                near.write(b"unheard")
                await until(lambda: far_protocol.data == b"unheard")
                client._msg_callback = bell
                bell.armed = True
                near.write(b"heard")
                await asyncio.wait_for(near_protocol.lost, GUARD)
                assert near_protocol.lost.result() is bell.exc
                assert what_is_told(reports) == [("Fatal error on SSL protocol", bell.exc)]

    run(main)


def test_a_message_callback_hears_the_same(same_outcome, cipher):  # noqa: F811
    def scenario(env):
        heard = []
        client = client_context(version=ssl.TLSVersion.TLSv1_3)

        def callback(conn, direction, version, content, message, data):
            heard.append((direction, getattr(content, "name", content), str(message), len(data)))

        async def main():
            async with both_ends(client=client) as (near, near_protocol, far, far_protocol):
                far.write(b"x" * 50_000)
                await until(lambda: len(near_protocol.data) == 50_000)
                del heard[:]
                near.write(b"y" * 100_000)
                await until(lambda: len(far_protocol.data) == 100_000)
                far.write(b"x" * 50_000)
                await until(lambda: len(near_protocol.data) == 100_000)
            return heard[:]

        client._msg_callback = callback
        return env.run(main())

    same_outcome(scenario)


def test_a_server_name_callback_that_raises(run, monkeypatch):
    unraisable = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: unraisable.append(args.exc_value))
    server = server_context()

    def sni(*args):
        raise ValueError("sni")

    server.sni_callback = sni

    async def main():
        loop = asyncio.get_running_loop()
        left, right = socket.socketpair()
        with reports_of(loop):
            outcomes = await asyncio.gather(
                loop.connect_accepted_socket(Recorder, right, ssl=server),
                loop.create_connection(
                    Recorder, sock=left, ssl=client_context(), server_hostname=HOST
                ),
                return_exceptions=True,
            )
        # The alert may or may not reach the client before the end of the connection.
        assert isinstance(outcomes[0], ssl.SSLError)
        assert isinstance(outcomes[1], (ssl.SSLError, ConnectionError))
        assert [str(exc) for exc in unraisable] == ["sni"]

    run(main)


@pytest.mark.skipif(not getattr(ssl, "HAS_PSK", False), reason="needs PSK, from 3.13 on")
def test_a_psk_callback_that_raises(run, monkeypatch):
    unraisable = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: unraisable.append(args.exc_value))
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers("PSK")

    def psk(hint):
        raise ValueError("psk")

    client.set_psk_client_callback(psk)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    server.set_ciphers("PSK")
    server.set_psk_server_callback(lambda identity: b"secret", "hint")

    async def main():
        loop = asyncio.get_running_loop()
        left, right = socket.socketpair()
        with reports_of(loop):
            outcomes = await asyncio.gather(
                loop.connect_accepted_socket(Recorder, right, ssl=server),
                loop.create_connection(Recorder, sock=left, ssl=client, server_hostname="x"),
                return_exceptions=True,
            )
        assert isinstance(outcomes[0], (ssl.SSLError, ConnectionError))
        assert isinstance(outcomes[1], ssl.SSLError)
        assert [str(exc) for exc in unraisable] == ["psk"]

    run(main)
