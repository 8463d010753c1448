"""sendfile: of a loop's transports and of plain sockets; the kernel's, and the fallback."""

import asyncio
import io
import os
import socket

import pytest

from .ioutil import Peer, connected, no_new_descriptors, pair, pattern
from .support import GUARD

SIZE = 1_000_000


@pytest.fixture
def data():
    return pattern(SIZE)


@pytest.fixture
def file(tmp_path, data):
    path = tmp_path / "file"
    path.write_bytes(data)
    with path.open("rb") as file:
        yield file


@pytest.mark.parametrize(
    ("offset", "count"),
    [(0, None), (0, SIZE), (1000, None), (1000, 5000), (0, 1), (SIZE - 1, 100), (SIZE, None)],
)
@pytest.mark.parametrize("way", ["transport", "socket", "fallback"])
def test_offsets_and_counts(run, data, file, offset, count, way):
    expected = data[offset : None if count is None else offset + count]

    async def main():
        loop = asyncio.get_running_loop()
        async with no_new_descriptors():
            if way == "socket":
                with pair() as (ours, theirs), Peer(theirs) as peer:
                    sent, got = await asyncio.gather(
                        loop.sock_sendfile(ours, file, offset, count),
                        peer.recv_exactly(len(expected)),
                    )
            else:
                async with connected() as (transport, _, peer):
                    transport.write(b"before")
                    source = file if way == "transport" else io.BytesIO(data)
                    sending = asyncio.ensure_future(loop.sendfile(transport, source, offset, count))
                    assert await peer.recv_exactly(6) == b"before"
                    got = await peer.recv_exactly(len(expected))
                    sent = await sending
                    transport.write(b"after")
                    assert await peer.recv_exactly(5) == b"after"
                    if way == "transport" and expected:
                        assert file.tell() == offset + len(expected)
            assert sent == len(expected)
            assert got == expected

    run(main)


def test_no_fallback(run, data):
    async def main():
        loop = asyncio.get_running_loop()
        async with connected() as (transport, _, _):
            with pytest.raises(asyncio.SendfileNotAvailableError):
                await loop.sendfile(transport, io.BytesIO(data), fallback=False)
        with pair() as (ours, _), pytest.raises(asyncio.SendfileNotAvailableError):
            await loop.sock_sendfile(ours, io.BytesIO(data), fallback=False)

    run(main)


def test_a_file_that_shrinks_meanwhile(run, tmp_path):
    """It ends where the file does, and says how much that was."""

    async def main():
        loop = asyncio.get_running_loop()
        path = tmp_path / "shrinking"
        path.write_bytes(bytes(50_000_000))
        with path.open("rb") as file:
            async with connected() as (transport, _, peer):
                sending = asyncio.ensure_future(loop.sendfile(transport, file))
                await peer.recv_exactly(1)
                os.truncate(path, 1000)
                receiving = asyncio.create_task(peer.recv_to_eof())
                sent = await sending
                transport.write(b"end")
                transport.close()
                rest = await receiving
                assert 1 + len(rest) == sent + 3
                assert rest.endswith(b"end")
                assert 1000 <= sent < 50_000_000

    run(main)


def test_a_file_that_shrinks_before(run, data, file):
    async def main():
        loop = asyncio.get_running_loop()
        os.truncate(file.name, 10)
        async with connected() as (transport, _, peer):
            assert await loop.sendfile(transport, file, 0, SIZE) == 10
            assert await peer.recv_exactly(10) == data[:10]

    run(main)


def test_cancelled(run, file):
    """The transport can be used afterwards."""

    async def main():
        loop = asyncio.get_running_loop()

        def small(ours, theirs):
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)

        async with connected(before=small) as (transport, protocol, peer):
            sending = asyncio.ensure_future(loop.sendfile(transport, file))
            await asyncio.sleep(0.01)
            assert not sending.done()
            with pytest.raises(RuntimeError, match="unable to write; sendfile is in progress"):
                transport.write(b"x")
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            transport.close()
            peer.close()
            async with asyncio.timeout(GUARD):
                await protocol.lost

    run(main)


def test_the_peer_goes_away(run, tmp_path):
    async def main():
        loop = asyncio.get_running_loop()
        path = tmp_path / "large"
        path.write_bytes(b"")
        os.truncate(path, 100_000_000)
        with path.open("rb") as file:
            async with connected() as (transport, _, peer):
                sending = asyncio.ensure_future(loop.sendfile(transport, file))
                await peer.recv_exactly(1)
                peer.reset()
                with pytest.raises(ConnectionError):
                    await sending

    run(main)


@pytest.mark.parametrize("way", ["sendfile", "sock_sendfile"])
@pytest.mark.parametrize(
    ("make", "kwargs", "error"),
    [
        (lambda path: open(path), {}, ValueError),
        (lambda path: open(path, "rb"), {"offset": -1}, ValueError),
        (lambda path: open(path, "rb"), {"count": 0}, ValueError),
        (lambda path: open(path, "rb"), {"count": -1}, ValueError),
        (lambda path: open(path, "rb"), {"count": "5"}, TypeError),
        (lambda path: open(path, "rb"), {"offset": 0.5}, TypeError),
    ],
    ids=["text file", "negative offset", "no count", "negative count", "count", "offset"],
)
def test_bad_input(run, file, way, make, kwargs, error):
    async def main():
        loop = asyncio.get_running_loop()
        async with no_new_descriptors():
            with make(file.name) as source:
                if way == "sendfile":
                    async with connected() as (transport, _, _):
                        with pytest.raises(error):
                            await loop.sendfile(transport, source, **kwargs)
                else:
                    with pair() as (ours, _), pytest.raises(error):
                        await loop.sock_sendfile(ours, source, **kwargs)

    run(main)


def test_a_closed_transport(run, file):
    async def main():
        loop = asyncio.get_running_loop()
        async with connected() as (transport, _, _):
            transport.close()
            with pytest.raises(RuntimeError, match="Transport is closing"):
                await loop.sendfile(transport, file)

    run(main)


def test_a_blocking_socket(run, file):
    async def main():
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        left, right = socket.socketpair()
        with left, right, pytest.raises(ValueError, match="must be non-blocking"):
            await loop.sock_sendfile(left, file)

    run(main)


def test_what_is_no_transport(run, file):
    class Other(asyncio.Transport):
        def is_closing(self):
            return False

    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(RuntimeError, match="sendfile is not supported for transport"):
            await loop.sendfile(Other(), file)

    run(main)


def test_a_patched_os_sendfile_is_called(run, data, file, monkeypatch):
    async def main():
        loop = asyncio.get_running_loop()
        genuine, calls = os.sendfile, []

        def sendfile(*args):
            calls.append(args)
            return genuine(*args)

        monkeypatch.setattr(os, "sendfile", sendfile)
        with pair() as (ours, theirs), Peer(theirs) as peer:
            await asyncio.gather(loop.sock_sendfile(ours, file), peer.recv_exactly(SIZE))
        assert calls

    run(main)
