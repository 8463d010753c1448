"""TLS beside other threads: who encrypts much lets them run, and whoever breaks the rules finds no
half-done work."""

import asyncio
import contextlib
import threading
import time

import pytest

from .hardship import quiet_loop, survives
from .ioutil import pattern, until
from .support import FREE_THREADED, GUARD
from .tlsutil import both_ends, cipher, secured  # noqa: F401 - a fixture

LARGE = 32 * 1024 * 1024


class Ticker:
    """Another thread that wants to run a little, again and again."""

    def __init__(self):
        self.count = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        while not self._done.is_set():
            self.count += 1
            time.sleep(0.0001)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self._done.set()
        self._thread.join()


@contextlib.contextmanager
def reading(peer, size):
    """Have a thread receive `size` bytes; yields a list that has them at the end."""
    received = []
    thread = threading.Thread(target=lambda: received.append(peer._recv_exactly(size)))
    thread.start()
    yield received
    thread.join()


def test_other_threads_run_while_much_is_encrypted(run, cipher):  # noqa: F811
    async def main():
        async with secured() as (transport, _, peer):
            data = pattern(LARGE)
            with Ticker() as ticker:
                await until(lambda: ticker.count)
                with reading(peer, LARGE) as received:
                    before = ticker.count
                    transport.write(data)
                    during = ticker.count - before
                    await until(lambda: received)
            assert received == [data]
            assert during >= 3

    run(main)


def test_other_threads_run_while_much_is_decrypted(run, cipher):  # noqa: F811
    async def main():
        async with both_ends() as (near, _, far, far_protocol):
            with Ticker() as ticker:
                before = ticker.count
                near.write(pattern(LARGE))
                data = await far_protocol.wait_bytes(LARGE)
                assert ticker.count - before >= 3
            assert data == pattern(LARGE)

    run(main)


@pytest.mark.parametrize("paused", [False, True])
def test_small_and_large_writes_stay_in_order(run, cipher, paused):  # noqa: F811
    """`paused`: the connection below takes no more when the writes begin."""

    async def main():
        parts = [pattern(size, size) for size in (1, 600_000, 3, 5, 262_144, 262_145, 70_000, 2)]
        before = pattern(10_000_000) if paused else b""
        expected = before + b"".join(parts)
        async with secured() as (transport, _, peer):
            transport.write(before)
            if paused:
                assert transport._ssl_protocol._ssl_writing_paused
            for part in parts:
                transport.write(part)
            transport.writelines(parts)
            expected += b"".join(parts)
            with reading(peer, len(expected)) as received:
                await until(lambda: received)
            assert received == [expected]

    run(main)


# What asyncio does not allow: another thread uses the transport. Nothing may crash, and the data
# arrives whole.


@pytest.mark.fastaio_only
def test_another_thread_writes(run, cipher):  # noqa: F811
    async def main():
        async with both_ends() as (near, _, _, far_protocol):
            done = threading.Event()
            written = []
            refusals = (RuntimeError,) if FREE_THREADED else ()

            def write():
                while not done.is_set() and len(written) < 1000:
                    with contextlib.suppress(*refusals):
                        near.write(b"b" * 1000)
                        written.append(1000)

            thread = threading.Thread(target=write)
            thread.start()
            for _ in range(20):
                near.write(b"a" * 1_000_000)
                await asyncio.sleep(0)
            done.set()
            await asyncio.to_thread(thread.join)
            total = 20_000_000 + sum(written)
            data = await far_protocol.wait_bytes(total)
            assert data.count(b"a") == 20_000_000
            assert len(data) == total

    run(main)


def look(transport):
    transport.get_write_buffer_size()
    transport.get_extra_info("socket")
    transport._ssl_protocol._get_read_buffer_size()


def use_wire(transport):
    protocol = transport._ssl_protocol
    for name in ("_do_read", "_do_write", "_process_outgoing", "_flush", "_flush_last"):
        getattr(protocol, name)()


def lose(transport):
    transport._ssl_protocol.connection_lost(None)


def replace_parts(transport):
    protocol = transport._ssl_protocol
    protocol._sslobj = protocol._incoming = protocol._outgoing = None


MEDDLING = {
    "look": look,
    "use": use_wire,
    "close": lambda transport: transport.close(),
    "abort": lambda transport: transport.abort(),
    "lose": lose,
    "replace": replace_parts,
}


@pytest.mark.fastaio_only
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("direct", [True, False], ids=["openssl", "ssl"])
@pytest.mark.parametrize("what", MEDDLING.values(), ids=MEDDLING)
def test_another_thread_meddles(what, direct):
    def action():
        import fastaio.tls

        fastaio.tls.SSLProtocol.direct = direct
        loop = quiet_loop()

        async def main():
            with contextlib.suppress(Exception):
                async with asyncio.timeout(GUARD / 3), both_ends() as (near, _, far, far_protocol):
                    encrypting = threading.Event()

                    def meddle():
                        encrypting.wait()
                        for _ in range(200):
                            with contextlib.suppress(Exception):
                                what(near)

                    thread = threading.Thread(target=meddle)
                    thread.start()
                    encrypting.set()
                    for _ in range(5):
                        near.write(b"x" * 4_000_000)
                        far.write(b"y" * 400_000)
                        await asyncio.sleep(0)
                    await asyncio.to_thread(thread.join)

        for _ in range(3):
            loop.run_until_complete(main())

    survives(action)
