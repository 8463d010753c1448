"""The functions of os that may wait for a disk, as coroutine functions.

The functions of aiofiles.os are among them. Each takes the arguments of the function of os. Those
that always run in a thread also take ``loop`` and ``executor``.
"""

from __future__ import annotations

import os as _os

from . import ospath as path
from ._functions import (
    fdatasync,
    fsync,
    lstat,
    mkdir,
    pread,
    pwrite,
    read,
    readinto,
    remove,
    rename,
    replace,
    rmdir,
    stat,
    unlink,
    write,
)
from ._work import threaded

__all__ = (
    "access",
    "chmod",
    "chown",
    "fdatasync",
    "fsync",
    "ftruncate",
    "getcwd",
    "link",
    "listdir",
    "lstat",
    "makedirs",
    "mkdir",
    "path",
    "pread",
    "pwrite",
    "read",
    "readinto",
    "readlink",
    "remove",
    "removedirs",
    "rename",
    "renames",
    "replace",
    "rmdir",
    "scandir",
    "sendfile",
    "stat",
    "statvfs",
    "symlink",
    "truncate",
    "unlink",
    "utime",
    "wrap",
    "write",
)

#: Returns a coroutine function that calls a function in a thread, as aiofiles.os.wrap().
wrap = threaded

access = threaded(_os.access)
chmod = threaded(_os.chmod)
chown = threaded(_os.chown)
ftruncate = threaded(_os.ftruncate)
getcwd = threaded(_os.getcwd)
link = threaded(_os.link)
listdir = threaded(_os.listdir)
makedirs = threaded(_os.makedirs)
readlink = threaded(_os.readlink)
removedirs = threaded(_os.removedirs)
renames = threaded(_os.renames)
scandir = threaded(_os.scandir)
sendfile = threaded(_os.sendfile)
statvfs = threaded(_os.statvfs)
symlink = threaded(_os.symlink)
truncate = threaded(_os.truncate)
utime = threaded(_os.utime)
