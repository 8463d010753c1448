"""TLS connections of every fate leave nothing: no object, no descriptor, no memory of OpenSSL."""

import asyncio
import contextlib
import os
import socket
import ssl
import weakref

import pytest

from .ioutil import Echo, Recorder, exchange, until
from .support import collect
from .test_leaks import UNDER_ASAN, assert_no_growth, descriptors, resident_bytes
from .tlsutil import HOST, both_ends, cipher, client_context, server_context  # noqa: F401

pytestmark = pytest.mark.usefixtures("cipher")


class Contexts:
    """Made once: a context is large, and not what is looked at."""

    def __init__(self):
        self.client = client_context()
        self.server = server_context()

    def ends(self, far=Echo):
        return both_ends(Recorder, far, client=self.client, server=self.server)


async def closed(contexts):
    async with contexts.ends() as (near, protocol, _, _):
        await exchange(near, protocol)
        near.close()
        await protocol.lost


async def aborted(contexts):
    async with contexts.ends() as (near, protocol, far, _):
        near.write(b"data")
        near.abort()
        far.abort()
        await protocol.lost


async def with_unsent_output(contexts):
    async with contexts.ends(Recorder) as (near, _, far, _):
        far.pause_reading()
        for _ in range(20):
            near.write(b"x" * 100_000)
            await asyncio.sleep(0)
        near.write(b"small")


async def refused(contexts):
    left, right = socket.socketpair()
    loop = asyncio.get_running_loop()
    accepting = asyncio.create_task(loop.connect_accepted_socket(Echo, right, ssl=contexts.server))
    with pytest.raises(ssl.SSLCertVerificationError):
        await loop.create_connection(
            Recorder, sock=left, ssl=contexts.client, server_hostname="wrong.example.org"
        )
    with contextlib.suppress(OSError):
        (await accepting)[0].abort()
    await until(lambda: left.fileno() == right.fileno() == -1)


async def cancelled(contexts):
    left, right = socket.socketpair()
    with right:
        connecting = asyncio.create_task(
            asyncio.get_running_loop().create_connection(
                Recorder, sock=left, ssl=contexts.client, server_hostname=HOST
            )
        )
        await asyncio.sleep(0.001)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        await until(lambda: left.fileno() == -1)


async def broken(contexts):
    async with contexts.ends(Recorder) as (near, _, far, far_protocol):
        os.write(near.get_extra_info("socket").fileno(), b"no record at all")
        assert isinstance(await far_protocol.lost, ssl.SSLError)


async def tls_over_tls(contexts):
    loop = asyncio.get_running_loop()
    async with contexts.ends(Recorder) as (near, near_protocol, far, far_protocol):
        near, far = await asyncio.gather(
            loop.start_tls(near, near_protocol, contexts.client, server_hostname=HOST),
            loop.start_tls(far, far_protocol, contexts.server, server_side=True),
        )
        near.write(b"data")
        await far_protocol.wait_bytes(4)
        near.close()
        await asyncio.gather(near_protocol.lost, far_protocol.lost)


async def streams(contexts):
    left, right = socket.socketpair()
    loop = asyncio.get_running_loop()
    accepting = asyncio.create_task(loop.connect_accepted_socket(Echo, right, ssl=contexts.server))
    reader, writer = await asyncio.open_connection(
        sock=left, ssl=contexts.client, server_hostname=HOST
    )
    await accepting
    writer.write(b"x" * 100_000)
    await writer.drain()
    await reader.readexactly(100_000)
    writer.close()
    await writer.wait_closed()
    await until(lambda: left.fileno() == right.fileno() == -1)


FATES = [
    closed,
    aborted,
    with_unsent_output,
    refused,
    cancelled,
    broken,
    tls_over_tls,
    streams,
]


@pytest.mark.parametrize("fate", FATES, ids=lambda fate: fate.__name__)
def test_connections_leave_nothing(loop_factory, fate):
    contexts = Contexts()
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.get_loop().set_exception_handler(lambda loop, context: None)
        for _ in range(20):
            runner.run(fate(contexts))
        collect()
        open_before = descriptors()
        memory_before = resident_bytes()
        assert_no_growth(lambda: runner.run(fate(contexts)), 60)
        assert descriptors() == open_before
        # An SSL of OpenSSL's forgotten each time would be three times as much.
        if not UNDER_ASAN:
            assert resident_bytes() - memory_before < 4_000_000


def test_a_connection_is_forgotten(run):
    """Without a loop of references that only the collector could open: transport, protocol,
    SSLObject and context go when they are no longer used."""

    async def main():
        refs = []
        async with Contexts().ends() as (near, protocol, far, _):
            await exchange(near, protocol)
            for transport in (near, far):
                refs += [
                    weakref.ref(transport),
                    weakref.ref(transport._ssl_protocol),
                    weakref.ref(transport.get_extra_info("ssl_object")),
                    weakref.ref(transport.get_extra_info("sslcontext")),
                ]
            near.close()
            await protocol.lost
            del near, far, transport, protocol, _
        collect()
        assert [ref for ref in refs if ref() is not None] == []

    run(main)
