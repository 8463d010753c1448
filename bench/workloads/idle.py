"""An idle loop: it listens, has a connection and a far timer, and should do nothing at all."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from bench.cells import Cell, Context, Sample, Work


async def _idle(seconds: float) -> Sample:
    """CPU time and context switches of a while in which nothing happens."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    cpu, begin = time.process_time(), time.perf_counter()
    os.getppid()  # marks the window in the trace
    await asyncio.sleep(seconds)
    os.getppid()
    wall = time.perf_counter() - begin
    used = time.process_time() - cpu
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "value": used / wall,
        "wall": wall,
        "switches": (after.ru_nvcsw + after.ru_nivcsw - before.ru_nvcsw - before.ru_nivcsw) / wall,
    }


async def _scene(loop: asyncio.AbstractEventLoop) -> list[object]:
    """A server, a connection to it, a timer."""
    made = asyncio.Event()

    class Quiet(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport
            made.set()

    sock = socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)
    address = sock.getsockname()
    server = await loop.create_server(Quiet, sock=sock)
    client = socket.create_connection(address)
    await asyncio.wait_for(made.wait(), 10)
    return [server, client, loop.call_later(3600, print)]


def _count_calls(trace: str) -> int:
    """System calls between the two marks, all threads."""
    lines = [line for line in trace.splitlines() if "(" in line or "resumed" in line]
    marks = [i for i, line in enumerate(lines) if "getppid(" in line]
    return marks[-1] - marks[-2] - 1


def _traced(loop: asyncio.AbstractEventLoop, seconds: float) -> dict[str, float]:
    """The same once more under strace, where there is one that may attach."""
    strace = shutil.which("strace")
    if strace is None:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "trace"
        command = [strace, "-f", "-o", str(output), "-p", str(os.getpid())]
        tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert tracer.stderr is not None
        attached = "attached" in tracer.stderr.readline()
        if attached:
            loop.run_until_complete(_idle(seconds))
        tracer.terminate()
        tracer.wait()
        return {"syscalls": _count_calls(output.read_text()) / seconds} if attached else {}


def idle(context: Context) -> Sample:
    """CPU seconds per second of an idle loop; switches and system calls per second beside it."""
    loop = context.new_loop()
    seconds = context.settings.idle_seconds
    scene = loop.run_until_complete(_scene(loop))
    loop.run_until_complete(asyncio.sleep(0.05))
    sample = loop.run_until_complete(_idle(seconds))
    sample.update(_traced(loop, seconds))
    del scene
    return sample


CELLS: list[Cell] = [Work("idle/loop", "CPU of an idle loop", "s/s", None, 30.0, run=idle)]
