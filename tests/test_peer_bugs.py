"""Bugs that event loops have had, each a test of what it guards.

Others of them are guarded where they belong: descriptors closed twice and bytes that reach a
stranger (test_descriptors, test_descriptor_stress), signals that come between two runs and handlers
that outlive their loop (test_signals), sleeps that end early and delays below zero (test_timers),
half-closed connections and servers that close (test_flow, test_server), what is buffered when TLS
begins (test_tls_ends), arguments that nobody checked (test_handles), factories of tasks that do
not know `eager_start` (test_loop_debug).
"""

import asyncio
import contextlib
import functools
import os
import random
import socket
import ssl
import subprocess
import sys
import weakref

import pytest
from cryptography.hazmat.primitives import serialization

from .ioutil import Recorder, turns, until
from .support import GUARD, collect
from .tlsutil import both_ends, certificate

pytestmark = pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded:DeprecationWarning"
)


# Pipes


def identity(number):
    stat = os.fstat(number)
    return stat.st_dev, stat.st_ino


@pytest.mark.parametrize("steps", range(5))
@pytest.mark.parametrize("side", ["read", "write"])
def test_a_pipe_whose_connecting_is_cancelled_is_closed_once(run, side, steps):
    async def main():
        loop = asyncio.get_running_loop()
        ends = os.pipe()
        mine, other = ends if side == "read" else ends[::-1]
        file = os.fdopen(mine, "rb" if side == "read" else "wb", 0)
        kept = weakref.ref(file)
        connect = loop.connect_read_pipe if side == "read" else loop.connect_write_pipe
        task = asyncio.create_task(connect(asyncio.Protocol, file))
        await turns(steps)
        task.cancel()
        try:
            transport, _ = await task
        except asyncio.CancelledError:
            if steps == 0:  # it had not begun: the file is still the caller's
                file.close()
        else:
            transport.close()
        del file
        await until(lambda: kept() is None or kept().closed)
        strangers = [os.open("/dev/zero", os.O_RDONLY) for _ in range(4)]
        assert mine in strangers
        before = [identity(number) for number in strangers]
        del task
        await turns(5)
        collect()
        assert [identity(number) for number in strangers] == before
        for number in [*strangers, other]:
            os.close(number)

    run(main)


@pytest.mark.parametrize("method", ["connect_read_pipe", "connect_write_pipe"])
def test_a_regular_file_is_no_pipe(run, method, tmp_path):
    async def main():
        loop = asyncio.get_running_loop()
        with open(tmp_path / "file", "w+b", 0) as file:
            with pytest.raises(ValueError, match="Pipe transport"):
                await getattr(loop, method)(asyncio.Protocol, file)
            await turns(3)
        assert await asyncio.sleep(0.001, "alive") == "alive"

    run(main)


def test_the_end_of_a_pipe_that_is_written_to(run):
    async def main():
        loop = asyncio.get_running_loop()
        lost = loop.create_future()

        class Protocol(asyncio.Protocol):
            def connection_lost(self, exc):
                lost.set_result(exc)

        receiving, sending = os.pipe()
        transport, _ = await loop.connect_write_pipe(Protocol, os.fdopen(sending, "wb", 0))
        data = b"x" * 1_000_000
        transport.write(data)
        transport.write_eof()
        with os.fdopen(receiving, "rb") as file:
            received = await asyncio.wait_for(asyncio.to_thread(file.read), GUARD)
        assert received == data
        assert await asyncio.wait_for(lost, GUARD) is None

    run(main)


# Processes


@pytest.mark.parametrize("steps", range(8))
def test_a_cancelled_spawn_leaves_no_child(run, steps):
    async def main():
        receiving, sending = os.pipe()
        spawning = asyncio.create_task(
            asyncio.create_subprocess_exec(
                *(sys.executable, "-c", "import sys; sys.stdin.read()"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=[sending],
            )
        )
        await turns(steps)
        cancelled = spawning.cancel()
        try:
            process = await asyncio.wait_for(asyncio.shield(spawning), GUARD)
        except asyncio.CancelledError:
            assert spawning.cancelled()
        else:
            assert not cancelled
            process.kill()
            await process.wait()
        os.close(sending)
        with os.fdopen(receiving, "rb") as file:  # ends when no child has the other end
            assert await asyncio.wait_for(asyncio.to_thread(file.read), GUARD) == b""
        await turns(10)

    run(main)


def test_what_runs_in_the_child_before_its_program(run):
    async def main():
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", "import os; print(os.umask(0))"),
            stdout=subprocess.PIPE,
            preexec_fn=functools.partial(os.umask, 0o123),
        )
        output, _ = await asyncio.wait_for(process.communicate(), GUARD)
        assert int(output) == 0o123

    run(main)


# TLS


@pytest.mark.parametrize("seed", [1, 2])
def test_tls_under_load_keeps_every_byte_in_order(run, seed):
    """Writes of all sizes at both ends, while reading is paused and resumed at any moment."""

    async def main():
        choice = random.Random(seed)
        async with both_ends() as (near, near_protocol, far, far_protocol):
            sent = [bytearray(), bytearray()]
            for _ in range(400):
                for transport, whole in zip((near, far), sent, strict=True):
                    data = choice.randbytes(choice.choice((0, 1, 100, 5000, 40_000)))
                    whole += data
                    if choice.random() < 0.2:
                        transport.writelines([data[:7], b"", data[7:]])
                    else:
                        transport.write(data)
                for transport in (near, far):
                    if choice.random() < 0.3:
                        with contextlib.suppress(RuntimeError):
                            choice.choice((transport.pause_reading, transport.resume_reading))()
                if choice.random() < 0.3:
                    await turns(choice.randrange(4))
            near.resume_reading()
            far.resume_reading()
            await far_protocol.wait_bytes(len(sent[0]))
            await near_protocol.wait_bytes(len(sent[1]))
            assert far_protocol.data == sent[0]
            assert near_protocol.data == sent[1]

    run(main)


def test_a_key_with_a_password(run, tmp_path):
    issued = certificate()
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    chain = tmp_path / "chain.pem"
    chain.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
        + b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chain, password="secret")

    async def main():
        async with both_ends(server=server) as (near, _, _, far_protocol):
            near.write(b"over TLS")
            await far_protocol.wait_bytes(8)

    run(main)


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
def test_a_connection_that_is_over_leaves_nothing(run, secure):
    """Not even where its protocol holds its transport, and both hold their own callbacks."""

    class Knotted(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            self.write = transport.write
            self.me = functools.partial(self.data_received)

    async def connect():
        loop = asyncio.get_running_loop()
        if secure:
            async with both_ends(Knotted, Knotted) as (near, protocol, _, _):
                return weakref.ref(near), weakref.ref(protocol)
        ours, theirs = socket.socketpair()
        with theirs:
            transport, protocol = await loop.create_connection(Knotted, sock=ours)
            transport.close()
            await until(lambda: ours.fileno() == -1)
            return weakref.ref(transport), weakref.ref(protocol)

    async def main():
        refs = [ref for _ in range(10) for ref in await connect()]
        await turns(5)
        collect()
        assert [ref() for ref in refs] == [None] * len(refs)

    run(main)


# What some loops do not have


def test_files_are_sent_by_the_kernel_or_without(run, tmp_path):
    path = tmp_path / "file"
    data = random.Random(3).randbytes(300_000)
    path.write_bytes(data)

    async def main():
        loop = asyncio.get_running_loop()
        for method in ("sendfile", "sock_sendfile"):
            ours, theirs = socket.socketpair()
            theirs.setblocking(False)
            ours.setblocking(False)
            with theirs, ours, open(path, "rb") as file:
                if method == "sendfile":
                    target, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
                else:
                    target = ours
                sending = asyncio.create_task(getattr(loop, method)(target, file, 1000, 200_000))
                received = b""
                while len(received) < 200_000:
                    received += await loop.sock_recv(theirs, 65536)
                assert await sending == 200_000
                assert received == data[1000:201_000]
                if method == "sendfile":
                    target.abort()
                    await until(lambda ours=ours: ours.fileno() == -1)

    run(main)


def test_datagrams_by_sock_calls(run):
    async def main():
        loop = asyncio.get_running_loop()
        with socket.socket(type=socket.SOCK_DGRAM) as a, socket.socket(type=socket.SOCK_DGRAM) as b:
            for sock in (a, b):
                sock.setblocking(False)
                sock.bind(("127.0.0.1", 0))
            receiving = asyncio.create_task(loop.sock_recvfrom(b, 100))
            await turns()
            assert await loop.sock_sendto(a, b"datagram", b.getsockname()) == 8
            assert await receiving == (b"datagram", a.getsockname())

    run(main)


# Idleness


@pytest.mark.fastaio_only
def test_timers_shorter_than_a_millisecond_do_not_spin(run):
    """What is due in less than the kernel's millisecond is waited for, not asked for."""

    async def main():
        loop = asyncio.get_running_loop()
        loop.spin_us = 0
        before = loop.metrics()["iterations"]
        for _ in range(50):
            await asyncio.sleep(0.0009)
        # A turn to wait, one to run the task, and some that the kernel ends early.
        assert loop.metrics()["iterations"] - before < 50 * 6

    run(main)
