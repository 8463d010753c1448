"""TLS: asyncio's protocol and transport, with what repeats with the traffic in C.

Configuration, handshake, verification, shutdown and timeouts are asyncio's own code, of the very
Python that runs, on Python's ``ssl``. The native halves take the methods that carry data; their
attributes are the ones that asyncio's methods (and libraries) read and set.
"""

from __future__ import annotations

import asyncio
import os
from asyncio import sslproto, streams
from typing import TYPE_CHECKING, Any

from . import _fastaio

try:
    import ssl as _ssl
except ImportError:  # a Python that was built without
    _ssl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    import ssl

__all__ = ("SSLProtocol", "SSLTransport", "ssl_protocol_type", "start_tls")

_asyncio_protocol = sslproto.SSLProtocol


class SSLTransport(_fastaio.TlsTransport, sslproto._SSLProtocolTransport):
    """The transport that an application over TLS writes to."""

    def _test__append_write_backlog(self, data: bytes) -> None:
        self._ssl_protocol._queue(data)


class SSLProtocol(_fastaio.TlsProtocol, sslproto.SSLProtocol):
    """asyncio's SSLProtocol with a native data path; the arguments are asyncio's."""

    #: Whether the data path may call OpenSSL behind Python's SSLObject, where it finds it.
    direct = os.environ.get("FASTAIO_TLS", "") != "ssl"

    if TYPE_CHECKING:
        _app_transport_created: bool

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # A native transport brings its own buffer; get_buffer() makes one for another.
        self.__dict__["max_size"] = 0
        super().__init__(*args, **kwargs)
        del self.__dict__["max_size"]

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
        super()._abort(*args)

    def _fatal_error(self, exc: BaseException, message: str = "Fatal error on transport") -> None:
        self._flush_last()
        super()._fatal_error(exc, message)

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection below has ended: nothing can be sent any more."""
        self._drop_output()
        super().connection_lost(exc)


def ssl_protocol_type() -> Any:
    """The class to use: ours, unless somebody has put another one in the place of asyncio's."""
    known = sslproto.SSLProtocol is _asyncio_protocol
    return SSLProtocol if known else sslproto.SSLProtocol


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
    """What loop.start_tls() does: TLS becomes the protocol of the transport, and has `protocol`."""
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
