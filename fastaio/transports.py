"""The transports of datagrams and pipes: asyncio's own, with a native half in front.

What happens once to such a transport (its making, its end, flow control) is asyncio's code, of the
Python that runs. What happens with each datagram and each piece of a stream is C.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from asyncio import selector_events, unix_events
from asyncio.log import logger
from collections.abc import Iterator
from typing import IO, Any

from . import _fastaio
from .endings import ends_in_its_loop

# asyncio's own, of which typeshed does not tell.
_SelectorDatagramTransport: Any = selector_events._SelectorDatagramTransport  # type: ignore[attr-defined]
_UnixReadPipeTransport: Any = unix_events._UnixReadPipeTransport  # type: ignore[attr-defined]
_UnixWritePipeTransport: Any = unix_events._UnixWritePipeTransport  # type: ignore[attr-defined]

__all__ = ("DatagramTransport", "ReadPipeTransport", "WritePipeTransport")


class _PeerSocket:
    """A connected socket whose sendto() needs no address."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def sendto(self, data: bytes, address: Any) -> int:
        """Send to `address`, or to the socket's peer where that is None."""
        return self._sock.send(data) if address is None else self._sock.sendto(data, address)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


@ends_in_its_loop
class DatagramTransport(
    _fastaio.DatagramCore,
    _SelectorDatagramTransport,  # type: ignore[misc]
    asyncio.DatagramTransport,
):
    """An endpoint for datagrams: UDP, or Unix sockets of that kind."""

    # The socket while it has an I/O reference of ours, as from makefile(): a user who closes it
    # does not free the number under the poller.
    _held: socket.socket | None = None

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        address: Any = None,
        waiter: asyncio.Future[Any] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        _SelectorDatagramTransport.__init__(self, loop, sock, protocol, address, waiter, extra)
        if isinstance(sock, socket.socket):
            sock._io_refs += 1  # type: ignore[attr-defined]
            self._held = sock

    # asyncio calls send() where the peer has a name, else sendto(), which needs an address. The
    # peer in a Unix socketpair has no name. While asyncio's code sends to such a peer, a stand-in
    # for the socket takes None for an address.

    @contextlib.contextmanager
    def _sending_to_peer(self) -> Iterator[None]:
        sock = self._sock
        self._sock = stand_in = _PeerSocket(sock)
        try:
            yield
        finally:
            if self._sock is stand_in:  # else the connection is lost
                self._sock = sock

    def _sendto_peer(self, data: bytes) -> None:
        with self._sending_to_peer():
            _SelectorDatagramTransport.sendto(self, data)

    def _sendto_ready(self) -> None:
        if not self._unnamed_peer:
            super()._sendto_ready()
        elif self._sock is not None:
            with self._sending_to_peer():
                super()._sendto_ready()

    def _let_go(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            held._decref_socketios()  # type: ignore[attr-defined]

    def _call_connection_lost(self, exc: BaseException | None) -> None:
        try:
            super()._call_connection_lost(exc)
        finally:
            self._let_go()

    def __del__(self) -> None:
        super().__del__()
        self._let_go()


@ends_in_its_loop
class ReadPipeTransport(_fastaio.ReadPipeCore, _UnixReadPipeTransport):  # type: ignore[misc]
    """The end of a pipe, Unix socket or character device that is read from."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        pipe: IO[bytes],
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[Any] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        _UnixReadPipeTransport.__init__(self, loop, pipe, protocol, waiter, extra)

    def _read_eof(self) -> None:
        # As asyncio's _read_ready() at the end, which for a terminal can be read only once.
        loop = self._loop
        if loop.get_debug():
            logger.info("%r was closed by peer", self)
        self._closing = True
        loop._remove_reader(self._fileno)
        loop.call_soon(self._protocol.eof_received)
        loop.call_soon(self._call_connection_lost, None)

    def _call_connection_lost(self, exc: BaseException | None) -> None:
        if self._pipe is not None:  # asyncio may have queued this twice
            super()._call_connection_lost(exc)


@ends_in_its_loop
class WritePipeTransport(_fastaio.WritePipeCore, _UnixWritePipeTransport):  # type: ignore[misc]
    """The end of a pipe, Unix socket or character device that is written to."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        pipe: IO[bytes],
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[Any] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        _UnixWritePipeTransport.__init__(self, loop, pipe, protocol, waiter, extra)

    def abort(self) -> None:
        """Close the pipe at once; what the kernel has not taken is lost."""
        if self._pipe is not None:  # asyncio fails once the connection is lost
            super().abort()

    def _write_end(self) -> None:
        # As asyncio's _write_ready() when a closing transport has written the last byte.
        self._loop._remove_reader(self._fileno)
        self._call_connection_lost(None)

    def _call_connection_lost(self, exc: BaseException | None) -> None:
        if self._pipe is not None:  # asyncio may have queued this twice
            super()._call_connection_lost(exc)
