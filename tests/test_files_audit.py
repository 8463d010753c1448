"""Audit events: those of the standard library, once, with its arguments, before the operation."""

import pytest

from .support import run_python

PROGRAM = """
import asyncio, os, pathlib, shutil, sys, tempfile
import fastaio
from fastaio import files

kind, folder = sys.argv[1:]
NAMES = ("open", "os.", "shutil.", "tempfile.", "glob.")
seen = []
refused = None

def hook(name, args):
    if seen is not None and name.startswith(NAMES) and "fastaio" not in repr(args):
        if refused is not None and name == refused:
            raise PermissionError("refused")
        if refused is None:
            seen.append((name, *args))

async def sync(func, *args, **kwargs):
    return func(*args, **kwargs)

def read_bytes(path):
    with open(path, "rb", 0) as file:
        return file.read()

def read_text(path):
    with open(path, "r", 1000) as file:
        return file.read()

CASES = [
    # the event, the function, its reference, arguments
    ("os.mkdir", files.mkdir, os.mkdir, ("new",), {}),
    ("os.mkdir", files.mkdir, os.mkdir, ("new", 0o700), {}),
    ("os.mkdir", files.mkdir, os.mkdir, (pathlib.Path("new"),), {}),
    ("os.mkdir", files.mkdir, os.mkdir, (b"new",), {}),
    ("os.mkdir", files.mkdir, os.mkdir, ("dir",), {}),
    ("os.mkdir", files.makedirs, os.makedirs, ("a/b",), {}),
    (None, files.mkdir, os.mkdir, (None,), {}),
    (None, files.mkdir, os.mkdir, ("a\\0",), {}),
    ("os.rmdir", files.rmdir, os.rmdir, ("empty",), {}),
    ("os.rmdir", files.rmdir, os.rmdir, (pathlib.Path("empty"),), {}),
    ("os.rename", files.rename, os.rename, ("file", "other"), {}),
    ("os.rename", files.rename, os.rename, (pathlib.Path("file"), b"other"), {}),
    ("os.rename", files.rename, os.rename, ("missing", "other"), {}),
    ("os.rename", files.replace, os.replace, ("file", "second"), {}),
    (None, files.rename, os.rename, ("file", None), {}),
    ("os.remove", files.remove, os.remove, ("file",), {}),
    ("os.remove", files.unlink, os.unlink, (pathlib.Path("file"),), {}),
    ("os.remove", files.unlink, os.unlink, ("missing",), {}),
    ("os.link", files.link, os.link, ("file", "other"), {}),
    ("os.symlink", files.symlink, os.symlink, ("file", "other"), {}),
    ("os.truncate", files.truncate, os.truncate, ("file", 3), {}),
    ("os.chmod", files.chmod, os.chmod, ("file", 0o600), {}),
    ("os.utime", files.utime, os.utime, ("file", (1, 1)), {}),
    ("os.listdir", files.listdir, os.listdir, ("dir",), {}),
    ("os.scandir", files.scandir, os.scandir, ("dir",), {}),
    (None, files.stat, os.stat, ("file",), {}),
    (None, files.lstat, os.lstat, ("file",), {}),
    (None, files.exists, os.path.exists, ("file",), {}),
    ("open", files.read_bytes, read_bytes, ("file",), {}),
    ("open", files.read_bytes, read_bytes, (pathlib.Path("file"),), {}),
    ("open", files.read_bytes, read_bytes, (b"nothing",), {}),
    ("open", files.read_bytes, read_bytes, ("missing",), {}),
    ("open", files.read_bytes, read_bytes, ("large",), {}),
    ("open", files.read_bytes, read_bytes, ("/proc/self/comm",), {}),
    ("open", files.read_text, read_text, ("file",), {}),
    ("shutil.copyfile", files.copyfile, shutil.copyfile, ("file", "other"), {}),
    ("shutil.copytree", files.copytree, shutil.copytree, ("dir", "other"), {}),
    ("shutil.move", files.move, shutil.move, ("file", "other"), {}),
    ("shutil.rmtree", files.rmtree, shutil.rmtree, ("dir",), {}),
]
for mode in ("r", "rb", "w", "wb", "a", "r+", "w+b", "x"):
    CASES.append(("open", files.open, open, ("file" if mode != "x" else "new", mode), {}))
    CASES.append(("open", files.open, open, (pathlib.Path("missing/x"), mode), {}))
CASES.append(("open", files.open, open, ("file", "rb", 0), {}))
CASES.append(("open", files.open, open, ("dir", "rb"), {}))
CASES.append(("open", files.open, open, ("file", "r"), {"opener": os.open}))
TEMPORARY = [
    ("tempfile.mkstemp", files.tempfile.NamedTemporaryFile, tempfile.NamedTemporaryFile),
    ("tempfile.mkdtemp", files.tempfile.TemporaryDirectory, tempfile.TemporaryDirectory),
]

def prepare():
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder + "/dir/inner")
    os.makedirs(folder + "/empty")
    os.chdir(folder)
    for name in ("file", "second"):
        pathlib.Path(name).write_text("content")
    pathlib.Path("nothing").touch()
    pathlib.Path("large").write_bytes(bytes(3_000_000))

def tree():
    return sorted((where, sorted(dirs), sorted(names)) for where, dirs, names in os.walk("."))

async def outcome(func, args, kwargs):
    global seen
    prepare()
    before = tree()
    events = seen = []
    try:
        result = func(*args, **kwargs)
        if hasattr(result, "__await__"):
            result = await result
        if func in (open, files.open):
            closed = result.close()
            if closed is not None:
                await closed
        result = "done"
    except (OSError, TypeError, ValueError) as exc:
        result = type(exc), str(exc)
    finally:
        seen = None
    return result, [tuple(map(repr, event)) for event in events], tree() == before

def same(ours, theirs):
    def plain(events):  # but for descriptors, modes and times
        return [[part for part in one if not part.strip("(")[0].isdigit()] for one in events]

    return (ours[0], plain(ours[1]), ours[2]) == (theirs[0], plain(theirs[1]), theirs[2])

async def main():
    global refused
    await asyncio.to_thread(int)  # imports what threads need
    tempfile.gettempdir()  # looks for it once
    for event, ours, theirs, args, kwargs in CASES * 2:  # the second time all is cached
        refused = None
        expected = await outcome(theirs, args, kwargs)
        actual = await outcome(ours, args, kwargs)
        assert same(actual, expected), (ours, args, actual, expected)
        assert event is None or any(one[0] == repr(event) for one in actual[1]), (event, actual)
        if event is not None:
            refused = event
            result, _, untouched = await outcome(ours, args, kwargs)
            assert result == (PermissionError, "refused") and untouched, (ours, args, result)
            refused = None
    for event, ours, theirs in TEMPORARY:
        global seen
        names = []
        for make in (theirs, ours):
            seen = []
            if make is ours:
                async with ours():
                    pass
            else:
                with theirs():
                    pass
            names.append([one[0] for one in seen])
            seen = None
        assert names[0] == names[1] and event in names[0], names

sys.addaudithook(hook)
loop = asyncio.new_event_loop() if kind == "asyncio" else fastaio.new_event_loop()
seen = None
loop.run_until_complete(main())
loop.run_until_complete(loop.shutdown_default_executor())
loop.close()
"""

THREAD = """
import asyncio, os, sys, threading
import fastaio
from fastaio import files

threads = []

def hook(name, args):
    if "audited" in repr(args):
        threads.append((name, threading.current_thread() is threading.main_thread()))

async def main():
    await files.mkdir("audited")
    await files.rename("audited", "audited2")
    await files.rmdir("audited2")
    with open("audited", "w") as file:
        file.write("text")
    threads.clear()
    await files.read_bytes("audited")
    async with files.open("audited"):
        pass
    await files.remove("audited")

os.chdir(sys.argv[1])
sys.addaudithook(hook)
loop = fastaio.new_event_loop()
loop.run_until_complete(main())
expected = [("open", True), ("open", True), ("os.remove", loop.backend == "io_uring")]
assert threads == expected, threads
loop.run_until_complete(loop.shutdown_default_executor())
loop.close()
"""


@pytest.mark.parametrize("kind", ["fastaio", "asyncio"])
def test_events(tmp_path, kind):
    run_python(PROGRAM, kind, str(tmp_path / "folder"))


@pytest.mark.fastaio_only
def test_the_events_of_what_needs_no_thread_come_in_the_caller_s(tmp_path):
    run_python(THREAD, str(tmp_path))
