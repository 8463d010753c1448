"""Addresses that need no look-up: what getaddrinfo() says of them is known at once."""

from __future__ import annotations

import socket
import sys
from asyncio import base_events
from functools import lru_cache
from typing import Any, Literal, TypeAlias

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
_audit = sys.audit
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


class _Answer:
    """What getaddrinfo() said, and whether its audit event stands for the look-up at hand too."""

    __slots__ = ("infos", "is_new")

    def __init__(self, infos: tuple[AddrInfo, ...]) -> None:
        self.infos = infos
        self.is_new = True


def _resolve(
    host: str, port: int | None, family: int, type: int, proto: int, flags: int
) -> _Answer | None:
    if not _is_literal(host) or flags & _DEPENDS_ON_INTERFACES:
        return None
    return _Answer(tuple(_getaddrinfo(host, port, family, type, proto, flags)))


# typed: True is no port although it equals 1.
_resolve_cached = lru_cache(maxsize=512, typed=True)(_resolve)


def resolve_literal(
    host: Any, port: Any, family: int, type: int, proto: int, flags: int
) -> list[AddrInfo] | None:
    """What socket.getaddrinfo() says, where it can be known without asking a name service.

    That is for a numeric host (an IPv4 or IPv6 address without a scope) and a numeric port. None
    for the rest, and where socket.getaddrinfo has been replaced.
    """
    if _sockets_of_asyncio.socket.getaddrinfo is not _getaddrinfo:
        return None
    # Exact types: subclasses may compare as they please, and must not be kept in the cache.
    if host.__class__ is not str or (port is not None and port.__class__ is not int):
        return None
    found = _resolve_cached(host, port, family, type, proto, flags)
    if found is None:
        return None
    if found.is_new:
        found.is_new = False
    else:
        _audit("socket.getaddrinfo", host, port, family, type, proto)
    return list(found.infos)
