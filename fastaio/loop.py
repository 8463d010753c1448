"""The event loop: native where the traffic goes, asyncio's own code for what happens once.

EventLoop puts the native Loop in front of asyncio's selector loop. The native half has the queue,
the timers, the poller, add_reader() and sock_*(); from asyncio come create_connection(),
create_server(), subprocesses, signal handlers and the rest, just as the Python at hand has them.
What stands here joins the two.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import socket
import sys
import threading
import warnings
from asyncio import base_events, constants, events, futures
from collections.abc import Awaitable, Callable, Generator
from contextvars import Context
from typing import IO, TYPE_CHECKING, Any, Literal, TypeVar, TypeVarTuple, cast

from . import _fastaio, recorder, top
from .accounts import Accounts, add_loop, check_by
from .addresses import AddrInfo, resolve_literal
from .backend import open_backend
from .lookups import Lookups
from .metrics import Metrics
from .processes import ChildWatcher, has_own_watcher, improves, subprocess_transport_type
from .selector import EpollSelector
from .signals import SignalWakeup
from .spin import default_spin_us
from .tls import ssl_protocol_type, start_tls
from .transports import DatagramTransport, ReadPipeTransport, WritePipeTransport
from .variables import own_variables

if TYPE_CHECKING:
    import ssl

    from .executor import DefaultExecutor

    _T = TypeVar("_T")
    _Ts = TypeVarTuple("_Ts")

__all__ = ("EventLoop",)

_ProtocolFactory = Callable[[], asyncio.BaseProtocol]

# Called by name: asyncio's modules may have been given other classes under these names since.
_SelectorLoop = asyncio.SelectorEventLoop
_ConcurrentFuture = concurrent.futures.Future
_copy_future_state: Callable[[object, object], None] = futures._copy_future_state  # type: ignore[attr-defined]


def _nest_asyncio_is_applied() -> bool:
    return getattr(asyncio, "_nest_patched", False) is True


def _run_unless_cancelled(handle: asyncio.Handle) -> None:
    if not handle.cancelled():
        handle._run()


class EventLoop(_fastaio.Loop, _SelectorLoop):
    """An asyncio event loop with a native core."""

    if TYPE_CHECKING:  # what asyncio's classes have, and typeshed does not tell
        _asyncgens_shutdown_called: bool
        _default_executor: concurrent.futures.Executor | None
        _signal_handlers: dict[int, asyncio.Handle]
        _internal_fds: int
        _old_agen_hooks: Any

        def _check_callback(self, callback: object, method: str) -> None: ...
        def _check_closed(self) -> None: ...
        def _check_default_executor(self) -> None: ...
        def _getaddrinfo_debug(
            self, host: Any, port: Any, family: Any, type: Any, proto: Any, flags: Any
        ) -> Any: ...
        def _process_self_data(self, data: bytes) -> None: ...
        def _run_forever_cleanup(self) -> None: ...
        def _run_forever_setup(self) -> None: ...
        def _set_coroutine_origin_tracking(self, enabled: bool) -> None: ...

    def __init__(self, *, backend: str = "auto") -> None:
        """Make a loop.

        ``loop.backend`` tells which backend it has, ``loop.backend_reason`` why.

        Args:
            backend: "auto", "epoll" or "io_uring": see ``new_event_loop()``.

        Raises:
            ValueError: There is no such backend.
            OSError: This system does not let io_uring be used; the message says why.
        """
        try:
            spin_us = default_spin_us()
            seconds = recorder.environment_seconds()
            serves_top = top.asked_for()
            reason = open_backend(lambda name: _fastaio.Loop.__init__(self, name), backend)
        except Exception:
            self._closed = True  # there is nothing to close, so __del__() need not complain
            raise
        own_variables()
        self.backend_reason = reason
        self.spin_us = spin_us
        self._listeners: dict[socket.socket, _fastaio.Listener] = {}
        self._lookups = Lookups()
        self._made_executor: DefaultExecutor | None = None
        self._wakeup = SignalWakeup(self._watch_signals)
        self._stall_report: recorder.Report | None = None
        self._watched_seconds = 0.0
        self._executor_jobs = 0
        # With a selector that watches nothing, and _make_self_pipe() below, what asyncio's classes
        # set up is what their inherited methods need, in each version of Python.
        _SelectorLoop.__init__(self, EpollSelector(self))  # type: ignore[arg-type]
        if improves(getattr(self, "_watcher", None)):
            self._watcher: Any = ChildWatcher()
        add_loop(self)
        if serves_top:
            self._serve_top()
        if seconds is not None:
            self._set_watch(seconds)

    # Running

    def run_forever(self) -> None:
        """Run until stop() is called."""
        if self._may_nest():
            stopping, self._stopping = self._stopping, False
            try:
                self._run()
            finally:
                self._stopping = stopping
            return
        self._check_closed()
        self._check_running()  # asyncio's errors come before that of the claim
        self._claim()
        try:
            own_variables()
            self._run_forever_setup()
            try:
                if self._watched_seconds:
                    self._start_recorder()
                self._wakeup.claim()
                try:
                    self._run()
                finally:
                    self._wakeup.release(keep=bool(self._signal_handlers))
                    self._flush_transports()
            finally:
                self._run_forever_cleanup()
        finally:
            self._unclaim()

    if not TYPE_CHECKING and sys.version_info < (3, 13):  # from there on asyncio has these two

        def _run_forever_setup(self) -> None:
            self._check_closed()
            self._check_running()
            self._set_coroutine_origin_tracking(self._debug)
            self._old_agen_hooks = sys.get_asyncgen_hooks()
            self._thread_id = threading.get_ident()
            sys.set_asyncgen_hooks(
                firstiter=self._asyncgen_firstiter_hook,
                finalizer=self._asyncgen_finalizer_hook,
            )
            events._set_running_loop(self)

        def _run_forever_cleanup(self) -> None:
            self._stopping = False
            self._thread_id = None
            events._set_running_loop(None)
            self._set_coroutine_origin_tracking(False)
            if self._old_agen_hooks is not None:
                sys.set_asyncgen_hooks(*self._old_agen_hooks)
                self._old_agen_hooks = None

    # Observing

    @property
    def keeps_accounts(self) -> bool:
        """True while account() is in effect."""
        return self._accounted

    def account(self, by: Literal["function", "name"] = "function") -> Accounts:
        """Begin to keep accounts of what each coroutine and callback costs; return them.

        A step costs about two microseconds more while accounts are kept. May be called in any
        thread.

        Args:
            by: "function": one account per coroutine function or callback. "name": one per task
                that has been given a name, and the others as with "function".

        Raises:
            ValueError: ``by`` is another word.
        """
        self._account(check_by(by))
        return Accounts(self, by)

    def metrics(self) -> Metrics:
        """Return the counters since the loop was made, and gauges: a new dict of ints.

        Keys that end with ``_ns`` are nanoseconds. ``fastaio.metrics`` has a line for each key.
        ``lag_histogram`` is a list: entry i is the number of turns whose callbacks took less than
        2**i microseconds, and not less than half of that. May be called in any thread.
        """
        counts = self._count()
        counts["executor_jobs"] += self._executor_jobs
        return cast("Metrics", counts)

    def watch(self, seconds: float | None, report: recorder.Report | None = None) -> None:
        """Report callbacks that block this loop for longer, while they block.

        A change in another thread than the loop's counts from the next run on.

        Args:
            seconds: The threshold, in seconds. None ends the watch.
            report: Called with a ``fastaio.recorder.Stall`` twice per stall, in the recorder's
                thread: while the callback blocks, and when it has returned. None logs a warning to
                the logger "fastaio" instead.

        Raises:
            TypeError: ``seconds`` is no number, or ``report`` cannot be called.
            ValueError: ``seconds`` is not above 0.
            OSError: This process can have no more threads.
            RuntimeError: The same, where Python's threading reports it.
        """
        if seconds is None:
            self._end_watch()
            return
        seconds = recorder.check_seconds(seconds)
        if report is not None and not callable(report):
            raise TypeError(f"report must be callable or None, not {report!r}")
        recorder.watch(self)
        self._stall_report = report
        self._set_watch(seconds)

    def _serve_top(self) -> None:
        try:
            top.serve()
        except OSError as error:
            warnings.warn(f"fastaio top gets no answer here: {error}", RuntimeWarning, stacklevel=4)

    def _set_watch(self, seconds: float) -> None:
        self._watched_seconds = seconds
        self._watch_stalls(seconds)

    def _end_watch(self) -> None:
        if self._watched_seconds:
            self._set_watch(0.0)
            recorder.leave(self)

    def _start_recorder(self) -> None:
        try:
            recorder.watch(self)
        except (OSError, RuntimeError) as error:
            recorder.log_no_threads(error)

    # Nested runs: for notebooks, where code that calls run_until_complete() runs in a loop already

    @property
    def _nest_patched(self) -> bool:
        """There is no such attribute until nest_asyncio.apply() has been called.

        apply() marks the module asyncio first, and then leaves loops alone that have the attribute.
        """
        if not _nest_asyncio_is_applied():
            raise AttributeError("nest_asyncio.apply() has not been called")
        return True

    def _may_nest(self) -> bool:
        return events._get_running_loop() is self and _nest_asyncio_is_applied()

    def _check_running(self) -> None:
        if not self._may_nest():
            super()._check_running()  # type: ignore[misc]

    def run_until_complete(self, future: Generator[Any, None, _T] | Awaitable[_T]) -> _T:
        """Run until the future, or the task of the coroutine, is done; return its result."""
        awaitable: Any = future
        if not self._may_nest():
            return cast("_T", super().run_until_complete(awaitable))
        inner: asyncio.Future[_T] = asyncio.ensure_future(awaitable, loop=self)
        try:
            return super().run_until_complete(inner)
        finally:
            if not inner.done():  # whoever stopped the loop meant the outer run
                self._stopping = True

    def close(self) -> None:
        """Close the loop, which must not be running. What is queued does not run any more."""
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        if self.is_closed():
            return
        try:
            self._flush_transports()
            super().close()
        finally:
            self._listeners.clear()
            self._lookups.close()
            self._close_native()
            self._wakeup.close()
            self._end_watch()

    # Signals: asyncio's handlers, fed by a pipe of ours

    def _make_self_pipe(self) -> None:
        # asyncio's loop makes a pair of sockets; here the pipe is made when it is needed.
        # Looking at _csock makes none; asking it for its descriptor does.
        self._internal_fds += 1

    def _close_self_pipe(self) -> None:
        # The pipe itself stays until asyncio has taken its signal handlers back: see close().
        self._internal_fds -= 1

    @property
    def _csock(self) -> SignalWakeup | None:
        return None if self._closed else self._wakeup

    _ssock = _csock

    def _watch_signals(self, fd: int) -> None:
        self._add_reader(fd, self._read_from_self)

    def _read_from_self(self) -> None:
        self._process_self_data(self._wakeup.read())

    def _add_callback(self, handle: asyncio.Handle) -> None:
        if not handle.cancelled():
            self.call_soon(_run_unless_cancelled, handle)

    def remove_signal_handler(self, sig: int) -> bool:
        """Remove the handler of a signal; tell whether there was one."""
        removed = super().remove_signal_handler(sig)
        if removed and not self._signal_handlers and self.is_running():
            # asyncio has just taken the pipe away from the process.
            self._wakeup.claim()
        return removed

    # Executors

    def run_in_executor(
        self,
        executor: concurrent.futures.Executor | None,
        func: Callable[[*_Ts], _T],
        *args: *_Ts,
    ) -> asyncio.Future[_T]:
        """Call func(*args) in an executor, by default one of threads; return a future."""
        self._check_closed()
        if self._debug:
            self._check_callback(func, "run_in_executor")
        if executor is None:
            executor = self._default_executor
            self._check_default_executor()
            if executor is None:
                executor = self._make_executor()
        self._flush_transports()  # what the function does comes after what was written before
        made = self._made_executor
        if made is not None and executor is made:
            future: asyncio.Future[_T] = self.create_future()
            if made.call(self, future, func, args):
                return future
            if made.is_inherited:  # its threads are those of the parent
                self._default_executor = None
                return self.run_in_executor(self._make_executor(), func, *args)
        return self._wrap_future(executor.submit(func, *args))

    def _make_executor(self) -> concurrent.futures.Executor:
        """Make the default executor."""
        from .executor import DefaultExecutor  # which takes time to import

        executor: concurrent.futures.Executor
        if issubclass(DefaultExecutor, concurrent.futures.ThreadPoolExecutor):
            executor = self._made_executor = DefaultExecutor()
        else:  # the program has put something else there
            executor = concurrent.futures.ThreadPoolExecutor(thread_name_prefix="asyncio")
        self._default_executor = executor
        return executor

    def _wrap_future(self, source: concurrent.futures.Future[_T]) -> asyncio.Future[_T]:
        """Do asyncio.wrap_future() without its detours: each end tells the other, once."""
        if source.__class__ is not _ConcurrentFuture:
            return asyncio.wrap_future(source, loop=self)
        future: asyncio.Future[_T] = self.create_future()

        def cancelled(future: asyncio.Future[_T]) -> None:
            if future.cancelled():
                source.cancel()

        def finished(source: concurrent.futures.Future[_T]) -> None:
            if not self.is_closed():
                self.call_soon_threadsafe(self._end_job, source, future)

        self._executor_jobs += 1
        future.add_done_callback(cancelled)
        source.add_done_callback(finished)
        return future

    def _end_job(self, source: concurrent.futures.Future[_T], future: asyncio.Future[_T]) -> None:
        self._executor_jobs -= 1
        _copy_future_state(source, future)

    async def _shutdown_default_executor(self, *timeout: float | None) -> None:
        begin = self.time()
        await super().shutdown_default_executor(*timeout)
        (limit,) = timeout or (None,)
        left = None if limit is None else max(0.0, begin + limit - self.time())
        if not await self._lookups.shutdown(left):
            warnings.warn(
                f"The executor did not finishing joining its threads within {limit} seconds.",
                RuntimeWarning,
                stacklevel=3,
            )

    if not TYPE_CHECKING:  # the base's stubs tell what there is
        if sys.version_info >= (3, 12):

            async def shutdown_default_executor(self, timeout=None):
                """End the default executor and the threads that look names up.

                timeout: in seconds; None: no limit. After it a RuntimeWarning tells of threads that
                are still at work. A look-up that no task waits for is not waited for here either.
                """
                await self._shutdown_default_executor(timeout)

        else:

            async def shutdown_default_executor(self):
                """End the default executor and the threads that look names up."""
                await self._shutdown_default_executor()

    # Addresses

    async def _look_up(self, func: Callable[..., _T], *args: Any) -> _T:
        """Return ``func(*args)``, called in a thread for look-ups.

        Where the program has replaced run_in_executor(), or has given the loop a default executor,
        these do the look-up, as in asyncio.
        """
        executor = self._default_executor
        method = getattr(self.run_in_executor, "__func__", None)
        is_own = executor is None or executor is self._made_executor
        if method is not _run_in_executor or not is_own:
            return await self.run_in_executor(None, func, *args)
        self._check_closed()
        if self._debug:
            self._check_callback(func, "run_in_executor")
        self._check_default_executor()
        self._flush_transports()  # as before a job for an executor
        return cast("_T", await self._lookups.ask(self, func, args))

    async def getaddrinfo(
        self,
        host: bytes | str | None,
        port: bytes | str | int | None,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[AddrInfo]:
        """Return what socket.getaddrinfo() says.

        Names are looked up in threads of their own (lookups.py). Numeric addresses need none.
        """
        if not self._debug:
            found = resolve_literal(host, port, family, type, proto, flags)
            if found is not None:
                return found
        # From where asyncio takes it, and where tests replace it.
        func: Callable[..., list[AddrInfo]] = (
            self._getaddrinfo_debug if self._debug else base_events.socket.getaddrinfo  # type: ignore[attr-defined]
        )
        return await self._look_up(func, host, port, family, type, proto, flags)

    async def getnameinfo(
        self, sockaddr: tuple[str, int] | tuple[str, int, int, int], flags: int = 0
    ) -> tuple[str, str]:
        """Return what socket.getnameinfo() says, called in a thread for look-ups."""
        return await self._look_up(base_events.socket.getnameinfo, sockaddr, flags)  # type: ignore[attr-defined]

    # Transports

    def _make_socket_transport(
        self,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[Any] | None = None,
        *,
        extra: dict[str, Any] | None = None,
        server: asyncio.AbstractServer | None = None,
        context: Context | None = None,
    ) -> _fastaio.StreamTransport:
        # From 3.15 on asyncio names the context; it is the current one here, or a copy of it.
        self._ensure_fd_no_transport(sock)
        return self._make_stream_transport(sock, protocol, waiter, extra, server)

    def _make_datagram_transport(
        self,
        sock: socket.socket,
        protocol: asyncio.DatagramProtocol,
        address: Any = None,
        waiter: asyncio.Future[Any] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> DatagramTransport:
        self._ensure_fd_no_transport(sock)
        return DatagramTransport(self, sock, protocol, address, waiter, extra)

    if not TYPE_CHECKING:

        async def create_datagram_endpoint(
            self, protocol_factory, local_addr=None, remote_addr=None, **options
        ):
            """Make a datagram transport and its protocol; return both."""
            transport, protocol = await super().create_datagram_endpoint(
                protocol_factory, local_addr, remote_addr, **options
            )
            if type(transport) is DatagramTransport:  # nobody else reads a socket of the loop's
                transport._own_socket = options.get("sock") is None
            return transport, protocol

    def _make_read_pipe_transport(
        self,
        pipe: IO[bytes],
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[Any] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> ReadPipeTransport:
        return ReadPipeTransport(self, pipe, protocol, waiter, extra)

    def _make_write_pipe_transport(
        self,
        pipe: IO[bytes],
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[Any] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> WritePipeTransport:
        return WritePipeTransport(self, pipe, protocol, waiter, extra)

    def _make_ssl_transport(
        self,
        rawsock: socket.socket,
        protocol: asyncio.BaseProtocol,
        sslcontext: ssl.SSLContext | None,
        waiter: asyncio.Future[Any] | None = None,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        extra: dict[str, Any] | None = None,
        server: asyncio.AbstractServer | None = None,
        ssl_handshake_timeout: float | None = constants.SSL_HANDSHAKE_TIMEOUT,
        ssl_shutdown_timeout: float | None = constants.SSL_SHUTDOWN_TIMEOUT,
        context: Context | None = None,
    ) -> asyncio.Transport:
        self._ensure_fd_no_transport(rawsock)
        ssl_protocol = ssl_protocol_type()(
            self,
            protocol,
            sslcontext,  # None: asyncio's own default
            waiter,
            server_side,
            server_hostname,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )
        self._make_socket_transport(rawsock, ssl_protocol, extra=extra, server=server)
        transport: asyncio.Transport = ssl_protocol._app_transport
        return transport

    async def start_tls(
        self,
        transport: asyncio.BaseTransport,
        protocol: asyncio.BaseProtocol,
        sslcontext: ssl.SSLContext,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> asyncio.Transport | None:
        """Upgrade a connection to TLS; return the transport to use from now on.

        The arguments and errors are asyncio's. None is returned where the connection ends
        meanwhile without an error.
        """
        return await start_tls(
            self,
            transport,
            protocol,
            sslcontext,
            server_side,
            server_hostname,
            ssl_handshake_timeout,
            ssl_shutdown_timeout,
        )

    # Processes

    if not TYPE_CHECKING:

        async def _make_subprocess_transport(self, protocol, *args, **kwargs):
            transport_type = subprocess_transport_type()
            if has_own_watcher():
                self._flush_transports()
                transport = await super()._make_subprocess_transport(protocol, *args, **kwargs)
                if type(transport) is transport_type.__base__:
                    transport.__class__ = transport_type
                return transport
            waiter = self.create_future()
            transport = transport_type(self, protocol, *args, waiter=waiter, **kwargs)
            self._watcher.add_child_handler(
                transport.get_pid(), self._child_watcher_callback, transport
            )
            try:
                await waiter
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException:
                transport.close()
                await asyncio.shield(transport._wait())
                raise
            return transport

    # sendfile

    async def sock_sendfile(
        self,
        sock: socket.socket,
        file: IO[bytes],
        offset: int = 0,
        count: int | None = None,
        *,
        fallback: bool | None = True,
    ) -> int:
        """Send a file over a socket; return the number of bytes."""
        self._flush_transports()  # they were written before
        return await super().sock_sendfile(sock, file, offset, count, fallback=fallback)

    async def _sendfile_native(
        self, transp: Any, file: IO[bytes], offset: int, count: int | None
    ) -> int:
        # asyncio's, but for its table of transports: a native one lends its descriptor itself.
        resume_reading = transp.is_reading()
        transp.pause_reading()
        await transp._make_empty_waiter()
        try:
            return await self.sock_sendfile(transp._sock, file, offset, count, fallback=False)
        finally:
            transp._reset_empty_waiter()
            if resume_reading:
                transp.resume_reading()

    def _start_serving(
        self,
        protocol_factory: _ProtocolFactory,
        sock: socket.socket,
        sslcontext: ssl.SSLContext | None = None,
        server: base_events.Server | None = None,
        backlog: int = 100,
        ssl_handshake_timeout: float | None = constants.SSL_HANDSHAKE_TIMEOUT,
        ssl_shutdown_timeout: float | None = constants.SSL_SHUTDOWN_TIMEOUT,
        context: Context | None = None,
    ) -> None:
        if sslcontext is not None:
            # asyncio accepts these; _make_ssl_transport() puts them on native transports.
            more = {} if context is None else {"context": context}
            super()._start_serving(  # type: ignore[misc]
                protocol_factory,
                sock,
                sslcontext,
                server,
                backlog,
                ssl_handshake_timeout,
                ssl_shutdown_timeout,
                **more,
            )
            return
        listener = _fastaio.Listener(self, sock, protocol_factory, server, backlog)
        self._listeners[sock] = listener
        listener.start()

    def _stop_serving(self, sock: socket.socket) -> None:
        listener = self._listeners.pop(sock, None)
        if listener is not None:
            listener.stop()
        super()._stop_serving(sock)  # type: ignore[misc]


# What EventLoop.run_in_executor was here, for the comparison with what stands there later.
_run_in_executor: Any = EventLoop.run_in_executor
