"""Files that do not block the loop: open(), and functions like those of os, pathlib and shutil.

A program for aiofiles runs unchanged after ``from fastaio import files as aiofiles``.
"""

from __future__ import annotations

import shutil as _shutil

from . import os, tempfile
from ._binary import BinaryFile, RawFile
from ._functions import (
    exists,
    fdatasync,
    fsync,
    getsize,
    isdir,
    isfile,
    islink,
    lstat,
    pread,
    pwrite,
    read,
    read_bytes,
    read_text,
    readinto,
    stat,
    write,
    write_bytes,
    write_text,
)
from ._open import open
from ._text import TextFile
from ._work import threaded as _threaded
from .os import (
    access,
    chmod,
    ftruncate,
    link,
    listdir,
    makedirs,
    mkdir,
    readlink,
    remove,
    rename,
    replace,
    rmdir,
    scandir,
    statvfs,
    symlink,
    truncate,
    unlink,
    utime,
)

copy = _threaded(_shutil.copy)
copy2 = _threaded(_shutil.copy2)
copyfile = _threaded(_shutil.copyfile)
copytree = _threaded(_shutil.copytree)
move = _threaded(_shutil.move)
rmtree = _threaded(_shutil.rmtree)

__all__ = (
    "BinaryFile",
    "RawFile",
    "TextFile",
    "access",
    "chmod",
    "copy",
    "copy2",
    "copyfile",
    "copytree",
    "exists",
    "fdatasync",
    "fsync",
    "ftruncate",
    "getsize",
    "isdir",
    "isfile",
    "islink",
    "link",
    "listdir",
    "lstat",
    "makedirs",
    "mkdir",
    "move",
    "open",
    "os",
    "pread",
    "pwrite",
    "read",
    "read_bytes",
    "read_text",
    "readinto",
    "readlink",
    "remove",
    "rename",
    "replace",
    "rmdir",
    "rmtree",
    "scandir",
    "stat",
    "statvfs",
    "symlink",
    "tempfile",
    "truncate",
    "unlink",
    "utime",
    "write",
    "write_bytes",
    "write_text",
)
