"""fastaio.open(): errors, cancellation, loops, and files that are none of the ordinary kind."""

import asyncio
import concurrent.futures
import contextlib
import errno
import gc
import io
import os
import random
import resource
import subprocess
import tempfile
import threading
import warnings

import pytest

import fastaio
from fastaio import files

from .ioutil import is_open, until
from .support import FREE_THREADED, GUARD, run_python, wait_until
from .test_leaks import assert_no_growth

MEBI = 1 << 20


class Counting(concurrent.futures.ThreadPoolExecutor):
    """Counts its jobs, and holds them back while `gate` is clear."""

    def __init__(self):
        super().__init__(1)
        self.jobs = 0
        self.started = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def submit(self, func, /, *args, **kwargs):
        self.jobs += 1

        def job():
            self.started.set()
            assert self.gate.wait(GUARD)
            return func(*args, **kwargs)

        return super().submit(job)


class Keeping(concurrent.futures.ThreadPoolExecutor):
    """Keeps what its jobs return, as a thread does for a moment that may be a long one."""

    def __init__(self):
        super().__init__(1)
        self.kept = []

    def submit(self, func, /, *args, **kwargs):
        future = super().submit(func, *args, **kwargs)
        self.kept.append(future)
        return future


@pytest.fixture
def executor():
    executor = Counting()
    try:
        yield executor
    finally:
        executor.gate.set()
        executor.shutdown()


def outcome_of_io(path, *args, **kwargs):
    """The exception that open() raises."""
    with pytest.raises((OSError, ValueError, TypeError, LookupError)) as raised:
        open(path, *args, **kwargs).close()
    return raised.value


# Opening

BAD = {
    "missing": ("nowhere/file", "r", {}),
    "folder": (".", "rb", {}),
    "folder, to write": (".", "w", {}),
    "not a folder": ("file/below", "r", {}),
    "exists": ("file", "x", {}),
    "mode": ("file", "q", {}),
    "two modes": ("file", "rw", {}),
    "binary text": ("file", "tb", {}),
    "binary with an encoding": ("file", "rb", {"encoding": "utf-8"}),
    "binary with a newline": ("file", "rb", {"newline": "\n"}),
    "unbuffered text": ("file", "r", {"buffering": 0}),
    "no such encoding": ("file", "r", {"encoding": "klingon"}),
    "no such newline": ("file", "r", {"newline": "x"}),
    "no mode": ("file", 5, {}),
    "path of a wrong type": (1.5, "r", {}),
    "null byte": ("a\0b", "r", {}),
    "closed descriptor": (99_999, "r", {}),
    "path with closefd": ("file", "r", {"closefd": False}),
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
def test_open_raises_what_open_raises(run, tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("text")
    path, mode, kwargs = case
    expected = outcome_of_io(path, mode, **kwargs)

    async def main():
        with pytest.raises(type(expected)) as raised:
            await fastaio.open(path, mode, **kwargs)
        assert str(raised.value) == str(expected)
        assert getattr(raised.value, "errno", None) == getattr(expected, "errno", None)
        assert getattr(raised.value, "filename", None) == getattr(expected, "filename", None)

    run(main)


NO_PERMISSION = """
import asyncio, os, sys
import fastaio
fastaio.run(asyncio.to_thread(int))  # what is imported may be where only root may look
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)

async def main():
    for mode in ("r", "rb", "w", "r+b"):
        try:
            await fastaio.open(sys.argv[1], mode)
        except PermissionError as exc:
            assert exc.filename == sys.argv[1], exc
        else:
            raise AssertionError("opened")

fastaio.run(main())
"""


def test_no_permission():
    # Not in pytest's own folder, into which nobody else may look.
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "secret")
        with open(path, "w") as file:
            file.write("secret")
        os.chmod(path, 0)
        os.chmod(folder, 0o755)
        run_python(NO_PERMISSION, path)


def test_both_ways_to_open(run, tmp_path):
    path = tmp_path / "file"

    async def main():
        async with fastaio.open(path, "w") as f:
            assert await f.write("one\ntwo\n") == 8
        assert f.closed
        f = await fastaio.open(str(path))
        async with f:
            assert [line async for line in f] == ["one\n", "two\n"]
        assert f.closed
        f = await fastaio.open(os.fsencode(path), "rb")
        try:
            assert [line async for line in f] == [b"one\n", b"two\n"]
        finally:
            await f.close()
        await f.close()
        opening = fastaio.open(path)
        assert await opening is await opening
        await (await opening).close()

    run(main)


def test_opener_and_descriptor(run, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")

    async def main():
        folder = os.open(tmp_path, os.O_RDONLY)
        try:
            async with fastaio.open(
                "file", opener=lambda name, flags: os.open(name, flags, dir_fd=folder)
            ) as f:
                assert await f.read() == "0123456789"
        finally:
            os.close(folder)
        fd = os.open(path, os.O_RDONLY)
        try:
            os.lseek(fd, 4, os.SEEK_SET)
            async with fastaio.open(fd, "rb", closefd=False) as f:
                assert f.name == fd
                assert await f.read(2) == b"45"
            os.fstat(fd)
        finally:
            os.close(fd)
        async with fastaio.open(os.open(path, os.O_RDONLY), "rb") as f:
            fd = f.fileno()
        assert not is_open(fd)

    run(main)


def test_attributes(run, tmp_path):
    path = tmp_path / "file"

    async def main():
        async with fastaio.open(path, "w+", encoding="latin-1", errors="replace") as f:
            with open(path, "w+", encoding="latin-1", errors="replace") as g:
                for name in ("mode", "name", "encoding", "errors", "line_buffering", "newlines"):
                    assert getattr(f, name) == getattr(g, name), name
            assert f.readable() and await f.readable() is True
            assert f.writable() and await f.writable() is True
            assert f.seekable() and await f.seekable() is True
            assert not f.isatty() and await f.isatty() is False
            assert repr(f.readable()) == "True"
            assert str(path) in repr(f) and "TextFile" in repr(f)
            assert f.fileno() == f.buffer.fileno()
        async with fastaio.open(path, "rb") as f:
            assert f.readable() and not f.writable()
            assert isinstance(f.raw, io.FileIO) and f.mode == "rb" and f.name == str(path)

    run(main)


# Closed, and of a wrong kind

METHODS = [
    ("read",),
    ("read", 5),
    ("readline",),
    ("readlines",),
    ("write", "x"),
    ("write", b"x"),
    ("writelines", []),
    ("seek", 0),
    ("tell",),
    ("flush",),
    ("truncate",),
    ("readinto", bytearray(3)),
    ("read1",),
    ("peek",),
    ("fileno",),
    ("readable",),
    ("read", "five"),
    ("read", -7),
    ("readline", 1.5),
    ("write", 5),
    ("write", None),
    ("readline", 0),
    ("readline", None),
    ("readline", 10**30),
    ("readlines", 10**30),
    ("readlines", "x"),
    ("read", 10**30),
    ("readall",),
    ("read1", None),
    ("read1", "x"),
    ("peek", None),
    ("peek", "x"),
    ("readinto", b"fixed"),
    ("readinto", "x"),
    ("seek", 10**30),
    ("seek", 0, 9),
    ("seek", "x"),
    ("seek", -1),
    ("truncate", -1),
    ("truncate", "x"),
    ("writelines", None),
    ("writelines", [5]),
]


async def outcome(file, name, args):
    try:
        result = getattr(file, name)(*args)
        if hasattr(result, "__await__"):
            result = await result
    except AttributeError:
        return AttributeError
    except Exception as exc:
        return type(exc), str(exc).rstrip(".")
    return result if isinstance(result, str | bytes) else "fine"


@pytest.mark.parametrize("closed", [False, True], ids=["open", "closed"])
@pytest.mark.parametrize("mode", ["r", "w", "r+", "rb", "wb", "r+b", "rb0", "wb0"])
def test_wrong_use_raises_as_in_io(run, tmp_path, mode, closed):
    mode, buffering = (mode[:-1], 0) if mode.endswith("0") else (mode, -1)

    async def main():
        for name, *args in METHODS:
            path = tmp_path / "file"
            path.write_bytes(b"some text\n")
            with open(path, mode, buffering) as theirs:
                if not hasattr(theirs, name):
                    continue
                if closed:
                    theirs.close()
                expected = await outcome(theirs, name, args)
            path.write_bytes(b"some text\n")
            async with fastaio.open(path, mode, buffering) as ours:
                if closed:
                    await ours.close()
                assert await outcome(ours, name, args) == expected, (name, args)

    run(main)


def test_bad_bytes_in_text(run, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"fine\n" * 20_000 + b"bad \xff\n" + b"fine\n" * 20_000)

    async def main():
        async with fastaio.open(path, encoding="utf-8") as f:
            seen = 0
            with pytest.raises(UnicodeDecodeError) as raised:
                async for _ in f:
                    seen += 1
            assert raised.value.object[raised.value.start] == 0xFF
            # The lines before it are there, but for those of its own block.
            assert 20_000 - 8192 / 5 <= seen <= 20_000
            await f.seek(0)
            assert await f.readline() == "fine\n"
            with pytest.raises(UnicodeDecodeError):
                await f.read()
        async with fastaio.open(path, "w", encoding="ascii") as f:
            await f.write("fine")
            with pytest.raises(UnicodeEncodeError):
                await f.write("\xe4")
            await f.write(" again")
        assert path.read_text() == "fine again"

    run(main)


def test_reads_past_the_end(run, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")

    async def main():
        async with fastaio.open(path, "rb") as f:
            assert await f.read(100) == b"12345"
            assert await f.read(100) == await f.read() == await f.readline() == b""
            await f.seek(50)
            assert await f.read(1) == b""
            with open(path, "ab") as more:
                more.write(b"6")
            await f.seek(5)
            assert await f.read() == b"6"

    run(main)


# Sizes


@pytest.mark.parametrize("size", [0, 1, 8191, 8192, 8193, 256 * 1024, MEBI - 1, MEBI, 5 * MEBI + 3])
def test_sizes(run, tmp_path, size):
    path = tmp_path / "file"
    data = os.urandom(997) * (size // 997 + 1)
    data = data[:size]

    async def main():
        async with fastaio.open(path, "wb") as f:
            view = memoryview(data)
            for start in range(0, size, 70_001):
                await f.write(view[start : start + 70_001])
        assert path.read_bytes() == data
        async with fastaio.open(path, "rb") as f:
            assert await f.read() == data
            await f.seek(0)
            pieces = []
            while piece := await f.read(300_007):
                pieces.append(piece)
            assert b"".join(pieces) == data
            await f.seek(0)
            buffer = bytearray(size + 10)
            assert await f.readinto(buffer) == size
            assert buffer[:size] == data
            await f.seek(0)
            assert await f.read(size + 10) == data
            assert [size for size in map(len, pieces[:-1]) if size != 300_007] == []

    run(main)


def test_one_gibibyte(run, tmp_path):
    path = tmp_path / "sparse"
    size = 1 << 30
    with open(path, "wb") as f:
        f.truncate(size)
        f.seek(size - 5)
        f.write(b"end\n.")

    async def main():
        async with fastaio.open(path, "rb") as f:
            assert await f.seek(0, os.SEEK_END) == size
            await f.seek(size - 5)
            assert await f.readline() == b"end\n"
            await f.seek(0)
            total = 0
            while piece := await f.read(8 * MEBI):
                total += len(piece)
            assert total == size
        async with fastaio.open(path, "r+b") as f:
            await f.seek(size // 2)
            await f.write(b"middle")
            await f.truncate(size // 2 + 6)
        assert await files.pread(os.open(path, os.O_RDONLY), 20, size // 2) == b"middle"

    run(main)


# No needless jobs


def test_what_is_buffered_needs_no_thread(run, tmp_path, executor):
    path = tmp_path / "file"
    path.write_bytes(b"0123456789\n" * 20_000)

    async def main():
        for mode in ("r", "rb"):
            before = executor.jobs
            async with fastaio.open(path, mode, executor=executor) as f:
                first = await f.readline()
                for _ in range(9_000):
                    assert await f.readline() == first
                    assert len(await f.read(11)) == 11
            # At most a block each, where the page cache or the file system is of no help.
            assert executor.jobs - before <= 12
        before = executor.jobs
        async with fastaio.open(path, "w", executor=executor) as f:
            for _ in range(1000):
                await f.write("line\n")
            assert executor.jobs - before == 1  # to open it
        assert executor.jobs - before == 2  # to write and close it
        assert path.read_text() == "line\n" * 1000

    run(main)


def test_a_file_that_is_at_hand_gives_others_their_turn(run, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(4 * MEBI))

    async def main():
        turns = 0

        async def other():
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        task = asyncio.create_task(other())
        async with fastaio.open(path, "rb") as f:
            while await f.read(4096):
                pass
        read = turns
        fd = os.open(path, os.O_RDONLY)
        try:
            for offset in range(0, 4 * MEBI, 4096):
                await files.pread(fd, 4096, offset)
        finally:
            os.close(fd)
        task.cancel()
        assert read >= 8
        assert turns - read >= 8

    run(main)


# Loops


def test_a_file_belongs_to_its_loop(loop_factory, tmp_path):
    path = tmp_path / "file"
    path.write_text("text\n")
    first, second = loop_factory(), loop_factory()
    try:
        for mode in ("r+", "r+b", "rb"):
            f = first.run_until_complete(fastaio.open(path, mode))
            for name, args in (("read", (1,)), ("readline", ()), ("seek", (0,)), ("close", ())):
                with pytest.raises(RuntimeError, match="another event loop"):
                    second.run_until_complete(getattr(f, name)(*args))
            assert first.run_until_complete(f.readline())
            first.run_until_complete(f.close())
    finally:
        first.close()
        second.close()


def test_open_takes_only_the_running_loop(run, loop_factory, tmp_path):
    async def main():
        async with fastaio.open(tmp_path / "file", "w", loop=asyncio.get_running_loop()):
            pass
        other = loop_factory()
        try:
            with pytest.raises(RuntimeError, match="loop"):
                await fastaio.open(tmp_path / "file", loop=other)
        finally:
            other.close()

    run(main)


@pytest.mark.parametrize("mode", ["w", "wb"])
def test_loop_closed_while_output_is_on_its_way(loop_factory, tmp_path, executor, mode):
    path = tmp_path / "file"
    piece = b"0123456789abcdef" * 4096 if "b" in mode else "0123456789abcdef" * 4096
    loop = loop_factory()
    kept = [loop.run_until_complete(fastaio.open(path, mode, executor=executor))]
    executor.gate.clear()
    executor.started.clear()

    async def main():
        for _ in range(8):
            await kept[0].write(piece)

    loop.run_until_complete(main())
    assert executor.started.wait(GUARD)
    loop.close()
    executor.gate.set()
    executor.shutdown()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        kept.clear()
        gc.collect()
    assert path.read_bytes() == b"0123456789abcdef" * 4096 * 8


@pytest.mark.parametrize("mode", ["w", "wb"])
def test_a_dropped_file_is_written_and_warned_of(run, tmp_path, mode):
    path = tmp_path / "file"

    async def main(executor):
        f = await fastaio.open(path, mode, executor=executor)
        await f.write("kept" if mode == "w" else b"kept")
        fd = f.fileno()
        with pytest.warns(ResourceWarning, match="unclosed file"):
            del f
            gc.collect()
        assert path.read_bytes() == b"kept"
        assert not is_open(fd)
        assert len(executor.kept) == 1  # nothing but open() went to a thread

    with Keeping() as executor:
        run(main(executor))


@pytest.mark.parametrize("mode", ["w", "wb"])
@pytest.mark.parametrize("make_executor", [contextlib.nullcontext, Keeping])
def test_a_dropped_file_that_has_failed_is_written(run, tmp_path, mode, make_executor):
    path = tmp_path / "file"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    async def main(executor):
        f = await fastaio.open(path, mode, executor=executor)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        try:
            await f.write("x" * MEBI if mode == "w" else b"x" * MEBI)
            async with asyncio.timeout(GUARD):
                while f._output.error is None:
                    await asyncio.sleep(0.001)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        fd = f.fileno()

        def is_closed():
            if FREE_THREADED:  # an idle thread frees nothing that it has made; the collector does
                gc.collect()
            return not is_open(fd)

        with pytest.warns(ResourceWarning, match="unclosed file"):
            del f  # no cycle waits for the collector, at most the thread that has written
            await until(is_closed)
        assert path.read_bytes() == b"x" * MEBI

    gc.disable()
    try:
        with make_executor() as executor:
            run(main(executor))
    finally:
        gc.enable()


# Cancellation


@pytest.mark.parametrize("buffering", [-1, 0])
def test_a_cancelled_read_loses_nothing(run, executor, buffering):
    async def main():
        receiver, sender = os.pipe()
        async with fastaio.open(receiver, "rb", buffering, executor=executor) as f:
            executor.started.clear()
            task = asyncio.create_task(f.read(3))
            await asyncio.to_thread(executor.started.wait, GUARD)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            os.write(sender, b"abcdef")
            assert await f.read(3) == b"abc"
            assert await f.read(3) == b"def"
            os.close(sender)
            assert await f.read(3) == b""

    run(main)


def test_a_read_that_is_closed_while_it_waits_for_its_turn(run, executor):
    async def main():
        receiver, sender = os.pipe()
        async with fastaio.open(receiver, "rb", executor=executor) as f:
            executor.started.clear()
            first = asyncio.create_task(f.read(3))
            await asyncio.to_thread(executor.started.wait, GUARD)
            second = asyncio.create_task(f.read(3))
            await asyncio.sleep(0)
            closed = f.read(3)
            closed.send(None)
            closed.close()
            jobs = executor.jobs
            for _ in range(3):
                await asyncio.sleep(0)
            assert executor.jobs == jobs  # the second still waits for its turn
            os.write(sender, b"abcdef")
            assert (await first, await second) == (b"abc", b"def")
            os.close(sender)

    run(main)


def test_a_cancelled_line_is_not_lost(run, executor):
    async def main():
        receiver, sender = os.pipe()
        async with fastaio.open(receiver, "r", executor=executor) as f:
            executor.started.clear()
            task = asyncio.create_task(f.readline())
            await asyncio.to_thread(executor.started.wait, GUARD)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            os.write(sender, b"one\ntwo\n")
            assert await f.readline() == "one\n"
            assert await f.readline() == "two\n"
            os.close(sender)
            assert await f.readline() == ""

    run(main)


def test_a_cancelled_write_has_written_all_or_nothing(run, tmp_path, executor):
    path = tmp_path / "file"

    async def main():
        async with fastaio.open(path, "wb", executor=executor) as f:
            executor.gate.clear()
            executor.started.clear()
            taken = 0
            task = None
            # Until one has to wait, since the first block is held back.
            while task is None or task.done():
                task = asyncio.create_task(f.write(b"x" * 200_000))
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                taken += task.done()
                assert taken < 50
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            executor.gate.set()
            await f.write(b"end")
        assert path.stat().st_size == taken * 200_000 + 3

    run(main)


def test_a_cancelled_close_closes(run, tmp_path, executor):
    path = tmp_path / "file"

    async def main():
        f = await fastaio.open(path, "wb", executor=executor)
        await f.write(b"data")
        fd = f.fileno()
        executor.gate.clear()
        executor.started.clear()
        task = asyncio.create_task(f.close())
        await asyncio.to_thread(executor.started.wait, GUARD)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        executor.gate.set()
        await asyncio.to_thread(wait_until, lambda: path.stat().st_size == 4)
        await f.close()
        assert f.closed
        await asyncio.to_thread(wait_until, lambda: not os.path.exists(f"/proc/self/fd/{fd}"))

    run(main)


@pytest.mark.parametrize("mode", ["w", "wb"])
def test_a_close_cancelled_behind_other_output_closes(run, tmp_path, executor, mode):
    path = tmp_path / "file"
    piece = "x" * MEBI if mode == "w" else b"x" * MEBI

    async def main():
        f = await fastaio.open(path, mode, executor=executor)
        fd = f.fileno()
        executor.gate.clear()
        executor.started.clear()
        await f.write(piece)
        await asyncio.to_thread(executor.started.wait, GUARD)
        await f.write(piece[:3])
        task = asyncio.create_task(f.close())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        executor.gate.set()
        await f.close()  # has the turn behind it
        assert f.closed and path.stat().st_size == MEBI + 3
        assert not os.path.exists(f"/proc/self/fd/{fd}")

    run(main)


def test_a_second_close_waits_for_the_first(run, tmp_path, executor):
    path = tmp_path / "file"

    async def main():
        f = await fastaio.open(path, "wb", executor=executor)
        await f.write(b"data")
        executor.gate.clear()
        first = asyncio.create_task(f.close())
        second = asyncio.create_task(f.close())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert f.closed and not second.done()
        executor.gate.set()
        await second
        assert path.read_bytes() == b"data"
        await first

    run(main)


@pytest.mark.parametrize("mode", ["w", "wb"])
@pytest.mark.parametrize("late", [False, True])
def test_a_close_without_an_executor_closes(run, tmp_path, executor, mode, late):
    path = tmp_path / "file"

    async def main():
        f = await fastaio.open(path, mode, executor=executor)
        fd = f.fileno()
        await f.write("data" if mode == "w" else b"data")
        if late:  # the job is there, but its turn never comes
            executor.gate.clear()
            executor.submit(int)
            task = asyncio.create_task(f.close())
            await asyncio.sleep(0)
            executor.shutdown(wait=False, cancel_futures=True)
            executor.gate.set()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            executor.shutdown()
            with pytest.raises(RuntimeError, match="shutdown"):
                await f.close()
        assert f.closed and path.read_bytes() == b"data"
        assert not os.path.exists(f"/proc/self/fd/{fd}")

    run(main)


def test_a_cancelled_open_leaves_no_descriptor(run, tmp_path, executor):
    path = tmp_path / "file"

    async def main():
        executor.gate.clear()
        before = set(os.listdir("/proc/self/fd"))
        task = asyncio.create_task(fastaio.open(path, "wb", executor=executor)._coro)
        await asyncio.to_thread(executor.started.wait, GUARD)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        executor.gate.set()
        await asyncio.to_thread(wait_until, path.exists)

        def closed():
            links = [f"/proc/self/fd/{fd}" for fd in set(os.listdir("/proc/self/fd")) - before]
            found = []
            for link in links:
                with contextlib.suppress(OSError):
                    found.append(os.readlink(link))
            return str(path) not in found

        await asyncio.sleep(0)
        await asyncio.to_thread(wait_until, closed)

    run(main)


def test_operations_keep_their_order(run, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"".join(b"%07d\n" % n for n in range(200_000)))

    async def main():
        async with fastaio.open(path, "rb") as f:
            lines = await asyncio.gather(*(f.readline() for _ in range(1000)))
            assert [int(line) for line in lines] == list(range(1000))
        async with fastaio.open(path, "w+") as f:
            await asyncio.gather(*(f.write(f"{n}\n") for n in range(50_000)))
            await f.seek(0)
            lines = await asyncio.gather(*(f.readline() for _ in range(50_000)))
            assert [int(line) for line in lines] == list(range(50_000))

    run(main)


# Reads and writes in turn


def test_what_has_been_read_is_forgotten_by_a_write(run, tmp_path):
    path = tmp_path / "file"

    async def main():
        for look in (False, True):
            path.write_bytes(b"ABCDEFGHIJ")
            async with fastaio.open(path, "r+b") as f:
                assert await f.read(4) == b"ABCD"
                assert await f.read(6) == b"EFGHIJ"
                if look:
                    assert await f.tell() == 10
                await f.write(b"abcde")
                assert await f.seek(5) == 5
                assert await f.read() == b"FGHIJabcde"

    run(main)


def test_seek_takes_whatever_is_an_index(run, tmp_path):
    class Index:
        def __init__(self, value):
            self.value = value

        def __index__(self):
            return self.value

    async def main():
        async with fastaio.open(tmp_path / "file", "w+b") as f:
            await f.write(b"abcdef")
            assert await f.seek(Index(1), Index(0)) == 1
            await f.write(b"X")
            assert await f.seek(2, True) == 4
            assert await f.read() == b"ef"
            with pytest.raises(TypeError):
                await f.seek(0, 1.0)
            assert await f.seek(0) == 0
            assert await f.read() == b"aXcdef"

    run(main)


def test_a_descriptor_that_appends(run, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")

    async def main():
        async with fastaio.open(os.open(path, os.O_WRONLY | os.O_APPEND), "wb") as f:
            await f.write(b"abc")
            await f.flush()
            assert await f.tell() == 8
        assert path.read_bytes() == b"12345abc"

    run(main)


def test_raw_leaves_alone_what_is_being_written(run):
    async def main():
        reader, writer = os.pipe()
        f = await fastaio.open(writer, "wb")
        for n in range(4):
            await f.write(bytes([n]) * 300_000)
        assert f.raw.fileno() == writer  # and does not wait for the pipe

        def take():
            with open(reader, "rb") as end:
                return end.read()

        taking = asyncio.create_task(asyncio.to_thread(take))
        await f.close()
        assert await taking == b"".join(bytes([n]) * 300_000 for n in range(4))

    run(main)


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_text_is_written_where_the_reader_is(run, tmp_path, encoding):
    path = tmp_path / "file"

    async def main():
        path.write_text("one\ntwo\nthree\n")
        async with fastaio.open(path, "r+", encoding=encoding) as f:
            assert await f.readline() == "one\n"
            await f.write("TWO\n")
            assert await f.readline() == "three\n"
        assert path.read_text() == "one\nTWO\nthree\n"
        async with fastaio.open(path, "r+", encoding=encoding) as f:
            assert await f.read(3) == "one"
            assert await f.truncate() == 3
        assert path.read_text() == "one"

    run(main)


@pytest.mark.parametrize("newline", [None, "", "\n", "\r", "\r\n"], ids=repr)
@pytest.mark.parametrize("text", ["", "a", "a\nb\rc\r\nd", "a\r\n\r\n\r\r\n\n"], ids=repr)
def test_readlines_keeps_the_ends_of_lines(run, tmp_path, text, newline):
    path = tmp_path / "file"
    path.write_bytes(text.encode())

    async def main():
        with open(path, newline=newline) as g:
            expected = g.readlines()
        async with fastaio.open(path, newline=newline) as f:
            assert await f.readlines() == expected
        async with fastaio.open(path, newline=newline) as f:
            assert [line async for line in f] == expected

    run(main)


# Leaks


def test_files_leave_nothing(loop_factory, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"0123456789\n" * 2000)
    loop = loop_factory()

    async def use(mode):
        async with fastaio.open(path, mode) as f:
            if mode[0] == "r":
                await f.readline()
                await f.seek(500)
                await f.read()
            if mode != "r" and mode != "rb":
                await f.write("text" if "b" not in mode else b"text")
                await f.flush()

    async def failing():
        with pytest.raises(FileNotFoundError):
            await fastaio.open(tmp_path / "missing")

    try:
        loop.run_until_complete(failing())  # the loop has all that it ever needs
        descriptors = len(os.listdir("/proc/self/fd"))
        for mode in ("r", "rb", "r+", "r+b", "w", "wb"):
            assert_no_growth(lambda mode=mode: loop.run_until_complete(use(mode)), 100)
        assert_no_growth(lambda: loop.run_until_complete(failing()), 100)
        assert len(os.listdir("/proc/self/fd")) == descriptors
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


# Files of other kinds


def test_pipes(run):
    async def main():
        receiver, sender = os.pipe()
        async with fastaio.open(receiver) as r, fastaio.open(sender, "w") as w:
            assert not r.seekable()
            with pytest.raises(io.UnsupportedOperation):
                await r.tell()
            with pytest.raises(io.UnsupportedOperation):
                await r.seek(0)
            await w.write("one\ntwo\nthree")
            await w.flush()
            assert await r.readline() == "one\n"
            assert await r.read(2) == "tw"
            waiting = asyncio.create_task(r.read())
            await w.write(" and more\n")
            await w.close()
            assert await waiting == "o\nthree and more\n"

    run(main)


def test_a_pipe_without_readers(run):
    async def main():
        receiver, sender = os.pipe()
        os.close(receiver)
        f = await fastaio.open(sender, "wb")
        await f.write(b"nobody")
        with pytest.raises(BrokenPipeError):
            await f.flush()
        with pytest.raises(BrokenPipeError):
            await f.close()
        assert f.closed

    run(main)


def test_proc(run):
    async def main():
        async with fastaio.open("/proc/self/status") as f:
            lines = [line async for line in f]
        assert lines[0].startswith("Name:")
        assert f"Pid:\t{os.getpid()}\n" in lines
        assert b"\0" in await files.read_bytes("/proc/self/cmdline")
        async with fastaio.open("/proc/self/mem", "rb") as f:
            with pytest.raises(OSError) as raised:
                await f.read(1)
            assert raised.value.errno == errno.EIO

    run(main)


def test_devices(run):
    async def main():
        async with fastaio.open("/dev/zero", "rb") as f:
            assert await f.read(100_000) == bytes(100_000)
        async with fastaio.open("/dev/null", "r+b", 0) as f:
            assert await f.read() == b""
            assert await f.write(b"gone") == 4

    run(main)


# Disks that are full


@pytest.mark.parametrize("mode", ["w", "wb"])
def test_an_error_of_gathered_output_is_reported(run, mode):
    piece = "x" * 100_000 if mode == "w" else b"x" * 100_000

    async def main():
        f = await fastaio.open("/dev/full", mode)
        await f.write(piece)
        with pytest.raises(OSError) as raised:
            await f.flush()
        assert raised.value.errno == errno.ENOSPC
        with pytest.raises(OSError) as raised:
            await f.close()
        assert raised.value.errno == errno.ENOSPC
        assert f.closed
        await f.close()
        f = await fastaio.open("/dev/full", mode)
        with pytest.raises(OSError) as raised:
            for _ in range(1000):
                await f.write(piece)
        assert raised.value.errno == errno.ENOSPC
        with pytest.raises(OSError):
            await f.close()
        f = await fastaio.open("/dev/full", "wb", 0)
        with pytest.raises(OSError):
            await f.write(b"x")
        await f.close()

    run(main)


LIMITED = """
import asyncio, errno, os, resource, sys
import fastaio
path = sys.argv[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

async def main():
    f = await fastaio.open(path, "wb")
    for number in range(50):
        try:
            await f.write(bytes([number]) * 10_000)
        except OSError as exc:
            assert exc.errno == errno.EFBIG, exc
            break
    try:
        await f.close()
    except OSError as exc:
        assert exc.errno == errno.EFBIG, exc
    else:
        raise AssertionError("closed without a word")
    assert f.closed
    with open(path, "rb") as file:
        data = file.read()
    assert data == b"".join(bytes([n]) * 10_000 for n in range(30)), len(data)
    try:
        await fastaio.files.pwrite(os.open(path, os.O_WRONLY), b"y" * 10_000, 295_000)
    except OSError as exc:
        assert exc.errno == errno.EFBIG and exc.characters_written == 5000, exc
    else:
        raise AssertionError("written")

fastaio.run(main())
"""


def test_a_file_that_may_not_grow(tmp_path):
    run_python(LIMITED, str(tmp_path / "file"))


@pytest.fixture
def small_disk(tmp_path):
    """A function that mounts an empty disk of some bytes and returns its folder."""
    mounted = []

    def mount(size):
        disk = tmp_path / "disk"
        disk.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(disk)]
        try:
            permitted = subprocess.run(command, capture_output=True, check=False).returncode == 0
        except FileNotFoundError:
            permitted = False
        if not permitted:
            pytest.skip("mounting is not permitted")
        mounted.append(disk)
        return disk

    yield mount
    for disk in mounted:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk(run, small_disk):
    disk = small_disk(256 * 1024)

    async def main():
        f = await fastaio.open(disk / "file", "wb")
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(200_000))
        await f.write(b"a" * 150_000)
        with pytest.raises(OSError) as raised:
            await f.flush()
        assert raised.value.errno == errno.ENOSPC
        ballast.unlink()
        # What could not be written has been kept.
        await f.write(b"b" * 1000)
        await f.close()
        assert (disk / "file").read_bytes() == b"a" * 150_000 + b"b" * 1000
        with pytest.raises(OSError) as raised:
            await files.write_bytes(disk / "file", bytes(300_000), atomic=True)
        assert raised.value.errno == errno.ENOSPC
        assert (disk / "file").stat().st_size == 151_000
        assert os.listdir(disk) == ["file"]

    run(main)


def test_a_disk_that_is_full_while_more_comes(run, small_disk):
    disk = small_disk(20 * MEBI)
    pieces = [os.urandom(MEBI) for _ in range(16)]

    async def main():
        f = await fastaio.open(disk / "file", "wb")
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(16 * MEBI + 5000))
        taken = []
        with pytest.raises(OSError) as raised:
            for piece in pieces:
                await f.write(piece)
                taken.append(piece)
            await f.flush()
        assert raised.value.errno == errno.ENOSPC
        assert 3 * MEBI < (disk / "file").stat().st_size < 4 * MEBI
        ballast.unlink()
        await f.close()
        assert (disk / "file").read_bytes() == b"".join(taken)

    run(main)


def test_much_output(run, tmp_path):
    rng = random.Random(5)
    sizes = [rng.choice((1, 100, 5000, 100_000, 700_000)) for _ in range(300)]
    pieces = [rng.randbytes(size) for size in sizes]

    async def main():
        async with fastaio.open(tmp_path / "file", "wb") as f:
            for piece in pieces:
                assert await f.write(piece) == len(piece)
                if rng.random() < 0.1:
                    await asyncio.sleep(0)
                if rng.random() < 0.02:
                    await f.flush()
                    written = sum(sizes[: pieces.index(piece) + 1])
                    assert await f.tell() == written == (tmp_path / "file").stat().st_size
        assert (tmp_path / "file").read_bytes() == b"".join(pieces)

    run(main)


def test_so_much_may_wait_and_no_more(run, tmp_path, executor):
    piece = bytes(MEBI)

    async def main():
        f = await files.open(tmp_path / "file", "wb", executor=executor)
        jobs = executor.jobs
        executor.gate.clear()
        written = 0

        async def write():
            nonlocal written
            for _ in range(100):
                await f.write(piece)
                written += 1

        task = asyncio.create_task(write())
        for _ in range(1000):
            await asyncio.sleep(0)
        assert 3 < written < 10
        executor.gate.set()
        await task
        await f.flush()
        assert (tmp_path / "file").stat().st_size == 100 * MEBI
        # A job goes on as long as it finds something.
        assert executor.jobs - jobs < 50
        await f.close()

    run(main)


def test_the_file_below_while_output_is_on_its_way(run, tmp_path, executor):
    """Who goes behind the back of a file that is being written is told, and harms nothing."""
    path = tmp_path / "file"

    async def main():
        f = await files.open(path, "w", executor=executor)
        executor.gate.clear()
        executor.started.clear()
        for _ in range(20):
            await f.write("x" * 50_000)
        await asyncio.to_thread(executor.started.wait, GUARD)
        with pytest.raises(RuntimeError, match="still being written"):
            f.buffer.seek(0)
        executor.gate.set()
        await f.flush()
        assert f.buffer.seek(0) == 0
        await f.write("y")
        await f.close()
        assert path.read_text() == "y" + "x" * 999_999

    run(main)


def test_writes_of_nothing(run, tmp_path):
    async def main():
        async with fastaio.open(tmp_path / "file", "wb") as f:
            for _ in range(1000):
                assert await f.write(b"") == 0
            assert f._output.pieces == []
            await f.write(b"x")
        assert (tmp_path / "file").read_bytes() == b"x"

    run(main)


# As with aiofiles


def test_detach(run, tmp_path):
    path = tmp_path / "file"

    async def main():
        f = await fastaio.open(path, "w+b")
        await f.write(b"0123456789")
        await f.seek(0)
        assert await f.read(3) == b"012"
        raw = f.detach()
        assert raw.tell() == 3 and raw.read() == b"3456789"
        raw.close()
        f = await fastaio.open(path, "w")
        await f.write("text")
        buffer = f.detach()
        buffer.write(b"more")
        buffer.close()
        assert path.read_bytes() == b"textmore"
        with pytest.raises(ValueError):
            await f.write("x")

    run(main)


@pytest.mark.parametrize("mode", ["r", "rb", "w", "wb", "r+", "r+b"])
def test_a_detached_file_is_neither_open_nor_closed(run, tmp_path, mode):
    path = tmp_path / "file"
    path.touch()

    def detached(file):
        file.detach().close()
        with pytest.raises(ValueError, match="has been detached") as raised:
            return file.closed
        return str(raised.value)

    async def main():
        message = detached(open(path, mode))
        f = await fastaio.open(path, mode)
        assert detached(f) == message
        for end in (f.close, lambda: f.__aexit__(None, None, None)):
            with pytest.raises(ValueError) as raised:
                await end()
            assert str(raised.value) == message

    run(main)


def test_line_buffering(run, tmp_path):
    path = tmp_path / "file"

    async def main():
        async with fastaio.open(path, "w", buffering=1) as f:
            await f.write("half")
            assert path.read_text() == ""
            await f.write(" a line\nand")
            assert path.read_text() == "half a line\nand"

    run(main)
