"""The native half: Future, Task, handles, the loop's core, transports of streams."""

import asyncio
import socket
from asyncio import base_events
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from typing import Any, ClassVar, Generic, Self, TypeVar, TypeVarTuple, final

from typing_extensions import disjoint_base

_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)
_Ts = TypeVarTuple("_Ts")

# What is asyncio's, with asyncio's signatures, is typed by these bases. Handle and TimerHandle only
# look like subclasses: isinstance() says so, the layout is their own.
@disjoint_base
class Future(asyncio.Future[_T]): ...

@disjoint_base
class Task(asyncio.Task[_T_co]): ...

@final
class FutureIter(Generator[Any, Any, _T_co], Generic[_T_co]):
    def send(self, value: Any, /) -> Any: ...
    def throw(self, typ: Any, val: Any = None, tb: Any = None, /) -> Any: ...
    def close(self) -> None: ...

@final
class Handle(asyncio.Handle): ...

@final
class TimerHandle(asyncio.TimerHandle):
    def __eq__(self, other: object, /) -> bool: ...
    def __ge__(self, other: TimerHandle, /) -> bool: ...  # type: ignore[override]
    def __gt__(self, other: TimerHandle, /) -> bool: ...  # type: ignore[override]
    def __hash__(self) -> int: ...
    def __le__(self, other: TimerHandle, /) -> bool: ...  # type: ignore[override]
    def __lt__(self, other: TimerHandle, /) -> bool: ...  # type: ignore[override]

@disjoint_base
class StreamTransport(asyncio.Transport):
    max_size: ClassVar[int]

@final
class SockOp(Coroutine[Any, Any, _T_co], Generic[_T_co]):
    """What sock_recv() and its kin return: tries the system call at its first step."""

    __name__: str
    __qualname__: str
    @property
    def cr_code(self) -> Any: ...
    @property
    def cr_frame(self) -> Any: ...
    @property
    def cr_origin(self) -> Any: ...
    @property
    def cr_running(self) -> bool: ...
    @property
    def cr_suspended(self) -> bool: ...
    def __await__(self) -> Generator[Any, Any, _T_co]: ...
    def send(self, value: Any, /) -> Any: ...
    def throw(self, typ: Any, val: Any = None, tb: Any = None, /) -> Any: ...
    def close(self) -> None: ...

@final
class StreamReader(asyncio.StreamReader):
    """What an asyncio.StreamReader becomes once a native transport feeds it."""

@final
class ReaderCore: ...

@final
class ReadOp(Coroutine[Any, Any, bytes]):
    """A read of a StreamReader: takes from its buffer at its first step, or waits."""

    __name__: str
    __qualname__: str
    @property
    def cr_code(self) -> Any: ...
    @property
    def cr_frame(self) -> Any: ...
    @property
    def cr_origin(self) -> Any: ...
    @property
    def cr_running(self) -> bool: ...
    @property
    def cr_suspended(self) -> bool: ...
    def __await__(self) -> Generator[Any, Any, bytes]: ...
    def __iter__(self) -> Generator[Any, Any, bytes]: ...
    def __next__(self) -> Any: ...
    def send(self, value: Any, /) -> Any: ...
    def throw(self, typ: Any, val: Any = None, tb: Any = None, /) -> Any: ...
    def close(self) -> None: ...

@disjoint_base
class Loop(asyncio.SelectorEventLoop):
    _closed: bool
    _debug: bool
    _stopping: bool
    _thread_id: int | None
    spin_us: int
    warn_slow_callbacks: bool
    @property
    def backend(self) -> str | None: ...
    def __init__(self, backend: str = "epoll") -> None: ...
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

@final
class Listener:
    @property
    def fd(self) -> int: ...
    def __new__(
        cls,
        loop: Loop,
        sock: socket.socket,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        server: base_events.Server | None,
        backlog: int,
    ) -> Self: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...

def _live_tasks() -> list[asyncio.Task[Any]]: ...
def _adopt_layout(
    probe: asyncio.Task[Any],
    coro: object,
    context: object,
    name: str,
    waiter: object,
    offsets: tuple[int, ...] | None,
    /,
) -> None: ...
