"""The functions of os.path that may wait for a disk, as coroutine functions."""

from __future__ import annotations

from os import path as _path

from ._functions import exists, getsize, isdir, isfile, islink
from ._work import threaded

__all__ = (
    "abspath",
    "exists",
    "getatime",
    "getctime",
    "getmtime",
    "getsize",
    "isdir",
    "isfile",
    "islink",
    "ismount",
    "samefile",
    "sameopenfile",
)

abspath = threaded(_path.abspath)
getatime = threaded(_path.getatime)
getctime = threaded(_path.getctime)
getmtime = threaded(_path.getmtime)
ismount = threaded(_path.ismount)
samefile = threaded(_path.samefile)
sameopenfile = threaded(_path.sameopenfile)
