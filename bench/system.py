"""The machine: cores, sessions and limits for the measured processes, and a description of it.

Client and server run on different cores. Where the kernel groups tasks by session ("autogroup"),
`nice` has no say between sessions, so every measured process gets a session of its own and that
is raised; without this, whatever else the machine does moves the ratios by up to a quarter.
"""

from __future__ import annotations

import os
import platform
import resource
import sys
from datetime import UTC, datetime
from pathlib import Path

_SESSION_NICE = -15


def cores() -> tuple[int, int]:
    """A core for the measured process and one for the load: not two halves of one core if it can
    be helped, and the same one where there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    server = allowed[-1]
    others = [cpu for cpu in allowed if cpu != server]
    apart = [cpu for cpu in others if cpu not in _siblings(server)]
    return server, (apart or others or [server])[-1]


def _siblings(cpu: int) -> set[int]:
    path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    found: set[int] = set()
    try:
        text = path.read_text().strip()
    except OSError:
        return found
    for part in text.split(","):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def pin(cpu: int, pid: int = 0) -> None:
    """Keep a process (its main thread and the threads it starts from now on) on one core."""
    os.sched_setaffinity(pid, {cpu})


def raise_session(pid: int | str = "self") -> bool:
    """Raise the session of a process above the others; False where that cannot be done."""
    try:
        Path(f"/proc/{pid}/autogroup").write_text(str(_SESSION_NICE))
    except OSError:
        return False
    return True


def allow_files() -> int:
    """Raise the limit of open files as far as it goes, and return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def describe() -> dict[str, object]:
    """The machine and the interpreter, for the record."""
    server, client = cores()
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "gil": getattr(sys, "_is_gil_enabled", lambda: True)(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "cpu_model": _cpu_model(),
        "server_core": server,
        "client_core": client,
        "autogroup": _autogroup(),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    found = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(found, "")


def _autogroup() -> bool:
    try:
        return Path("/proc/sys/kernel/sched_autogroup_enabled").read_text().strip() == "1"
    except OSError:
        return False
