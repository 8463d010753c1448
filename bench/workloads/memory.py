"""Memory: bytes that one more of a thing costs, from the private pages of the process.

Compared to asyncio. Only what the process itself holds is counted, not the kernel's buffers.
"""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

from bench import native
from bench.cells import Cell, Context, Sample, Work

BACKLOG = 8192


def private_bytes() -> int:
    """The anonymous memory of this process that is in RAM."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) * 1024
    raise OSError("no Anonymous line in /proc/self/smaps_rollup")


class _Idle(asyncio.Protocol):
    """A protocol that keeps its transport and does nothing; counts connections."""

    def __init__(self, made: Callable[[], None]) -> None:
        self._made = made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._made()


def _allowed(wanted: int) -> int:
    """As many connections as there may be open files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(min(wanted, soft - 100), 1)


def connections(context: Context) -> Sample:
    """Bytes per idle connection of a server, with a bare protocol."""
    loop = context.new_loop()
    wanted = _allowed(int(4000 * context.settings.scale))

    async def main() -> Sample:
        made = 0
        arrived = asyncio.Event()
        goal = 0

        def count() -> None:
            nonlocal made
            made += 1
            if made >= goal:
                arrived.set()

        sock = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        sock.setblocking(False)
        port = sock.getsockname()[1]
        server = await loop.create_server(lambda: _Idle(count), sock=sock, backlog=BACKLOG)

        async def connect(number: int) -> subprocess.Popen[str]:
            nonlocal goal
            arrived.clear()
            goal = made + number
            options = ("--mode", "hold", "--connections", str(number), "--port", str(port))
            client = subprocess.Popen(
                [native.program("load"), *options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            await asyncio.wait_for(arrived.wait(), 15)
            assert client.stdout is not None
            answer = json.loads(client.stdout.readline())
            if "error" in answer:
                raise OSError(answer["error"])
            return client

        clients = [await connect(wanted // 10 + 1)]  # what is only needed once is paid here
        gc.collect()
        before = private_bytes()
        clients.append(await connect(wanted))
        gc.collect()
        used = private_bytes() - before
        for client in clients:
            client.kill()
            client.wait()
        del server
        return {"value": used / wanted, "count": float(wanted)}

    return loop.run_until_complete(main())


def futures(context: Context) -> Sample:
    """Bytes per pending future."""
    loop = context.new_loop()
    count = int(1_000_000 * context.settings.scale)
    kept: list[object] = [None] * count
    gc.collect()
    before = private_bytes()
    for i in range(count):
        kept[i] = loop.create_future()
    return {"value": (private_bytes() - before) / count, "count": float(count)}


def tasks(context: Context) -> Sample:
    """Bytes per task that waits for a future of its own."""
    loop = context.new_loop()
    count = int(100_000 * context.settings.scale)

    async def wait() -> None:
        await loop.create_future()

    async def main() -> Sample:
        kept: list[object] = [None] * count
        gc.collect()
        before = private_bytes()
        for i in range(count):
            kept[i] = loop.create_task(wait())
        await asyncio.sleep(0)
        return {"value": (private_bytes() - before) / count, "count": float(count)}

    return loop.run_until_complete(main())


CELLS: list[Cell] = [
    Work("memory/connection", "idle connection", "B", "asyncio", 40.0, run=connections),
    Work("memory/future", "pending future", "B", "asyncio", 40.0, run=futures),
    Work("memory/task", "waiting task", "B", "asyncio", 40.0, run=tasks),
]
