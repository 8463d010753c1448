"""Functions on descriptors and paths: those of os and pathlib that may block, as coroutines.

A call that the kernel's caches can answer runs in the loop's thread. Others run on the loop's
io_uring or in a thread of its executor. Errors are those of the functions of os. Short reads and
writes are completed.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import io
import os
import stat as modes
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from .. import _fastaio
from ._base import File
from ._work import BRIEF, breathe, in_thread, is_breather_due

if TYPE_CHECKING:
    from _typeshed import StrOrBytesPath
    from typing_extensions import Buffer


class HasFileno(Protocol):
    """Any object that has a descriptor."""

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

#: Whole files of fewer bytes are read in the loop's thread, if the page cache has them.
_WHOLE = 1024 * 1024
_PATH = os.O_PATH | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_CLOEXEC


async def _account(size: int) -> None:
    """Count cached bytes; let other tasks run if it is time."""
    if is_breather_due(size):
        await breathe()


async def _threaded(func: Any, *args: Any) -> Any:
    return await in_thread(asyncio.get_running_loop(), None, func, *args)


#: Opcodes of requests (uring_abi.h), and their flags (fcntl.h).
_FSYNC, _RENAMEAT, _UNLINKAT, _MKDIRAT = 3, 35, 36, 37
_FSYNC_DATA = 1
_REMOVE_DIR = 0x200
_CWD = -100
_MAX_FD = (1 << 31) - 1


async def _on_ring(op: _fastaio.FileOp) -> Any:
    """Return the result of an operation. Cancellation cancels the operation, too."""
    try:
        return await op.future
    except asyncio.CancelledError:
        op.cancel()
        raise


def _is_path(path: object) -> bool:
    """Return whether a ring can take a path. The function of os raises for other objects."""
    if not isinstance(path, str | bytes | os.PathLike):
        return False
    try:
        return b"\0" not in os.fsencode(path)
    except (TypeError, ValueError):
        return False


async def _change_name(
    opcode: int,
    event: str,
    details: tuple[int, ...],
    *paths: StrOrBytesPath,
    length: int = 0,
    flags: int = 0,
) -> bool:
    """Have the loop's ring change a name. Return false if it cannot.

    First raise the audit event of the function of os, with the paths and `details`.
    """
    loop = asyncio.get_running_loop()
    if not _fastaio._ring_knows(loop, opcode):
        return False
    if not all(map(_is_path, paths)):
        return False
    names = [os.fspath(path) for path in paths]
    sys.audit(event, *names, *details)
    name, name2 = [*names, None][:2]
    op = _fastaio._ring_call(loop, opcode, _CWD, name, name2, length, flags)
    if op is None:
        return False
    await _on_ring(op)
    return True


async def _sync(fd: Descriptor, flags: int, func: Callable[[Any], None]) -> None:
    number: Any = _fileno(fd)
    if number.__class__ is int and 0 <= number <= _MAX_FD:
        loop = asyncio.get_running_loop()
        op = _fastaio._ring_call(loop, _FSYNC, number, None, None, 0, flags)
        if op is not None:
            await _on_ring(op)
            return
    await _threaded(func, number if isinstance(number, int) else fd)


def _fileno(fd: Descriptor) -> int:
    """Return the number of a descriptor, for a call that does not use its position.

    Any other object is returned unchanged: the function of os raises for it.
    """
    if isinstance(fd, File):
        return fd._number()
    fileno = getattr(fd, "fileno", None)
    return fd if fileno is None else fileno()  # type: ignore[return-value]


def _moving_fileno(fd: Descriptor) -> int:
    """Return the number of a descriptor, for a call that moves its position."""
    return fd.fileno() if isinstance(fd, File) else _fileno(fd)


# Reading and writing a descriptor


def _read_rest(fd: int, size: int, offset: int, done: bytes) -> bytes:
    """Complete a read in a thread. Return up to `size` bytes, of which `done` are read already."""
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


def _is_place(number: object, size: object, offset: object) -> bool:
    """Return whether these are a descriptor, a size and an offset that the kernel takes."""
    return (
        number.__class__ is int
        and size.__class__ is int
        and offset.__class__ is int
        and number >= 0
        and 0 <= size <= sys.maxsize
        and 0 <= offset <= sys.maxsize
        and number <= _MAX_FD
    )


async def pread(fd: Descriptor, size: int, offset: int) -> bytes:
    """Read `size` bytes at `offset`, fewer only at the end of the file. The position stays."""
    number = fd if fd.__class__ is int else _fileno(fd)
    if not size or not _is_place(number, size, offset):
        result: bytes = await _threaded(os.pread, number, size, offset)  # mostly raises
        return result
    data: bytes | None = _read_now(number, size, offset)
    if data is not None and (len(data) == size or not data):
        if is_breather_due(size):
            await breathe()
        return data
    op = _fastaio._ring_read(asyncio.get_running_loop(), number, size, offset)
    if op is not None:
        rest: bytes = await _on_ring(op)
    else:
        rest = await _threaded(_read_rest, number, size, offset, data or b"")
    return rest


async def read(fd: Descriptor, size: int) -> bytes:
    """Read up to `size` bytes at the position of the descriptor, like os.read(); b"" at the end."""
    number = _moving_fileno(fd)
    data = _read_now(number, size) if size and _is_place(number, size, 0) else None
    if data is None:
        data = await _threaded(os.read, number, size)
    else:
        await _account(len(data))
    return data


async def readinto(fd: Descriptor, buffer: Buffer, offset: int | None = None) -> int:
    """Fill a buffer from `offset`, or from the position of the descriptor. Return the byte count.

    The count is smaller than the buffer only at the end of the file.
    """
    if offset is not None and offset < 0:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    number = _moving_fileno(fd) if offset is None else _fileno(fd)
    view = memoryview(buffer).cast("B")
    if view.readonly:
        raise TypeError("a buffer that can be written to is needed")
    done = 0
    while done < len(view):
        at = -1 if offset is None else offset + done
        got = _fastaio._readinto_now(number, view[done:], at)
        if got is None:
            # Not into the buffer itself: after a cancellation its owner may use it for other data.
            data = await _threaded(_read_rest, number, len(view) - done, at, b"")
            view[done : done + len(data)] = data
            return done + len(data)
        if got == 0:
            break
        done += got
        await _account(got)
    return done


def _write_all(fd: int, data: bytes, offset: int) -> int:
    """Write all data, in a thread. An offset of -1 is the position of the descriptor."""
    view = memoryview(data)
    done = 0
    try:
        while done < len(view) or not view:
            rest = view[done:]
            done += os.pwrite(fd, rest, offset + done) if offset >= 0 else os.write(fd, rest)
            if not view:
                break
    except OSError as exc:
        exc.characters_written = done  # type: ignore[attr-defined]
        raise
    return done


def _piece(data: Buffer) -> bytes | None:
    """Return data as bytes; None if it is no contiguous buffer, for which os raises."""
    if data.__class__ is bytes:
        return data
    try:
        view = memoryview(data)
    except TypeError:
        return None
    return bytes(view) if view.c_contiguous else None


async def write(fd: Descriptor, data: Buffer) -> int:
    """Write all of `data` at the position of the descriptor. Return the number of bytes.

    The OSError of a failed write has the number of written bytes as `characters_written`.
    """
    piece = _piece(data)
    number = _moving_fileno(fd)
    done: int
    if piece is None or not _is_place(number, 0, 0):
        done = await _threaded(os.write, number, data)
    else:
        done = await _threaded(_write_all, number, piece, -1)
    return done


async def pwrite(fd: Descriptor, data: Buffer, offset: int) -> int:
    """Write all of `data` at `offset`, like write(). The position stays."""
    piece = _piece(data)
    number = _fileno(fd)
    done: int
    if piece is None or not _is_place(number, 0, offset):
        done = await _threaded(os.pwrite, number, data, offset)
        return done
    op = _fastaio._ring_write(asyncio.get_running_loop(), number, piece, offset)
    if op is not None:
        done = await _on_ring(op)
    else:
        done = await _threaded(_write_all, number, piece, offset)
    return done


async def fsync(fd: Descriptor) -> None:
    """Write the data of a descriptor to the disk, like os.fsync().

    Output that a file of open() has only gathered is not written: call flush() first.
    """
    await _sync(fd, 0, os.fsync)


async def fdatasync(fd: Descriptor) -> None:
    """Write the data of a descriptor to the disk, without its times, like os.fdatasync()."""
    await _sync(fd, _FSYNC_DATA, os.fdatasync)


# Names: on the loop's ring, if it has one that supports the arguments


async def _move(
    func: Callable[..., None],
    src: StrOrBytesPath,
    dst: StrOrBytesPath,
    src_dir_fd: int | None,
    dst_dir_fd: int | None,
) -> None:
    if src_dir_fd is None and dst_dir_fd is None:
        if await _change_name(_RENAMEAT, "os.rename", (-1, -1), src, dst, length=_CWD):
            return
    await _threaded(functools.partial(func, src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd))


async def rename(
    src: StrOrBytesPath,
    dst: StrOrBytesPath,
    *,
    src_dir_fd: int | None = None,
    dst_dir_fd: int | None = None,
) -> None:
    """Do os.rename() without blocking the loop."""
    await _move(os.rename, src, dst, src_dir_fd, dst_dir_fd)


async def replace(
    src: StrOrBytesPath,
    dst: StrOrBytesPath,
    *,
    src_dir_fd: int | None = None,
    dst_dir_fd: int | None = None,
) -> None:
    """Do os.replace() without blocking the loop."""
    await _move(os.replace, src, dst, src_dir_fd, dst_dir_fd)


async def _remove(func: Callable[..., None], path: StrOrBytesPath, dir_fd: int | None) -> None:
    if dir_fd is not None or not await _change_name(_UNLINKAT, "os.remove", (-1,), path):
        await _threaded(functools.partial(func, path, dir_fd=dir_fd))


async def unlink(path: StrOrBytesPath, *, dir_fd: int | None = None) -> None:
    """Do os.unlink() without blocking the loop."""
    await _remove(os.unlink, path, dir_fd)


async def remove(path: StrOrBytesPath, *, dir_fd: int | None = None) -> None:
    """Do os.remove() without blocking the loop."""
    await _remove(os.remove, path, dir_fd)


async def rmdir(path: StrOrBytesPath, *, dir_fd: int | None = None) -> None:
    """Do os.rmdir() without blocking the loop."""
    if dir_fd is None:
        if await _change_name(_UNLINKAT, "os.rmdir", (-1,), path, flags=_REMOVE_DIR):
            return
    await _threaded(functools.partial(os.rmdir, path, dir_fd=dir_fd))


async def mkdir(path: StrOrBytesPath, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
    """Do os.mkdir() without blocking the loop."""
    if dir_fd is None and mode.__class__ is int and 0 <= mode <= 0o7777:
        if await _change_name(_MKDIRAT, "os.mkdir", (mode, -1), path, length=mode):
            return
    await _threaded(functools.partial(os.mkdir, path, mode, dir_fd=dir_fd))


# Metadata


async def _stat_now(path: StrOrBytesPath, flags: int) -> os.stat_result | None:
    """Return the status of a path that the kernel's cache has, or None."""
    fd = _open_now(path, flags)
    if fd is None:
        return None
    try:
        found = os.fstat(fd)
    finally:
        os.close(fd)
    await _account(BRIEF)
    return found


async def stat(
    path: StrOrBytesPath | int, *, dir_fd: int | None = None, follow_symlinks: bool = True
) -> os.stat_result:
    """Do os.stat() without blocking the loop."""
    found: os.stat_result | None = None
    if isinstance(path, int):
        return os.stat(path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
    if dir_fd is None:
        found = await _stat_now(path, _PATH if follow_symlinks else _PATH | os.O_NOFOLLOW)
    if found is None:
        call = functools.partial(os.stat, path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
        found = await _threaded(call)
    return found


async def lstat(path: StrOrBytesPath, *, dir_fd: int | None = None) -> os.stat_result:
    """Do os.lstat() without blocking the loop."""
    found = await _stat_now(path, _PATH | os.O_NOFOLLOW) if dir_fd is None else None
    if found is None:
        found = await _threaded(functools.partial(os.lstat, path, dir_fd=dir_fd))
    return found


async def exists(path: StrOrBytesPath | int) -> bool:
    """Do os.path.exists() without blocking the loop."""
    try:
        await stat(path)
    except (OSError, ValueError):
        return False
    return True


async def isfile(path: StrOrBytesPath | int) -> bool:
    """Do os.path.isfile() without blocking the loop."""
    try:
        return modes.S_ISREG((await stat(path)).st_mode)
    except (OSError, ValueError):
        return False


async def isdir(path: StrOrBytesPath | int) -> bool:
    """Do os.path.isdir() without blocking the loop."""
    try:
        return modes.S_ISDIR((await stat(path)).st_mode)
    except (OSError, ValueError):
        return False


async def islink(path: StrOrBytesPath) -> bool:
    """Do os.path.islink() without blocking the loop."""
    try:
        return modes.S_ISLNK((await lstat(path)).st_mode)
    except (OSError, ValueError):
        return False


async def getsize(path: StrOrBytesPath | int) -> int:
    """Do os.path.getsize() without blocking the loop."""
    return (await stat(path)).st_size


# Whole files


class _Owned:
    """A descriptor that is closed when the object is freed: a job may never run."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    __del__ = close


def _read_owned(owned: _Owned) -> bytes:
    """Read all of an open file and close it, in a thread."""
    try:
        parts = []
        while data := os.read(owned.fd, _WHOLE):
            parts.append(data)
        return b"".join(parts)
    finally:
        owned.close()


def _read_whole(path: StrOrBytesPath) -> bytes:
    with open(path, "rb", 0) as file:
        return file.read()


async def read_bytes(path: StrOrBytesPath) -> bytes:
    """Read all of a file, in one job if it is not cached."""
    data: bytes
    if not 0 < (size := _fastaio._size_now(path)) < _WHOLE:
        data = await _threaded(_read_whole, path)
        return data
    sys.audit("open", os.fspath(path), "r", _READ)
    fd = _open_now(path, _READ)
    if fd is None:
        data = await _threaded(_read_whole, path)  # it is not cached any more
        return data
    owned = _Owned(fd)
    found = _read_now(fd, size + 1)
    if found is None or len(found) != size:
        os.lseek(fd, 0, os.SEEK_SET)
        data = await _threaded(_read_owned, owned)
        return data
    owned.close()
    await _account(size + BRIEF)
    return found


async def read_text(
    path: StrOrBytesPath,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
) -> str:
    """Read all of a text file, like pathlib.Path.read_text()."""
    for argument in (encoding, errors, newline):
        if argument is not None and not isinstance(argument, str):
            open(path, encoding=encoding, errors=errors, newline=newline)  # noqa: SIM115 - raises
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
    """Write a new file in the same folder, sync it, and rename it to the path, in a thread."""
    target = os.path.realpath(os.fsdecode(path))
    folder, name = os.path.split(target)
    name = os.fsdecode(os.fsencode(name)[:200])  # a name has at most 255 bytes
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
    """Make or overwrite a file. Return the number of bytes.

    atomic: at any time, even after a crash, the path has all of the old data or all of the new. A
    new file is written in the same folder, synced to the disk, and renamed to the path. It gets
    the permissions of the old one.
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
    """Make or overwrite a text file, like pathlib.Path.write_text(). Return the character count."""
    if not isinstance(data, str):
        raise TypeError(f"data must be str, not {type(data).__name__}")
    buffer = io.BytesIO()
    text = io.TextIOWrapper(buffer, io.text_encoding(encoding), errors, newline)
    text.write(data)
    text.flush()
    await write_bytes(path, buffer.getvalue(), atomic=atomic)
    return len(data)
