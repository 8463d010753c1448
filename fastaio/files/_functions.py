"""Functions on descriptors and paths: those of os and pathlib that may wait, as coroutines.

What the kernel's caches can answer is answered at once, the rest by a thread of the loop's
executor. Errors are those of the functions of os. A read or write that falls short is completed.
"""

from __future__ import annotations

import asyncio
import functools
import io
import os
import stat as modes
from typing import TYPE_CHECKING, Any, Protocol

from .. import _fastaio
from ._base import File
from ._work import BREATHER, breathe, in_thread

if TYPE_CHECKING:
    from _typeshed import StrOrBytesPath
    from typing_extensions import Buffer


class HasFileno(Protocol):
    """A file, a socket, whatever has a descriptor."""

    def fileno(self) -> int: ...


Descriptor = int | HasFileno

__all__ = (
    "exists",
    "fdatasync",
    "fsync",
    "lstat",
    "mkdir",
    "pread",
    "pwrite",
    "read",
    "read_bytes",
    "read_text",
    "readinto",
    "remove",
    "rename",
    "replace",
    "rmdir",
    "stat",
    "unlink",
    "write",
    "write_bytes",
    "write_text",
)

_read_now = _fastaio._read_now
_open_now = _fastaio._open_now

#: Whole files up to this size are read at once, if the page cache has them.
_WHOLE = 1024 * 1024
_PATH = os.O_PATH | os.O_CLOEXEC


class _Breath:
    """Counts the bytes that were at hand since the other tasks last had a turn.

    One count for all loops: it matters only that a task that never has to wait comes to its end.
    """

    spent = 0


async def _account(size: int) -> None:
    _Breath.spent += size
    if _Breath.spent >= BREATHER:
        _Breath.spent = 0
        await breathe()


async def _threaded(func: Any, *args: Any) -> Any:
    return await in_thread(asyncio.get_running_loop(), None, func, *args)


#: Numbers of requests, and of what goes with them, as in uring_abi.h and fcntl.h.
_FSYNC, _RENAMEAT, _UNLINKAT, _MKDIRAT = 3, 35, 36, 37
_FSYNC_DATA = 1
_REMOVE_DIR = 0x200
_CWD = -100


async def _on_ring(op: _fastaio.FileOp) -> Any:
    """The outcome of an operation, which is given up together with who waits."""
    try:
        return await op.future
    except asyncio.CancelledError:
        op.cancel()
        raise


async def _called(
    opcode: int,
    fd: int,
    path: StrOrBytesPath | None = None,
    path2: StrOrBytesPath | None = None,
    length: int = 0,
    flags: int = 0,
) -> bool:
    """Have the loop's ring do it; False where there is none."""
    loop = asyncio.get_running_loop()
    names = [name if name is None else os.fspath(name) for name in (path, path2)]
    try:
        op = _fastaio._ring_call(loop, opcode, fd, names[0], names[1], length, flags)
    except (TypeError, ValueError):
        return False  # the function of os says better what is wrong
    if op is None:
        return False
    await _on_ring(op)
    return True


def _fileno(fd: Descriptor) -> int:
    """The number of a descriptor for what leaves its position alone."""
    if isinstance(fd, int):
        return fd
    return fd._number() if isinstance(fd, File) else fd.fileno()


def _moving_fileno(fd: Descriptor) -> int:
    """The number of a descriptor for what moves its position: a file shares it from now on."""
    return fd if isinstance(fd, int) else fd.fileno()


# Reading and writing a descriptor


def _read_rest(fd: int, size: int, offset: int, done: bytes) -> bytes:
    """The rest of a read, in a thread: up to `size` bytes, together with what is there already."""
    parts = [done]
    missing = size - len(done)
    while missing > 0:
        at = offset + size - missing
        data = os.pread(fd, missing, at) if offset >= 0 else os.read(fd, missing)
        if not data:
            break
        parts.append(data)
        missing -= len(data)
    return b"".join(parts)


async def pread(fd: Descriptor, size: int, offset: int) -> bytes:
    """Read `size` bytes at `offset`; fewer only where the file ends. The position stays."""
    number = fd if fd.__class__ is int else _fileno(fd)
    if offset < 0:
        raise OSError(22, os.strerror(22))
    data: bytes | None = _read_now(number, size, offset)
    if data is not None and (len(data) == size or not data):
        _Breath.spent += size
        if _Breath.spent >= BREATHER:
            _Breath.spent = 0
            await breathe()
        return data
    op = _fastaio._ring_read(asyncio.get_running_loop(), number, size, offset)
    if op is not None:
        rest: bytes = await _on_ring(op)
    else:
        rest = await _threaded(_read_rest, number, size, offset, data or b"")
    return rest


async def read(fd: Descriptor, size: int) -> bytes:
    """Read up to `size` bytes from where the descriptor is, as os.read(); b"" at the end."""
    number = _moving_fileno(fd)
    data = _read_now(number, size)
    if data is None:
        data = await _threaded(os.read, number, size)
    else:
        await _account(len(data))
    return data


async def readinto(fd: Descriptor, buffer: Buffer, offset: int | None = None) -> int:
    """Fill a buffer from `offset`, or from where the descriptor is; the number of bytes.

    It is smaller than the buffer only where the file ends.
    """
    number = _moving_fileno(fd) if offset is None else _fileno(fd)
    view = memoryview(buffer).cast("B")
    if view.readonly:
        raise TypeError("a buffer that can be written to is needed")
    done = 0
    while done < len(view):
        at = -1 if offset is None else offset + done
        got = _fastaio._readinto_now(number, view[done:], at)
        if got is None:
            # Not into the buffer itself: who waits may be cancelled, and use it for other things.
            data = await _threaded(_read_rest, number, len(view) - done, at, b"")
            view[done : done + len(data)] = data
            return done + len(data)
        if got == 0:
            break
        done += got
        await _account(got)
    return done


def _write_all(fd: int, data: bytes, offset: int) -> int:
    view = memoryview(data)
    done = 0
    try:
        while done < len(view):
            rest = view[done:]
            done += os.pwrite(fd, rest, offset + done) if offset >= 0 else os.write(fd, rest)
    except OSError as exc:
        exc.characters_written = done  # type: ignore[attr-defined]
        raise
    return done


async def _write(fd: Descriptor, data: Buffer, offset: int) -> int:
    piece = bytes(memoryview(data))
    number = _fileno(fd) if offset >= 0 else _moving_fileno(fd)
    op = None
    if offset >= 0:
        op = _fastaio._ring_write(asyncio.get_running_loop(), number, piece, offset)
    if op is not None:
        done: int = await _on_ring(op)
    else:
        done = await _threaded(_write_all, number, piece, offset)
    return done


async def write(fd: Descriptor, data: Buffer) -> int:
    """Write all of `data` where the descriptor is; the number of bytes.

    The OSError for a write that has failed has, as characters_written, how far it has come.
    """
    return await _write(fd, data, -1)


async def pwrite(fd: Descriptor, data: Buffer, offset: int) -> int:
    """Write all of `data` at `offset`, as write(). The position stays."""
    if offset < 0:
        raise OSError(22, os.strerror(22))
    return await _write(fd, data, offset)


async def fsync(fd: Descriptor) -> None:
    """Have the disk take what has been written to a descriptor, as os.fsync().

    What a file of open() has gathered and not yet written is not part of it: flush() comes first.
    """
    if not await _called(_FSYNC, _fileno(fd)):
        await _threaded(os.fsync, _fileno(fd))


async def fdatasync(fd: Descriptor) -> None:
    """The same without what only the file's times would need, as os.fdatasync()."""
    if not await _called(_FSYNC, _fileno(fd), flags=_FSYNC_DATA):
        await _threaded(os.fdatasync, _fileno(fd))


# Names: on a ring where there is one, and nothing is asked for that it does not have


async def rename(
    src: StrOrBytesPath,
    dst: StrOrBytesPath,
    *,
    src_dir_fd: int | None = None,
    dst_dir_fd: int | None = None,
) -> None:
    """os.rename()."""
    here = src_dir_fd is None and dst_dir_fd is None
    if not here or not await _called(_RENAMEAT, _CWD, src, dst, _CWD):

        def call() -> None:
            os.rename(src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

        await _threaded(call)


async def replace(
    src: StrOrBytesPath,
    dst: StrOrBytesPath,
    *,
    src_dir_fd: int | None = None,
    dst_dir_fd: int | None = None,
) -> None:
    """os.replace()."""
    await rename(src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)


async def unlink(path: StrOrBytesPath, *, dir_fd: int | None = None) -> None:
    """os.unlink()."""
    if dir_fd is not None or not await _called(_UNLINKAT, _CWD, path):
        await _threaded(functools.partial(os.unlink, path, dir_fd=dir_fd))


async def remove(path: StrOrBytesPath, *, dir_fd: int | None = None) -> None:
    """os.remove()."""
    await unlink(path, dir_fd=dir_fd)


async def rmdir(path: StrOrBytesPath, *, dir_fd: int | None = None) -> None:
    """os.rmdir()."""
    if dir_fd is not None or not await _called(_UNLINKAT, _CWD, path, flags=_REMOVE_DIR):
        await _threaded(functools.partial(os.rmdir, path, dir_fd=dir_fd))


async def mkdir(path: StrOrBytesPath, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
    """os.mkdir()."""
    if dir_fd is not None or not await _called(_MKDIRAT, _CWD, path, length=mode):
        await _threaded(functools.partial(os.mkdir, path, mode, dir_fd=dir_fd))


# Metadata


async def stat(
    path: StrOrBytesPath | int, *, dir_fd: int | None = None, follow_symlinks: bool = True
) -> os.stat_result:
    """os.stat()."""
    if isinstance(path, int):
        return os.fstat(path) if dir_fd is None else os.stat(path, dir_fd=dir_fd)
    if dir_fd is None:
        fd = _open_now(path, _PATH if follow_symlinks else _PATH | os.O_NOFOLLOW)
        if fd is not None:
            try:
                return os.fstat(fd)
            finally:
                os.close(fd)

    def call() -> os.stat_result:
        return os.stat(path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)

    found: os.stat_result = await _threaded(call)
    return found


async def lstat(path: StrOrBytesPath, *, dir_fd: int | None = None) -> os.stat_result:
    """os.lstat()."""
    return await stat(path, dir_fd=dir_fd, follow_symlinks=False)


async def exists(path: StrOrBytesPath | int) -> bool:
    """os.path.exists()."""
    try:
        await stat(path)
    except (OSError, ValueError):
        return False
    return True


async def isfile(path: StrOrBytesPath | int) -> bool:
    """os.path.isfile()."""
    try:
        return modes.S_ISREG((await stat(path)).st_mode)
    except (OSError, ValueError):
        return False


async def isdir(path: StrOrBytesPath | int) -> bool:
    """os.path.isdir()."""
    try:
        return modes.S_ISDIR((await stat(path)).st_mode)
    except (OSError, ValueError):
        return False


async def islink(path: StrOrBytesPath) -> bool:
    """os.path.islink()."""
    try:
        return modes.S_ISLNK((await lstat(path)).st_mode)
    except (OSError, ValueError):
        return False


async def getsize(path: StrOrBytesPath | int) -> int:
    """os.path.getsize()."""
    return (await stat(path)).st_size


# Whole files


def _read_whole_now(path: StrOrBytesPath) -> bytes | None:
    """All of a small file that the caches have, or None."""
    fd = _open_now(path, os.O_RDONLY | os.O_CLOEXEC)
    if fd is None:
        return None
    try:
        size = os.fstat(fd).st_size
        if not 0 < size < _WHOLE:
            return None
        data = _read_now(fd, size + 1)
        return data if data is not None and len(data) == size else None
    finally:
        os.close(fd)


def _read_whole(path: StrOrBytesPath) -> bytes:
    with open(path, "rb", 0) as file:
        return file.read()


async def read_bytes(path: StrOrBytesPath) -> bytes:
    """All of a file: one job, however many calls of the kernel that takes."""
    data = _read_whole_now(path) if not isinstance(path, int) else None
    if data is None:
        data = await _threaded(_read_whole, path)
    else:
        await _account(len(data) + 4096)
    return data


async def read_text(
    path: StrOrBytesPath,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
) -> str:
    """All of a text file, as pathlib.Path.read_text()."""
    data = await read_bytes(path)
    with io.TextIOWrapper(io.BytesIO(data), io.text_encoding(encoding), errors, newline) as text:
        return text.read()


def _write_whole(path: StrOrBytesPath, data: bytes) -> int:
    with open(path, "wb", 0) as file:
        return _write_all(file.fileno(), data, -1)


def _sync_folder(folder: str) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _replace_whole(path: StrOrBytesPath, data: bytes) -> int:
    """Write beside the file, have the disk take it, and put it in the file's place."""
    target = os.path.realpath(os.fsdecode(path))
    folder, name = os.path.split(target)
    name = os.fsdecode(os.fsencode(name)[:200])  # with room for what is put around it
    try:
        mode: int | None = modes.S_IMODE(os.stat(target).st_mode)
    except FileNotFoundError:
        mode = None
    while True:
        partial = os.path.join(folder, f".{name}.{os.urandom(6).hex()}")
        try:
            fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            break
        except FileExistsError:
            continue
        except OSError as exc:
            exc.filename = os.fspath(path)
            raise
    try:
        try:
            if mode is not None:
                os.fchmod(fd, mode)
            size = _write_all(fd, data, -1)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(partial, target)
    except BaseException:
        os.unlink(partial)
        raise
    _sync_folder(folder)
    return size


async def write_bytes(path: StrOrBytesPath, data: Buffer, *, atomic: bool = False) -> int:
    """Make or overwrite a file; the number of bytes.

    With `atomic` whoever looks, even after a crash, finds the old file or the new one, complete:
    it is written beside the old one, synced to the disk, and renamed into its place, with the
    permissions of the old one.
    """
    piece = bytes(memoryview(data))
    size: int = await _threaded(_replace_whole if atomic else _write_whole, path, piece)
    return size


async def write_text(
    path: StrOrBytesPath,
    data: str,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    *,
    atomic: bool = False,
) -> int:
    """The same with text, as pathlib.Path.write_text(); the number of characters."""
    if not isinstance(data, str):
        raise TypeError(f"data must be str, not {type(data).__name__}")
    buffer = io.BytesIO()
    text = io.TextIOWrapper(buffer, io.text_encoding(encoding), errors, newline)
    text.write(data)
    text.flush()
    await write_bytes(path, buffer.getvalue(), atomic=atomic)
    return len(data)
