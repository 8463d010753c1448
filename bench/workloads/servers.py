"""Real servers under 32 connections that ask again as soon as they are answered, CPU time of the
server per request. The libraries are as they come: no access log, everything else by default."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import Callable
from typing import Any

from bench.cells import Cell, Load, Serve, Served

_CONNECTIONS = 32


async def _uvicorn(
    app: Any, sock: socket.socket, context: Callable[[], ssl.SSLContext] | None = None
) -> object:
    """Start uvicorn with httptools on the running loop."""
    import uvicorn

    config = uvicorn.Config(
        app, http="httptools", ws="none", lifespan="off", access_log=False, log_level="warning"
    )
    if context is not None:
        config.load()
        config.ssl = context()  # what it would make of the files of a certificate
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[sock]))
    while not server.started:
        if task.done():
            task.result()
        await asyncio.sleep(0.01)
    return server, task


def _asgi(content_type: bytes, body: Any) -> Any:
    """An ASGI application that answers everything alike; `body` makes the answer."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        content = body()
        headers = [
            (b"content-type", content_type),
            (b"content-length", str(len(content)).encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    return app


async def uvicorn_plain(
    sock: socket.socket, context: Callable[[], ssl.SSLContext] | None = None
) -> object:
    """uvicorn and a bare ASGI application, plain text."""
    return await _uvicorn(_asgi(b"text/plain", lambda: b"Hello, world!"), sock, context)


async def uvicorn_json(sock: socket.socket) -> object:
    """uvicorn and a bare ASGI application, JSON."""
    document = {"message": "Hello, world!"}
    return await _uvicorn(_asgi(b"application/json", lambda: json.dumps(document).encode()), sock)


async def fastapi_json(sock: socket.socket) -> object:
    """FastAPI on uvicorn, JSON."""
    from fastapi import FastAPI

    app = FastAPI()

    @app.get("/")
    async def root() -> dict[str, str]:
        return {"message": "Hello, world!"}

    return await _uvicorn(app, sock)


async def _aiohttp(response: Any, sock: socket.socket) -> object:
    """Start aiohttp's server on the running loop."""
    from aiohttp import web

    async def handler(request: web.Request) -> web.Response:
        answer: web.Response = response(web)
        return answer

    app = web.Application()
    app.router.add_get("/", handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.SockSite(runner, sock).start()
    return runner


async def aiohttp_plain(sock: socket.socket) -> object:
    """aiohttp's server, plain text."""
    return await _aiohttp(lambda web: web.Response(text="Hello, world!"), sock)


async def aiohttp_json(sock: socket.socket) -> object:
    """aiohttp's server, JSON."""
    return await _aiohttp(lambda web: web.json_response({"message": "Hello, world!"}), sock)


async def websockets_echo(sock: socket.socket) -> object:
    """The websockets library, an echo of 1 KiB binary messages without compression."""
    from websockets.asyncio.server import ServerConnection, serve

    async def handler(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    return await serve(handler, sock=sock, compression=None, ping_interval=None)


_HTTP = Load(mode="http", connections=_CONNECTIONS)
_WS = Load(mode="ws", connections=_CONNECTIONS)


def _cell(name: str, title: str, serve: Serve, *needs: str, load: Load = _HTTP) -> Cell:
    return Served(f"servers/{name}", title, serve=serve, load=load, needs=needs)


CELLS: list[Cell] = [
    _cell("uvicorn-plain", "uvicorn plain text", uvicorn_plain, "uvicorn", "httptools"),
    _cell("uvicorn-json", "uvicorn JSON", uvicorn_json, "uvicorn", "httptools"),
    _cell("fastapi-json", "FastAPI JSON", fastapi_json, "uvicorn", "httptools", "fastapi"),
    _cell("aiohttp-plain", "aiohttp plain text", aiohttp_plain, "aiohttp"),
    _cell("aiohttp-json", "aiohttp JSON", aiohttp_json, "aiohttp"),
    _cell("websockets-echo", "websockets echo", websockets_echo, "websockets", load=_WS),
]
