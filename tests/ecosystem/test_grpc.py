"""grpc.aio, server and client on one loop: its core wakes the loop through a watched descriptor."""

import asyncio

import pytest

from .apps import pattern
from .support import LOCALHOST, need

grpc = need("grpc")

began = []
ended = []


async def echo(request, context):
    return request


async def count(request, context):
    for number in range(int(request)):
        yield b"%d" % number


async def join(requests, context):
    return b"".join([request async for request in requests])


async def talk(requests, context):
    async for request in requests:
        yield request.upper()


async def never(request, context):
    began.append(request)
    try:
        await asyncio.Event().wait()
    finally:
        ended.append(request)


class Service(grpc.GenericRpcHandler):
    handlers = {
        "/test/echo": grpc.unary_unary_rpc_method_handler(echo),
        "/test/count": grpc.unary_stream_rpc_method_handler(count),
        "/test/join": grpc.stream_unary_rpc_method_handler(join),
        "/test/talk": grpc.stream_stream_rpc_method_handler(talk),
        "/test/never": grpc.unary_unary_rpc_method_handler(never),
    }

    def service(self, details):
        return self.handlers.get(details.method)


@pytest.fixture
def play(run):
    """Call a scenario with a channel to a server."""

    def play(scenario):
        async def main():
            # The library keeps threads and descriptors of its own beyond this.
            options = [
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
            ]
            server = grpc.aio.server(options=options)
            server.add_generic_rpc_handlers([Service()])
            port = server.add_insecure_port(f"{LOCALHOST}:0")
            await server.start()
            try:
                async with asyncio.timeout(50):
                    async with grpc.aio.insecure_channel(f"{LOCALHOST}:{port}", options) as channel:
                        await scenario(channel)
            finally:
                await server.stop(None)

        run(main)

    return play


def test_many_calls_at_once(play):
    async def scenario(channel):
        call = channel.unary_unary("/test/echo")
        data = [pattern(size) for size in [0, 1, 1000, 1_000_000, *range(1, 300)]]
        assert await asyncio.gather(*map(call, data)) == data

    play(scenario)


def test_streams(play):
    async def scenario(channel):
        numbers = [int(part) async for part in channel.unary_stream("/test/count")(b"1000")]
        assert numbers == list(range(1000))

        async def parts():
            for number in range(200):
                yield b"%d," % number

        joined = await channel.stream_unary("/test/join")(parts())
        assert joined == b"".join(b"%d," % number for number in range(200))
        talk = channel.stream_stream("/test/talk")()
        for word in (b"one", b"two", b"three"):
            await talk.write(word)
            assert await talk.read() == word.upper()
        await talk.done_writing()
        assert await talk.read() is grpc.aio.EOF

    play(scenario)


def test_cancellation_and_deadlines(play):
    async def scenario(channel):
        began.clear()
        ended.clear()
        never = channel.unary_unary("/test/never")
        task = asyncio.ensure_future(never(b"cancelled"))
        while not began:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await never(b"late", timeout=0.1)
        assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        while len(ended) < len(began):
            await asyncio.sleep(0.001)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await channel.unary_unary("/test/nothing")(b"")
        assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED

    play(scenario)
