"""httpx's asynchronous client on the loop under test."""

import asyncio
import hashlib

import pytest

from ..ioutil import no_new_descriptors
from ..support import GUARD
from .apps import pattern
from .support import SIZE, Uvicorn, need

httpx = need("httpx")
need("uvicorn")


@pytest.fixture(scope="module")
def server():
    """The other side is uvicorn on plain asyncio: here the client is under test."""
    with Uvicorn("asgi", "asyncio") as server:
        yield server


@pytest.fixture
def play(run, server):
    def play(scenario, **kwargs):
        async def main():
            async with no_new_descriptors(others=True), asyncio.timeout(GUARD):
                async with httpx.AsyncClient(base_url=server.url, **kwargs) as client:
                    await scenario(client)

        run(main)

    return play


def test_requests_one_by_one(play):
    async def scenario(client):
        for number in range(100):
            assert (await client.get(f"/number/{number}")).text == str(number)

    play(scenario)


@pytest.mark.parametrize("connections", [10, None])
def test_many_at_once(play, connections):
    async def scenario(client):
        answers = await asyncio.gather(*(client.get(f"/number/{number}") for number in range(200)))
        assert [answer.text for answer in answers] == [str(number) for number in range(200)]

    play(scenario, limits=httpx.Limits(max_connections=connections), timeout=GUARD)


def test_large_bodies(play):
    data = pattern(SIZE)

    async def scenario(client):
        assert (await client.get(f"/bytes/{SIZE}")).content == data
        answer = await client.post("/digest", content=data)
        assert answer.text == hashlib.sha256(data).hexdigest()

    play(scenario)


def test_streaming(play):
    async def scenario(client):
        async def generate():
            for number in range(100):
                yield pattern(number + 1)

        answer = await client.post("/digest", content=generate())
        whole = b"".join(pattern(number + 1) for number in range(100))
        assert answer.text == hashlib.sha256(whole).hexdigest()
        async with client.stream("GET", "/stream/50") as response:
            lines = [line async for line in response.aiter_lines()]
        assert lines == [f"part {number}" for number in range(50)]

    play(scenario)


def test_timeouts_and_cancellation(play):
    async def scenario(client):
        for _ in range(3):
            with pytest.raises(httpx.ReadTimeout):
                await client.get("/slow/5", timeout=httpx.Timeout(GUARD, read=0.05))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await client.get("/slow/5")
            async with client.stream("GET", "/forever") as response:
                async for part in response.aiter_bytes():
                    assert part
                    break
        assert (await client.get("/text")).text == "hello"

    play(scenario)


def test_a_server_that_is_not_there(run):
    async def main():
        async with httpx.AsyncClient() as client:
            with pytest.raises(httpx.ConnectError):
                await client.get("http://127.0.0.1:1/")

    run(main)


def test_an_application_without_a_socket(run, loop_module):
    """ASGITransport: the application runs in the caller's task."""
    from .apps import asgi

    async def main():
        transport = httpx.ASGITransport(asgi)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            assert (await client.get("/state")).json()["loop"] == loop_module
            assert (await client.post("/echo", content=b"body")).text == "body"

    run(main)
