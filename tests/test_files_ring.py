"""Operations on files that are in flight on a loop's io_uring: who owns what, and until when."""

import asyncio
import errno
import gc
import os
import random
import sys
import warnings
import weakref

import pytest

import fastaio
from fastaio import _fastaio, files

from .support import run_python
from .test_leaks import assert_no_growth

pytestmark = pytest.mark.fastaio_only

NOP, FSYNC, RENAMEAT, UNLINKAT = 0, 3, 35, 36
CWD = -100


@pytest.fixture
def loop():
    try:
        loop = fastaio.new_event_loop(backend="io_uring")
    except (OSError, RuntimeError) as exc:
        pytest.skip(f"no io_uring: {exc}")
    yield loop
    if not loop.is_closed():
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


@pytest.fixture
def pipe():
    ends = os.pipe()
    yield ends
    for fd in ends:
        try:
            os.close(fd)
        except OSError as exc:
            assert exc.errno == errno.EBADF


def test_reads_and_writes(loop, tmp_path):
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    data = os.urandom(3_500_000)  # several requests

    async def main():
        op = _fastaio._ring_write(loop, fd, data, 7)
        assert await op.future == len(data) == op.done
        assert os.pread(fd, len(data), 7) == data
        assert await _fastaio._ring_read(loop, fd, len(data) + 50, 7).future == data
        assert await _fastaio._ring_read(loop, fd, 10, 10**9).future == b""
        os.lseek(fd, 100, os.SEEK_SET)
        assert await _fastaio._ring_read(loop, fd, 10, -1).future == data[93:103]
        ops = [_fastaio._ring_read(loop, fd, 100, 7 + n) for n in range(500)]
        for n, op in enumerate(ops):
            assert await op.future == data[n : n + 100]
        # Whoever goes through open() and files reads and writes the same.
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        assert await files.pread(fd, 5000, 7) == data[:5000]
        async with fastaio.open(tmp_path / "file", "r+b") as f:
            await f.seek(7)
            assert await f.read(len(data)) == data
            await f.write(data[::-1])
        assert os.pread(fd, len(data), 7 + len(data)) == data[::-1]

    loop.run_until_complete(main())
    os.close(fd)


def test_pieces(loop, tmp_path):
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    rng = random.Random(3)
    # More than the kernel takes in one request, some of them empty.
    many = [rng.randbytes(rng.choice((0, 1, 1000))) for _ in range(3000)]
    large = [rng.randbytes(1_500_000) for _ in range(3)]

    async def main():
        for pieces in (many, large, [b"one"], [b"", b"two"]):
            data = b"".join(pieces)
            op = _fastaio._ring_write(loop, fd, pieces, 11)
            assert await op.future == len(data) == op.done
            assert os.pread(fd, len(data), 11) == data
        assert _fastaio._ring_write(loop, fd, [], 0) is None
        assert _fastaio._ring_write(loop, fd, [b"", b""], 0) is None
        with pytest.raises(TypeError):
            _fastaio._ring_write(loop, fd, [b"bytes", "text"], 0)
        with pytest.raises(TypeError):
            _fastaio._ring_write(loop, fd, [bytearray(5)], 0)

    loop.run_until_complete(main())
    os.close(fd)


def test_pieces_that_fall_short(tmp_path):
    run_python(SHORT, str(tmp_path / "file"))


SHORT = """
import errno, os, resource, signal, sys
import fastaio
from fastaio import _fastaio

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2_500_000, 2_500_000))
loop = fastaio.new_event_loop(backend="io_uring")
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
pieces = [os.urandom(1_000_000) for _ in range(4)]

async def main():
    op = _fastaio._ring_write(loop, fd, pieces, 0)
    try:
        await op.future
    except OSError as exc:
        assert exc.errno == errno.EFBIG and exc.characters_written == 2_500_000, exc
    else:
        raise AssertionError("written")
    assert op.done == 2_500_000
    assert os.pread(fd, 3_000_000, 0) == b"".join(pieces)[:2_500_000]

loop.run_until_complete(main())
loop.close()
"""


def test_nothing_to_do_and_no_ring(loop, tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        assert _fastaio._ring_read(loop, fd, 0, 0) is None
        assert _fastaio._ring_call(loop, 250, fd, None, None, 0, 0) is None
        for plain in (fastaio.new_event_loop(backend="epoll"), asyncio.new_event_loop()):
            assert _fastaio._ring_read(plain, fd, 10, 0) is None
            plain.close()
        with pytest.raises(ValueError):
            _fastaio._ring_read(loop, fd, -1, 0)
        with pytest.raises(TypeError):
            _fastaio._ring_write(loop, fd, "text", 0)
        with pytest.raises(TypeError):
            _fastaio._ring_call(loop, UNLINKAT, CWD, 1.5, None, 0, 0)
    finally:
        os.close(fd)
    loop.close()
    assert _fastaio._ring_read(loop, 0, 10, 0) is None


def test_no_offsets_in_a_pipe(loop, pipe):
    async def main():
        os.write(pipe[1], b"data")
        assert _fastaio._ring_read(loop, pipe[0], 3, 0) is None
        assert _fastaio._ring_write(loop, pipe[1], b"more", 0) is None
        with pytest.raises(OSError) as raised:
            await files.pread(pipe[0], 3, 0)
        assert raised.value.errno == errno.ESPIPE
        assert await _fastaio._ring_read(loop, pipe[0], 100, -1, True).future == b"data"

    loop.run_until_complete(main())


def test_errors(loop, tmp_path):
    async def main():
        with pytest.raises(IsADirectoryError):
            fd = os.open(tmp_path, os.O_RDONLY)
            try:
                await _fastaio._ring_read(loop, fd, 10, 0).future
            finally:
                os.close(fd)
        with pytest.raises(OSError) as raised:
            await _fastaio._ring_read(loop, 99_999, 10, 0).future
        assert (raised.value.errno, raised.value.strerror) == (9, "Bad file descriptor")
        a, b = str(tmp_path / "a"), str(tmp_path / "b")
        with pytest.raises(FileNotFoundError) as raised:
            await _fastaio._ring_call(loop, RENAMEAT, CWD, a, b, CWD, 0).future
        assert (raised.value.filename, raised.value.filename2) == (a, b)
        with pytest.raises(FileNotFoundError) as raised:
            await _fastaio._ring_call(loop, UNLINKAT, CWD, a, None, 0, 0).future
        assert (raised.value.filename, raised.value.filename2) == (a, None)
        full = os.open("/dev/full", os.O_WRONLY)
        try:
            with pytest.raises(OSError) as raised:
                await _fastaio._ring_write(loop, full, b"x", 0).future
            assert raised.value.errno == errno.ENOSPC
        finally:
            os.close(full)

    loop.run_until_complete(main())


def test_a_cancelled_read_keeps_its_buffer(loop, pipe):
    receiver, sender = pipe

    async def main():
        op = _fastaio._ring_read(loop, receiver, 1 << 20, -1, True)
        waiter = asyncio.ensure_future(op.future)
        await asyncio.sleep(0)
        waiter.cancel()
        op.cancel()
        op.cancel()
        del op
        gc.collect()
        await asyncio.sleep(0.01)
        os.write(sender, b"for somebody else")
        op = _fastaio._ring_read(loop, receiver, 1 << 20, -1, True)
        assert await op.future == b"for somebody else"

    loop.run_until_complete(main())


def test_a_future_that_is_cancelled_while_the_kernel_reads(loop, pipe):
    receiver, sender = pipe

    async def main():
        op = _fastaio._ring_read(loop, receiver, 100, -1, True)
        await asyncio.sleep(0)
        op.future.cancel()
        os.write(sender, b"nobody waits")
        while not op.done:
            await asyncio.sleep(0)
        assert op.done == 12

    loop.run_until_complete(main())


def test_it_goes_on_in_the_next_run(loop, pipe):
    receiver, sender = pipe

    async def begin():
        return _fastaio._ring_read(loop, receiver, 100, -1, True)

    async def end(op):
        return await op.future

    op = loop.run_until_complete(begin())
    loop.run_until_complete(asyncio.sleep(0))
    os.write(sender, b"later")
    assert loop.run_until_complete(end(op)) == b"later"


def test_closing_lets_go_of_what_is_in_flight(loop, pipe):
    async def begin():
        ops = [_fastaio._ring_read(loop, pipe[0], 1 << 16, -1, True) for _ in range(10)]
        await asyncio.sleep(0)
        return ops

    ops = loop.run_until_complete(begin())
    before = [sys.getrefcount(op) for op in ops]
    loop.close()
    assert all(not hasattr(op, "future") for op in ops)
    after = [sys.getrefcount(op) for op in ops]
    assert after == [count - 1 for count in before]  # the kernel's
    assert [op.done for op in ops] == [0] * 10


@pytest.mark.parametrize("mode", ["w", "wb"])
def test_closed_while_a_file_is_written(loop, tmp_path, mode):
    path = tmp_path / "file"
    piece = "0123456789abcdef" * (1 << 16)

    async def main():
        f = await fastaio.open(path, mode)
        for _ in range(8):
            await f.write(piece if mode == "w" else piece.encode())
        return f

    f = loop.run_until_complete(main())
    loop.close()
    kept = weakref.ref(f)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        del f
    assert kept() is None  # at once, without the collector
    assert path.read_bytes() == piece.encode() * 8


def test_names_on_the_ring(loop, tmp_path):
    a, b, folder = tmp_path / "a", tmp_path / "b", tmp_path / "folder"

    async def main():
        await files.write_bytes(a, b"x")
        await files.rename(a, b)
        with pytest.raises(FileNotFoundError) as raised:
            await files.replace(a, b)
        assert (raised.value.filename, raised.value.filename2) == (str(a), str(b))
        await files.mkdir(folder, 0o700)
        assert folder.stat().st_mode & 0o777 == 0o700
        with pytest.raises(IsADirectoryError):
            await files.unlink(folder)
        with pytest.raises(NotADirectoryError):
            await files.rmdir(b)
        await files.rmdir(folder)
        await files.unlink(b)
        assert os.listdir(tmp_path) == []
        with pytest.raises(TypeError):
            await files.unlink(1.5)
        with pytest.raises(ValueError):
            await files.unlink("a\0b")

    loop.run_until_complete(main())


def test_operations_leave_nothing(loop, tmp_path, pipe):
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    os.pwrite(fd, bytes(8192), 0)

    async def read():
        await _fastaio._ring_read(loop, fd, 4096, 0).future

    async def short():
        await _fastaio._ring_read(loop, fd, 10_000, 0).future

    async def write():
        await _fastaio._ring_write(loop, fd, bytearray(100), 0).future

    async def error():
        try:
            await _fastaio._ring_call(loop, UNLINKAT, CWD, "/nowhere/file", None, 0, 0).future
        except FileNotFoundError:
            pass
        else:
            raise AssertionError("removed")

    async def cancelled():
        op = _fastaio._ring_read(loop, pipe[0], 4096, -1, True)
        await asyncio.sleep(0)
        op.future.cancel()
        op.cancel()
        while sys.getrefcount(op) > 2:
            await asyncio.sleep(0)

    try:
        for body in (read, short, write, error, cancelled):
            assert_no_growth(lambda body=body: loop.run_until_complete(body()), 300)
    finally:
        os.close(fd)
