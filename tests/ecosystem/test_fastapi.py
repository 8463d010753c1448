"""FastAPI under uvicorn, and through starlette's test client."""

import hashlib
import json

import pytest

from .apps import pattern
from .support import SIZE, Client, Uvicorn, eventually, need

need("fastapi")
need("uvicorn")


@pytest.fixture(scope="module")
def server(uvicorn_loop):
    with Uvicorn("api", uvicorn_loop) as server:
        yield server


@pytest.fixture
def client(server):
    with Client(server.address) as client:
        yield client


def post(client, path, value):
    body = json.dumps(value).encode()
    response = client.ask("POST", path, body, ["Content-Type: application/json"])
    return response.status, json.loads(response.body)


def get(client, path):
    response = client.ask("GET", path)
    return response.status, json.loads(response.body)


def test_it_runs_on_the_loop_under_test(client, loop_module):
    assert get(client, "/state")[1]["loop"] == loop_module


def test_json(client):
    for number in range(100):
        assert get(client, f"/items/{number}?q=x") == (200, {"number": number, "q": "x"})
    assert get(client, "/items/text")[0] == 422
    assert post(client, "/sum", list(range(1000))) == (200, {"sum": 499500})
    assert post(client, "/sum", ["text"])[0] == 422
    assert get(client, "/nothing")[0] == 404


def test_functions_in_threads(client):
    for _ in range(50):
        assert get(client, "/blocking") == (200, {"thread": True})


def test_dependencies_and_background_tasks(client):
    assert get(client, "/greeting") == (200, {"greeting": "hello"})
    assert post(client, "/background", {})[0] == 200
    eventually(lambda: {"dependency closed", "in the background"} <= set(get(client, "/notes")[1]))


def test_streaming(client):
    response = client.ask("GET", "/stream/500")
    assert response.body == b"".join(b"part %d\n" % number for number in range(500))


def test_parts_leave_while_the_generator_works(client, tmp_path):
    client.send("GET", f"/works?path={tmp_path}/")
    status, headers = client.head()
    assert status == 200
    for number, part in enumerate(client.chunks(headers)):
        assert part == b"part %d\n" % number
        (tmp_path / str(number)).touch()
    assert number == 2


def test_large_bodies(client):
    data = pattern(SIZE)
    assert client.ask("GET", f"/bytes/{SIZE}").body == data
    response = client.ask("POST", "/digest", data)
    assert json.loads(response.body) == {"digest": hashlib.sha256(data).hexdigest()}


def test_websocket(server, run):
    client = need("websockets.asyncio.client")

    async def main():
        async with client.connect(f"ws://127.0.0.1:{server.port}/ws") as socket:
            for number in range(20):
                await socket.send(str(number))
                assert await socket.recv() == f"you said {number}"

    run(main)


def test_starlettes_test_client(loop_factory, loop_module):
    """It runs the application on a loop in another thread, through anyio."""
    testclient = need("starlette.testclient")
    from .apps import api

    options = {"loop_factory": loop_factory}
    with testclient.TestClient(api, backend="asyncio", backend_options=options) as client:
        assert client.get("/state").json()["loop"] == loop_module
        assert client.get("/items/5").json() == {"number": 5, "q": None}
        assert client.get("/blocking").json() == {"thread": True}
        assert client.post("/sum", json=[1, 2]).json() == {"sum": 3}
        assert client.get("/stream/3").text == "part 0\npart 1\npart 2\n"
        with client.websocket_connect("/ws") as socket:
            socket.send_text("hello")
            assert socket.receive_text() == "you said hello"
