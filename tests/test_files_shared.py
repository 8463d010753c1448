"""Files whose descriptor others have too: each party goes on where the other has stopped."""

import asyncio
import contextlib
import os
import subprocess
import sys
import threading

import pytest

import fastaio
from fastaio import files

from .support import run_python

MODES = ["wb", "wb0", "w", "r+b", "r+b0", "w+", "ab"]


@contextlib.contextmanager
def opened(path, flags=os.O_RDWR | os.O_CREAT | os.O_TRUNC):
    fd = os.open(path, flags)
    try:
        yield fd
    finally:
        os.close(fd)


class Io:
    """io's file with the face of an asynchronous one."""

    def __init__(self, file):
        self.file = file

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc):
        self.file.close()

    def fileno(self):
        return self.file.fileno()

    def __getattr__(self, name):
        async def call(*args):
            return getattr(self.file, name)(*args)

        return call


def open_io(path, mode, buffering=-1, **kwargs):
    return Io(open(path, mode, buffering, **kwargs))


def both_outcomes(run, scenario, tmp_path, mode):
    """Play a scenario on io's open() and on fastaio's; return what came of ours."""
    mode, buffering = (mode[:-1], 0) if mode.endswith("0") else (mode, -1)
    results = []
    for name, opens in (("theirs", open_io), ("ours", fastaio.open)):

        def make(path, opens=opens, **kwargs):
            return opens(path, mode, buffering, **kwargs)

        path = tmp_path / name
        path.write_bytes(b"")
        results.append((run(scenario(make, path, mode)), path.read_bytes()))
    assert results[1] == results[0]
    return results[1]


def piece(letter, size, mode):
    return letter * size if "b" not in mode else letter.encode() * size


async def foreign_write(make, path, mode):
    with opened(path) as fd:
        async with make(fd, closefd=False) as f:
            await f.write(piece("o", 300_000, mode))
            await f.flush()
            places = [os.lseek(fd, 0, os.SEEK_CUR)]
            os.write(fd, b"HELLO\n")
            await f.write(piece("p", 300_000, mode))
            await f.flush()
            places.append(os.lseek(fd, 0, os.SEEK_CUR))
            os.write(fd, b"HELLO\n")
        places.append(os.lseek(fd, 0, os.SEEK_CUR))
        return places


async def foreign_write_to_a_file_opened_by_path(make, path, mode):
    async with make(path) as f:
        await f.write(piece("o", 300_000, mode))
        await f.flush()
        os.write(f.fileno(), b"HELLO\n")
        await f.write(piece("p", 300_000, mode))
        await f.flush()
        other = os.dup(f.fileno())
        try:
            os.write(other, b"HELLO\n")
            await f.write(piece("q", 10, mode))
            await f.flush()
            return os.lseek(other, 0, os.SEEK_CUR)
        finally:
            os.close(other)


async def foreign_seek(make, path, mode):
    with opened(path) as fd:
        async with make(fd, closefd=False) as f:
            await f.write(piece("o", 100, mode))
            await f.flush()
            os.lseek(fd, 10, os.SEEK_SET)
            await f.write(piece("p", 10, mode))
            await f.flush()
            places = [await f.tell(), os.lseek(fd, 0, os.SEEK_CUR)]
            await f.seek(5)
            places.append(os.lseek(fd, 0, os.SEEK_CUR))
            await f.write(piece("q", 1, mode))
            await f.truncate()
            places.append(os.lseek(fd, 0, os.SEEK_CUR))
            return places


def write_in_a_fork(path):
    """Let a forked child write to the descriptor that it inherits; it exits at once."""
    pid = os.fork()
    if pid == 0:
        try:
            [fd] = [
                int(name)
                for name in os.listdir("/proc/self/fd")
                if int(name) > 2 and is_file(int(name), path)
            ]
            os.write(fd, b"CHILD\n")
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


async def a_child_of_a_fork_writes(make, path, mode):
    async with make(path) as f:
        await f.write(piece("o", 300_000, mode))
        await f.flush()
        write_in_a_fork(path)
        await f.write(piece("p", 300_000, mode))


def is_file(fd, path):
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except OSError:
        return False


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "scenario",
    [
        foreign_write,
        foreign_write_to_a_file_opened_by_path,
        foreign_seek,
        a_child_of_a_fork_writes,
    ],
)
def test_others_write(run, tmp_path, scenario, mode):
    both_outcomes(run, scenario, tmp_path, mode)


@pytest.mark.parametrize("mode", ["wb", "wb0", "w"])
def test_others_write_without_a_flush(run, tmp_path, mode):
    # When gathered output leaves is nobody's promise: only that nothing overwrites anything.
    path = tmp_path / "file"
    mode, buffering = (mode[:-1], 0) if mode.endswith("0") else (mode, -1)

    async def main():
        with opened(path) as fd:
            async with fastaio.open(fd, mode, buffering, closefd=False) as f:
                for _ in range(20):
                    await f.write(piece("o", 300_000, mode))
                    os.write(fd, b"HELLO\n")
        async with fastaio.open(path, mode.replace("w", "a"), buffering) as f:
            await f.write(piece("o", 300_000, mode))
            os.write(f.fileno(), b"HELLO\n")

    run(main)
    data = path.read_bytes()
    assert data.count(b"HELLO\n") == 21 and data.count(b"o") == 21 * 300_000


@pytest.mark.parametrize("mode", ["wb", "w"])
def test_the_descriptor_is_asked_for_while_output_is_on_its_way(run, tmp_path, mode):
    path = tmp_path / "file"

    async def main():
        async with fastaio.open(path, mode) as f:
            for _ in range(4):
                await f.write(piece("o", 1_000_000, mode))
            fd = f.fileno()
            for _ in range(100):
                os.write(fd, b"HELLO\n")
                await asyncio.sleep(0)
                await f.write(piece("o", 10_000, mode))

    run(main)
    data = path.read_bytes()
    assert data.count(b"HELLO\n") == 100 and data.count(b"o") == 5_000_000


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("mode", ["wb", "w"])
def test_a_fork_while_output_is_on_its_way(run, tmp_path, mode):
    path = tmp_path / "file"

    async def main():
        async with fastaio.open(path, mode) as f:
            for _ in range(10):
                await f.write(piece("o", 1_000_000, mode))
                write_in_a_fork(path)
                await f.write(piece("o", 1_000_000, mode))

    run(main)
    data = path.read_bytes()
    assert data.count(b"CHILD\n") == 10 and data.count(b"o") == 20_000_000


def test_a_thread_writes_to_the_same_descriptor(run, tmp_path):
    path = tmp_path / "file"

    async def main():
        with opened(path) as fd:

            def write():
                for _ in range(300):
                    os.write(fd, b"HELLO\n")

            thread = threading.Thread(target=write)
            thread.start()
            async with fastaio.open(fd, "wb", closefd=False) as f:
                for _ in range(300):
                    await f.write(b"o" * 20_000)
            thread.join()

    run(main)
    data = path.read_bytes()
    assert data.count(b"HELLO\n") == 300 and data.count(b"o") == 6_000_000


STDOUT = """
import asyncio, sys
import fastaio

async def main():
    count = 0
    async with fastaio.open(1, "wb", closefd=False) as out:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "import os\\nfor _ in range(300): os.write(1, b'c' * 10_000)")
        exit = asyncio.ensure_future(child.wait())
        while not exit.done():
            await out.write(b"p" * 300_000)
            await out.flush()
            count += 1
            await asyncio.sleep(0)
    print(count, file=sys.stderr)

fastaio.run(main())
"""


def test_a_child_writes_to_the_same_output(tmp_path):
    with open(tmp_path / "out", "wb") as out:
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        done = subprocess.run(
            [sys.executable, "-c", STDOUT], stdout=out, stderr=subprocess.PIPE, env=env, check=True
        )
    data = (tmp_path / "out").read_bytes()
    assert data.count(b"c") == 3_000_000 and data.count(b"p") == int(done.stderr) * 300_000
    assert len(data) == 3_000_000 + int(done.stderr) * 300_000


# Reading


@pytest.mark.parametrize("cached", [True, False], ids=["cached", "not cached"])
def test_two_readers_share_a_position(run, tmp_path, cached):
    path = tmp_path / "file"
    data = b"".join(b"%07d\n" % n for n in range(40_000))
    path.write_bytes(data)
    os.sync()

    async def main():
        with opened(path, os.O_RDONLY) as fd:
            parts = []
            async with fastaio.open(fd, "rb", 0, closefd=False) as f:
                while True:
                    if not cached:
                        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                    ours = await f.read(8000)
                    theirs = os.read(fd, 800)
                    parts += [ours, theirs]
                    if not theirs:
                        break
                assert await f.tell() == len(data)
        assert b"".join(parts) == data

    run(main)


@pytest.mark.parametrize("buffering", [0, 1000])
def test_a_reader_in_a_thread_shares_a_position(run, tmp_path, buffering):
    path = tmp_path / "file"
    path.write_bytes(bytes(1000) * 2000)
    seen = []

    async def main():
        with opened(path, os.O_RDONLY) as fd:

            def read():
                while data := os.read(fd, 1000):
                    seen.append(data)

            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            thread = threading.Thread(target=read)
            thread.start()
            async with fastaio.open(fd, "rb", buffering, closefd=False) as f:
                while data := await f.read(1000):
                    seen.append(data)
            thread.join()

    run(main)
    assert sum(map(len, seen)) == 2_000_000


@pytest.mark.parametrize("mode", ["rb", "r+b"])
def test_a_reader_leaves_the_position_to_others(run, tmp_path, mode):
    async def scenario(make, path, mode):
        path.write_bytes(b"0123456789" * 1000)
        with opened(path, os.O_RDWR) as fd:
            os.lseek(fd, 3, os.SEEK_SET)
            async with make(fd, closefd=False) as f:
                results = [await f.read(10), await f.tell()]
                if "+" in mode:
                    await f.flush()
                    results.append(os.lseek(fd, 0, os.SEEK_CUR))
                    results.append(os.read(fd, 5))
                await f.seek(100)
                results.append(await f.read(3))
                await f.seek(20_000)
                results.append((await f.read(), os.lseek(fd, 0, os.SEEK_CUR)))
            return results

    both_outcomes(run, scenario, tmp_path, mode)


# What fails leaves the position where the output ends

LIMITED = """
import os, resource, signal, sys
import fastaio

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))

async def main():
    async with fastaio.open(sys.argv[1], "wb") as f:
        try:
            await f.write(b"o" * 1_000_000)
            await f.flush()
        except OSError as exc:
            assert exc.errno == 27, exc
        else:
            raise AssertionError("written")
        assert os.lseek(f.fileno(), 0, os.SEEK_CUR) == 500_000

try:
    fastaio.run(main())
except OSError as exc:
    assert exc.errno == 27, exc
"""


def test_a_write_that_fails_takes_its_part_of_the_position_back(tmp_path):
    path = tmp_path / "file"
    run_python(LIMITED, str(path))
    assert path.read_bytes() == b"o" * 500_000


def last_position(path):
    """The last position that the file system of a file has."""
    with opened(path) as fd:
        low, high = 0, (1 << 63) - 1
        while low < high:
            middle = (low + high + 1) // 2
            try:
                os.lseek(fd, middle, os.SEEK_SET)
            except OSError:
                high = middle - 1
            else:
                low = middle
    return low


@pytest.mark.parametrize("mode", ["r+b", "r+b0", "r+"])
def test_at_the_last_position(run, tmp_path, mode):
    last = last_position(tmp_path / "probe")

    async def scenario(make, path, mode):
        results = []
        with contextlib.suppress(OSError):  # what could not be written cannot be at the end, too
            async with make(path) as f:
                await f.seek(last - 10)
                results.append(await f.read(1000))
                with pytest.raises(OSError, match="too large") as raised:
                    await f.write(piece("o", 1000, mode))
                    await f.flush()
                    await f.write(piece("o", 1000, mode))
                    await f.flush()
                results += [raised.value.errno, os.lseek(f.fileno(), 0, os.SEEK_CUR)]
        results.append(os.stat(path).st_size)
        os.truncate(path, 0)  # too large to be read
        return results

    results, _ = both_outcomes(run, scenario, tmp_path, mode)
    assert results[0] == piece("", 0, mode)


def test_functions_on_descriptors_of_files(run, tmp_path):
    path = tmp_path / "file"

    async def main():
        async with fastaio.open(path, "w+b") as f:
            await f.write(b"o" * 300_000)
            await f.flush()
            await files.fsync(f)
            assert await files.pread(f, 3, 0) == b"ooo"
            assert await files.write(f, b"HELLO\n") == 6
            await f.write(b"p" * 300_000)
            await f.flush()
            assert await files.pread(f, 7, 299_999 + 1) == b"HELLO\np"

    run(main)
    assert path.stat().st_size == 600_006
