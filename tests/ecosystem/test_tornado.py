"""tornado: its IOLoop around the loop under test, and its own streams on add_handler()."""

import asyncio
import hashlib
import signal

import pytest

from ..ioutil import until
from .apps import pattern
from .support import LOCALHOST, SIZE, need

need("tornado")


@pytest.fixture
def play(stage):
    """Serve an application, and call a scenario with its port."""
    from tornado import httpserver, iostream, netutil, web, websocket

    class Number(web.RequestHandler):
        async def get(self, number):
            await asyncio.sleep(0)
            self.write(number)

    @web.stream_request_body
    class Digest(web.RequestHandler):
        def prepare(self):
            self.request.connection.set_max_body_size(2 * SIZE)
            self.digest = hashlib.sha256()

        async def data_received(self, chunk):
            self.digest.update(chunk)

        def post(self):
            self.write(self.digest.hexdigest())

    class Forever(web.RequestHandler):
        ended = 0

        async def get(self):
            try:
                while True:
                    self.write(b"x" * 65536)
                    await self.flush()
            except iostream.StreamClosedError:
                Forever.ended += 1

    class Echo(websocket.WebSocketHandler):
        async def on_message(self, message):
            await self.write_message(message, binary=isinstance(message, bytes))

    def play(scenario):
        async def main():
            handlers = [
                (r"/number/(\d+)", Number),
                ("/digest", Digest),
                ("/forever", Forever),
                ("/ws", Echo),
            ]
            server = httpserver.HTTPServer(web.Application(handlers))
            sockets = netutil.bind_sockets(0, LOCALHOST)
            server.add_sockets(sockets)
            try:
                await scenario(f"{LOCALHOST}:{sockets[0].getsockname()[1]}", Forever)
            finally:
                server.stop()
                await server.close_all_connections()

        stage(main)

    return play


def test_http(play):
    from tornado.httpclient import AsyncHTTPClient

    async def scenario(address, _):
        client = AsyncHTTPClient(force_instance=True, max_clients=20)
        try:
            urls = [f"http://{address}/number/{number}" for number in range(200)]
            answers = await asyncio.gather(*map(client.fetch, urls))
            assert [answer.body for answer in answers] == [b"%d" % n for n in range(200)]
            data = pattern(SIZE)
            answer = await client.fetch(f"http://{address}/digest", method="POST", body=data)
            assert answer.body.decode() == hashlib.sha256(data).hexdigest()
        finally:
            client.close()

    play(scenario)


def test_clients_that_vanish(play):
    async def scenario(address, handler):
        before = handler.ended
        host, port = address.split(":")
        for _ in range(10):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"GET /forever HTTP/1.1\r\nHost: test\r\n\r\n")
            await reader.readexactly(100_000)
            writer.transport.abort()
        await until(lambda: handler.ended == before + 10)

    play(scenario)


def test_websockets(play):
    from tornado.websocket import websocket_connect

    async def scenario(address, _):
        connection = await websocket_connect(f"ws://{address}/ws")
        for number in range(200):
            connection.write_message(f"message {number}")
        answers = [await connection.read_message() for _ in range(200)]
        assert answers == [f"message {number}" for number in range(200)]
        data = pattern(500_000)
        await connection.write_message(data, binary=True)
        assert await connection.read_message() == data
        connection.close()
        assert await connection.read_message() is None

    play(scenario)


def test_the_loop_itself(run):
    from tornado.ioloop import IOLoop, PeriodicCallback

    async def main():
        io_loop = IOLoop.current()
        assert io_loop.asyncio_loop is asyncio.get_running_loop()
        ticks = []
        ticking = PeriodicCallback(lambda: ticks.append(io_loop.time()), 1)
        ticking.start()
        fired = asyncio.Event()
        io_loop.add_timeout(io_loop.time() + 0.01, fired.set)
        cancelled = io_loop.call_later(0.005, ticks.clear)
        io_loop.remove_timeout(cancelled)
        assert await io_loop.run_in_executor(None, lambda: 42) == 42
        await fired.wait()
        await until(lambda: len(ticks) >= 5)
        ticking.stop()
        # SIGCHLD may be had, too: tornado watches its subprocesses by it.
        caught = asyncio.Event()
        io_loop.asyncio_loop.add_signal_handler(signal.SIGCHLD, caught.set)
        signal.raise_signal(signal.SIGCHLD)
        await caught.wait()
        assert io_loop.asyncio_loop.remove_signal_handler(signal.SIGCHLD)

    run(main)
