"""The native half: Future, Task, handles, the loop's core, transports of streams."""

import asyncio
import socket
import types
from asyncio import base_events, transports
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable
from contextvars import Context
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar, TypeVarTuple, final

from _typeshed import StrOrBytesPath, SupportsRichComparisonT
from typing_extensions import Buffer, disjoint_base

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

# The data path of asyncio's classes of the same purpose: fastaio/tls.py joins the two.
@disjoint_base
class TlsProtocol:
    _loop: Any
    _extra: Any
    _transport: Any
    _app_transport: Any
    _app_protocol: Any
    _app_protocol_get_buffer: Any
    _app_protocol_buffer_updated: Any
    _state: Any
    _sslobj: Any
    _incoming: Any
    _outgoing: Any
    _write_backlog: Any
    _write_buffer_size: Any
    _conn_lost: int
    _incoming_high_water: int
    _incoming_low_water: int
    _outgoing_high_water: int
    _outgoing_low_water: int
    _ssl_writing_paused: bool
    _ssl_reading_paused: bool
    _app_reading_paused: bool
    _app_writing_paused: bool
    _app_protocol_is_buffer: bool
    @property
    def _cipher(self) -> str: ...
    def buffer_updated(self, nbytes: int, /) -> None: ...
    def _do_read(self) -> None: ...
    def _do_write(self) -> None: ...
    def _process_outgoing(self) -> None: ...
    def _control_app_writing(self) -> None: ...
    def _control_ssl_reading(self) -> None: ...
    def _pause_reading(self) -> None: ...
    def _resume_reading(self) -> None: ...
    def _flush(self) -> None: ...
    def _flush_last(self) -> None: ...
    def _drop_output(self) -> None: ...
    def _call_alone(self, function: Callable[..., _T], /, *args: Any) -> _T: ...
    def _queue(self, data: bytes | bytearray | memoryview, /) -> None: ...
    def _write_appdata(self, list_of_data: Iterable[bytes | bytearray | memoryview], /) -> None: ...
    def _set_app_protocol(self, protocol: asyncio.BaseProtocol, /) -> None: ...
    def _get_write_buffer_size(self) -> int: ...
    def _get_read_buffer_size(self) -> int: ...
    def _get_extra_info(self, name: str, default: Any = None, /) -> Any: ...

@disjoint_base
class TlsTransport(transports._FlowControlMixin):
    _ssl_protocol: Any
    _closed: bool

@disjoint_base
class DatagramCore(asyncio.Transport):
    """The native half of transports.DatagramTransport."""

    _loop: Any
    _protocol: Any
    _sock: Any
    _address: Any
    _buffer: Any
    _buffer_size: Any
    _conn_lost: int
    _closing: bool
    _paused: bool
    _own_socket: bool
    def sendto(self, data: bytes | bytearray | memoryview, addr: Any = None) -> None: ...
    def resume_reading(self) -> None: ...

@disjoint_base
class ReadPipeCore(asyncio.ReadTransport):
    """The native half of transports.ReadPipeTransport."""

    _loop: Any
    _protocol: Any
    _pipe: Any
    _fileno: Any
    _closing: bool
    _paused: bool

@disjoint_base
class WritePipeCore(asyncio.Transport):
    """The native half of transports.WritePipeTransport."""

    _loop: Any
    _protocol: Any
    _pipe: Any
    _fileno: Any
    _buffer: Any
    _conn_lost: int
    _closing: bool
    _high_water: Any
    _low_water: Any
    _protocol_paused: bool

# Coroutines in C have these attributes. The class is only here.
class _Coroutine(Coroutine[Any, Any, _T_co], Generic[_T_co]):
    __name__: str
    __qualname__: str
    @property
    def cr_await(self) -> Any: ...
    @property
    def cr_code(self) -> types.CodeType: ...
    @property
    def cr_frame(self) -> types.FrameType | None: ...
    @property
    def cr_origin(self) -> Any: ...
    @property
    def cr_running(self) -> bool: ...
    @property
    def cr_suspended(self) -> bool: ...
    def __await__(self) -> Generator[Any, Any, _T_co]: ...
    def __iter__(self) -> Generator[Any, Any, _T_co]: ...
    def __next__(self) -> Any: ...
    def send(self, value: Any, /) -> Any: ...
    def throw(self, typ: Any, val: Any = None, tb: Any = None, /) -> Any: ...
    def close(self) -> None: ...

@final
class SockOp(_Coroutine[_T_co]):
    """What sock_recv() and its kin return: tries the system call at its first step."""

@final
class StreamReader(asyncio.StreamReader):
    """What an asyncio.StreamReader becomes once a native transport feeds it."""

@final
class ReaderCore: ...

@final
class ReadOp(_Coroutine[bytes]):
    """A read of a StreamReader: takes from its buffer at its first step, or waits."""

@final
class CoroutineFunction:
    """A native function or method that returns a coroutine."""

    __name__: str
    __qualname__: str
    @property
    def _is_coroutine(self) -> object: ...
    @property
    def _is_coroutine_marker(self) -> object: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]: ...
    def __get__(self, instance: Any, owner: type | None = None, /) -> Any: ...
    def __reduce__(self) -> str: ...

@final
class Op(_Coroutine[Any]):
    """The coroutine of a native primitive."""

@final
class Immediate:
    """An awaitable that is done."""

    def __await__(self) -> Generator[Any, Any, Any]: ...
    def __iter__(self) -> Generator[Any, Any, Any]: ...
    def __next__(self) -> Any: ...
    def send(self, value: Any, /) -> Any: ...
    def throw(self, typ: Any, val: Any = None, tb: Any = None, /) -> Any: ...
    def close(self) -> None: ...

@final
class DoneCallback:
    @property
    def __qualname__(self) -> str: ...
    @property
    def __self__(self) -> Any: ...
    def __call__(self, future: asyncio.Future[Any], /) -> None: ...

# asyncio's classes and functions in C, with asyncio's signatures.
@disjoint_base
class Lock(asyncio.Lock): ...

@disjoint_base
class Event(asyncio.Event): ...

# It only looks like a subclass: isinstance() says so, the layout is its own.
@disjoint_base
class Timeout(asyncio.Timeout):  # type: ignore[misc]
    def __call__(self, *args: Any, **kwargs: Any) -> None: ...

def timeout(delay: float | None) -> asyncio.Timeout: ...
def timeout_at(when: float | None) -> asyncio.Timeout: ...

@disjoint_base
class Semaphore(asyncio.Semaphore): ...

@disjoint_base
class BoundedSemaphore(Semaphore, asyncio.BoundedSemaphore): ...

@disjoint_base
class Condition(asyncio.Condition):
    # Attributes of the object, which __init__() takes from the lock.
    acquire: Callable[[], Coroutine[Any, Any, Literal[True]]]
    release: Callable[[], None]
    locked: Callable[[], bool]

@disjoint_base
class Barrier(asyncio.Barrier): ...

@disjoint_base
class TaskGroup(asyncio.TaskGroup): ...

@disjoint_base
class Queue(asyncio.Queue[_T]): ...

class PriorityQueue(
    Queue[SupportsRichComparisonT], asyncio.PriorityQueue[SupportsRichComparisonT]
): ...
class LifoQueue(Queue[_T], asyncio.LifoQueue[_T]): ...

async def sleep(delay: float, result: _T = ...) -> _T: ...  # noqa: B008
async def wait_for(fut: Awaitable[_T], timeout: float | None) -> _T: ...

as_completed = asyncio.as_completed
gather = asyncio.gather
shield = asyncio.shield
wait = asyncio.wait

@final
class FileOp:
    """An operation on a file, in flight on a loop's io_uring."""

    @property
    def future(self) -> asyncio.Future[Any]: ...
    @property
    def done(self) -> int: ...
    def cancel(self) -> None: ...

def known_literal(
    answers: dict[tuple[str, int | None, int, int, int, int], list[Any]],
    host: object,
    port: object,
    family: object,
    type: object,
    proto: object,
    flags: object,
    /,
) -> list[Any] | None: ...

@final
class Job:
    """A call that a thread of the default executor makes for a loop."""

@final
class JobQueue:
    """The queue of work items of a ThreadPoolExecutor, with native jobs, and its idle threads."""

    def __new__(cls) -> Self: ...
    def submit(
        self,
        loop: Loop,
        future: asyncio.Future[Any],
        func: Callable[..., object],
        args: tuple[object, ...],
        /,
    ) -> bool | None: ...
    def put(self, item: object, /) -> None: ...
    def get(self, block: bool = True) -> Any: ...
    def get_nowait(self) -> Any: ...
    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool: ...
    def release(self) -> None: ...
    def cancel_jobs(self) -> None: ...
    @property
    def is_inherited(self) -> bool: ...

@disjoint_base
class Loop(asyncio.SelectorEventLoop):
    _closed: bool
    _debug: bool
    _stopping: bool
    _thread_id: int | None
    spin_us: int | None
    keep_tasks: bool
    warn_slow_callbacks: bool
    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]
    @property
    def backend(self) -> str | None: ...
    def __init__(self, backend: str = "epoll") -> None: ...
    def _count(self) -> dict[str, Any]: ...
    @property
    def _accounted(self) -> bool: ...
    def _account(self, mode: int, /) -> None: ...
    def _account_rows(self) -> list[tuple[str, int, int, int, int, int]]: ...
    def _account_clear(self) -> None: ...
    def _watch_stalls(self, seconds: float, /) -> None: ...
    def _run(self) -> None: ...
    def _claim(self) -> None: ...
    def _unclaim(self) -> None: ...
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
class Accept(_Coroutine[None]):
    """Sets up an accepted connection: makes its protocol and its transport."""

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

@final
class SignalPipe:
    @property
    def reader(self) -> int: ...
    @property
    def writer(self) -> int: ...
    def claim(self) -> bool: ...
    def release(self) -> None: ...
    def read(self) -> bytes: ...
    def fileno(self) -> int: ...
    def close(self) -> None: ...

HAS_PROBES: bool

def _live_tasks() -> list[asyncio.Task[Any]]: ...
def _adopt_task_numbers(asyncio: types.ModuleType, number: Callable[[], int], /) -> bool: ...
def _adopt_layout(
    probe: asyncio.Task[Any],
    coro: object,
    context: object,
    name: str,
    waiter: object,
    offsets: tuple[int, ...] | None,
    /,
) -> None: ...
def _next_stall(run: int, /) -> tuple[str, Any, int, float, str | None, str | None] | None: ...
def _start_recorder(signal: int, fd: int, /) -> int: ...
def _stop_recorder() -> None: ...
def _read_now(fd: int, size: int, offset: int = -1, /) -> bytes | None: ...
def _readinto_now(fd: int, buffer: Buffer, offset: int = -1, /) -> int | None: ...
def _size_now(path: StrOrBytesPath | int, /) -> int: ...
def _open_now(path: StrOrBytesPath, flags: int, /) -> int | None: ...
def _ring_read(
    loop: asyncio.AbstractEventLoop, fd: int, size: int, offset: int, once: bool = False
) -> FileOp | None: ...
def _ring_write(
    loop: asyncio.AbstractEventLoop, fd: int, data: Buffer | list[bytes], offset: int
) -> FileOp | None: ...
def _ring_knows(loop: asyncio.AbstractEventLoop, opcode: int, /) -> bool: ...
def _ring_call(
    loop: asyncio.AbstractEventLoop,
    opcode: int,
    fd: int,
    path: StrOrBytesPath | None,
    path2: StrOrBytesPath | None,
    length: int,
    flags: int,
) -> FileOp | None: ...
