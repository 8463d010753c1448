"""Loopback TCP sockets for both ends of a measurement."""

from __future__ import annotations

import socket

#: As `create_server(host, port)` names it: asyncio and others switch Nagle's algorithm off only
#: for sockets that say which protocol they have.
_TCP = socket.IPPROTO_TCP


def _new(cubic: bool) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, _TCP)
    if cubic:
        sock.setsockopt(_TCP, socket.TCP_CONGESTION, b"cubic")
    return sock


def listening(cubic: bool = False) -> socket.socket:
    """Make a listening socket on a free port; accepted ones inherit its congestion control."""
    sock = _new(cubic)
    sock.bind(("127.0.0.1", 0))
    sock.listen(4096)
    sock.setblocking(False)
    return sock


def connected(address: tuple[str, int], cubic: bool = False) -> socket.socket:
    """Make a blocking connection to a listening socket."""
    sock = _new(cubic)
    sock.setsockopt(_TCP, socket.TCP_NODELAY, 1)
    sock.connect(address)
    return sock
