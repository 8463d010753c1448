"""Libraries over TLS: aiohttp, httpx, uvicorn and websockets, both ends on the loop under test."""

import asyncio
import contextlib
import hashlib
import socket

import pytest

from ..ioutil import listening, no_new_descriptors
from ..tlsutil import HOST, cipher, client_context, server_context  # noqa: F401 - a fixture
from .apps import pattern
from .support import need

pytestmark = pytest.mark.usefixtures("cipher")

BODY = pattern(3_000_000)


def resolving_to(address):
    """Connections to the host of the certificate go to this address."""

    async def getaddrinfo(host, port, *, family=0, type=0, proto=0, flags=0):
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address)]

    asyncio.get_running_loop().getaddrinfo = getaddrinfo


def test_aiohttp(run):
    aiohttp = need("aiohttp")
    web = need("aiohttp.web")
    from . import test_aiohttp

    async def echo(request):
        assert request.secure
        assert request.transport.get_extra_info("ssl_object") is not None
        return await test_aiohttp.echo(request)

    async def main():
        app = web.Application(client_max_size=1 << 30)
        app.router.add_post("/", echo)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_context())
        await site.start()
        port = runner.addresses[0][1]
        async with no_new_descriptors(others=True):
            connector = aiohttp.TCPConnector(ssl=client_context())
            async with aiohttp.ClientSession(connector=connector) as session:
                for _ in range(3):
                    url = f"https://127.0.0.1:{port}/"
                    async with session.post(url, data=BODY, server_hostname=HOST) as answer:
                        assert await answer.read() == BODY
                with pytest.raises(aiohttp.ClientConnectorCertificateError):
                    await session.post(url, server_hostname="wrong.example.org")
        await runner.cleanup()

    run(main)


def test_uvicorn_and_httpx(run):
    uvicorn, httpx = need("uvicorn"), need("httpx")

    async def app(scope, receive, send):
        assert scope["type"] == "http"
        assert scope["scheme"] == "https"
        value = hashlib.sha256()
        more = True
        while more:
            message = await receive()
            value.update(message["body"])
            more = message.get("more_body", False)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": BODY, "more_body": True})
        await send({"type": "http.response.body", "body": value.digest()})

    async def main():
        config = uvicorn.Config(app, lifespan="off", log_level="warning", ws="none")
        config.load()
        config.ssl = server_context()
        server = uvicorn.Server(config)
        server.capture_signals = contextlib.nullcontext  # its signal handlers would be the test's
        with listening() as sock:
            address = sock.getsockname()
            serving = asyncio.create_task(server.serve(sockets=[sock]))
            resolving_to(address)
            async with httpx.AsyncClient(verify=client_context(), trust_env=False) as client:
                for _ in range(3):
                    answer = await client.post(f"https://{HOST}:{address[1]}/", content=BODY)
                    assert answer.content == BODY + hashlib.sha256(BODY).digest()
            server.should_exit = True
            await serving

    run(main)


def test_websockets(run):
    need("websockets")
    from websockets.asyncio.client import connect
    from websockets.asyncio.server import serve

    async def echo(connection):
        async for message in connection:
            await connection.send(message)

    async def main():
        async with serve(
            echo, "127.0.0.1", 0, ssl=server_context(), max_size=None, compression=None
        ) as server:
            port = server.sockets[0].getsockname()[1]
            async with connect(
                f"wss://127.0.0.1:{port}/",
                ssl=client_context(),
                server_hostname=HOST,
                max_size=None,
                compression=None,
            ) as client:
                for message in ("text", b"bytes", BODY):
                    await client.send(message)
                    assert await client.recv() == message

    run(main)
