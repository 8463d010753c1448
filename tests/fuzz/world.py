"""What hostile programs are made of: ``from tests.fuzz.world import *``.

Objects are kept in dictionaries by number: f (futures and tasks), h (handles), t (transports),
p (protocols), s (the other ends), r and w (stream readers and writers), b (buffers), x (the rest).
A statement that names what is not there raises KeyError, which `quiet` swallows like all else.
"""

import asyncio
import collections.abc
import contextlib
import contextvars
import fcntl
import functools
import gc
import os
import signal
import socket
import sys
import threading
import traceback
import warnings
import weakref

import fastaio

from ..tlsutil import HOST, client_context, server_context

__all__ = (
    "HOST",
    "SubFuture",
    "SubLoop",
    "SubTask",
    "asyncio",
    "b",
    "begin",
    "client_tls",
    "collections",
    "connect",
    "context",
    "contextvars",
    "datagrams",
    "default",
    "end",
    "evil",
    "evil_socket",
    "f",
    "fastaio",
    "functools",
    "gc",
    "h",
    "in_thread",
    "listen",
    "nothing",
    "os",
    "p",
    "protocol",
    "quiet",
    "r",
    "read_pipe",
    "run_some",
    "s",
    "script",
    "secure",
    "server_tls",
    "socket",
    "stream",
    "stop_soon",
    "sys",
    "t",
    "turn",
    "var",
    "w",
    "watch_pair",
    "weakref",
    "write_pipe",
    "x",
)

POOLS = f, h, t, p, s, r, w, b, x = [{} for _ in range(9)]
var = contextvars.ContextVar("var")
client_tls = functools.cache(client_context)
server_tls = functools.cache(server_context)

# A script runs so often, so deep, and all of them together so often.
RUNS, DEPTH, TOTAL = 4, 4, 200
STUCK_SECONDS = 5.0


class Quiet:
    """Swallows whatever a statement raises."""

    def __enter__(self):
        pass

    def __exit__(self, *exc):
        return True


quiet = Quiet()


class Limits:
    depth = 0
    total = 0


limits = Limits()
stuck = []


def script(function):
    """Bound how often a meddling function runs."""
    runs = 0

    @functools.wraps(function)
    def bounded(*args, **kwargs):
        nonlocal runs
        if runs >= RUNS or limits.depth >= DEPTH or limits.total >= TOTAL:
            return None
        runs += 1
        limits.depth += 1
        limits.total += 1
        try:
            return function(*args, **kwargs)
        finally:
            limits.depth -= 1

    return bounded


# ------------------------------------------------------------------------------------ the program


class SubLoop(fastaio.EventLoop):
    """A loop with Python methods of its own."""

    def call_soon(self, callback, *args, context=None):
        return super().call_soon(callback, *args, context=context)

    def call_exception_handler(self, context):
        super().call_exception_handler(context)

    def create_future(self):
        return super().create_future()

    def time(self):
        return super().time()


class SubFuture(fastaio.Future):
    """With a dictionary, and methods of its own."""

    def add_done_callback(self, fn, *, context=None):
        super().add_done_callback(fn, context=context)

    def set_result(self, result):
        super().set_result(result)


class SubTask(fastaio.Task):
    """With a dictionary, and methods of its own."""

    def cancel(self, msg=None):
        return super().cancel(msg)

    def get_name(self):
        return super().get_name()


def begin(backend, debug=False, threshold=0, sub=False):
    """A fresh loop with nothing in the dictionaries."""
    vars(asyncio).pop("_nest_patched", None)  # of the program before this one
    warnings.simplefilter("ignore")
    sys.setrecursionlimit(1000)
    sys.unraisablehook = lambda args: None
    threading.excepthook = lambda args: None
    limits.depth = limits.total = 0
    for pool in POOLS:
        pool.clear()
    gc.collect()
    gc.disable()
    if threshold:
        gc.enable()
        gc.set_threshold(threshold, 2, 2)
    signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, STUCK_SECONDS, STUCK_SECONDS)
    stuck.clear()
    if backend == "asyncio":
        loop = asyncio.SelectorEventLoop()
    else:
        loop = (SubLoop if sub else fastaio.EventLoop)(backend=backend)
    loop.set_exception_handler(lambda loop, context: None)
    loop.set_debug(debug)
    asyncio.set_event_loop(loop)
    return loop


class Stuck(BaseException):
    """Raised into a program that waits for ever."""


def on_alarm(number, frame):
    stuck.append("".join(traceback.format_stack(frame)[-6:]))
    raise Stuck


def end(loop):
    """Let go of everything in turn, close the loop, and see whether a new one is sound."""
    signal.setitimer(signal.ITIMER_REAL, STUCK_SECONDS, STUCK_SECONDS)
    with quiet:
        turn(loop, 3)
    for pool in POOLS:
        for value in list(pool.values()):
            with quiet:
                value.abort()
            with quiet:
                value.close()
            with quiet:
                value.cancel()
        with quiet:
            pool.clear()
    value = None
    with quiet:
        turn(loop, 3)
    with quiet:
        loop.close()
    loop = None
    signal.setitimer(signal.ITIMER_REAL, 0)
    var.set(None)
    gc.collect()
    gc.disable()
    for _ in range(RUNS * DEPTH):  # what stood there may put something else there
        with contextlib.suppress(BaseException):
            asyncio.events._set_running_loop(None)
    asyncio.set_event_loop(None)


def kind_of(loop):
    """The class to call methods of that the program may have replaced in the loop."""
    return fastaio.EventLoop if isinstance(loop, fastaio.EventLoop) else asyncio.BaseEventLoop


def stop_soon(loop):
    """Have the loop stop after the next turn, whatever its call_soon() has become."""
    kind = kind_of(loop)
    kind.call_soon(loop, kind.stop, loop)


def turn(loop, count=1):
    """Run what is ready, and return."""
    for _ in range(count):
        stop_soon(loop)
        loop.run_forever()


def run_some(loop, future):
    """run_until_complete(), for some turns at most."""

    kind = kind_of(loop)

    def again(left=5):
        kind.call_soon(loop, again, left - 1) if left else kind.stop(loop)

    kind.call_soon(loop, again)
    return loop.run_until_complete(future)


def in_thread(function):
    """Call a function in another thread and wait for that."""
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    thread.join(1.0)


# ------------------------------------------------------------------------------- hostile objects


def nothing(*args, **kwargs):
    """Meddle with nothing."""


DEFAULTS = {
    "__eq__": lambda self, other: True,
    "__hash__": lambda self: 42,
    "__bool__": lambda self: True,
    "__repr__": lambda self: "evil",
    "__str__": lambda self: "evil",
    "__format__": lambda self, spec: "evil",
    "__len__": lambda self: 10,
    "__index__": lambda self: 5,
    "__int__": lambda self: 5,
    "__float__": lambda self: 0.0,
    "__lt__": lambda self, other: False,
    "__add__": lambda self, other: 0.0,
    "__radd__": lambda self, other: 0.0,
    "__rsub__": lambda self, other: 0.0,
    "__iter__": lambda self: iter((b"a", bytearray(b"b"), memoryview(b"c"))),
    "__next__": lambda self: next(iter(())),
    "__await__": lambda self: iter((None, None)),
    "__buffer__": lambda self, flags: memoryview(b"0123456789"),
    "__fspath__": lambda self: "/nowhere",
    "fileno": lambda self: -1,
    "send": lambda self, value: None,
    "get_buffer": lambda self, size: bytearray(100),
    "done": lambda self: True,
    "result": lambda self: 1,
    "exception": lambda self: None,
    "cancelled": lambda self: False,
    "get_loop": lambda self: asyncio.get_event_loop(),
}


def default(name, self, args):
    """What a hook returns that behaves."""
    if name in ("__getattr__", "__getattribute__"):
        return object.__getattribute__(self, *args)
    inherited = getattr(super(type(self), self), name, None)
    if callable(inherited) and type(self).__base__ is not object:
        return inherited(*args)
    return DEFAULTS.get(name, nothing)(self, *args)


class Unwanted(Exception):
    """What hooks raise that do not behave."""


def hook(name, function, then):
    def method(self, *args, **kwargs):
        function(*args)
        if then == "raise":
            raise Unwanted(name)
        if then == "exit":
            raise (KeyboardInterrupt, SystemExit, asyncio.CancelledError)[len(name) % 3](name)
        if then == "weird":
            return (None, 2**70, -1, "text", b"bytes", object(), ())[len(name) % 7]
        return default(name, self, args)

    method.__name__ = name
    return method


BASES = {
    "object": object,
    "bytes": bytes,
    "bytearray": bytearray,
    "int": int,
    "float": float,
    "str": str,
    "tuple": tuple,
    "list": list,
    "dict": dict,
    "Exception": Exception,
    "CancelledError": asyncio.CancelledError,
    "BaseException": BaseException,
    "Coroutine": collections.abc.Coroutine,
    "Future": fastaio.Future,
    "Protocol": asyncio.Protocol,
    "BufferedProtocol": asyncio.BufferedProtocol,
    "DatagramProtocol": asyncio.DatagramProtocol,
    "StreamReader": asyncio.StreamReader,
}
ARGUMENTS = {
    "bytes": (b"x" * 20,),
    "bytearray": (b"y" * 20,),
    "int": (7,),
    "float": (0.0,),
    "str": ("text",),
    "tuple": ((b"a", b"b"),),
    "list": ([b"a", b"b"],),
}


def evil(function, names="__del__", base="object", then=""):
    """An object of a class of its own whose methods of these names call `function` first."""
    parent = BASES[base]
    body = {name: hook(name, function, then) for name in names.split()}
    if base == "Coroutine":
        for name in ("send", "throw", "close", "__await__"):
            body.setdefault(name, hook(name, nothing, ""))
    if "__eq__" in body:
        body.setdefault("__hash__", parent.__hash__)
    if "done" in body or "add_done_callback" in body:
        body["_asyncio_future_blocking"] = False
    kind = type("Evil", (parent,), body)
    if base in ("Future", "StreamReader"):
        return kind(loop=asyncio.get_event_loop())
    return kind(*ARGUMENTS.get(base, ()))


class evil_socket(socket.socket):
    """A socket whose methods call a function first."""

    meddle = staticmethod(nothing)

    def recv(self, *args):
        self.meddle()
        return super().recv(*args)

    def recv_into(self, *args):
        self.meddle()
        return super().recv_into(*args)

    def send(self, *args):
        self.meddle()
        return super().send(*args)

    def sendmsg(self, *args):
        self.meddle()
        return super().sendmsg(*args)

    def recvfrom(self, *args):
        self.meddle()
        return super().recvfrom(*args)

    def sendto(self, *args):
        self.meddle()
        return super().sendto(*args)

    def fileno(self):
        self.meddle()
        return super().fileno()

    def close(self):
        self.meddle()
        super().close()

    def accept(self):
        self.meddle()
        return super().accept()


def protocol(function, names, base="Protocol", then=""):
    """A protocol whose methods of these names call `function` first."""
    return evil(function, names, base, then)


# ---------------------------------------------------------------------------------- connections


def pair(kind, meddle=None):
    if kind == "tcp":
        with socket.create_server(("127.0.0.1", 0)) as server:
            ours = socket.create_connection(server.getsockname())
            theirs, _ = server.accept()
    else:
        ours, theirs = socket.socketpair(type=getattr(socket, kind, socket.SOCK_STREAM))
    if meddle is not None:
        ours = evil_socket(ours.family, ours.type, fileno=ours.detach())
        ours.meddle = meddle
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs


def connect(loop, protocol, kind="unix", meddle=None):
    """(transport, other end) of a stream."""
    ours, theirs = pair(kind, meddle)
    return loop._make_socket_transport(ours, protocol), theirs


def stream(loop, number, limit=100, wrap=None):
    """Store a stream reader and writer; return (transport, other end)."""
    ours, theirs = pair("unix")
    reader = r[number] = asyncio.StreamReader(limit=limit, loop=loop)
    made = (wrap or asyncio.StreamReaderProtocol)(reader, loop=loop)
    transport = loop._make_socket_transport(ours, made)
    w[number] = asyncio.StreamWriter(transport, made, reader, loop)
    return transport, theirs


def datagrams(loop, protocol, kind="unix", meddle=None):
    """(transport, other end) of datagrams."""
    if kind == "unix":
        ours, theirs = pair("SOCK_DGRAM", meddle)
        return loop._make_datagram_transport(ours, protocol), theirs
    ours, theirs = (socket.socket(type=socket.SOCK_DGRAM) for _ in range(2))
    for sock in (ours, theirs):
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
    theirs.connect(ours.getsockname())
    return loop._make_datagram_transport(ours, protocol), theirs


class PipeEnd:
    """The other end of a pipe, with the methods of a socket."""

    def __init__(self, fd):
        mode = "rb" if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY else "wb"
        self.file = open(fd, mode, buffering=0)
        os.set_blocking(fd, False)

    def send(self, data):
        return self.file.write(data)

    def recv(self, count):
        return self.file.read(count)

    def close(self):
        self.file.close()

    def fileno(self):
        return self.file.fileno()


def read_pipe(loop, protocol):
    """(transport, other end) of a pipe that the loop reads."""
    ours, theirs = os.pipe()
    transport = loop._make_read_pipe_transport(open(ours, "rb", buffering=0), protocol)
    return transport, PipeEnd(theirs)


def write_pipe(loop, protocol):
    """(transport, other end) of a pipe that the loop writes."""
    theirs, ours = os.pipe()
    transport = loop._make_write_pipe_transport(open(ours, "wb", buffering=0), protocol)
    return transport, PipeEnd(theirs)


def secure(loop, protocol, other):
    """(transport, other transport) of TLS, both on the loop, the handshake not yet begun."""
    ours, theirs = pair("unix")
    accepted = loop._make_ssl_transport(theirs, other, server_tls(), server_side=True)
    connected = loop._make_ssl_transport(ours, protocol, client_tls(), server_hostname=HOST)
    return connected, accepted


def listen(loop, factory):
    """(listener, address) of connections; the listener has been started."""
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)
    listener = fastaio._fastaio.Listener(loop, sock, factory, None, 5)
    listener.start()
    return listener, sock.getsockname()


def watch_pair(number):
    """Store two connected sockets, to be watched with add_reader()."""
    s[number], s[number + 1] = pair("unix")


def context(value):
    """A context in which `var` is that value."""
    made = contextvars.copy_context()
    made.run(var.set, value)
    return made


# --------------------------------------------------------------------------------------- soundness


def unsound():
    """What a new loop does wrong, or "": nothing that programs do may harm later ones."""
    heard = []

    async def child(number):
        await asyncio.sleep(0)
        heard.append(number)
        return number

    async def main():
        loop = asyncio.get_running_loop()
        loop.call_soon(heard.append, "soon")
        loop.call_later(0.001, heard.append, "later")
        heard.append(await asyncio.gather(*(child(number) for number in range(5))))
        future = loop.create_future()
        future.add_done_callback(lambda future: heard.append(future.result()))
        loop.call_soon(future.set_result, "done")
        heard.append(await future)
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=ours)
        theirs.send(b"line\n")
        heard.append(await reader.readline())
        writer.close()
        await writer.wait_closed()
        theirs.close()
        await asyncio.sleep(0.002)
        return "end"

    result = fastaio.run(main())
    wanted = ["soon", *range(5), list(range(5)), "done", "done", b"line\n", "later"]
    heard.sort(key=lambda item: item == "later")
    return "" if (heard, result) == (wanted, "end") else f"{heard} {result}"
