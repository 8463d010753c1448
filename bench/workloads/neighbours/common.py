"""The common part of this family: making cells, their peers, and work for the loop."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import subprocess
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Protocol

from bench import native, sockets, system
from bench.cells import Context, Figure, Sample, Work

#: How long a cell takes, and when it hangs: the whole family is to take a few minutes.
ROUNDS = 2
WINDOW = 0.6
PATIENCE = 8.0

#: Bytes of a piece that a flooding peer writes.
PIECE = 65536


class Open(Protocol):
    """A socket or file that is handed to a peer."""

    def fileno(self) -> int: ...

    def close(self) -> None: ...


def cell(
    name: str,
    title: str,
    run: Callable[[Context], Coroutine[Any, Any, Sample]],
    unit: str = "s",
    *beside: Figure,
    more_is_better: bool = False,
    needs: tuple[str, ...] = (),
) -> Work:
    """Make a cell of a coroutine function that runs on the loop and measures."""

    def on_loop(context: Context) -> Sample:
        return context.new_loop().run_until_complete(run(context))

    return Work(
        f"neighbours/{name}",
        title,
        unit,
        None,
        PATIENCE,
        run=on_loop,
        beside=beside,
        more_is_better=more_is_better,
        varies=True,
        rounds=ROUNDS,
        window=WINDOW,
        needs=needs,
    )


def start_peer(
    context: Context, mode: str, *numbers: int, ends: Iterable[Open], tls: bool = False
) -> subprocess.Popen[bytes]:
    """Start c/peer.c on the other core and hand it the other ends of some connections."""
    ends = list(ends)
    descriptors = [end.fileno() for end in ends]
    command = [native.program("peer", tls=tls), *(["--tls"] if tls else []), mode]
    command += [str(number) for number in (*numbers, *descriptors)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=descriptors)
    system.pin(context.other_core, process.pid)
    for end in ends:
        end.close()
    return process


def stop_peer(process: subprocess.Popen[bytes]) -> None:
    """End a peer."""
    process.kill()
    process.wait()


async def connections(
    factory: Callable[[], asyncio.BaseProtocol], count: int, **options: Any
) -> tuple[list[socket.socket], object]:
    """Start a server and connect to it, without TLS even where the server has it. Return the
    clients, and what keeps the server."""
    loop = asyncio.get_running_loop()
    sock = sockets.listening(cubic=True)
    address = sock.getsockname()
    server = await loop.create_server(factory, sock=sock, backlog=64, **options)
    return [sockets.connected(address, cubic=True) for _ in range(count)], server


class Keeper(asyncio.Protocol):
    """Hands its transport out once there is one."""

    def __init__(self, made: asyncio.Future[asyncio.WriteTransport]) -> None:
        self._made = made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._made.set_result(transport)  # type: ignore[arg-type]


class Busy:
    """Keeps the running loop busy: a task and a callback have something to do in every turn."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._over = False
        self._task = self._loop.create_task(self._turns())
        self._callback()

    async def _turns(self) -> None:
        while not self._over:
            await asyncio.sleep(0)

    def _callback(self) -> None:
        if not self._over:
            self._loop.call_soon(self._callback)

    async def end(self) -> None:
        """Stop."""
        self._over = True
        await self._task


def settle() -> None:
    """Collect garbage and take what is left out of the collector's sight, as before any window
    that counts."""
    gc.collect()
    gc.freeze()


def stat_often(count: int) -> None:
    """Give the GIL up and ask for it again, so many times."""
    for _ in range(count):
        os.stat("/")
