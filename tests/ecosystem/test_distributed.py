"""Dask distributed: scheduler, workers and client on one loop, and threads that compute."""

import asyncio
import operator
import subprocess
import sys

import pytest

from .apps import pattern
from .support import environment, need


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


def kind_of_loop(dask_worker):
    return type(dask_worker.loop.asyncio_loop).__module__.partition(".")[0]


def kind_of_scheduler_loop(dask_scheduler):
    return type(dask_scheduler.loop.asyncio_loop).__module__.partition(".")[0]


@pytest.mark.fastaio_only
def test_processes_of_their_own(run, tmp_path):
    """As in docs/scaling.md: Dask's own commands, and workers that Dask spawns."""
    distributed = need("distributed")
    place = ["--scheduler-file", str(tmp_path / "scheduler.json")]
    commands = (
        ["dask_scheduler", "--port=0", "--host=127.0.0.1", "--no-dashboard", *place],
        ["dask_worker", "--nworkers=2", "--nthreads=1", "--no-dashboard", *place],
    )

    async def main():
        async with asyncio.timeout(50):
            async with distributed.Client(scheduler_file=place[1], asynchronous=True) as client:
                await client.wait_for_workers(2)
                kinds = await client.run(kind_of_loop)
                assert list(kinds.values()) == ["fastaio", "fastaio"]
                assert await client.run_on_scheduler(kind_of_scheduler_loop) == "fastaio"
                futures = client.map(operator.mul, range(100), range(100))
                assert await client.submit(sum, futures) == 328350

    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "fastaio", "-m", f"distributed.cli.{name}", *options],
            cwd=tmp_path,
            env=environment(),  # they import this module
            stderr=subprocess.DEVNULL,
        )
        for name, *options in commands
    ]
    try:
        run(main)
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait()


def test_a_graph_of_computations(play, loop_module):
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
