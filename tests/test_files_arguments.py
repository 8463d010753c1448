"""Bad arguments: the functions of fastaio.files answer, and raise, what those of os do."""

import inspect
import os
import pathlib
import shutil
import warnings

import pytest

import fastaio
from fastaio import files


class Unwilling:
    def __fspath__(self):
        raise RuntimeError("no path")


class Number:
    def __fspath__(self):
        return 5


class Closed:
    """Has a descriptor, but not any more."""

    def fileno(self):
        raise ValueError("closed")


PATHS = {
    "None": None,
    "-1": -1,
    "not open": 99_999,
    "too large": 10**30,
    "float": 1.5,
    "null": "a\0b",
    "null bytes": b"a\0b",
    "missing": "missing",
    "missing bytes": b"missing",
    "missing path": pathlib.Path("missing"),
    "folder": "folder",
    "full": "full",
    "file": "file",
    "file as a folder": "file/",
    "below a file": "file/below",
    "nowhere": "missing/below",
    "empty": "",
    "list": [],
    "unwilling": Unwilling(),
    "number": Number(),
    "surrogate": "\ud800",
    "too long": "x" * 5000,
    "loop": "loop",
    "dangling": "dangling",
    "object": object(),
}
DESCRIPTORS = {
    "None": None,
    "-1": -1,
    "not open": 99_999,
    "too large": 2**31,
    "much too large": 10**30,
    "float": 1.5,
    "str": "x",
    "object": object(),
    "folder": "folder",
    "for reading": os.O_RDONLY,
    "for writing": os.O_WRONLY,
}
NUMBERS = [None, -1, 0, 3, 10**30, "x", 1.5, 2**63 - 1]
DATA = [None, "text", 5, b"", b"ab", bytearray(b"ab"), memoryview(b"abcd")[::2], object()]

ON_PATHS = {
    "mkdir": os.mkdir,
    "rmdir": os.rmdir,
    "remove": os.remove,
    "unlink": os.unlink,
    "stat": os.stat,
    "lstat": os.lstat,
    "exists": os.path.exists,
    "isfile": os.path.isfile,
    "isdir": os.path.isdir,
    "islink": os.path.islink,
    "getsize": os.path.getsize,
    "listdir": os.listdir,
    "readlink": os.readlink,
    "statvfs": os.statvfs,
    "makedirs": os.makedirs,
    "rmtree": shutil.rmtree,
    "read_bytes": lambda path: open(path, "rb", 0).read(),  # noqa: SIM115
    "read_text": lambda path: open(path).read(),  # noqa: SIM115
}
MORE = {
    "mkdir": [{"mode": mode} for mode in (None, -1, "x", 10**30, 1.5, 0o700, 0o17777)],
    "stat": [{"follow_symlinks": False}, {"follow_symlinks": 1.5}],
    "lstat": [],
    "rmdir": [],
    "remove": [],
    "unlink": [],
}
for options in MORE.values():
    options += [{"dir_fd": fd} for fd in (None, -1, "x")]
ON_TWO = {
    "rename": os.rename,
    "replace": os.replace,
    "link": os.link,
    "symlink": os.symlink,
    "copyfile": shutil.copyfile,
}


def prepare(folder):
    os.chdir("/")
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("folder", "full/inner"):
        os.makedirs(folder / name)
    (folder / "file").write_text("content\n")
    os.symlink("loop", folder / "loop")
    os.symlink("nowhere", folder / "dangling")
    os.chdir(folder)


def tree():
    return os.path.getsize("file") if os.path.isfile("file") else None, sorted(
        (where, os.stat(where).st_mode, sorted(dirs), sorted(names))
        for where, dirs, names in os.walk(".")
    )


def describe(value):
    if isinstance(value, os.stat_result):
        return value.st_mode, value.st_size
    if isinstance(value, os.statvfs_result):
        return "statvfs"
    return sorted(map(str, value)) if isinstance(value, list) else value


async def outcome(func, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result = func(*args, **kwargs)
            return describe(await result if inspect.isawaitable(result) else result)
        except Exception as exc:
            names = [repr(getattr(exc, name, None)) for name in ("filename", "filename2")]
            return type(exc), str(exc), names


@pytest.fixture
def same(run, tmp_path, monkeypatch):
    """Call ours and theirs in the same folder; the outcome and what is in the folder agree."""
    monkeypatch.chdir(tmp_path)  # and back at the end
    folder = tmp_path / "place"

    def same(ours, theirs, calls):
        prepare(folder)
        untouched = tree()

        async def play(func, args, kwargs):
            result = await outcome(func, *args, **kwargs)
            after = tree()
            if after != untouched:
                prepare(folder)
            return result, after

        async def main():
            for args, kwargs in calls:
                expected = await play(theirs, args, kwargs)
                assert await play(ours, args, kwargs) == expected, (args, kwargs)

        run(main)

    return same


@pytest.mark.parametrize("name", ON_PATHS)
def test_paths(same, name):
    calls = [
        ((path,), more)
        for path in PATHS.values()
        for more in [{}, *MORE.get(name, [])]
        if name != "rmtree" or path != ""
    ]
    same(getattr(files, name), ON_PATHS[name], calls)


@pytest.mark.parametrize("name", ON_TWO)
def test_two_paths(same, name):
    few = ["None", "-1", "null", "missing", "missing path", "folder", "file", "unwilling"]
    calls = [((PATHS[one], two), {}) for one in few for two in PATHS.values()]
    calls += [
        ((PATHS[one], "other"), {side: fd})
        for one in few
        for side in ("src_dir_fd", "dst_dir_fd")
        for fd in (None, -1, "x")
        if name in ("rename", "replace", "link")
    ]
    same(getattr(files, name), ON_TWO[name], calls)


@pytest.mark.parametrize("mode", ["r", "rb", "w", "a+b", "x"])
def test_open(same, mode):
    async def ours(path, **kwargs):
        await (await fastaio.open(path, mode, **kwargs)).close()

    def theirs(path, **kwargs):
        open(path, mode, **kwargs).close()

    same(ours, theirs, [((path,), {}) for path in PATHS.values()])


def test_encodings_of_whole_texts(same):
    calls = [
        (("file",), {name: value})
        for name in ("encoding", "errors", "newline")
        for value in (5, b"x", "klingon", "", "\n")
        if (name, value) != ("errors", "")
    ]
    same(files.read_text, lambda path, **kwargs: open(path, **kwargs).read(), calls)  # noqa: SIM115


def with_descriptor(func):
    """Call a function with a descriptor that is opened for the call."""

    async def call(what, *args):
        if what not in ("folder", os.O_RDONLY, os.O_WRONLY) or what is None or what != what:
            return await outcome(func, what, *args)
        fd = os.open("folder" if what == "folder" else "file", what if what != "folder" else 0)
        try:
            return await outcome(func, fd, *args), os.lseek(fd, 0, os.SEEK_CUR)
        finally:
            os.close(fd)

    return call


@pytest.mark.parametrize("name", ["fsync", "fdatasync"])
def test_syncing(same, name):
    calls = [((fd,), {}) for fd in [*DESCRIPTORS.values(), Closed()]]
    same(with_descriptor(getattr(files, name)), with_descriptor(getattr(os, name)), calls)


@pytest.mark.parametrize("name", ["read", "pread"])
def test_reading(same, name):
    places = [(size, at) for size in NUMBERS for at in NUMBERS] if name == "pread" else None
    calls = [
        ((fd, *place), {})
        for fd in DESCRIPTORS.values()
        for place in places or [(size,) for size in NUMBERS]
        if 2**63 - 1 not in place[:1]  # so much memory
    ]
    same(with_descriptor(getattr(files, name)), with_descriptor(getattr(os, name)), calls)


@pytest.mark.parametrize("name", ["write", "pwrite"])
def test_writing(same, name):
    places = [(at,) for at in NUMBERS] if name == "pwrite" else [()]
    calls = [
        ((fd, data, *place), {}) for fd in DESCRIPTORS.values() for data in DATA for place in places
    ]
    same(with_descriptor(getattr(files, name)), with_descriptor(getattr(os, name)), calls)


def test_reading_into(run, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"content")

    async def main():
        with open(path, "rb") as file:
            for offset in (-1, -5):
                with pytest.raises(OSError, match="Invalid argument"):
                    await files.readinto(file, bytearray(3), offset)
            assert file.tell() == 0
            with pytest.raises(TypeError):
                await files.readinto(file, b"fixed")
        with pytest.raises(ValueError, match="closed"):
            await files.readinto(file, bytearray(3))

    run(main)
