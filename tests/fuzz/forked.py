"""Run a function in a forked child and tell how that ended.

The parent has imported everything and has made no loop and no thread, so that forking it is cheap
and safe, and a crash costs one child.
"""

import contextlib
import faulthandler
import gc
import mmap
import os
import re
import resource
import select
import signal
import sys
import time
from typing import NamedTuple

DIFFERENT = 91
CORRUPT = 92
STUCK = 93
LARGEST_OUTPUT = 400_000

_SANITIZER = re.compile(
    r"runtime error: .*|ERROR: AddressSanitizer: [\w-]+|Assertion .* failed|"
    r"Fatal Python error: .*|Debug memory block at"
)


class Outcome(NamedTuple):
    """How a child ended: `what` is empty where all was well."""

    what: str
    output: str
    reached: int = 0

    @property
    def kind(self):
        """What must stay the same while a program is shrunk."""
        return self.what.partition(":")[0]


def judge(status, output):
    """What a child's exit status and output mean, or ""."""
    if status == STUCK:
        return "hang"
    found = _SANITIZER.search(output)
    if status < 0:
        return f"crash: {signal.Signals(-status).name}"
    if status == DIFFERENT:
        return "difference"
    if status == CORRUPT:
        return "corruption"
    if found:
        return f"crash: {found[0]}"
    if status:
        return f"crash: exit status {status}"
    return ""


def run(function, seconds):
    """Run `function(reach)` in a child; `reach(n)` notes how far it has come.

    What the function prints, and what faulthandler and sanitizers say, is the outcome's output.
    """
    notes = mmap.mmap(-1, 8)
    read, write = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if not pid:
        os.close(read)
        _child(function, notes, write)
    os.close(write)
    output, hung = _listen(read, pid, seconds)
    os.close(read)
    _, status = os.waitpid(pid, 0)
    reached = int.from_bytes(notes[:8], "little")
    what = judge(STUCK if hung else os.waitstatus_to_exitcode(status), output)
    return Outcome(what, output, reached)


def _child(function, notes, write):
    status = 1
    try:
        os.setpgid(0, 0)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.dup2(write, 1)
        os.dup2(write, 2)
        os.close(write)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        # A copy for faulthandler: programs may close or replace what is at 2.
        faulthandler.enable(os.dup(2))

        def reach(number):
            notes[:8] = number.to_bytes(8, "little")

        gc.collect()
        gc.freeze()
        status = function(reach) or 0
    except BaseException as exc:  # noqa: BLE001 - the child must end here
        with contextlib.suppress(BaseException):
            os.write(2, f"{type(exc).__name__}: {exc}\n".encode())
    finally:
        with contextlib.suppress(BaseException):
            sys.__stdout__.flush()
        os._exit(status)


def _listen(read, pid, seconds):
    """Collect what the child says until it ends; have it killed after the time."""
    deadline = time.monotonic() + seconds
    parts, total, hung = [], 0, False
    while True:
        left = deadline - time.monotonic()
        ready, _, _ = select.select([read], [], [], max(left, 0))
        if ready:
            data = os.read(read, 65536)
            if not data:
                break
            if total < LARGEST_OUTPUT:
                parts.append(data)
                total += len(data)
        elif hung:  # it has not even died of SIGABRT
            _kill(pid, signal.SIGKILL)
            break
        else:
            hung = True
            _kill(pid, signal.SIGABRT)  # faulthandler says where it is
            deadline = time.monotonic() + 5
    if hung:
        _kill(pid, signal.SIGKILL)
    return b"".join(parts).decode(errors="replace"), hung


def _kill(pid, number):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
