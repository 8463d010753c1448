"""fastaio.files: functions on descriptors and paths, temporary files, the names of aiofiles."""

import asyncio
import errno
import os
import random
import shutil
import stat
import tempfile

import pytest

import fastaio
from fastaio import files
from fastaio.files import os as aios

from .support import GUARD, PYTHON_312


@pytest.fixture
def fd(tmp_path):
    path = tmp_path / "numbers"
    path.write_bytes(b"".join(b"%07d\n" % n for n in range(50_000)))
    fd = os.open(path, os.O_RDWR)
    yield fd
    os.close(fd)


# Descriptors


def test_pread_and_pwrite(run, fd):
    async def main():
        rng = random.Random(5)
        for _ in range(200):
            size, offset = rng.choice([0, 1, 8, 4096, 70_000]), rng.randrange(410_000)
            assert await files.pread(fd, size, offset) == os.pread(fd, size, offset)
        assert await files.pread(fd, 4096, 10**12) == b""
        assert os.lseek(fd, 0, os.SEEK_CUR) == 0
        assert await files.pwrite(fd, memoryview(b"changed"), 8) == 7
        assert await files.pread(fd, 8, 8) == b"changed\n"
        for call in (files.pread(fd, 1, -1), files.pwrite(fd, b"x", -1)):
            with pytest.raises(OSError) as raised:
                await call
            assert raised.value.errno == errno.EINVAL
        with pytest.raises(OSError) as raised:
            await files.pread(99_999, 10, 0)
        assert raised.value.errno == errno.EBADF

    run(main)


def test_what_has_no_offsets(run):
    source, sink = os.pipe()

    async def main():
        for call in (files.pread(source, 3, 0), files.pwrite(sink, b"more", 0)):
            with pytest.raises(OSError) as raised:
                await asyncio.wait_for(call, GUARD)
            assert raised.value.errno == errno.ESPIPE

    try:
        os.write(sink, b"data")
        run(main)
        assert os.read(source, 100) == b"data"  # nothing was taken, nothing came
    finally:
        os.close(source)
        os.close(sink)


def test_many_preads_at_once(run, fd):
    async def main():
        found = await asyncio.gather(*(files.pread(fd, 8, 8 * n) for n in range(2000)))
        assert [int(line) for line in found] == list(range(2000))

    run(main)


def test_read_write_and_readinto(run, fd):
    async def main():
        assert await files.read(fd, 8) == b"0000000\n"
        buffer = bytearray(8)
        assert await files.readinto(fd, buffer) == 8
        assert buffer == b"0000001\n"
        assert await files.readinto(fd, memoryview(buffer)[4:], 8 * 9) == 4
        assert buffer == b"00000000"
        assert await files.readinto(fd, buffer, 8 * 50_000 - 3) == 3
        with pytest.raises(TypeError):
            await files.readinto(fd, b"constant")
        assert await files.write(fd, b"abcdefg\n") == 8
        assert os.pread(fd, 8, 16) == b"abcdefg\n"
        await files.fsync(fd)
        await files.fdatasync(fd)
        os.lseek(fd, 0, os.SEEK_END)
        assert await files.read(fd, 8) == b""
        large = bytearray(400_000)
        assert await files.readinto(fd, large, 0) == 400_000
        assert large == os.pread(fd, 400_000, 0)

    run(main)


def test_descriptors_of_files(run, tmp_path):
    path = tmp_path / "file"

    async def main():
        async with fastaio.open(path, "w+b") as f:
            await f.write(b"0123456789")
            await f.flush()
            await files.fsync(f)
            assert await files.pread(f, 3, 4) == b"456"

    run(main)


def test_a_read_of_a_pipe_waits(run):
    async def main():
        receiver, sender = os.pipe()
        try:
            task = asyncio.create_task(files.read(receiver, 100))
            await asyncio.sleep(0)
            assert not task.done()
            await files.write(sender, b"here")
            assert await task == b"here"
        finally:
            os.close(receiver)
            os.close(sender)

    run(main)


def test_not_without_waiting(run, tmp_path):
    """What is not cached is read all the same: O_DIRECT knows no cache."""
    path = tmp_path / "direct"
    path.write_bytes(b"x" * 8192)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    except OSError:
        pytest.skip("the file system has no O_DIRECT")

    async def main():
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        assert await files.pread(fd, 4096, 4096) in (b"x" * 4096, b"")
        assert await files.read_bytes(path) == b"x" * 8192

    try:
        run(main)
    except OSError as exc:
        # Where Python's bytes do not lie as the disk wants them.
        assert exc.errno == errno.EINVAL
    finally:
        os.close(fd)


# Metadata


def test_stat(run, tmp_path):
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "broken").symlink_to("nowhere")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")

    async def main():
        for name in ("file", "link", "folder", "fifo", "."):
            path = tmp_path / name
            assert await files.stat(path) == os.stat(path)
            assert await files.lstat(path) == os.lstat(path)
            assert await aios.path.exists(path)
            assert await files.isfile(path) == os.path.isfile(path)
            assert await files.isdir(path) == os.path.isdir(path)
            assert await files.islink(path) == os.path.islink(path)
            assert await files.getsize(path) == os.path.getsize(path)
            assert (await files.stat(os.fsencode(path))).st_mtime_ns == os.stat(path).st_mtime_ns
        for name in ("broken", "missing", "file/below", "nul\0l"):
            path = tmp_path / name
            assert await files.exists(path) == os.path.exists(path) is False
            assert not await files.isfile(path) and not await files.isdir(path)
            try:
                os.stat(path)
            except (OSError, ValueError) as exc:
                expected = exc
            with pytest.raises(type(expected)) as raised:
                await files.stat(path)
            assert str(raised.value) == str(expected)
        assert await files.islink(tmp_path / "broken")
        folder = os.open(tmp_path, os.O_RDONLY)
        try:
            assert (await files.stat("file", dir_fd=folder)).st_size == 5
            assert await files.stat(folder) == os.stat(folder)
        finally:
            os.close(folder)

    run(main)


def test_names(run, tmp_path):
    a, b, folder = tmp_path / "a", tmp_path / "b", tmp_path / "folder"

    async def main():
        await files.write_bytes(a, b"a")
        await files.rename(a, b)
        with pytest.raises(FileNotFoundError) as raised:
            await files.rename(a, b)
        assert (raised.value.filename, raised.value.filename2) == (str(a), str(b))
        await files.link(b, a)
        assert await aios.path.samefile(a, b)
        await files.replace(a, tmp_path / "c")
        await files.unlink(tmp_path / "c")
        with pytest.raises(FileNotFoundError):
            await files.remove(tmp_path / "c")
        await files.mkdir(folder)
        with pytest.raises(FileExistsError):
            await files.mkdir(folder)
        await files.makedirs(folder / "x" / "y", exist_ok=True)
        await files.symlink("x", folder / "s")
        assert await files.readlink(folder / "s") == "x"
        assert sorted(await files.listdir(folder)) == ["s", "x"]
        assert sorted(entry.name for entry in await files.scandir(folder)) == ["s", "x"]
        with pytest.raises(OSError):
            await files.rmdir(folder)
        await files.rmtree(folder)
        assert os.listdir(tmp_path) == ["b"]
        await files.truncate(b, 100)
        assert await files.getsize(b) == 100
        assert await aios.access(b, os.R_OK, loop=asyncio.get_running_loop(), executor=None)
        assert (await files.statvfs(tmp_path)).f_bsize == os.statvfs(tmp_path).f_bsize

    run(main)


# Whole files


@pytest.mark.parametrize("size", [0, 1, 5000, 1 << 20, 3_000_001])
@pytest.mark.parametrize("atomic", [False, True])
def test_whole_files(run, tmp_path, size, atomic):
    path = tmp_path / "file"
    data = random.Random(size).randbytes(size)

    async def main():
        assert await files.write_bytes(path, bytearray(data), atomic=atomic) == size
        assert path.read_bytes() == data == await files.read_bytes(path)
        assert await files.read_bytes(str(path)) == data
        assert await files.write_bytes(path, b"short", atomic=atomic) == 5
        assert path.read_bytes() == b"short"
        assert os.listdir(tmp_path) == ["file"]

    run(main)


def test_whole_texts(run, tmp_path):
    path = tmp_path / "file"
    text = "äöü\nzwei\r\ndrei\r"

    async def main():
        for newline in (None, "", "\n", "\r\n"):
            assert await files.write_text(path, text, "utf-8", newline=newline) == len(text)
            with open(tmp_path / "other", "w", encoding="utf-8", newline=newline) as other:
                other.write(text)
            assert path.read_bytes() == (tmp_path / "other").read_bytes()
            with open(path, encoding="utf-8", newline=newline) as theirs:
                assert await files.read_text(path, "utf-8", newline=newline) == theirs.read()
        with pytest.raises(UnicodeEncodeError):
            await files.write_text(path, text, "ascii")
        with pytest.raises(UnicodeDecodeError):
            await files.read_text(path, "ascii")
        assert await files.read_text(path, "ascii", "replace")
        with pytest.raises(TypeError):
            await files.write_text(path, b"bytes")

    run(main)


def test_atomic_replacement_of_a_long_name(run, tmp_path):
    path = tmp_path / ("é" * 127)

    async def main():
        assert await files.write_text(path, "new", "utf-8", atomic=True) == 3
        assert path.read_text() == "new"
        assert os.listdir(tmp_path) == [path.name]

    run(main)


def test_atomic_replacement(run, tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o640)
    (tmp_path / "link").symlink_to("file")

    async def main():
        with open(path) as old:
            await files.write_text(tmp_path / "link", "new", atomic=True)
            assert old.read() == "old"
        assert path.read_text() == "new"
        assert (tmp_path / "link").is_symlink()
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        with pytest.raises(IsADirectoryError):
            await files.write_bytes(tmp_path, b"x", atomic=True)
        missing = tmp_path / "nowhere" / "file"
        with pytest.raises(FileNotFoundError) as raised:
            await files.write_bytes(missing, b"x", atomic=True)
        assert raised.value.filename == str(missing)
        assert sorted(os.listdir(tmp_path)) == ["file", "link"]

    run(main)


def test_errors_of_whole_files(run, tmp_path):
    async def main():
        for call, expected in (
            (files.read_bytes(tmp_path / "missing"), FileNotFoundError),
            (files.read_bytes(tmp_path), IsADirectoryError),
            (files.write_bytes(tmp_path, b""), IsADirectoryError),
            (files.read_text(tmp_path / "missing" / "x"), FileNotFoundError),
            (files.write_bytes("/dev/full", b"x"), OSError),
        ):
            with pytest.raises(expected):
                await call

    run(main)


def test_a_fifo_is_not_opened_on_the_loop(run, tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)

    async def main():
        reader = asyncio.create_task(files.read_bytes(path))
        await asyncio.sleep(0)
        assert await files.write_bytes(path, b"through the pipe") == 16
        assert await reader == b"through the pipe"

    run(main)


def test_copies(run, tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(os.urandom(300_000))

    async def main():
        assert await files.copy(a, b) == b
        assert a.read_bytes() == b.read_bytes()
        with pytest.raises(shutil.SameFileError):
            await files.copyfile(a, a)
        await files.copytree(tmp_path, tmp_path / "tree")
        assert sorted(os.listdir(tmp_path / "tree")) == ["a", "b"]
        await files.move(b, tmp_path / "c")
        assert not b.exists()

    run(main)


# Temporary files


@pytest.mark.parametrize("mode", ["w", "wb", "w+", "w+b"])
def test_temporary_files_of_each_mode(run, tmp_path, mode):
    async def main():
        async with files.tempfile.NamedTemporaryFile(mode, dir=tmp_path) as f:
            await f.write(b"data" if "b" in mode else "data")
            await f.flush()
            with open(f.name) as g:
                assert g.read() == "data"
        async with files.tempfile.TemporaryFile(mode, dir=tmp_path) as f:
            assert await f.write(b"data" if "b" in mode else "data") == 4
        assert os.listdir(tmp_path) == []

    run(main)


def test_named_temporary_files(run, tmp_path):
    async def main():
        async with files.tempfile.NamedTemporaryFile("w+", dir=tmp_path, suffix=".x") as f:
            assert f.name.endswith(".x") and os.path.exists(f.name)
            await f.write("one\ntwo\n")
            await f.seek(0)
            assert await f.readlines() == ["one\n", "two\n"]
        assert os.listdir(tmp_path) == []
        async with files.tempfile.NamedTemporaryFile(dir=tmp_path, delete=False) as f:
            await f.write(b"kept")
        assert (tmp_path / os.path.basename(f.name)).read_bytes() == b"kept"
        os.unlink(f.name)
        if PYTHON_312:
            async with files.tempfile.NamedTemporaryFile(dir=tmp_path, delete_on_close=False) as f:
                await f.close()
                assert os.path.exists(f.name)
            assert os.listdir(tmp_path) == []
        with pytest.raises(ValueError):
            await files.tempfile.NamedTemporaryFile("w", 0)

    run(main)


def test_unnamed_temporary_files(run, tmp_path):
    async def main():
        async with files.tempfile.TemporaryFile(dir=tmp_path) as f:
            await f.write(b"0123456789")
            await f.seek(3)
            assert await f.read(2) == b"34"
        assert os.listdir(tmp_path) == []

    run(main)


@pytest.mark.parametrize("mode", ["w+", "w+b"])
def test_many_write_to_a_spooled_file(run, tmp_path, mode):
    pieces = [chr(65 + n) * 400 for n in range(50)]

    async def main():
        async with files.tempfile.SpooledTemporaryFile(5000, mode, dir=tmp_path) as f:
            data = [piece.encode() for piece in pieces] if "b" in mode else pieces
            await asyncio.gather(*map(f.write, data))
            await f.seek(0)
            assert await f.read() == data[0][:0].join(data)

    run(main)


def test_spooled_temporary_files(run, tmp_path):
    async def main():
        async with files.tempfile.SpooledTemporaryFile(100, "w+", dir=tmp_path) as f:
            await f.write("in memory\n")
            assert f.name is None
            await f.write("on the disk\n" * 20)
            assert isinstance(await f.fileno(), int)
            await f.seek(0)
            assert await f.readline() == "in memory\n"
            assert [line async for line in f] == ["on the disk\n"] * 20
        assert f.closed

    run(main)


def test_temporary_folders(run, tmp_path):
    async def main():
        async with files.tempfile.TemporaryDirectory(dir=tmp_path) as folder:
            assert os.path.dirname(folder) == str(tmp_path)
            await files.write_bytes(os.path.join(folder, "file"), b"x")
        assert os.listdir(tmp_path) == []
        folder = await files.tempfile.TemporaryDirectory(dir=tmp_path)
        await folder.cleanup()
        assert os.listdir(tmp_path) == []

    run(main)


def test_a_program_for_aiofiles_changes_an_import(run, tmp_path):
    from fastaio import files as aiofiles

    async def main():
        async with aiofiles.open(tmp_path / "file", mode="w", encoding="utf-8") as f:
            await f.write("text")
        async with aiofiles.open(tmp_path / "file", mode="r") as f:
            assert await f.read() == "text"
        assert await aiofiles.os.path.isfile(tmp_path / "file")
        await aiofiles.os.remove(tmp_path / "file")
        async with aiofiles.tempfile.TemporaryDirectory() as folder:
            assert os.path.isdir(folder)
        wrapped = aiofiles.os.wrap(os.path.basename)
        assert await wrapped("/a/b") == "b"
        assert tempfile.gettempdir()

    run(main)
