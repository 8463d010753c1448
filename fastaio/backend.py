"""Which poller a loop uses: the argument, else the environment, else what measures best."""

from __future__ import annotations

import errno
import os
import warnings
from collections.abc import Callable

__all__ = ("ENVIRONMENT_VARIABLE", "open_backend")

ENVIRONMENT_VARIABLE = "FASTAIO_BACKEND"

_BACKENDS = ("epoll", "io_uring")

# What "auto" tries, in this order: the first that can be had. Why, docs/architecture.md says.
_AUTO: tuple[str, ...] = ("epoll",)


def open_backend(open_native: Callable[[str], None], backend: str = "auto") -> str:
    """Call ``open_native`` with the name of the backend to use; return why it is this one.

    A backend that the caller names is used or raises: ValueError if there is no such backend,
    OSError if this system does not let it be used. With ``backend`` "auto" the environment variable
    FASTAIO_BACKEND decides, if it is set. A value that cannot be used gives a RuntimeWarning and
    the default, so that a server that moves to another kernel still serves.
    """
    if backend != "auto":
        _open_named(open_native, backend, "backend")
        return "asked for by backend"
    wanted = os.environ.get(ENVIRONMENT_VARIABLE) or "auto"
    if wanted == "auto":
        return _open_first(open_native)
    try:
        _open_named(open_native, wanted, ENVIRONMENT_VARIABLE)
    except (ValueError, OSError) as exc:
        problem = str(exc) if isinstance(exc, ValueError) else exc.strerror
        reason = _open_first(open_native)
        warnings.warn(f"{problem}; the default is used", RuntimeWarning, stacklevel=2)
        return f"{reason}, as {problem}"
    return f"asked for by {ENVIRONMENT_VARIABLE}"


def _open_named(open_native: Callable[[str], None], backend: str, asked_by: str) -> None:
    if backend not in _BACKENDS:
        raise ValueError(f"{asked_by} must be 'auto', 'epoll' or 'io_uring', not {backend!r}")
    try:
        open_native(backend)
    except OSError as exc:
        if backend != "io_uring" or exc.errno is None:
            raise
        message = f"{asked_by}='io_uring': {_why_no_ring(exc.errno)}"
        raise OSError(exc.errno, message) from exc


def _open_first(open_native: Callable[[str], None]) -> str:
    reason = "the default"
    for name in _AUTO[:-1]:
        try:
            open_native(name)
        except OSError as exc:
            reason = f"the default, as {name} cannot be had: {exc.strerror}"
        else:
            return reason
    open_native(_AUTO[-1])
    return reason


def _why_no_ring(error: int) -> str:
    """Return the meaning of the kernel's refusal to make a ring."""
    if error == errno.ENOSYS:
        return "this kernel has no io_uring, or a seccomp filter hides it"
    if error in (errno.EPERM, errno.EACCES):
        switch = _read_switch()
        if switch in ("1", "2"):
            return f"io_uring is switched off (the sysctl kernel.io_uring_disabled is {switch})"
        return "io_uring is forbidden here (a seccomp filter, as containers have, or a policy)"
    if error == errno.EINVAL:
        return "this kernel's io_uring is too old: Linux 6.1 is needed (DEFER_TASKRUN)"
    if error == errno.ENOMEM:
        return "no memory for a ring (RLIMIT_MEMLOCK, or the memory of this control group)"
    return os.strerror(error)


def _read_switch() -> str:
    try:
        with open("/proc/sys/kernel/io_uring_disabled") as file:
            return file.read().strip()
    except OSError:
        return ""
