"""How a loop learns that a child has exited: by a descriptor of the process, else by a thread.

Linux has a descriptor for a process (``pidfd_open(2)``) that becomes readable when it exits, so the
loop hears of it like of anything else: at once, without a signal handler that somebody else may
want, and without a thread for each child. asyncio does so from 3.12 on; here every version does.
"""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio import events, unix_events
from asyncio.log import logger
from collections.abc import Callable
from typing import Any

__all__ = ("ChildWatcher", "has_own_watcher", "improves", "subprocess_transport_type")

_Callback = Callable[..., object]

# Its name has an underscore since 3.14, where no program is to use it any more.
_Threads: Any = getattr(unix_events, "_ThreadedChildWatcher", None) or getattr(
    unix_events, "ThreadedChildWatcher", None
)
# What asyncio itself uses from 3.14 on, where the kernel has such descriptors.
_Pidfds: Any = getattr(unix_events, "_PidfdChildWatcher", object)


_asyncio_transport: Any = unix_events._UnixSubprocessTransport  # type: ignore[attr-defined]


class SubprocessTransport(_asyncio_transport):  # type: ignore[misc]
    """asyncio's transport of a child: what was written before is sent before it can react."""

    def _flush(self) -> None:
        if self._loop is not None:  # None once the child has exited and its pipes are closed
            self._loop._flush_transports()

    def _start(self, *args: Any, **kwargs: Any) -> None:
        self._flush()
        super()._start(*args, **kwargs)

    def send_signal(self, signal: int) -> None:
        """Send a signal to the child."""
        self._flush()
        super().send_signal(signal)

    def terminate(self) -> None:
        """Send SIGTERM to the child."""
        self._flush()
        super().terminate()

    def kill(self) -> None:
        """Send SIGKILL to the child."""
        self._flush()
        super().kill()

    def close(self) -> None:
        """Close the pipes, and kill the child if it still runs."""
        self._flush()
        super().close()


def subprocess_transport_type() -> Any:
    """The class to use: ours, unless somebody has put another one in the place of asyncio's."""
    current = unix_events._UnixSubprocessTransport  # type: ignore[attr-defined]
    return SubprocessTransport if current is _asyncio_transport else current


class _Pidfd:
    """A descriptor of a process, closed with whatever waits for it: also when the loop goes."""

    def __init__(self, pid: int) -> None:
        self.fd = -1
        self.fd = os.pidfd_open(pid)

    def close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    __del__ = close


class ChildWatcher(_Pidfds):  # type: ignore[misc]
    """A child watcher of asyncio, as far as an event loop uses one."""

    def __init__(self) -> None:
        self._threads: Any = None

    def add_child_handler(self, pid: int, callback: _Callback, *args: object) -> None:
        """Have the running loop call callback(pid, returncode, *args) once the child has exited."""
        loop: Any = asyncio.get_running_loop()
        try:
            pidfd = _Pidfd(pid)
        except (OSError, AttributeError):
            # An old kernel, a sandbox that forbids it, no descriptor left, not Linux.
            self._use_thread(pid, callback, *args)
            return
        loop._add_reader(pidfd.fd, self._exited, loop, pid, pidfd, callback, args)

    def _use_thread(self, pid: int, callback: _Callback, *args: object) -> None:
        if self._threads is None:
            self._threads = _Threads()
        self._threads.add_child_handler(pid, callback, *args)

    def _exited(
        self, loop: Any, pid: int, pidfd: _Pidfd, callback: _Callback, args: tuple[object, ...]
    ) -> None:
        loop._remove_reader(pidfd.fd)
        pidfd.close()
        try:
            _, status = os.waitpid(pid, 0)
        except ChildProcessError:
            returncode = 255  # as asyncio has it where somebody else has taken the status
            logger.warning(
                "child process pid %d exit status already read:  will report returncode 255", pid
            )
        else:
            returncode = os.waitstatus_to_exitcode(status)
        callback(pid, returncode, *args)


def has_own_watcher() -> bool:
    """Return whether the program may have chosen a child watcher: up to 3.13 by the policy."""
    if sys.version_info >= (3, 14):
        return False
    policy: Any = events.get_event_loop_policy()
    default: Any = unix_events._UnixDefaultEventLoopPolicy
    if type(policy).get_child_watcher is not default.get_child_watcher:
        return True
    # None as long as nobody has set one, or asked for the one that there is.
    return getattr(policy, "_watcher", None) is not None


def improves(watcher: object) -> bool:
    """Return whether a ChildWatcher replaces the watcher that asyncio has given to a new loop."""
    return watcher is None or type(watcher) is _Pidfds
