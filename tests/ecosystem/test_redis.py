"""redis-py's asynchronous client with a real Redis."""

import asyncio

import pytest

from ..ioutil import until
from .apps import pattern
from .support import need

library = need("redis.asyncio")


@pytest.fixture
def open_client(redis):
    def open_client(**options):
        return library.Redis(
            host=redis.host, port=redis.port, password=redis.password, protocol=3, **options
        )

    return open_client


def test_values_and_pipelines(open_client, stage):
    async def scenario():
        async with open_client() as client:
            data = pattern(5_000_000)
            await client.set("data", data)
            assert await client.get("data") == data
            async with client.pipeline(transaction=False) as pipeline:
                for number in range(5000):
                    pipeline.set(f"key {number}", number)
                    pipeline.get(f"key {number}")
                answers = await pipeline.execute()
            assert answers[1::2] == [b"%d" % number for number in range(5000)]

    stage(scenario)


def test_many_at_once(open_client, stage):
    async def scenario():
        async with open_client() as client:
            await client.delete("count")
            answers = await asyncio.gather(*(client.incr("count") for _ in range(80)))
            assert sorted(answers) == list(range(1, 81))

    stage(scenario)


def test_publishing(open_client, stage):
    async def scenario():
        async with open_client() as client, open_client() as other:
            async with client.pubsub() as subscription:
                await subscription.subscribe("news")
                assert (await subscription.get_message(timeout=30))["type"] == "subscribe"

                async def listen():
                    heard = []
                    async for message in subscription.listen():
                        heard.append(int(message["data"]))
                        if len(heard) == 500:
                            return heard

                listening = asyncio.create_task(listen())
                for number in range(500):
                    assert await other.publish("news", number) == 1
                assert await listening == list(range(500))

    stage(scenario)


def test_blocking_commands_and_cancellation(open_client, stage):
    async def scenario():
        async with open_client() as client:
            waiting = [asyncio.create_task(client.blpop("queue", 0)) for _ in range(10)]

            async def blocked():
                return (await client.info("clients"))["blocked_clients"]

            while await blocked() < 10:
                await asyncio.sleep(0)
            for task in waiting[:5]:
                task.cancel()
            results = await asyncio.gather(*waiting[:5], return_exceptions=True)
            assert {type(result) for result in results} == {asyncio.CancelledError}
            while await blocked() > 5:
                await asyncio.sleep(0)
            await client.rpush("queue", *range(5))
            popped = await asyncio.gather(*waiting[5:])
            assert sorted(int(value) for _, value in popped) == list(range(5))

    stage(scenario)


def test_a_connection_that_the_server_ends(open_client, stage):
    errors = need("redis.exceptions")

    async def scenario():
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        never = Retry(NoBackoff(), 0)
        async with open_client(client_name="victim", retry=never) as victim, open_client() as other:
            await victim.ping()
            waiting = asyncio.create_task(victim.blpop("nothing", 0))

            async def find():
                clients = await other.client_list()
                return [c for c in clients if c["name"] == "victim" and c["cmd"] == "blpop"]

            while not (found := await find()):
                await asyncio.sleep(0)
            await other.client_kill(found[0]["addr"])
            with pytest.raises(errors.ConnectionError):
                await waiting
            await until(waiting.done)
            assert await victim.ping()

    stage(scenario)
