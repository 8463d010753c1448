"""aiohttp, server and client, both on the loop under test."""

import asyncio
import contextlib
import hashlib
import json
import signal

import pytest

from ..ioutil import no_new_descriptors
from ..support import GUARD
from .apps import block_until_exists, pattern
from .support import LOCALHOST, SIZE, Client, Program, need

aiohttp = need("aiohttp")
web = need("aiohttp.web")

ACTIVE = web.AppKey("active", set)


async def hello(request):
    return web.Response(text="hello")


async def number(request):
    return web.json_response({"number": int(request.match_info["number"])})


async def echo(request):
    """Streams the body back while it comes."""
    response = web.StreamResponse()
    await response.prepare(request)
    async for part in request.content.iter_chunked(65536):
        await response.write(part)
    await response.write_eof()
    return response


async def digest(request):
    value = hashlib.sha256()
    async for part in request.content.iter_any():
        value.update(part)
    return web.Response(text=value.hexdigest())


async def many(request):
    return web.Response(body=pattern(int(request.match_info["size"])))


async def works(request):
    """Computes between the parts of its answer, on the loop's thread."""
    response = web.StreamResponse()
    await response.prepare(request)
    for number in range(3):
        await response.write(b"part %d\n" % number)
        block_until_exists(request.query["path"] + str(number))
    await response.write_eof()
    return response


async def forever(request):
    response = web.StreamResponse()
    await response.prepare(request)
    request.app[ACTIVE].add(id(request))
    try:
        while True:
            await response.write(b"x" * 65536)
    finally:
        request.app[ACTIVE].discard(id(request))


async def websocket(request):
    socket = web.WebSocketResponse(max_msg_size=0)
    await socket.prepare(request)
    async for message in socket:
        if message.type == aiohttp.WSMsgType.TEXT:
            await socket.send_str(message.data)
        else:
            await socket.send_bytes(message.data)
    return socket


def application():
    app = web.Application(client_max_size=100 * SIZE)
    app[ACTIVE] = set()
    app.add_routes(
        [
            web.get("/", hello),
            web.get("/number/{number}", number),
            web.post("/echo", echo),
            web.post("/digest", digest),
            web.get("/bytes/{size}", many),
            web.get("/works", works),
            web.get("/forever", forever),
            web.get("/ws", websocket),
        ]
    )
    return app


@contextlib.asynccontextmanager
async def serving(app=None):
    """The base URL of a server in this loop."""
    runner = web.AppRunner(app or application())
    await runner.setup()
    site = web.TCPSite(runner, LOCALHOST, 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    try:
        yield f"http://{LOCALHOST}:{port}"
    finally:
        await runner.cleanup()


@pytest.fixture
def play(run):
    """Run `scenario(session, url)` against a server in the same loop; nothing may stay open."""

    def play(scenario, app=None):
        async def main():
            async with no_new_descriptors(others=True), serving(app) as url, asyncio.timeout(GUARD):
                connector = aiohttp.TCPConnector(limit=0)
                async with aiohttp.ClientSession(connector=connector) as session:
                    await scenario(session, url)

        run(main)

    return play


def test_keep_alive(play):
    async def scenario(session, url):
        for value in range(100):
            async with session.get(f"{url}/number/{value}") as response:
                assert response.status == 200
                assert await response.json() == {"number": value}
        # One connection served them all.
        assert sum(map(len, session.connector._conns.values())) == 1

    play(scenario)


def test_pipelining(play):
    def ask(url):
        port = int(url.rpartition(":")[2])
        with Client((LOCALHOST, port)) as client:
            for value in range(50):
                client.send("GET", f"/number/{value}")
            return [json.loads(client.receive().body)["number"] for _ in range(50)]

    async def scenario(session, url):
        assert await asyncio.to_thread(ask, url) == list(range(50))

    play(scenario)


def test_large_bodies(play):
    data = pattern(SIZE)

    async def scenario(session, url):
        async with session.get(f"{url}/bytes/{SIZE}") as response:
            assert await response.read() == data
        async with session.post(f"{url}/digest", data=data) as response:
            assert await response.text() == hashlib.sha256(data).hexdigest()
        async with session.post(f"{url}/echo", data=data) as response:
            assert await response.read() == data

    play(scenario)


def test_streaming_both_ways(play):
    async def scenario(session, url):
        parts = [pattern(1000 + index) for index in range(200)]

        async def generate():
            for part in parts:
                yield part
                await asyncio.sleep(0)

        got = bytearray()
        async with session.post(f"{url}/echo", data=generate()) as response:
            async for part in response.content.iter_any():
                got += part
        assert got == b"".join(parts)

    play(scenario)


def test_parts_leave_while_the_handler_works(play, tmp_path):
    def ask(url):
        port = int(url.rpartition(":")[2])
        with Client((LOCALHOST, port)) as client:
            client.send("GET", f"/works?path={tmp_path}/")
            _, headers = client.head()
            parts = []
            for number, part in enumerate(client.chunks(headers)):
                parts.append(part)
                (tmp_path / str(number)).touch()
            return parts

    async def scenario(session, url):
        assert await asyncio.to_thread(ask, url) == [b"part %d\n" % number for number in range(3)]

    play(scenario)


def test_500_clients_at_once(play):
    async def scenario(session, url):
        async def client(value):
            async with session.get(f"{url}/number/{value}") as response:
                return (await response.json())["number"]

        assert await asyncio.gather(*(client(value) for value in range(500))) == list(range(500))

    play(scenario)


def test_clients_that_vanish(play):
    app = application()

    async def scenario(session, url):
        async def vanish():
            async with session.get(f"{url}/forever") as response:
                await response.content.readexactly(1000)
                response.close()

        async def vanish_cancelled():
            async with session.get(f"{url}/forever") as response:
                while True:
                    await response.content.readexactly(1000)

        tasks = [asyncio.create_task(vanish_cancelled()) for _ in range(10)]
        await asyncio.gather(*(vanish() for _ in range(10)))
        while len(app[ACTIVE]) != 10:
            await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        while app[ACTIVE]:
            await asyncio.sleep(0.01)
        async with session.get(url) as response:
            assert await response.text() == "hello"

    play(scenario, app)


def test_uploads_that_are_given_up(play):
    async def scenario(session, url):
        async def endless():
            while True:
                yield b"x" * 65536

        for _ in range(5):
            with pytest.raises(TimeoutError):
                timeout = aiohttp.ClientTimeout(total=0.05)
                async with session.post(f"{url}/digest", data=endless(), timeout=timeout):
                    pass
        async with session.get(url) as response:
            assert await response.text() == "hello"

    play(scenario)


def test_websockets(play):
    async def scenario(session, url):
        async with session.ws_connect(f"{url}/ws", max_msg_size=0) as socket:
            for value in range(100):
                await socket.send_str(str(value))
            for value in range(100):
                assert await socket.receive_str() == str(value)
            data = pattern(2_000_000)
            await socket.send_bytes(data)
            assert await socket.receive_bytes() == data

    play(scenario)


def test_many_websockets(play):
    async def scenario(session, url):
        async def client(value):
            async with session.ws_connect(f"{url}/ws") as socket:
                for turn in range(5):
                    await socket.send_str(f"{value}:{turn}")
                    assert await socket.receive_str() == f"{value}:{turn}"

        await asyncio.gather(*(client(value) for value in range(100)))

    play(scenario)


def test_a_server_that_is_not_there(run):
    async def main():
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.get("http://127.0.0.1:1/")

    run(main)


def test_unix_sockets(run, tmp_path):
    path = str(tmp_path / "socket")

    async def main():
        runner = web.AppRunner(application())
        await runner.setup()
        await web.UnixSite(runner, path).start()
        connector = aiohttp.UnixConnector(path=path)
        async with aiohttp.ClientSession(connector=connector) as session:
            async with session.get("http://any/number/5") as response:
                assert await response.json() == {"number": 5}
        await runner.cleanup()

    run(main)


SERVER = """
from tests.ecosystem.test_aiohttp import *

async def slow(request):
    print("slow request begins")
    await asyncio.sleep(0.3)
    return web.Response(text="done")

async def on_startup(app):
    print("on", type(asyncio.get_running_loop()).__module__)

async def on_cleanup(app):
    print("cleaned up")

app = application()
app.add_routes([web.get("/slow", slow)])
app.on_startup.append(on_startup)
app.on_cleanup.append(on_cleanup)
web.run_app(app, host="127.0.0.1", port=0, loop={factory}())
print("the end")
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_app_and_graceful_shutdown(loop_factory_source, loop_module, number):
    with Program("-c", SERVER.format(factory=loop_factory_source)) as server:
        server.wait_for(f"on {loop_module}")
        port = int(server.wait_for(r"Running on http://127\.0\.0\.1:(\d+)")[1])
        with Client((LOCALHOST, port)) as idle, Client((LOCALHOST, port)) as busy:
            assert idle.ask("GET", "/").body == b"hello"
            busy.send("GET", "/slow")
            server.wait_for("slow request begins")
            server.process.send_signal(number)
            assert idle.at_eof()
            assert busy.receive().body == b"done"
        server.wait_for("cleaned up")
        server.wait_for("the end")
        assert server.process.wait(GUARD) == 0
    assert "Traceback" not in "".join(server.output)
