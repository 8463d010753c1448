"""TLS: asyncio's protocol and transport, with what repeats with the traffic in C.

Configuration, handshake, verification, shutdown and timeouts are asyncio's own code, of the very
Python that runs, on Python's ``ssl``. The native halves take the methods that carry data; their
attributes are the ones that asyncio's methods (and libraries) read and set.
"""

from __future__ import annotations

import asyncio
import functools
import os
from asyncio import sslproto, streams
from typing import TYPE_CHECKING, Any

from . import _fastaio, environment
from .endings import ends_in_its_loop

try:
    import ssl as _ssl
except ImportError:  # a Python that was built without
    _ssl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

__all__ = ("SSLProtocol", "SSLTransport", "describe_tls", "ssl_protocol_type", "start_tls")

ENVIRONMENT_VARIABLE = "FASTAIO_TLS"

_asyncio_protocol = sslproto.SSLProtocol


def _may_be_direct() -> bool:
    """Return whether FASTAIO_TLS lets the data path call OpenSSL directly."""
    value = os.environ.get(ENVIRONMENT_VARIABLE) or ""
    if value not in ("", "ssl"):
        problem = f"{ENVIRONMENT_VARIABLE} must be 'ssl' or empty, not {value!r}"
        environment.warn(problem, "OpenSSL is called directly")
    return value != "ssl"


#: Up to an early 3.12 asyncio's _abort() does not take the error that its own caller gives it.
_ABORT_TAKES_ERROR = (
    getattr(getattr(sslproto.SSLProtocol._abort, "__code__", None), "co_argcount", 2) != 1
)

#: True on an interpreter without a GIL: threads could use OpenSSL's connection at the same time.
_NEEDS_CLAIMS = hasattr(_fastaio.TlsTransport, "_end")


class _ClaimedSSL:
    """A program's way to the ``_ssl`` object of a connection: each use claims the loop.

    Python's own object lets another thread in while OpenSSL reads or writes.
    """

    __slots__ = ("_inner", "_loop")

    def __init__(self, inner: Any, loop: Any) -> None:
        object.__setattr__(self, "_inner", inner)
        object.__setattr__(self, "_loop", loop)

    def __getattr__(self, name: str) -> Any:
        value = self._claimed(getattr, self._inner, name)
        return functools.partial(self._claimed, value) if callable(value) else value

    def __setattr__(self, name: str, value: object) -> None:
        self._claimed(setattr, self._inner, name, value)

    def _claimed(self, function: Callable[..., Any], *args: Any) -> Any:
        loop = self._loop
        loop._claim()  # raises RuntimeError while another thread has the loop
        try:
            return function(*args)
        finally:
            loop._unclaim()


class _ClaimingExtra(dict[str, Any]):
    """The extra information of a connection whose ``ssl_object`` claims the loop."""

    __slots__ = ("_loop",)

    def __init__(self, extra: dict[str, Any], loop: Any) -> None:
        super().__init__(extra)
        self._loop = loop

    def update(self, *args: Any, **kwargs: Any) -> None:
        known = kwargs.get("ssl_object")
        inner = getattr(known, "_sslobj", None)
        if type(known) is _ssl.SSLObject and inner is not None:
            claimed: Any = _ssl.SSLObject.__new__(_ssl.SSLObject)
            claimed._sslobj = _ClaimedSSL(inner, self._loop)
            kwargs["ssl_object"] = claimed
        super().update(*args, **kwargs)


@ends_in_its_loop
class SSLTransport(_fastaio.TlsTransport, sslproto._SSLProtocolTransport):
    """The transport that an application over TLS writes to."""

    def _test__append_write_backlog(self, data: bytes) -> None:
        self._ssl_protocol._queue(data)


class SSLProtocol(_fastaio.TlsProtocol, sslproto.SSLProtocol):
    """asyncio's SSLProtocol with a native data path; the arguments are asyncio's."""

    #: Whether the data path may call OpenSSL behind Python's SSLObject, where it finds it.
    direct = _may_be_direct()

    if TYPE_CHECKING:
        _app_transport_created: bool

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # A native transport brings its own buffer; get_buffer() makes one for another.
        self.__dict__["max_size"] = 0
        super().__init__(*args, **kwargs)
        del self.__dict__["max_size"]
        if _NEEDS_CLAIMS and hasattr(self._loop, "_claim"):
            self._extra = _ClaimingExtra(self._extra, self._loop)

    def _get_app_transport(self) -> Any:
        if self._app_transport is None:
            if self._app_transport_created:
                raise RuntimeError("Creating _SSLProtocolTransport twice")
            self._app_transport = SSLTransport(self._loop, self)
            self._app_transport_created = True
        return self._app_transport

    # What was written before an end is sent before it: on asyncio it has gone already.

    def _start_shutdown(self) -> None:
        self._flush()
        super()._start_shutdown()

    def _abort(self, *args: Any) -> None:
        self._flush_last()
        super()._abort(*(args if _ABORT_TAKES_ERROR else ()))

    def _fatal_error(self, exc: BaseException, message: str = "Fatal error on transport") -> None:
        self._flush_last()
        super()._fatal_error(exc, message)

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection below has ended: nothing can be sent any more."""
        self._drop_output()
        self._call_alone(super().connection_lost, exc)


def ssl_protocol_type() -> Any:
    """The class to use: ours, unless somebody has put another one in the place of asyncio's."""
    known = sslproto.SSLProtocol is _asyncio_protocol
    return SSLProtocol if known else sslproto.SSLProtocol


def describe_tls(loop: asyncio.AbstractEventLoop) -> str:
    """Tell what encrypts the connections of ``loop``, as a protocol without a connection does."""
    if _ssl is None:
        return "none: this Python was built without ssl"
    context = _ssl.SSLContext(_ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    protocol = SSLProtocol(loop, asyncio.Protocol(), context, None)
    protocol._sslobj = context.wrap_bio(protocol._incoming, protocol._outgoing)
    protocol._get_read_buffer_size()  # the first use decides
    protocol._get_app_transport()._closed = True  # else its end would be a ResourceWarning
    way = "directly" if protocol._cipher == "openssl" else "by Python's ssl"
    return f"{_ssl.OPENSSL_VERSION}, {way}"


async def start_tls(
    loop: asyncio.AbstractEventLoop,
    transport: Any,
    protocol: Any,
    sslcontext: ssl.SSLContext,
    server_side: bool,
    server_hostname: str | None,
    ssl_handshake_timeout: float | None,
    ssl_shutdown_timeout: float | None,
) -> asyncio.Transport | None:
    """Do loop.start_tls(): TLS becomes the protocol of the transport, and has `protocol`."""
    if _ssl is None:
        raise RuntimeError("Python ssl module is not available")
    if not isinstance(sslcontext, _ssl.SSLContext):
        raise TypeError(
            f"sslcontext is expected to be an instance of ssl.SSLContext, got {sslcontext!r}"
        )
    if not getattr(transport, "_start_tls_compatible", False):
        raise TypeError(f"transport {transport!r} is not supported by start_tls()")
    waiter: asyncio.Future[None] | None = loop.create_future()
    ssl_protocol = ssl_protocol_type()(
        loop,
        protocol,
        sslcontext,
        waiter,
        server_side,
        server_hostname,
        ssl_handshake_timeout=ssl_handshake_timeout,
        ssl_shutdown_timeout=ssl_shutdown_timeout,
        call_connection_made=False,
    )
    transport.pause_reading()  # nothing may come before connection_made()
    if server_side and isinstance(protocol, streams.StreamReaderProtocol):
        _hand_over_buffer(protocol, ssl_protocol)
    transport.set_protocol(ssl_protocol)
    handles = (
        loop.call_soon(ssl_protocol.connection_made, transport),
        loop.call_soon(transport.resume_reading),
    )
    try:
        assert waiter is not None
        await waiter
    except BaseException:
        transport.close()
        for handle in handles:
            handle.cancel()
        waiter = None  # or the exception, which has this frame, would keep itself alive
        raise
    upgraded: asyncio.Transport | None = ssl_protocol._app_transport
    return upgraded


def _hand_over_buffer(protocol: Any, ssl_protocol: Any) -> None:
    # What a server has received and not read is no plain text any more: the client has begun to
    # speak TLS. asyncio leaves it in the reader before its last releases.
    reader = getattr(protocol, "_stream_reader", None)
    if reader is not None and reader._buffer:
        ssl_protocol._incoming.write(reader._buffer)
        reader._buffer.clear()
