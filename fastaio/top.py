"""``python -m fastaio top PID``: what another process's loops do, live and from outside.

The process answers on a Unix socket in the runtime folder, which only its owner may use. It makes
the socket if FASTAIO_TOP is set, or when ``top`` asks for it: from Python 3.14 on, by
``sys.remote_exec()``.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import json
import os
import platform
import socket
import stat
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import environment
from .accounts import running_loops

__all__ = ("ENVIRONMENT_VARIABLE", "asked_for", "main", "serve", "snapshot")

ENVIRONMENT_VARIABLE = "FASTAIO_TOP"

_TIMEOUT = 5.0
_CLEAR = "\x1b[H\x1b[2J"
_MOST_ROWS = 40
_HEADING = f"{'CPU':>6} {'steps/s':>10} {'us/step':>9} {'longest ms':>11} {'waited us':>10}  name"


class TopError(Exception):
    """Why there is nothing to show, in one sentence."""


def _folder(variables: Mapping[str, str]) -> Path:
    """Return the folder of the sockets; OSError if somebody else may write there."""
    runtime = variables.get("XDG_RUNTIME_DIR")
    if runtime and os.path.isdir(runtime):
        folder = Path(runtime, "fastaio")
    else:
        folder = Path("/tmp", f"fastaio-{os.geteuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise PermissionError(f"{folder} is not a folder that only its owner may use")
    return folder


def _environment(pid: int) -> Mapping[str, str]:
    """Return the environment that a process was started with: a service has not that of a shell."""
    if pid == os.getpid():
        return os.environ
    entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    pairs = (os.fsdecode(entry).partition("=") for entry in entries)
    return {name: value for name, _, value in pairs}


def socket_path(pid: int) -> Path:
    """Return where a process of this user answers."""
    return _folder(_environment(pid)) / f"{pid}.sock"


# The process that is looked at


def asked_for() -> bool:
    """Return whether FASTAIO_TOP asks this process to answer."""
    return environment.read_switch(ENVIRONMENT_VARIABLE, "fastaio top gets no answer here")


def snapshot() -> dict[str, Any]:
    """Return the metrics and accounts of the loops that run, as JSON takes them.

    The first call begins to keep accounts.
    """
    loops = []
    for loop in running_loops():
        if not loop.keeps_accounts:
            loop.account()
        metrics: dict[str, Any] = {**loop.metrics()}
        rows = loop._account_rows()
        loops.append({"backend": loop.backend, "metrics": metrics, "accounts": rows})
    return {
        "pid": os.getpid(),
        "python": platform.python_version(),
        "time_ns": time.monotonic_ns(),
        "loops": loops,
    }


def _may_ask(connection: socket.socket) -> bool:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    _, uid, _ = struct.unpack("3i", credentials)
    return uid in (0, os.geteuid())


def _answer(listener: socket.socket) -> None:
    """Answer each connection with a snapshot, until the process ends."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:  # the process has no descriptor left
            time.sleep(0.1)
            continue
        with connection, contextlib.suppress(OSError):
            connection.settimeout(_TIMEOUT)
            if _may_ask(connection):
                connection.sendall(json.dumps(snapshot()).encode())


_served_pid = 0
_serving = threading.Lock()


def _forget_lock() -> None:
    global _serving
    _serving = threading.Lock()


os.register_at_fork(after_in_child=_forget_lock)


def serve() -> None:
    """Answer ``top`` from a thread of this process, from now on; OSError if that is impossible."""
    with _serving:
        if _served_pid != os.getpid():
            _serve()


def _serve() -> None:
    global _served_pid
    path = socket_path(os.getpid())
    early = path.with_suffix(".new")
    early.unlink(missing_ok=True)  # of an earlier process with this number
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listener.bind(str(early))
        early.chmod(0o600)
        listener.listen(8)
        early.replace(path)  # whoever sees the socket can connect
    except BaseException:
        listener.close()
        raise
    _served_pid = os.getpid()
    atexit.register(_remove, path, _served_pid)
    threading.Thread(target=_answer, args=(listener,), name="fastaio-top", daemon=True).start()


def _remove(path: Path, pid: int) -> None:
    if pid == os.getpid():  # and not a forked child
        path.unlink(missing_ok=True)


# The process that looks


def _ask(path: Path) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(_TIMEOUT)
        sock.connect(str(path))
        parts = []
        while part := sock.recv(65536):
            parts.append(part)
    return dict(json.loads(b"".join(parts)))


_PTRACE_DETACH, _PTRACE_SEIZE, _PTRACE_INTERRUPT = 17, 0x4206, 0x4207
_WALL = 0x40000000


def _interrupt(pid: int) -> None:
    """End the system call in which the main thread of a process waits, as a debugger does.

    A loop that waits runs no Python code, so it would not do what it is asked to do. The
    wait ends with EINTR, and begins again. Where that is not permitted, nothing happens.
    """
    try:
        import ctypes
    except ImportError:  # a Python that was built without
        return
    ptrace = ctypes.CDLL(None).ptrace
    ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
    if ptrace(_PTRACE_SEIZE, pid, None, None) != 0:
        return
    ptrace(_PTRACE_INTERRUPT, pid, None, None)
    for _ in range(100):  # a thread that waits for a disk stops later, and is let go when we end
        if os.waitpid(pid, _WALL | os.WNOHANG)[0] == pid:
            ptrace(_PTRACE_DETACH, pid, None, None)
            return
        time.sleep(0.01)


def _have_it_serve(pid: int, path: Path) -> None:
    """Make a process that was not started with FASTAIO_TOP answer."""
    hint = f"start it with {ENVIRONMENT_VARIABLE}=1"
    remote_exec = getattr(sys, "remote_exec", None)
    if remote_exec is None:
        raise TopError(f"process {pid} does not answer: {hint}, or use Python 3.14 on both sides")
    source = (
        "import sys\nif 'fastaio' in sys.modules:\n    from fastaio import top\n    top.serve()\n"
    )
    with tempfile.NamedTemporaryFile("w", suffix=".py", dir=path.parent) as script:
        script.write(source)
        script.flush()
        try:
            remote_exec(pid, script.name)
        except (OSError, RuntimeError, ValueError) as error:
            raise TopError(f"process {pid} cannot be looked into ({error}): {hint}") from None
        deadline = time.monotonic() + _TIMEOUT
        while not path.exists():
            if time.monotonic() > deadline:
                raise TopError(
                    f"process {pid} does not answer: it has no loop of fastaio, or its main thread "
                    "is not at work in Python"
                )
            _interrupt(pid)  # again and again: the thread may have been about to wait
            for _ in range(10):
                if not path.exists():
                    time.sleep(0.02)


def look(pid: int) -> dict[str, Any]:
    """Return a snapshot of another process; TopError says why there is none."""
    try:
        owner = os.stat(f"/proc/{pid}").st_uid
    except FileNotFoundError:
        raise TopError(f"there is no process {pid}") from None
    if owner != os.geteuid():
        raise TopError(f"process {pid} belongs to another user")
    try:
        path = socket_path(pid)
        try:
            answer = _ask(path)
        except (FileNotFoundError, ConnectionRefusedError):
            path.unlink(missing_ok=True)
            _have_it_serve(pid, path)
            answer = _ask(path)
    except (OSError, ValueError) as error:
        raise TopError(f"process {pid} does not answer: {error}") from None
    if not answer["loops"]:
        raise TopError(f"process {pid} runs no loop of fastaio")
    return answer


def _rates(new: list[Any], old: list[Any] | None) -> list[Any]:
    """Return a row with what has been added since an old one."""
    if old is None or new[1] < old[1]:  # or the program has cleared its accounts
        return new
    name, steps, run, cpu, longest, waited = new
    return [name, steps - old[1], run - old[2], cpu - old[3], longest, waited - old[5]]


def _plain(name: str) -> str:
    """Return a name without what a terminal would obey: the name of a task may be any text."""
    return "".join(character if character.isprintable() else "?" for character in name)


def table(new: dict[str, Any], old: dict[str, Any] | None) -> str:
    """Return the text for two snapshots; for one, since the loop was made."""
    lines = [f"process {new['pid']}, CPython {new['python']}"]
    for index, loop in enumerate(new["loops"]):
        before = old["loops"][index] if old and index < len(old["loops"]) else None
        metrics = loop["metrics"]
        then = before["metrics"] if before else dict.fromkeys(metrics, 0)
        span = (
            new["time_ns"] - old["time_ns"]
            if before and old
            else metrics["busy_ns"] + metrics["idle_ns"]
        )
        seconds = max(span, 1) / 1e9
        busy = (metrics["busy_ns"] - then["busy_ns"]) / max(span, 1)
        lines.append(
            f"loop {index} ({loop['backend']}): "
            f"{(metrics['callbacks'] - then['callbacks']) / seconds:,.0f} callbacks/s, "
            f"{busy:.1%} busy, {metrics['tasks']:,} tasks, {metrics['connections']:,} connections, "
            f"{metrics['ready']:,} ready, {metrics['timers']:,} timers, "
            f"{metrics['slow_callbacks']:,} slow callbacks"
        )
        lines.append(_HEADING)
        known = {row[0]: row for row in before["accounts"]} if before else {}
        rows = [_rates(row, known.get(row[0])) for row in loop["accounts"]]
        rows.sort(key=lambda row: row[3], reverse=True)
        for name, steps, run, cpu, longest, waited in rows[:_MOST_ROWS]:
            if steps:
                lines.append(
                    f"{cpu / max(span, 1):6.1%} {steps / seconds:10,.0f} {run / steps / 1e3:9,.1f} "
                    f"{longest / 1e6:11,.2f} {waited / steps / 1e3:10,.1f}  {_plain(name)}"
                )
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fastaio top",
        description="Show what the loops of a process do: each coroutine function and callback "
        "with its CPU time, steps, longest step and waiting time.",
    )
    parser.add_argument("pid", type=int, metavar="PID", help="the process")
    parser.add_argument(
        "--interval", type=float, default=1.0, metavar="SECONDS", help="between two tables"
    )
    parser.add_argument("--once", action="store_true", help="print one table, and end")
    return parser


def main(arguments: list[str]) -> int:
    """Show tables until Ctrl-C; return the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if not 0 < options.interval < 3600:
        parser.error("--interval must be above 0 and below 3600 seconds")
    old = None
    try:
        while True:
            new = look(options.pid)
            if old is not None:
                print("" if options.once else _CLEAR, table(new, old), sep="", flush=True)
                if options.once:
                    return 0
            old = new
            time.sleep(options.interval)
    except TopError as error:
        print(f"fastaio top: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
