"""Certificates, contexts and peers for the tests of TLS."""

import asyncio
import contextlib
import functools
import socket
import ssl
import weakref

import pytest
import trustme

from .ioutil import Peer, Recorder, is_closed, tcp_sockets, until
from .support import GUARD

HOST = "tls.example.org"


@functools.cache
def authority():
    """Who signs every certificate here; made once."""
    return trustme.CA()


@functools.cache
def certificate(*names, **kwargs):
    return authority().issue_cert(*names or (HOST, "127.0.0.1"), **kwargs)


def server_context(*names, version=None, **kwargs):
    """A server's context with a certificate for these names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate(*names, **kwargs).configure_cert(context)
    return only(context, version)


def client_context(*, version=None):
    """A client's context that trusts these certificates and no others."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority().configure_trust(context)
    return only(context, version)


def only(context, version):
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


@pytest.fixture(params=["openssl", "ssl"])
def cipher(request, on_fastaio, monkeypatch):
    """Both ways to encrypt, on fastaio: OpenSSL called directly, and Python's SSLObject."""
    if on_fastaio:
        import fastaio.tls

        monkeypatch.setattr(fastaio.tls.SSLProtocol, "direct", request.param == "openssl")
    elif request.param == "openssl":
        pytest.skip("asyncio has one way")
    return request.param


def ssl_object(transport):
    return transport.get_extra_info("ssl_object")


@contextlib.asynccontextmanager
async def secured(
    factory=Recorder, *, server_side=False, client=None, server=None, before=None, **kwargs
):
    """(transport, protocol, peer): a TLS transport of the loop under test; the peer blocks."""
    loop = asyncio.get_running_loop()
    client = client or client_context()
    server = server or server_context()
    ours, theirs = tcp_sockets()
    if before is not None:
        before(ours, theirs)
    theirs.settimeout(GUARD)
    if server_side:
        wrap = functools.partial(client.wrap_socket, theirs, server_hostname=HOST)
    else:
        wrap = functools.partial(server.wrap_socket, theirs, server_side=True)
    shaken = asyncio.create_task(asyncio.to_thread(wrap))
    if server_side:
        transport, protocol = await loop.connect_accepted_socket(
            factory, ours, ssl=server, **kwargs
        )
    else:
        transport, protocol = await loop.create_connection(
            factory, sock=ours, ssl=client, server_hostname=HOST, **kwargs
        )
    with Peer(await shaken) as peer:
        try:
            yield transport, protocol, peer
        finally:
            transport.abort()
            await until(lambda: ours.fileno() == -1)


@contextlib.asynccontextmanager
async def tls_serving(factory, context=None, **kwargs):
    """(server, address): a TLS server of the loop under test on 127.0.0.1."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        factory, "127.0.0.1", 0, ssl=context or server_context(), **kwargs
    )
    try:
        yield server, server.sockets[0].getsockname()
    finally:
        server.close()
        await server.wait_closed()


@contextlib.asynccontextmanager
async def both_ends(client_factory=Recorder, server_factory=Recorder, *, client=None, server=None):
    """(transport, protocol, transport, protocol): both ends on the loop under test."""
    loop = asyncio.get_running_loop()
    left, right = socket.socketpair()
    accepting = asyncio.create_task(
        loop.connect_accepted_socket(server_factory, right, ssl=server or server_context())
    )
    transport, protocol = await loop.create_connection(
        client_factory, sock=left, ssl=client or client_context(), server_hostname=HOST
    )
    accepted = await accepting
    ends = weakref.ref(left), weakref.ref(right)
    del left, right, accepting  # where others have the socket nothing that is written waits
    try:
        yield transport, protocol, *accepted
    finally:
        transport.abort()
        accepted[0].abort()
        await until(lambda: all(map(is_closed, ends)))
