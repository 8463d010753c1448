"""Addresses that need no look-up: what getaddrinfo() says of them is known at once."""

from __future__ import annotations

import socket
from asyncio import base_events
from typing import Any, Literal, TypeAlias

from ._fastaio import known_literal

__all__ = ("AddrInfo", "resolve_literal")

AddrInfo: TypeAlias = (
    tuple[Literal[socket.AddressFamily.AF_INET], socket.SocketKind, int, str, tuple[str, int]]
    | tuple[
        Literal[socket.AddressFamily.AF_INET6],
        socket.SocketKind,
        int,
        str,
        tuple[str, int, int, int] | tuple[int, bytes],
    ]
)

_getaddrinfo = socket.getaddrinfo
# Where asyncio looks it up, and where tests replace it.
_sockets_of_asyncio: Any = base_events
# These ask which addresses this machine has, which may change.
_DEPENDS_ON_INTERFACES = socket.AI_ADDRCONFIG


def _is_literal(host: str) -> bool:
    try:
        socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    except (OSError, ValueError):
        return False
    return True


# The key is that of known_literal(). Cleared when it is full.
_answers: dict[tuple[str, int | None, int, int, int, int], list[AddrInfo]] = {}
_MAX_ANSWERS = 512


def resolve_literal(
    host: Any, port: Any, family: int, type: int, proto: int, flags: int
) -> list[AddrInfo] | None:
    """Return the result of socket.getaddrinfo() if it takes no question to a name service.

    That is for a numeric host (an IPv4 or IPv6 address without a scope) and a numeric port. None
    for the rest, and where socket.getaddrinfo has been replaced.
    """
    if _sockets_of_asyncio.socket.getaddrinfo is not _getaddrinfo:
        return None
    known: list[AddrInfo] | None = known_literal(_answers, host, port, family, type, proto, flags)
    if known is not None:
        return known
    # Exact types: subclasses may compare as they please, and must not be kept.
    if host.__class__ is not str or (port is not None and port.__class__ is not int):
        return None
    if not _is_literal(host) or flags & _DEPENDS_ON_INTERFACES:
        return None
    found = _getaddrinfo(host, port, family, type, proto, flags)
    if len(_answers) >= _MAX_ANSWERS:
        _answers.clear()
    _answers[host, port, int(family), int(type), int(proto), int(flags)] = found
    return [*found]
