"""Dask distributed: scheduler, workers and client on one loop, and threads that compute."""

import asyncio
import operator

import pytest

from .apps import pattern
from .support import need


@pytest.fixture
def play(run):
    distributed = need("distributed")

    def play(scenario):
        async def main():
            async with asyncio.timeout(50):
                async with distributed.LocalCluster(
                    n_workers=2,
                    threads_per_worker=2,
                    processes=False,
                    asynchronous=True,
                    dashboard_address=None,
                    protocol="tcp://",
                ) as cluster:
                    async with distributed.Client(cluster, asynchronous=True) as client:
                        await scenario(client, distributed)

        run(main)

    return play


def test_a_graph_of_computations(play, loop_module):
    def kind_of_loop(dask_worker):
        return type(dask_worker.loop.asyncio_loop).__module__.partition(".")[0]

    async def scenario(client, distributed):
        assert set((await client.run(kind_of_loop)).values()) == {loop_module}
        futures = client.map(operator.mul, range(200), range(200))
        total = client.submit(sum, futures)
        assert await total == sum(number * number for number in range(200))
        assert await client.gather(futures) == [number * number for number in range(200)]

        data = pattern(5_000_000)
        sent = await client.scatter(data)
        digests = client.map(operator.getitem, [sent] * 4, [slice(n, n + 9) for n in range(4)])
        assert await client.gather(digests) == [data[n : n + 9] for n in range(4)]

        with pytest.raises(ZeroDivisionError):
            await client.submit(operator.truediv, 1, 0)

    play(scenario)


def test_cancellation_and_workers_that_leave(play):
    async def scenario(client, distributed):
        event = distributed.Event("go")
        waiting = client.submit(lambda: distributed.Event("go").wait())
        await client.cancel([waiting])
        assert waiting.cancelled()
        await event.set()
        workers = list((await client.scheduler.identity())["workers"])
        futures = client.map(operator.neg, range(50))
        await client.gather(futures)
        await client.retire_workers(workers[:1])
        assert await client.gather(client.map(operator.neg, range(100, 150))) == [
            -number for number in range(100, 150)
        ]

    play(scenario)
