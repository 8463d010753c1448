"""Threads that use an object of each type of fastaio at once, with hostile arguments.

    python -m tests.hostile_types [TYPE ...] [--seconds 0.5] [--threads 4] [--seed N]

All types of the package are found by enumeration. Each one has a maker here, or a reason why it
has none. While a loop uses the object, the threads use all of its methods, attributes and slots.
They go on while the object is torn down, and while its loop closes. The calls may raise whatever
they like. The process must neither crash nor hang.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import concurrent.futures
import contextlib
import copy
import faulthandler
import functools
import gc
import importlib
import logging
import operator
import os
import pickle
import pkgutil
import random
import shutil
import socket
import sys
import tempfile
import threading
import time
import traceback
import warnings
import weakref
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import fastaio
from fastaio import _fastaio
from tests import hostile_threads
from tests.hostile_threads import print_nothing

# ---- the types ---------------------------------------------------------------------------------


@functools.cache
def every_type() -> dict[str, type]:
    """Return all types of the package, by their names in it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in pkgutil.walk_packages(fastaio.__path__, "fastaio."):
            with contextlib.suppress(ImportError):  # what is not installed: gunicorn, pytest
                if not module.name.endswith("__main__"):
                    importlib.import_module(module.name)
    found: dict[str, type] = {}
    known: set[int] = set()
    left: list[type] = [object]
    while left:
        for cls in type.__subclasses__(left.pop()):
            if id(cls) not in known:
                known.add(id(cls))
                left.append(cls)
                name = type.__repr__(cls).split("'")[1]
                if name.startswith("fastaio."):
                    found[name.removeprefix("fastaio.")] = cls
    return found


#: Types without an object that threads could use.
NO_OBJECT = {
    "files._functions.HasFileno": "a protocol of the type checker",
    "files._open._Closable": "a protocol of the type checker",
    "files._open._NotCached": "an exception without state",
    "top.TopError": "an exception without state",
    "accounts.Account": "a TypedDict: objects are plain dicts",
    "metrics.Metrics": "a TypedDict: objects are plain dicts",
    "report.Which": "a NamedTuple",
    "files._text._Part": "a NamedTuple",
    "files._base._Forks": "a class that is used as a namespace",
    "files._base.File": "the base of the files below",
    "files._functions._Owned": "a descriptor that one job has, which closes it",
    "processes._Pidfd": "a descriptor that one callback has, which closes it",
    "doors.imports.ImportHooks": "changes the imports of the process, before there are threads",
    "doors.spawn._Entry": "what a new process is started with",
    "gunicorn.Worker": "a process of gunicorn",
    "telemetry._Handler": "http.server's, one for each connection",
    "telemetry._Server": "http.server's",
    "recorder._Reporter": "one object in the process; its users are the loops",
}

#: Methods that block the calling thread, or whose effect is outside of the object.
LEFT_OUT: dict[str, frozenset[str]] = {
    "_fastaio.JobQueue": frozenset({"get", "acquire"}),
    "executor.DefaultExecutor": frozenset({"shutdown", "__enter__", "__exit__"}),
    "lookups._Worker": frozenset({"sleep"}),
    "lookups.Lookups": frozenset({"_next", "_work"}),
    # A thread that runs the loop is not the one that this test waits for.
    "_fastaio.Loop": frozenset({"_run", "_claim", "_unclaim"}),
    "loop.EventLoop": frozenset(
        {"_run", "_claim", "_unclaim", "run_forever", "run_until_complete", "_run_forever_setup"}
    ),
}

# ---- one object in the threads -----------------------------------------------------------------


class Subject:
    """An object, what the loop does with it all the time, and how it is torn down."""

    def __init__(
        self,
        obj: object,
        work: Callable[[], Awaitable[object]] | None = None,
        end: Callable[[], object] | None = None,
    ) -> None:
        self.obj = obj
        self.work = work
        self.end = end


Maker = Callable[["Stage"], Awaitable[Subject]]

#: Errors that a call may raise, whatever it was.
ANY_ERROR = (Exception, asyncio.CancelledError, GeneratorExit)


def weak(obj: Any, argument: object) -> object:
    return weakref.ref(obj, argument if callable(argument) else None)()


def with_block(obj: Any, argument: object) -> None:
    if isinstance(obj, concurrent.futures.Executor):
        return  # it would wait for the threads
    with obj:
        repr(argument)


def contains(obj: Any, argument: object) -> bool:
    return argument in obj


def build_again(obj: Any, argument: object) -> object:
    return type(obj)(argument)


def build_nothing(obj: Any, argument: object) -> object:
    return type(obj).__new__(type(obj))


async def wait_for_it(obj: Any) -> None:
    await asyncio.wait_for(obj, 0.01)


async def async_with(obj: Any) -> None:
    async with asyncio.timeout(0.01), obj:
        await asyncio.sleep(0)


async def async_for(obj: Any) -> None:
    async with asyncio.timeout(0.01):
        async for _ in obj:
            await asyncio.sleep(0)


SLOTS: tuple[Callable[[Any, Any], object], ...] = (
    lambda obj, argument: repr(obj),
    lambda obj, argument: str(obj),
    lambda obj, argument: hash(obj),
    lambda obj, argument: format(obj),
    lambda obj, argument: len(obj),
    lambda obj, argument: bool(obj),
    lambda obj, argument: bytes(obj),
    lambda obj, argument: next(obj),
    lambda obj, argument: next(iter(obj)),
    lambda obj, argument: next(obj.__await__()),
    lambda obj, argument: obj(),
    lambda obj, argument: obj(argument),
    lambda obj, argument: obj(argument, argument),
    lambda obj, argument: obj(name=argument),
    lambda obj, argument: obj[argument],
    lambda obj, argument: sys.getsizeof(obj),
    lambda obj, argument: gc.get_referents(obj),
    lambda obj, argument: copy.copy(obj),
    lambda obj, argument: pickle.dumps(obj),
    lambda obj, argument: obj.__init__(),
    lambda obj, argument: obj.__init__(argument),
    lambda obj, argument: vars(obj),
    lambda obj, argument: isinstance(argument, type(obj)),
    operator.eq,
    operator.ne,
    operator.lt,
    operator.ge,
    contains,
    weak,
    with_block,
    build_again,
    build_nothing,
)

IN_THE_LOOP: tuple[Callable[[Any], Any], ...] = (wait_for_it, async_with, async_for)


class Stage(hostile_threads.Stage):
    """A loop, and threads that go on while the subject and the loop end."""

    def __init__(self, name: str, cls: type, seed: int, backend: str) -> None:
        self.name = name
        self.cls = cls
        super().__init__(seed, fastaio.new_event_loop(backend=backend))
        self.left_out = hostile_threads.LEFT_OUT | LEFT_OUT.get(name, frozenset())
        self.current: Subject | None = None

    def call(self, chance: random.Random) -> None:
        way = chance.random()
        if way < 0.6:
            super().call(chance)
            return
        self.calls += 1
        subject = self.subject if chance.random() < 0.8 else chance.choice(self.others)
        if way < 0.98:
            self.keep(chance.choice(SLOTS)(subject, self.argument(chance)), chance)
            return
        coro = chance.choice(IN_THE_LOOP)(subject)
        try:
            asyncio.run_coroutine_threadsafe(coro, self.loop)
        except RuntimeError:  # the loop is closed
            coro.close()

    async def change(self, make: Maker) -> None:
        """End the subject, which the threads still use, and make another one."""
        await self.end_current()
        self.current = await make(self)
        self.subject = self.current.obj

    async def end_current(self) -> None:
        subject, self.current = self.current, None
        if subject is not None and subject.end is not None:
            with contextlib.suppress(*ANY_ERROR):
                result = subject.end()
                if hasattr(result, "__await__"):
                    await asyncio.wait_for(result, 1)

    async def use(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            subject = self.current
            if subject is not None and subject.work is not None:
                with contextlib.suppress(*ANY_ERROR):
                    await asyncio.wait_for(subject.work(), 0.05)
            await asyncio.sleep(0.001)

    def perform(self, coro: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coro, self.loop).result(30)

    def play_type(self, make: Maker, threads: int, seconds: float) -> None:
        self.perform(self.change(make))
        assert isinstance(self.subject, self.cls), f"the maker of {self.name} makes something else"
        over = threading.Event()
        crew = [
            threading.Thread(target=self.maltreat_until, args=(number, over), daemon=True)
            for number in range(threads)
        ]
        for thread in crew:
            thread.start()
        for _ in range(4):
            self.perform(self.use(seconds / 6))
            self.perform(self.change(make))
        self.perform(self.use(seconds / 6))
        self.perform(self.end_current())
        self.end()
        self.close_loop()
        time.sleep(seconds / 6)
        over.set()
        for thread in crew:
            thread.join(20)
            if thread.is_alive():
                faulthandler.dump_traceback(all_threads=True)
                sys.exit(f"a thread hangs with {self.name}")
        self.subject = None
        self.others = [None]
        gc.collect()

    def maltreat_until(self, number: int, over: threading.Event) -> None:
        while not over.is_set():
            self.maltreat(number, time.monotonic() + 0.05)
            number += 100

    def close_loop(self) -> None:
        """Close the loop. The threads use it as well, so it may not be free at once."""
        end = time.monotonic() + 20
        while not self.loop.is_closed():
            try:
                self.loop.close()
            except RuntimeError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.001)


# ---- makers ------------------------------------------------------------------------------------

MAKERS: dict[str, Maker] = {}


def makes(*names: str) -> Callable[[Maker], Maker]:
    def add(make: Maker) -> Maker:
        for name in names:
            MAKERS[name] = make
        return make

    return add


def simple(name: str, make: Callable[[Stage], Any]) -> None:
    async def made(stage: Stage) -> Subject:
        return Subject(make(stage))

    MAKERS[name] = made


async def pause() -> None:
    await asyncio.sleep(0.0005)


async def forever() -> None:
    while True:
        await pause()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(Exception):
        while data := await reader.read(1000):
            writer.write(data)
            await writer.drain()
    writer.close()


class Connection:
    """A stream connection to an echo of the same loop."""

    def __init__(self, tls: bool = False) -> None:
        self.tls = tls

    async def open(self) -> Connection:
        if self.tls:
            from .tlsutil import HOST, client_context, server_context

            self.server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=server_context())
            self.reader, self.writer = await asyncio.open_connection(
                *self.server.sockets[0].getsockname(), ssl=client_context(), server_hostname=HOST
            )
        else:
            self.server = await asyncio.start_server(echo, "127.0.0.1", 0)
            self.reader, self.writer = await asyncio.open_connection(
                *self.server.sockets[0].getsockname()
            )
        self.transport: Any = self.writer.transport
        return self

    async def work(self) -> None:
        self.writer.write(b"x" * 20_000)
        await self.reader.readexactly(20_000)

    def end(self) -> None:
        self.transport.abort()
        self.server.close()


async def connected(get: Callable[[Connection], Any], tls: bool = False) -> Subject:
    connection = await Connection(tls).open()
    return Subject(get(connection), connection.work, connection.end)


def of_connection(name: str, get: Callable[[Connection], Any], tls: bool = False) -> None:
    MAKERS[name] = lambda stage: connected(get, tls)


def native_listener(connection: Connection) -> Any:
    loop: Any = connection.server.get_loop()
    return loop._listeners[next(iter(loop._listeners))]


of_connection("_fastaio.StreamTransport", lambda it: it.transport)
of_connection("_fastaio.StreamReader", lambda it: it.reader)
of_connection("_fastaio.ReaderCore", lambda it: it.reader._native_reader)
of_connection("_fastaio.ReadOp", lambda it: it.reader.read(10))
of_connection("_fastaio.Listener", native_listener)
of_connection("asyncio.StreamWriter", lambda it: it.writer)
of_connection("asyncio.Server", lambda it: it.server)
of_connection("asyncio.StreamReaderProtocol", lambda it: it.transport.get_protocol())
of_connection("asyncio.TransportSocket", lambda it: it.transport.get_extra_info("socket"))
of_connection("_fastaio.TlsTransport", lambda it: it.transport, tls=True)
of_connection("tls.SSLTransport", lambda it: it.transport, tls=True)
of_connection("_fastaio.TlsProtocol", lambda it: it.transport._ssl_protocol, tls=True)
of_connection("tls.SSLProtocol", lambda it: it.transport._ssl_protocol, tls=True)
of_connection("tls._ClaimingExtra", lambda it: it.transport._ssl_protocol._extra, tls=True)
of_connection(
    "tls._ClaimedSSL", lambda it: it.transport.get_extra_info("ssl_object")._sslobj, tls=True
)
of_connection("ssl.SSLObject", lambda it: it.transport.get_extra_info("ssl_object"), tls=True)
of_connection("asyncio.StreamWriter of TLS", lambda it: it.writer, tls=True)


@makes("_fastaio.NativeCall")
async def a_native_call(stage: Stage) -> Subject:
    native_call = every_type()["_fastaio.NativeCall"]
    connection = await Connection().open()
    while True:
        connection.writer.write(b"x" * 1000)
        for handle in stage.loop._ready:
            if type(handle._callback) is native_call:
                return Subject(handle._callback, connection.work, connection.end)
        await asyncio.sleep(0)


@makes("_fastaio.DatagramCore", "transports.DatagramTransport")
async def a_datagram_transport(stage: Stage) -> Subject:
    transport, _ = await stage.loop.create_datagram_endpoint(
        asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
    )
    address = transport.get_extra_info("sockname")

    async def work() -> None:
        transport.sendto(b"x" * 100, address)
        await pause()

    return Subject(transport, work, transport.close)


@makes("transports._PeerSocket")
async def a_peer_socket(stage: Stage) -> Subject:
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    return Subject(every_type()["transports._PeerSocket"](ends[0]), pause, ends[1].close)


async def pipes(stage: Stage) -> tuple[Any, Any]:
    read, write = os.pipe()
    reading, _ = await stage.loop.connect_read_pipe(asyncio.Protocol, open(read, "rb", 0))
    writing, _ = await stage.loop.connect_write_pipe(asyncio.BaseProtocol, open(write, "wb", 0))
    return reading, writing


async def a_pipe(stage: Stage, index: int) -> Subject:
    ends = await pipes(stage)

    async def work() -> None:
        ends[1].write(b"x" * 5000)
        await pause()

    def end() -> None:
        ends[0].close()
        ends[1].close()

    return Subject(ends[index], work, end)


for _name in ("_fastaio.ReadPipeCore", "transports.ReadPipeTransport"):
    MAKERS[_name] = lambda stage: a_pipe(stage, 0)
for _name in ("_fastaio.WritePipeCore", "transports.WritePipeTransport"):
    MAKERS[_name] = lambda stage: a_pipe(stage, 1)


async def socket_operation(stage: Stage, get: Callable[[socket.socket], Any]) -> Subject:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)

    def end() -> None:
        ours.close()
        theirs.close()

    return Subject(get(ours), lambda: stage.loop.sock_sendall(theirs, b"x"), end)


@makes("_fastaio.SockOp")
async def a_socket_operation(stage: Stage) -> Subject:
    return await socket_operation(stage, lambda sock: stage.loop.sock_recv(sock, 1))


@makes("_fastaio.Accept")
async def an_accept(stage: Stage) -> Subject:
    connection = await Connection().open()
    accept = every_type()["_fastaio.Accept"]
    known = asyncio.all_tasks()
    with socket.socket() as sock:
        sock.setblocking(False)
        await stage.loop.sock_connect(sock, connection.server.sockets[0].getsockname())
        while True:
            for task in asyncio.all_tasks() - known:
                if type(task.get_coro()) is accept:
                    return Subject(task.get_coro(), connection.work, connection.end)
            await asyncio.sleep(0)


# Loops and what they schedule


def running(loop: Any) -> Subject:
    """Run another loop in a thread."""
    over = False

    def run() -> None:
        while not over:
            with contextlib.suppress(Exception):
                loop.run_forever()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    async def work() -> None:
        with contextlib.suppress(RuntimeError):
            future = asyncio.run_coroutine_threadsafe(pause(), loop)
            await asyncio.wrap_future(future)

    def end() -> None:
        nonlocal over
        over = True
        for _ in range(1000):
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(loop.stop)
            thread.join(0.01)
            if not thread.is_alive():
                break
        with contextlib.suppress(RuntimeError):
            loop.close()

    return Subject(loop, work, end)


@makes("loop.EventLoop")
async def an_event_loop(stage: Stage) -> Subject:
    loop = fastaio.new_event_loop()
    loop.set_exception_handler(print_nothing)
    return running(loop)


@makes("_fastaio.Loop")
async def a_native_loop(stage: Stage) -> Subject:
    loop = _fastaio.Loop()
    return Subject(loop, pause, loop._close_native)


@makes("_fastaio.Handle")
async def a_handle(stage: Stage) -> Subject:
    return Subject(stage.loop.call_soon(print_nothing, 1, 2), pause)


@makes("_fastaio.Handle of call_soon_threadsafe()")
async def a_guarded_handle(stage: Stage) -> Subject:
    return Subject(stage.loop.call_soon_threadsafe(time.sleep, 0.001), pause)


@makes("_fastaio.TimerHandle")
async def a_timer(stage: Stage) -> Subject:
    timer = stage.loop.call_later(0.02, print_nothing, 1, 2)
    return Subject(timer, pause, timer.cancel)


simple("_fastaio.GuardedMethod", lambda stage: vars(_fastaio.Loop)["call_soon"])
simple("_fastaio.GuardedAttribute", lambda stage: vars(_fastaio.Loop)["_scheduled"])
simple("_fastaio.SignalPipe", lambda stage: _fastaio.SignalPipe())
simple("signals.SignalWakeup", lambda stage: every_type()["signals.SignalWakeup"](print_nothing))
simple("selector.EpollSelector", lambda stage: every_type()["selector.EpollSelector"](stage.loop))
simple("_registry._NoLoop", lambda stage: every_type()["_registry._NoLoop"]())
simple("_registry._TaskRefs", lambda stage: every_type()["_registry._TaskRefs"]())
simple("policy.EventLoopPolicy", lambda stage: every_type()["policy.EventLoopPolicy"]())
simple("doors.patches.Patches", lambda stage: every_type()["doors.patches.Patches"]())
simple("recorder.Stall", lambda stage: every_type()["recorder.Stall"](stage.loop))


@makes("accounts.Accounts")
async def accounts(stage: Stage) -> Subject:
    kept = stage.loop.account()

    async def work() -> None:
        for _ in range(20):
            await asyncio.create_task(pause(), name=f"name {time.monotonic_ns() % 1000}")
        await asyncio.to_thread(fastaio.top.snapshot)

    return Subject(kept, work, kept.stop)


# Futures, tasks, primitives


@makes("Future")
async def a_future(stage: Stage) -> Subject:
    return Subject(stage.future(), pause)


@makes("_fastaio.FutureIter")
async def a_future_iterator(stage: Stage) -> Subject:
    return Subject(iter(stage.future()), pause)


@makes("Task")
async def a_task(stage: Stage) -> Subject:
    task = stage.loop.create_task(forever())
    return Subject(task, pause, task.cancel)


@makes("_fastaio.DoneCallback")
async def a_done_callback(stage: Stage) -> Subject:
    future = stage.future()
    gathering = fastaio.gather(future)
    return Subject(future._callbacks[0][0], pause, gathering.cancel)


@makes("_GatheringFuture")
async def a_gathering(stage: Stage) -> Subject:
    gathering = fastaio.gather(stage.future(), pause(), return_exceptions=True)
    return Subject(gathering, pause, gathering.cancel)


@makes("_AsCompletedIterator")
async def an_as_completed(stage: Stage) -> Subject:
    return Subject(fastaio.as_completed([stage.future(), pause()]), pause)


@makes("Timeout")
async def a_timeout(stage: Stage) -> Subject:
    return Subject(fastaio.timeout(0.01), pause)


@makes("TaskGroup")
async def a_task_group(stage: Stage) -> Subject:
    group = fastaio.TaskGroup()

    async def members() -> None:
        async with group:
            group.create_task(forever())
            await forever()

    task = asyncio.create_task(members())
    await asyncio.sleep(0)
    return Subject(group, pause, task.cancel)


async def use_lock(lock: Any) -> None:
    async with lock:
        await asyncio.sleep(0)


async def use_queue(queue: Any) -> None:
    with contextlib.suppress(Exception):
        queue.put_nowait(1)
    await queue.get()


async def use_event(event: Any) -> None:
    await event.wait()
    event.clear()


async def use_barrier(barrier: Any) -> None:
    await barrier.wait()


def primitive(name: str, use: Callable[[Any], Awaitable[object]], *args: object) -> None:
    async def make(stage: Stage) -> Subject:
        obj = getattr(fastaio, name)(*args)
        return Subject(obj, lambda: use(obj))

    MAKERS[name] = make


primitive("Lock", use_lock)
primitive("Condition", use_lock)
primitive("Semaphore", use_lock, 1)
primitive("BoundedSemaphore", use_lock, 2)
primitive("Queue", use_queue, 2)
primitive("PriorityQueue", use_queue)
primitive("LifoQueue", use_queue, 1)
primitive("Event", use_event)
primitive("Barrier", use_barrier, 2)
simple("_fastaio.CoroutineFunction", lambda stage: fastaio.sleep)
simple("_fastaio.CoroutineFunction of a class", lambda stage: vars(fastaio.Queue)["get"])
simple("_fastaio.Op", lambda stage: fastaio.sleep(0.001))
simple("_fastaio.Op of a lock", lambda stage: fastaio.Lock().acquire())
simple("_fastaio.Op of wait_for()", lambda stage: fastaio.wait_for(pause(), 0.01))
simple("_fastaio.Op of wait()", lambda stage: fastaio.wait([stage.future()], timeout=0.01))


@makes("_fastaio.Immediate")
async def an_immediate(stage: Stage) -> Subject:
    lock = fastaio.Lock()
    return Subject(lock.__aenter__(), pause)


# Threads and processes


@makes("executor.DefaultExecutor")
async def an_executor(stage: Stage) -> Subject:
    executor: Any = every_type()["executor.DefaultExecutor"]()

    async def work() -> None:
        future = stage.loop.create_future()
        executor.call(stage.loop, future, int, ())
        await future
        await asyncio.wrap_future(executor.submit(int))

    return Subject(executor, work, lambda: executor.shutdown(wait=False))


@makes("_fastaio.JobQueue")
async def a_job_queue(stage: Stage) -> Subject:
    queue = _fastaio.JobQueue()

    def serve() -> None:
        while queue.get() is not None:
            continue

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()

    async def work() -> None:
        future = stage.loop.create_future()
        queue.submit(stage.loop, future, int, ())
        await future

    return Subject(queue, work, lambda: queue.put(None))


@makes("_fastaio.Job")
async def a_job(stage: Stage) -> Subject:
    queue = _fastaio.JobQueue()
    queue.submit(stage.loop, stage.future(), int, ())
    (deque,) = (obj for obj in gc.get_referents(queue) if type(obj) is collections.deque)
    return Subject(deque[0], pause)


@makes("lookups.Lookups")
async def lookups(stage: Stage) -> Subject:
    asked: Any = every_type()["lookups.Lookups"]()

    async def work() -> None:
        await asyncio.gather(
            *(asked.ask(stage.loop, socket.getaddrinfo, ("localhost", n)) for n in range(5))
        )

    return Subject(asked, work, asked.close)


@makes("lookups._Question")
async def a_question(stage: Stage) -> Subject:
    question = every_type()["lookups._Question"](stage.loop, "key", int, ())
    question.waiters.append(stage.future())
    return Subject(question, pause)


@makes("lookups._Worker")
async def a_worker(stage: Stage) -> Subject:
    question = (await a_question(stage)).obj
    worker = every_type()["lookups._Worker"](stage.loop._lookups, 1, question)
    return Subject(worker, pause)


@makes("processes.SubprocessTransport")
async def a_subprocess_transport(stage: Stage) -> Subject:
    transport, _ = await stage.loop.subprocess_exec(
        asyncio.SubprocessProtocol, "cat", stdin=-1, stdout=-1, stderr=None
    )

    async def work() -> None:
        pipe = transport.get_pipe_transport(0)
        pipe.write(b"x" * 100)
        await pause()

    return Subject(transport, work, transport.close)


@makes("asyncio.Process")
async def a_process(stage: Stage) -> Subject:
    process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)

    async def work() -> None:
        process.stdin.write(b"x" * 100)
        await process.stdout.readexactly(100)

    async def end() -> None:
        process.kill()
        await process.wait()

    return Subject(process, work, end)


@makes("processes.ChildWatcher")
async def a_child_watcher(stage: Stage) -> Subject:
    async def work() -> None:
        process = await asyncio.create_subprocess_exec("true")
        await process.wait()

    return Subject(stage.loop._watcher, work)


# Files


def a_file_of(mode: str, **kwargs: Any) -> Maker:
    async def make(stage: Stage) -> Subject:
        file: Any = await fastaio.files.open("a file", mode, **kwargs)
        data: Any = "line\n" if "b" not in mode else b"line\n"

        async def work() -> None:
            await file.write(data * 1000)
            await file.seek(0)
            await file.readline()
            await file.read(100)

        return Subject(file, work, file.close)

    return make


MAKERS["files._binary.BinaryFile"] = a_file_of("w+b")
MAKERS["files._binary.RawFile"] = a_file_of("w+b", buffering=0)
MAKERS["files._text.TextFile"] = a_file_of("w+")


@makes("files._open.Opening")
async def an_opening(stage: Stage) -> Subject:
    return Subject(fastaio.files.open("a file", "w+b"), pause)


@makes("files._base.Output")
async def output(stage: Stage) -> Subject:
    subject = await MAKERS["files._binary.BinaryFile"](stage)
    subject.obj = subject.obj._output  # type: ignore[attr-defined]
    return subject


@makes("files._text.GatheringRaw")
async def a_gathering_raw(stage: Stage) -> Subject:
    types = every_type()
    raw = open("a file", "w+b", 0)
    return Subject(types["files._text.GatheringRaw"](raw, types["files._base.Output"](raw)), pause)


@makes("files.tempfile.SpooledFile")
async def a_spooled_file(stage: Stage) -> Subject:
    file = await fastaio.files.tempfile.SpooledTemporaryFile(1000)

    async def work() -> None:
        await file.write(b"x" * 100)
        await file.seek(0)
        await file.read(50)

    return Subject(file, work, file.close)


@makes("files.tempfile.TemporaryFolder")
async def a_folder(stage: Stage) -> Subject:
    folder = await fastaio.files.tempfile.TemporaryDirectory()
    return Subject(folder, pause, folder.cleanup)


simple("files.tempfile._Folder", lambda stage: fastaio.files.tempfile.TemporaryDirectory())
simple("files._base.Flag", lambda stage: every_type()["files._base.Flag"](1))
simple("files._work.Spent", lambda stage: every_type()["files._work.Spent"]())
simple("files._work.Turns", lambda stage: every_type()["files._work.Turns"]())


@makes("_fastaio.FileOp")
async def a_file_operation(stage: Stage) -> Subject:
    read, write = os.pipe()
    op = _fastaio._ring_read(stage.loop, read, 4096, -1, True)

    def end() -> None:
        os.write(write, b"x")
        os.close(read)
        os.close(write)

    return Subject(op, pause, end)


#: Types that are there with a certain backend only.
BACKENDS = {"_fastaio.FileOp": "io_uring"}

# ---- the program -------------------------------------------------------------------------------

#: asyncio's classes that a loop of fastaio is used by, and ssl's.
FOREIGN: dict[str, Callable[[], type]] = {
    "asyncio.StreamWriter": lambda: asyncio.StreamWriter,
    "asyncio.Server": lambda: asyncio.Server,
    "asyncio.StreamReaderProtocol": lambda: asyncio.StreamReaderProtocol,
    "asyncio.TransportSocket": lambda: importlib.import_module("asyncio.trsock").TransportSocket,
    "asyncio.Process": lambda: importlib.import_module("asyncio.subprocess").Process,
    "ssl.SSLObject": lambda: importlib.import_module("ssl").SSLObject,
}


def subjects() -> Iterator[tuple[str, type]]:
    """Yield the name of each maker, and the type of what it makes."""
    types = every_type()
    for name in MAKERS:
        known = name.split(" of ")[0]
        if known in types:
            yield name, types[known]
        elif known in FOREIGN:
            yield name, FOREIGN[known]()


def have_ring() -> bool:
    try:
        fastaio.new_event_loop(backend="io_uring").close()
    except OSError:
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("types", nargs="*", help="all if there is none")
    parser.add_argument("--seconds", type=float, default=0.5, help="for each type")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable()
    sys.unraisablehook = print_nothing
    threading.excepthook = print_nothing
    sys.setswitchinterval(1e-5)
    chosen = dict(subjects())
    faulthandler.enable()
    status = 1
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    try:
        print(play(options, chosen), "calls", flush=True)
        status = 0
    except BaseException:  # noqa: BLE001 - the process ends here, whatever happened
        traceback.print_exc()
    finally:
        shutil.rmtree(folder)
        sys.stderr.flush()
        os._exit(status)  # threads of a subject may be left


def play(options: argparse.Namespace, chosen: dict[str, type]) -> int:
    calls = 0
    for name in options.types or chosen:
        backend = BACKENDS.get(name, "epoll")
        if backend == "io_uring" and not have_ring():
            print(name, "needs io_uring", flush=True)
            continue
        print(name, flush=True)
        faulthandler.dump_traceback_later(options.seconds * 4 + 60, exit=True)
        stage = Stage(name, chosen[name], options.seed, backend)
        stage.play_type(MAKERS[name], options.threads, options.seconds)
        calls += stage.calls
        faulthandler.cancel_dump_traceback_later()
    return calls


if __name__ == "__main__":
    main()
