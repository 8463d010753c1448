"""starlette under uvicorn: files from threads, streams, sockets, and middleware between tasks."""

import asyncio

import pytest

from ..ioutil import until
from ..support import GUARD
from .apps import pattern
from .support import LOCALHOST, need

starlette = need("starlette")
need("uvicorn")


def application(folder, notes, middleware):
    from starlette.applications import Starlette
    from starlette.background import BackgroundTask
    from starlette.middleware import Middleware
    from starlette.middleware.base import BaseHTTPMiddleware
    from starlette.responses import PlainTextResponse, StreamingResponse
    from starlette.routing import Mount, Route, WebSocketRoute
    from starlette.staticfiles import StaticFiles

    async def length(request):
        return PlainTextResponse(str(sum([len(part) async for part in request.stream()])))

    async def later(request):
        async def note():
            await asyncio.sleep(0)
            notes.append("in the background")

        return PlainTextResponse("now", background=BackgroundTask(note))

    async def forever(request):
        async def parts():
            try:
                while True:
                    yield b"x" * 65536
                    await asyncio.sleep(0)
            finally:
                notes.append("stream ended")

        return StreamingResponse(parts())

    async def echo(websocket):
        await websocket.accept()
        async for text in websocket.iter_text():
            await websocket.send_text(text.upper())

    async def add_header(request, call_next):
        response = await call_next(request)
        response.headers["x-seen"] = "yes"
        return response

    routes = [
        Route("/length", length, methods=["POST"]),
        Route("/later", later),
        Route("/forever", forever),
        WebSocketRoute("/ws", echo),
        Mount("/files", StaticFiles(directory=folder)),
    ]
    seen = [Middleware(BaseHTTPMiddleware, dispatch=add_header)] if middleware else []
    return Starlette(routes=routes, middleware=seen)


@pytest.fixture
def play(run, tmp_path):
    import uvicorn

    def play(scenario, middleware=False):
        async def main():
            notes = []
            config = uvicorn.Config(
                application(tmp_path, notes, middleware), port=0, log_level="warning"
            )
            server = uvicorn.Server(config)
            serving = asyncio.create_task(server._serve())
            await until(lambda: server.started)
            port = server.servers[0].sockets[0].getsockname()[1]
            async with asyncio.timeout(GUARD):
                await scenario(f"{LOCALHOST}:{port}", notes)
                server.should_exit = True
                await serving

        run(main)

    return play


def test_files_uploads_and_middleware(play, tmp_path):
    httpx = need("httpx")
    data = pattern(2_000_000)
    (tmp_path / "data").write_bytes(data)

    async def scenario(address, notes):
        async with httpx.AsyncClient(base_url=f"http://{address}", timeout=GUARD) as client:
            answers = await asyncio.gather(*(client.get("/files/data") for _ in range(10)))
            assert all(answer.content == data for answer in answers)
            assert answers[0].headers["x-seen"] == "yes"
            part = await client.get("/files/data", headers={"range": "bytes=1000-1999"})
            assert (part.status_code, part.content) == (206, data[1000:2000])
            assert (await client.post("/length", content=data)).text == str(len(data))
            assert (await client.get("/later")).text == "now"
            await until(lambda: notes == ["in the background"])

    play(scenario, middleware=True)


def test_a_client_that_leaves_a_stream(play):
    httpx = need("httpx")

    async def scenario(address, notes):
        async with httpx.AsyncClient(base_url=f"http://{address}") as client:
            async with client.stream("GET", "/forever") as response:
                async for _ in response.aiter_bytes():
                    break
            await until(lambda: notes == ["stream ended"])

    play(scenario)


def test_websockets(play):
    client = need("websockets.asyncio.client")

    async def scenario(address, notes):
        async with client.connect(f"ws://{address}/ws") as socket:
            for number in range(100):
                await socket.send(f"message {number}")
            for number in range(100):
                assert await socket.recv() == f"MESSAGE {number}"

    play(scenario)
