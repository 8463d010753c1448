"""TLS: asyncio's protocol and transport, with what repeats with the traffic in C.

Configuration, handshake, verification, shutdown and timeouts are asyncio's own code, of the very
Python that runs, on Python's ``ssl``. The native halves take the methods that carry data; their
attributes are the ones that asyncio's methods (and libraries) read and set.
"""

from __future__ import annotations

import os
from asyncio import sslproto
from typing import TYPE_CHECKING, Any

from . import _fastaio

if TYPE_CHECKING:
    import asyncio

__all__ = ("SSLProtocol", "SSLTransport")

#: asyncio's class when this module was loaded: what has been put in its place since is used instead.
ASYNCIO_PROTOCOL = sslproto.SSLProtocol


class SSLTransport(_fastaio.TlsTransport, sslproto._SSLProtocolTransport):
    """The transport that an application over TLS writes to."""

    def _test__append_write_backlog(self, data: bytes) -> None:
        self._ssl_protocol._queue(data)


class SSLProtocol(_fastaio.TlsProtocol, sslproto.SSLProtocol):
    """asyncio's SSLProtocol with a native data path. Its arguments, in their order, are asyncio's."""

    #: Whether the data path may call OpenSSL behind Python's SSLObject, where it finds it.
    direct = os.environ.get("FASTAIO_TLS", "") != "ssl"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # A native transport brings its own buffer; get_buffer() makes one for another.
        self.max_size = 0
        super().__init__(*args, **kwargs)
        del self.max_size

    def _get_app_transport(self) -> asyncio.Transport:
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

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection below has ended: nothing can be sent any more."""
        self._drop_output()
        super().connection_lost(exc)
