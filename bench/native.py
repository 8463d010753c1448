"""The C programs of the benchmark, compiled when they are first needed."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

_SOURCES = Path(__file__).parent / "c"
_FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra")


def _cache() -> Path:
    """A folder for the programs: beside the sources, or the user's cache if that is read-only."""
    beside = Path(__file__).parent / ".build"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastaio-bench"
    for folder in (beside, cache):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    return Path(tempfile.mkdtemp(prefix="fastaio-bench-"))


#: What speaks TLS is built with the system's OpenSSL.
_TLS = ("-DLOAD_TLS",)
_TLS_LIBRARIES = ("-lssl", "-lcrypto")


class BuildError(Exception):
    """A program that could not be compiled; the text says what is missing."""


@functools.cache
def program(name: str, tls: bool = False) -> str:
    """The path of a program, compiled from c/NAME.c unless that very source already was."""
    flags = (*_FLAGS, *_TLS) if tls else _FLAGS
    libraries = _TLS_LIBRARIES if tls else ()
    source = _SOURCES / f"{name}.c"
    # The C library is part of the key: a tree may be shared by systems that have different ones.
    libc = os.confstr("CS_GNU_LIBC_VERSION") if hasattr(os, "confstr") else ""
    key = f"{source.read_text()}{flags}{libc}{platform.machine()}"
    target = _cache() / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    if not target.exists():
        partial = target.with_name(f"{target.name}.{os.getpid()}")
        compiler = os.environ.get("CC", "cc")
        if shutil.which(compiler) is None:
            raise BuildError(f"the benchmark needs a C compiler: there is no {compiler}")
        command = [compiler, *flags, "-o", str(partial), str(source), *libraries]
        if subprocess.run(command, check=False).returncode:
            need = "; it needs OpenSSL's headers (libssl-dev, openssl-devel)" if tls else ""
            raise BuildError(f"{name}.c does not compile{need}")
        partial.replace(target)
    return str(target)
