"""``python -m fastaio --check``: which loop a program runs on, told where its first loop starts.

The program runs in a process of its own. FASTAIO_CHECK has the address of a socket there, and in
the processes that the program starts. The first process whose loop starts sends what which() tells
and ends there: nothing of the coroutine has run.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from typing import NoReturn

from ..report import Which, which
from . import foreign

__all__ = ("ENVIRONMENT_VARIABLE", "answer", "check")

ENVIRONMENT_VARIABLE = "FASTAIO_CHECK"

# How long servers may take to end their workers.
_PATIENCE_S = 5


def answer(loop: asyncio.AbstractEventLoop) -> NoReturn:
    """Send what which() tells of the loop to the socket in FASTAIO_CHECK, and end the process."""
    foreign.warn_once(loop)
    report = json.dumps(which(loop)._asdict()).encode()
    # Another process may have answered before: then nobody listens.
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as sock:
        sock.connect(os.environ[ENVIRONMENT_VARIABLE])
        sock.sendall(report)
    # os._exit() flushes nothing. A program may have closed these, or have none.
    with contextlib.suppress(AttributeError, OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(0)


def check(arguments: list[str]) -> int:
    """Run ``python -m fastaio`` with the arguments until a loop starts; print what which() tells.

    Return the exit status: 0 if the loop is fastaio's, 1 if it is not or if no loop has started.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the program is ended, too
    with tempfile.TemporaryDirectory(prefix="fastaio-") as folder:
        address = os.path.join(folder, "check")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address)
            listener.listen()
            flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
            process = subprocess.Popen(
                [sys.executable, *flags, "-m", "fastaio", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno(),
                env={**os.environ, ENVIRONMENT_VARIABLE: address},
                start_new_session=True,
            )
            try:
                report = _receive(listener, process)
            finally:
                _end(process)
    if report is None:
        print(f"no event loop has started: the program has ended with {process.returncode}")
        return 1
    print(report)
    return 0 if report.is_fastaio else 1


def _receive(listener: socket.socket, process: subprocess.Popen[bytes]) -> Which | None:
    """Wait for a report, or for the end of the program: then return None."""
    pidfd = os.pidfd_open(process.pid)
    try:
        select.select([listener.fileno(), pidfd], [], [])
        # The program may have ended because it has answered.
        ready, _, _ = select.select([listener], [], [], 0)
    finally:
        os.close(pidfd)
    if not ready:
        return None
    connection, _ = listener.accept()
    with connection, connection.makefile("rb") as file:
        return Which(**json.load(file))


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the program and all that it has started."""
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_PATIENCE_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
