"""loop.metrics(): counters that move when what they count happens."""

import asyncio
import json
import socket
import threading
import time

import pytest

from .support import GUARD

pytestmark = pytest.mark.fastaio_only

COUNTERS = {
    "iterations",
    "callbacks",
    "polls",
    "spins",
    "spin_hits",
    "io_events",
    "timers_fired",
    "bytes_received",
    "bytes_sent",
    "wakeups",
    "slow_callbacks",
}


def growth(loop, coro):
    """How much each counter grew while `coro` ran."""
    before = loop.metrics()
    loop.run_until_complete(coro)
    after = loop.metrics()
    return {name: after[name] - before[name] for name in COUNTERS}


async def turns(count):
    for _ in range(count):
        await asyncio.sleep(0)


def test_what_is_there(loop):
    metrics = loop.metrics()
    assert COUNTERS | {"lag_histogram"} <= set(metrics)
    for name in COUNTERS:
        assert type(metrics[name]) is int
        assert metrics[name] >= 0
    histogram = metrics["lag_histogram"]
    assert isinstance(histogram, list)
    assert histogram and all(type(count) is int for count in histogram)
    json.dumps({name: metrics[name] for name in COUNTERS})


def test_a_new_loop_has_counted_nothing_yet(loop_factory):
    loop = loop_factory()
    try:
        metrics = loop.metrics()
        assert all(metrics[name] == 0 for name in COUNTERS)
        assert sum(metrics["lag_histogram"]) == 0
    finally:
        loop.close()


def test_each_call_gives_a_new_dict(loop):
    first = loop.metrics()
    first["callbacks"] = -1
    first["lag_histogram"].clear()
    assert loop.metrics()["callbacks"] == 0
    assert loop.metrics()["lag_histogram"]


def test_iterations_and_callbacks(loop):
    grown = growth(loop, turns(100))
    assert 100 <= grown["iterations"] <= 110
    assert 100 <= grown["callbacks"] <= 110

    async def many():
        for _ in range(500):
            loop.call_soon(int)
        await turns(2)

    grown = growth(loop, many())
    assert grown["callbacks"] >= 500
    assert grown["iterations"] < 20


def test_timers(loop):
    async def main():
        for _ in range(50):
            loop.call_later(0.0001, int)
        loop.call_later(3600, int).cancel()
        await asyncio.sleep(0.002)

    grown = growth(loop, main())
    assert grown["timers_fired"] == 51


def test_polls_and_events(loop):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)

        async def main():
            done = loop.create_future()
            loop.add_reader(ours, done.set_result, None)
            theirs.send(b"x")
            await done
            loop.remove_reader(ours)

        grown = growth(loop, main())
    assert grown["polls"] >= 1
    assert grown["io_events"] >= 1


def test_wakeups(loop):
    async def main():
        # Again where the thread finds the loop awake: there is nobody to wake up then.
        while not loop.metrics()["wakeups"]:
            done = loop.create_future()
            timer = threading.Timer(0.01, loop.call_soon_threadsafe, (done.set_result, None))
            timer.start()
            await done
            timer.join(GUARD)

    grown = growth(loop, asyncio.wait_for(main(), GUARD))
    assert grown["wakeups"] == 1


def test_bytes(loop):
    payload = b"x" * 10_000

    async def main():
        async def echo(reader, writer):
            writer.write(await reader.readexactly(len(payload)))
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(payload)
            assert await reader.read() == payload
            writer.close()
            await writer.wait_closed()

    grown = growth(loop, asyncio.wait_for(main(), GUARD))
    assert grown["bytes_sent"] == 2 * len(payload)
    assert grown["bytes_received"] == 2 * len(payload)


@pytest.mark.parametrize("debug", [False, True])
def test_slow_callbacks(loop, debug, caplog):
    if debug:
        loop.set_debug(True)
    else:
        loop.warn_slow_callbacks = True
    loop.slow_callback_duration = 0.01

    async def main():
        await asyncio.sleep(0)
        time.sleep(0.03)
        await asyncio.sleep(0)

    grown = growth(loop, main())
    assert grown["slow_callbacks"] >= 1
    assert any(" took " in record.getMessage() for record in caplog.records)


def test_the_lag_of_every_iteration_is_in_the_histogram(loop):
    before = sum(loop.metrics()["lag_histogram"])
    loop.run_until_complete(turns(100))
    assert sum(loop.metrics()["lag_histogram"]) > before


def test_a_closed_loop_keeps_its_counters(loop_factory):
    loop = loop_factory()
    loop.run_until_complete(turns(10))
    loop.close()
    assert loop.metrics()["iterations"] >= 10


def test_spins_are_counted_where_they_happen(loop):
    metrics = growth(loop, asyncio.sleep(0.001))
    assert metrics["spin_hits"] <= metrics["spins"]
