"""websockets, server and client, both on the loop under test."""

import asyncio
import socket

import pytest

from ..ioutil import no_new_descriptors
from ..support import GUARD
from .apps import pattern
from .support import LOCALHOST, SIZE, need

websockets = need("websockets")
client = need("websockets.asyncio.client")
server = need("websockets.asyncio.server")


async def echo(connection):
    async for message in connection:
        await connection.send(message)


@pytest.fixture
def play(run):
    """Run `scenario(url, listening server)`; nothing may stay open."""

    def play(scenario, handler=echo, **kwargs):
        async def main():
            async with no_new_descriptors(others=True), asyncio.timeout(GUARD):
                async with server.serve(handler, LOCALHOST, 0, max_size=None, **kwargs) as serving:
                    port = serving.sockets[0].getsockname()[1]
                    await scenario(f"ws://{LOCALHOST}:{port}", serving)

        run(main)

    return play


def test_echo(play):
    async def scenario(url, serving):
        async with client.connect(url) as connection:
            for number in range(300):
                await connection.send(f"message {number}")
                assert await connection.recv() == f"message {number}"
            await connection.send(b"bytes")
            assert await connection.recv() == b"bytes"

    play(scenario)


def test_many_messages_in_flight(play):
    async def scenario(url, serving):
        async with client.connect(url) as connection:
            for number in range(1000):
                await connection.send(str(number))
            for number in range(1000):
                assert await connection.recv() == str(number)

    play(scenario)


@pytest.mark.parametrize("compression", ["deflate", None])
def test_large_messages(play, compression):
    data = pattern(SIZE)

    async def scenario(url, serving):
        async with client.connect(url, max_size=None, compression=compression) as connection:
            _, answer = await asyncio.gather(connection.send(data), connection.recv())
            assert answer == data

    play(scenario, compression=compression)


def test_fragmented_messages(play):
    async def scenario(url, serving):
        parts = [pattern(1000 + index) for index in range(50)]
        async with client.connect(url) as connection:
            await connection.send(parts)
            assert await connection.recv() == b"".join(parts)

    play(scenario)


def test_200_clients(play):
    async def scenario(url, serving):
        async def talk(number):
            async with client.connect(url, open_timeout=GUARD) as connection:
                for turn in range(5):
                    await connection.send(f"{number}:{turn}")
                    assert await connection.recv() == f"{number}:{turn}"

        await asyncio.gather(*(talk(number) for number in range(200)))

    play(scenario, open_timeout=GUARD)


def test_ping(play):
    async def scenario(url, serving):
        async with client.connect(url) as connection:
            for _ in range(5):
                assert await (await connection.ping()) >= 0

    play(scenario)


def test_closing_with_a_code(play):
    async def handler(connection):
        await connection.recv()
        await connection.close(4001, "enough")

    async def scenario(url, serving):
        async with client.connect(url) as connection:
            await connection.send("x")
            with pytest.raises(websockets.exceptions.ConnectionClosedError) as caught:
                await connection.recv()
            assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (4001, "enough")

    play(scenario, handler)


def test_the_server_closes_its_connections(play):
    async def scenario(url, serving):
        connections = [await client.connect(url) for _ in range(10)]
        serving.close()
        await serving.wait_closed()
        for connection in connections:
            with pytest.raises(websockets.exceptions.ConnectionClosed):
                await connection.recv()
            await connection.close()

    play(scenario)


def test_a_client_that_vanishes(play):
    ends = []

    async def handler(connection):
        try:
            async for message in connection:
                await connection.send(message)
        except websockets.exceptions.ConnectionClosed as exc:
            ends.append(exc)

    async def scenario(url, serving):
        for _ in range(5):
            connection = await client.connect(url)
            await connection.send("x")
            assert await connection.recv() == "x"
            connection.transport.abort()
            await connection.wait_closed()
        while len(ends) < 5:
            await asyncio.sleep(0.001)

    play(scenario, handler)


def test_a_handshake_that_is_nonsense(play):
    async def scenario(url, serving):
        address = serving.sockets[0].getsockname()

        def talk():
            with socket.create_connection(address, timeout=GUARD) as sock:
                sock.sendall(b"nonsense\r\n\r\n")
                answer = b""
                while part := sock.recv(1000):
                    answer += part
                return answer

        answer = await asyncio.to_thread(talk)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 400")
        async with client.connect(url) as connection:
            await connection.send("x")
            assert await connection.recv() == "x"

    play(scenario)


def test_broadcast(play):
    connections = set()

    async def handler(connection):
        connections.add(connection)
        await connection.wait_closed()

    async def scenario(url, serving):
        clients = await asyncio.gather(*(client.connect(url) for _ in range(50)))
        while len(connections) < 50:
            await asyncio.sleep(0)
        for number in range(10):
            server.broadcast(connections, str(number))
        for connection in clients:
            for number in range(10):
                assert await connection.recv() == str(number)
            await connection.close()

    play(scenario, handler)
