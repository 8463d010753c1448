"""The native half: Future, Task, handles, the loop's core, transports of streams."""

import asyncio
import socket
from asyncio import base_events
from collections.abc import Callable
from contextvars import Context
from typing import Any, TypeVar, TypeVarTuple

_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)
_Ts = TypeVarTuple("_Ts")

# Everything that is asyncio's, with asyncio's signatures, is typed by these bases. Handle and
# TimerHandle only look like subclasses: isinstance() says so, the layout is their own.
class Future(asyncio.Future[_T]): ...
class Task(asyncio.Task[_T_co]): ...
class Handle(asyncio.Handle): ...
class TimerHandle(asyncio.TimerHandle): ...
class StreamTransport(asyncio.Transport): ...

class Loop(asyncio.SelectorEventLoop):
    _closed: bool
    _debug: bool
    _stopping: bool
    _thread_id: int | None
    spin_us: int
    warn_slow_callbacks: bool
    @property
    def backend(self) -> str | None: ...
    def __init__(self, backend: str) -> None: ...
    def metrics(self) -> dict[str, Any]: ...
    def _run(self) -> None: ...
    def _close_native(self) -> None: ...
    def _flush_transports(self) -> None: ...
    def _watched(self, fd: int, /) -> int: ...
    def _ensure_fd_no_transport(self, fd: int | socket.socket, /) -> None: ...
    def _add_reader(
        self,
        fd: int,
        callback: Callable[[*_Ts], object],
        /,
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.Handle: ...
    def _make_stream_transport(
        self,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[Any] | None = None,
        extra: dict[str, Any] | None = None,
        server: asyncio.AbstractServer | None = None,
    ) -> StreamTransport: ...

class Listener:
    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        server: base_events.Server | None,
        backlog: int,
    ) -> None: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...

def _live_tasks() -> list[asyncio.Task[Any]]: ...
